"""Shared by the benchmark programs: contenders in turns, child processes, and the JSON file that keeps a run's figures."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "scikit-learn")
_BEGAN = "TEXTDAE_BENCHMARK_BEGAN"


@dataclass(frozen=True)
class Figure:
    """One measured number. The newest figure of a name is the one that counts."""

    name: str
    value: float
    unit: str
    rounds: int | None
    """How often it was measured: the value is the median, or the mean if the name says so (None: not known)."""
    min: float | None
    max: float | None
    note: str | None


@dataclass
class Entry:
    """One run of a program, as it lies in `benchmarks/results`. A field is None where it is not known."""

    program: str
    command: str
    date: str
    """ISO 8601, UTC."""
    commit: str | None
    dirty: bool | None
    """Whether tracked files differed from the commit, or new files lay beside them."""
    versions: dict[str, str]
    machine: dict[str, str | int | None]
    """Keys: `cores`, `cpu`, `memory_gb`, `threads` (of torch), `gpu`."""
    questions: str | None
    """How a text was hidden where a loss or accuracy on held-out text was measured."""
    carried_over: bool
    """Measured on earlier code and copied from its page; the commit is the one that wrote the figure down."""
    figures: list[Figure] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Entry":
        """Read an entry; raise ValueError, with the file's name, where a field is missing or unknown."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            figures = [Figure(**figure) for figure in values.pop("figures")]
            return cls(**values, figures=figures)
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path.name}: {error}") from error

    def write(self, folder: Path) -> Path:
        """Write the entry as `PROGRAM-DATE.json`; never over another one."""
        folder.mkdir(parents=True, exist_ok=True)
        stamp = self.date[:19].replace("-", "").replace(":", "").replace("T", "-")
        stem = f"{self.program}-{stamp}"
        path, number = folder / f"{stem}.json", 1
        while path.exists():
            number += 1
            path = folder / f"{stem}-{number}.json"
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        return path


class Run:
    """One run of a program: `with Run(__doc__) as run:` writes its JSON at the end, unless an error ended it.

    It also gives every program `--help`, and `--results FOLDER` for another folder than `benchmarks/results`.

    Args:
        help: what `--help` prints, and too short a command line.
        least: how many words a program needs.

    Attributes:
        words: the words of the command line that are left to the program.
        questions: set this where a loss or accuracy on held-out text is measured.
    """

    def __init__(self, help: str | None, least: int = 0) -> None:
        script, *words = sys.argv
        if "-h" in words or "--help" in words:
            print(help)
            print("--results FOLDER: where the JSON file goes (default: benchmarks/results)")
            raise SystemExit(0)
        self.folder = RESULTS
        if "--results" in words:
            at = words.index("--results")
            if at + 1 == len(words):
                raise SystemExit("--results needs a folder")
            self.folder = Path(words[at + 1])
            del words[at : at + 2]
        if len(words) < least:
            raise SystemExit(help)
        self.words = words
        self.program = Path(script).stem
        shown = [
            corpus_name(word) if Path(word).is_absolute() else word for word in words
        ]  # no path of a machine
        self.command = shlex.join(["python", f"benchmarks/{Path(script).name}", *shown])
        self.questions: str | None = None
        self.figures: list[Figure] = []
        # The code that is loaded now is measured, even if somebody commits before the end.
        self.commit, self.dirty = commit()

    def add(
        self, name: str, value: float, unit: str, values: list[float] | None = None, note: str | None = None
    ):
        """Keep a figure.

        Args:
            values: what each round gave, where there were several; the spread comes from them.
        """
        spread = (len(values), _short(min(values)), _short(max(values))) if values else (1, None, None)
        self.figures.append(Figure(name, _short(value), unit, *spread, note))

    def entry(self) -> Entry:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return Entry(
            self.program, self.command, date, self.commit, self.dirty, versions(), hardware(), self.questions, False,
            self.figures,
        )  # fmt: skip

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if kind is None and self.figures:
            print(f"written: {self.entry().write(self.folder)}; next: python benchmarks/report.py")


def _short(value: float) -> float:
    """Six digits, so that the file can be read."""
    return float(f"{value:.6g}")


def take_turns(
    run: Run,
    what: str,
    contenders: dict[str, Callable[[], float]],
    rounds: int,
    unit: str,
    less_is_better: bool = False,
) -> dict[str, float]:
    """Run every contender in each round, in turns forwards and backwards; print, keep and return the medians.

    The run keeps the median of each contender, and how many times as good the first is as each other: the ratio of the medians, with
    the ratios of the single rounds as its spread.

    Args:
        what: what is measured; begins the figures' names.
        contenders: name -> a function that does the work and returns its speed or its cost.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            measured[name].append(contenders[name]())
    medians = {name: statistics.median(values) for name, values in measured.items()}
    first = next(iter(contenders))
    print(f"\n{what}: {rounds} rounds, medians; {machine()}")

    def times(ours: float, theirs: float) -> float:
        return theirs / ours if less_is_better else ours / theirs

    for name, median in medians.items():
        run.add(f"{what}: {name}", median, unit, measured[name])
        spread = f"{min(measured[name]):,.3g} to {max(measured[name]):,.3g}"
        print(f"{name:42} {median:12,.4g} {unit}  ({spread})", end="")
        if name == first:
            print()
            continue
        ratio = times(medians[first], median)
        run.add(
            f"{what}: {first} against {name}", ratio, "x", list(map(times, measured[first], measured[name]))
        )
        print(f"   ours is {ratio:.2f} x" + (" as fast" if less_is_better else ""))
    return medians


def timed(work: Callable[[], float]) -> Callable[[], float]:
    """Turn what returns an amount into what returns an amount a second."""

    def run() -> float:
        began = time.perf_counter()
        amount = work()
        return amount / (time.perf_counter() - began)

    return run


def ask(script: str, *words: str) -> list[dict]:
    """Return the lines of JSON that `python SCRIPT one WORDS... FOLDER` prints, in a process and an empty folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, script, "one", *words, folder]
        began = {**os.environ, _BEGAN: str(time.time())}
        process = subprocess.run(command, capture_output=True, text=True, check=False, env=began)
        if process.returncode:
            raise SystemExit(
                f"{process.stderr[-3000:]}\n{shlex.join(command)}: ended with {process.returncode}"
            )
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith('{"')]


def age() -> float:
    """Seconds since `ask` started this process."""
    return time.time() - float(os.environ[_BEGAN])


def corpus_name(file: str) -> str:
    """Return the last two parts of a path, which name a corpus in a figure: `sotu/train.parquet`."""
    return "/".join(Path(file).parts[-2:])


def commit() -> tuple[str | None, bool | None]:
    """Return the commit that is checked out, and whether anything but results differs from it; None without git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout

    results = (":!benchmarks/results", ":!benchmarks/RESULTS.md")
    try:
        return git("rev-parse", "--short", "HEAD").strip(), bool(
            git("status", "--porcelain", "--", ".", *results)
        )
    except (OSError, subprocess.CalledProcessError):
        return None, None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that speed depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str | int | None]:
    """Cores, CPU, memory, torch's threads and GPU."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError, AttributeError):
        memory = None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_gb": memory, "threads": torch.get_num_threads(), "gpu": gpu}  # fmt: skip


def how(device: "torch.device") -> str:
    """What the name of a figure says of the products: nothing in bf16; figures of other formats and units stand by themselves."""
    from textdae.training.hardware import autocast_dtype, has_amx

    if not autocast_dtype("auto", device):
        return " in fp32"
    return " with AMX" if device.type == "cpu" and has_amx() else ""


def machine() -> str:
    """Hardware and versions in one line."""
    parts, packages = hardware(), versions()
    shown = ", ".join(
        f"{name} {packages[name]}" for name in ("torch", "transformers", "python") if name in packages
    )
    return f"{parts['cores']} cores, {parts['threads']} threads, {parts['gpu'] or parts['cpu']}, {shown}"
