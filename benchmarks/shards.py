"""What `textdae prepare` costs, and training from what it wrote.

    python benchmarks/shards.py workers MEGABYTES [ROUNDS]         two workers and one, in turns: MB/s
    python benchmarks/shards.py growth MEGABYTES MEGABYTES ...     one worker: seconds a GB, and peak memory, for each size
    python benchmarks/shards.py remote FILE.parquet [ROUNDS]       training from an S3 store on loopback and from a folder: tokens/s

Whole processes. The text of the first two is the docstrings, over and over; the tokenizer is trained beforehand, as its sample does
not grow with the text. `workers` has eight files, and one worker on one core too, because on two it reads and tokenizes at the same
time; `growth` has files of 100 MB. The peak is the private memory (RssAnon) of all processes together, sampled ten times a second.
`remote` starts moto's server in a process of its own, which shares the machine: its figure is a lower bound.
"""

import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from compare import Run, corpus_name, take_turns
from growth import write

TEXTDAE = [sys.executable, "-m", "textdae", "--quiet"]
STEPS, BLOCKS, BLOCK = 60, 16, 128
PART = 100
"""Megabytes of a file of generated text."""


def prepare(
    source: Path, output: str | Path, workers: int, *words: str, cores: set[int] | None = None
) -> tuple[float, float]:
    """Return the seconds that it took, on these cores alone, and the most megabytes."""
    command = [
        *TEXTDAE, "prepare", f"data.source={source}", f"output_dir={output}", "--workers", str(workers), *words,
    ]  # fmt: skip
    began, most = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        if cores:
            os.sched_setaffinity(process.pid, cores)
        while process.poll() is None:
            most = max(most, own_memory(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"prepare ended with {process.returncode}")
    return time.perf_counter() - began, most


def own_memory(pid: int) -> float:
    """Return the megabytes of their own of a process and those that it started."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for each in [parent, *parent.children(recursive=True)]:
            for line in Path(f"/proc/{each.pid}/status").read_text().splitlines():
                total += int(line.split()[1]) if line.startswith("RssAnon") else 0
    except (psutil.NoSuchProcess, OSError):
        pass
    return total / 1024


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of all files of a folder, names and contents."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(folder)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def measure_workers(run: Run, megabytes: str, rounds: str = "3") -> None:
    digests = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts").mkdir()
        for number in range(8):
            write(folder / "texts" / f"{number}.txt", int(megabytes) / 8, folder / "cache")
        prepare(folder / "texts" / "0.txt", folder / "first", 1, f"data.cache_dir={folder}/cache")

        def speed(workers: int, cores: set[int] | None = None) -> float:
            with tempfile.TemporaryDirectory() as output:
                words = [
                    f"data.cache_dir={output}/cache",
                    f"tokenizer.from_pretrained={folder}/first/tokenizer",
                ]
                seconds, _ = prepare(folder / "texts", f"{output}/prepared", workers, *words, cores=cores)
                digests.add(digest_of(Path(output) / "prepared"))
            return int(megabytes) / seconds

        contenders = {
            "2 workers, 2 cores": lambda: speed(2),
            "1 worker, 1 core": lambda: speed(1, {min(os.sched_getaffinity(0))}),
            "1 worker, 2 cores": lambda: speed(1),
        }
        take_turns(run, f"preparing {megabytes} MB of text", contenders, int(rounds), "MB/s")
    if len(digests) > 1:
        raise SystemExit("the numbers of workers gave different bytes")


def measure_growth(run: Run, *sizes: str) -> None:
    first: tuple[float, float] | None = None
    for size in map(int, sizes):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "texts"
            source.mkdir()
            for number in range(-(-size // PART)):
                write(source / f"{number:04d}.txt", min(PART, size - number * PART), Path(folder) / "cache")
            cache = f"data.cache_dir={folder}/cache"
            prepare(source / "0000.txt", f"{folder}/first", 1, cache)
            words = [cache, f"tokenizer.from_pretrained={folder}/first/tokenizer"]
            seconds, most = prepare(source, f"{folder}/prepared", 1, *words)
        each = 1000 * seconds / size
        first = first or (each, most)
        print(f"{size} MB: {seconds:.0f} s, {each:.1f} s a GB, at most {most:.0f} MB", flush=True)
        run.add(f"prepare, {size} MB of text, 1 worker: seconds a GB", each, "s")
        run.add(f"prepare, {size} MB of text, 1 worker: peak memory", most, "MB")
        if (each, most) != first:
            run.add(f"prepare, {size} MB against {sizes[0]} MB of text: seconds a GB", each / first[0], "x")
            run.add(f"prepare, {size} MB against {sizes[0]} MB of text: peak memory", most / first[1], "x")


@contextmanager
def store() -> Iterator[str]:
    """An S3 server on loopback with an empty bucket, its address and credentials in the environment: the bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    try:
        import s3fs

        for _ in range(100):
            try:
                s3fs.S3FileSystem(skip_instance_cache=True).mkdir("corpora")
                break
            except Exception:  # of botocore: the server does not listen yet
                time.sleep(0.3)
        else:
            raise SystemExit("moto's server did not start")
        yield "s3://corpora"
    finally:
        server.terminate()
        server.wait()


def trained(source: str) -> float:
    """Return tokens a second: the median over the steps after the first ones."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *TEXTDAE, "pretrain", "text-mini", f"data.source={source}", f"data.cache_dir={folder}/cache", f"output_dir={folder}/run",
            "train.time_budget=null", f"train.max_steps={STEPS}", f"train.per_device_train_batch_size={BLOCKS}", "train.compile=never",
            "train.eval_steps=0", "train.save_steps=0", "train.logging_steps=5", "evaluate.max_examples=32",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        log = [json.loads(line) for line in Path(folder, "run/log.jsonl").read_text().splitlines()]
    speeds = [entry["examples_per_second"] for entry in log if "examples_per_second" in entry]
    return BLOCK * statistics.median(speeds[2:])


def measure_remote(run: Run, file: str, rounds: str = "3") -> None:
    with store() as bucket, tempfile.TemporaryDirectory() as folder:
        for output in (f"{folder}/prepared", f"{bucket}/prepared"):
            prepare(Path(file), output, 2, f"data.cache_dir={folder}/cache")
        contenders = {
            "from an S3 store on loopback": lambda: trained(f"{bucket}/prepared"),
            "from a folder": lambda: trained(f"{folder}/prepared"),
        }
        take_turns(run, f"training mini on {corpus_name(file)}", contenders, int(rounds), "tokens/s")


MEASURES = {"workers": measure_workers, "growth": measure_growth, "remote": measure_remote}

if __name__ == "__main__":
    with Run(__doc__, 2) as run:
        what, *words = run.words
        if what not in MEASURES:
            raise SystemExit(__doc__)
        MEASURES[what](run, *words)
