"""Runs over several hosts, each with a disk of its own: killed, resumed by another first host, refused where hosts differ.

A host is a folder, and where root may make them a network namespace with an address of its own. This module is a program, so
that torch is imported once and processes are forked:

    python tests/hosts.py 60 [SEED]     60 tries over two and three hosts, with kills; prints what became of them

`python tests/hosts.py FOLDER JSON` carries out what a test asks for: `{JOB: [WHERE THE CHECKPOINTS ARE, ...]}`, `refused`, `others`.
"""

import contextlib
import ctypes
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import kills
import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from textdae.commands.finetune import finetune as run_finetune
from textdae.commands.pretrain import pretrain as run_pretrain
from textdae.commands.run import Run
from textdae.core.errors import TextdaeError
from textdae.core.layout import checkpoints
from textdae.core.sharding import gather_weights
from textdae.core.untrusted import sha256
from textdae.image.settings import ImageFinetuneSettings
from textdae.text.settings import TextPretrainSettings
from textdae.training import checkpoint, hardware, setup
from textdae.training.average import WeightAverage
from textdae.training.hardware import join_processes
from textdae.training.loop import Trainer
from textdae.training.state import state_tensors

_SECONDS = 240
"""After which a sitting hangs."""
_TRAIN = {
    "max_steps": 8, "per_device_train_batch_size": 2, "precision": "fp32", "compile": "never", "save_steps": 3,
    "save_total_limit": 9, "eval_steps": 4, "logging_steps": 2,
}  # fmt: skip
_WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "dog",
    "ran",
    "after",
    "it",
    "while",
    "many",
    "birds",
    "sang",
    "in",
    "old",
    "trees",
]


def make_corpus(disk: Path, seed: int = 0) -> None:
    """A file of text, by its seed."""
    chance = random.Random(seed)
    text = "\n\n".join(" ".join(chance.choices(_WORDS, k=30)) for _ in range(60))
    (disk / "corpus.txt").write_text(text)


def pretrain(**how: Any) -> None:
    """`textdae pretrain` in the current folder."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    given = {
        "output_dir": "run", "data": {"source": "corpus.txt", "block_size": 16}, "tokenizer": {"vocab_size": 64},
        "model": sizes, "train": _TRAIN | how.get("train", {}),
    }  # fmt: skip
    settings = TextPretrainSettings.model_validate(given)
    run_pretrain(settings, resume=how.get("resume", True), overwrite=how.get("overwrite", False))


def finetune(**how: Any) -> None:
    """`textdae finetune` of an encoder in the current folder."""
    kills.build("image", 0)[0].save_pretrained(Path("encoder"))
    train = {**_TRAIN, "eval_steps": 2, "learning_rate": 0.01, "early_stopping_patience": 3}
    given = {"output_dir": "run", "data": {"source": "digits"}, "train": train}
    run_finetune("encoder", ImageFinetuneSettings.model_validate(given), resume=how.get("resume", True))


def train(**how: Any) -> None:
    """The resume and the loop of a run, without a corpus and a report."""
    given = {"output_dir": "run", "train": _TRAIN | {"eval_steps": 0} | how.get("train", {})}
    run = Run(
        TextPretrainSettings.model_validate(given), how.get("resume", True), how.get("overwrite", False)
    )
    denoiser, examples, noise, _ = run.prepared(lambda: kills.build("text", 0.1))
    start = run.resume_from({"data.source": how.get("corpus", "one")})
    run.begin()
    if how.get("spoil"):  # as memory or a disk might
        torch.nn.init.ones_(next(denoiser.parameters()))
        setup.restore = lambda *_: None
    trainer = Trainer(
        denoiser, examples, noise, run.settings.train, run.folder, accelerator=run.accelerator, resume_from=start, fingerprint=run.fingerprint
    )  # fmt: skip
    trainer.fit()


def prepare(**how: Any) -> None:
    """Prepare something that takes a while, and tell how long this process would wait for the others."""
    run = Run(TextPretrainSettings.model_validate({"output_dir": "run"}), True, False)
    print("patience", _patience(), flush=True)
    began = run.prepared(lambda: (time.time(), time.sleep(0.3), time.time()))
    print("prepared", json.dumps(began), flush=True)


def _patience() -> float:
    group = torch.distributed.distributed_c10d._get_default_group()
    return group._get_backend(torch.device("cpu")).options._timeout.total_seconds()


def gather(**how: Any) -> None:
    """Shard a model over the processes, train a step, and gather what a checkpoint needs."""
    from torch.distributed.fsdp import fully_shard

    accelerator = join_processes()
    denoiser = kills.build("text", 0.0)[0]
    whole = {name: tensor.clone() for name, tensor in denoiser.model.state_dict().items()}
    fully_shard(denoiser)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=0.0, weight_decay=0.0)
    for parameter in denoiser.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    average = WeightAverage(denoiser, 0.9)
    average.update(1)
    writes = accelerator.is_main_process
    weights = gather_weights(denoiser.model, writes)
    tensors = state_tensors(denoiser, [optimizer], average, writes)
    same = weights is not None and all(torch.equal(weights[name], whole[name]) for name in whole)
    print("gathered", json.dumps([same, len(weights or {}), len(tensors)]), flush=True)


JOBS = {"pretrain": pretrain, "finetune": finetune, "train": train, "prepare": prepare, "gather": gather}


class Host:
    """A disk, and a network namespace where there is one."""

    def __init__(self, disk: Path, namespace: str | None = None, address: str = "127.0.0.1") -> None:
        self.disk, self.namespace, self.address = disk, namespace, address
        disk.mkdir(parents=True, exist_ok=True)

    _is_up = True

    def link(self, up: bool) -> None:
        """Pull the cable of this host, or put it back."""
        if up != self._is_up:
            state = "up" if up else "down"
            subprocess.run(["ip", "link", "set", f"v{self.namespace}", state], check=True)
            self._is_up = up

    def enter(self) -> None:
        """Make this process one of this host."""
        if self.namespace:
            with open(f"/run/netns/{self.namespace}") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns")
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["TP_SOCKET_IFNAME"] = "eth0"
        os.chdir(self.disk)
        os.environ["TEXTDAE_CACHE"] = str(self.disk / "cache")


def _child(
    host: Host, job: str, how: dict[str, Any], rank: int, environment: dict[str, str], moment: int
) -> NoReturn:
    try:
        os.setpgid(0, 0)
        log = os.open(host.disk / f"output.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        disable_progress_bar()
        set_verbosity_error()  # as the command line does; the logs that are compared are ours
        torch.set_num_threads(1)
        os.environ |= environment | {"RANK": str(rank)}
        host.enter()
        hardware.MEETING = timedelta(seconds=30)  # one may be killed before they meet
        kills.die_at(moment, Path("run"), host.disk / f"moments.{rank}")  # its paths are relative
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
        JOBS[job](**how)
        os._exit(0)
    except TextdaeError as error:
        print(f"textdae: {error}", flush=True)
        os._exit(error.exit_code)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)


def sitting(
    hosts: Sequence[Host],
    job: str,
    how: Sequence[dict[str, Any]] = ({},),
    kill: tuple[int, int, float] = (-1, 0, 0.0),
    cut: tuple[int, float, float] = (-1, 0.0, 0.0),
    late: tuple[int, float] = (-1, 0.0),
) -> list[dict[str, Any]]:
    """One process on each host, in the order of their ranks, until the last has ended.

    Args:
        hosts: one that comes twice has two processes.
        how: of each process, or one for all.
        kill: the rank that is killed; just before which of its moments, or, where that is 0, after how many seconds.
        cut: the rank whose host loses its link, after how many seconds, and for how many. Needs namespaces.
        late: the rank that begins so many seconds after the others.

    Returns:
        Of each process its exit status, what it printed, and whether it had to be killed since it hung.
    """
    with socket.socket() as found:
        found.bind(("", 0))
        port = found.getsockname()[1]
    environment = {
        "WORLD_SIZE": str(len(hosts)), "MASTER_ADDR": hosts[0].address,
        "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    ranks, ended, hung = {}, {}, set()
    for rank, host in enumerate(hosts):
        child = os.fork()
        if not child:
            time.sleep(late[1] if rank == late[0] else 0)
            environment |= {
                "LOCAL_RANK": str(list(hosts[:rank]).count(host)), "LOCAL_WORLD_SIZE": str(list(hosts).count(host))
            }  # fmt: skip
            _child(host, job, how[rank % len(how)], rank, environment, kill[1] if rank == kill[0] else 0)
        ranks[child] = rank
    began, waiting = time.monotonic(), dict(ranks)
    while waiting:
        child, status = os.waitpid(-1, os.WNOHANG)
        seconds = time.monotonic() - began
        if child in waiting:
            ended[waiting.pop(child)] = os.waitstatus_to_exitcode(status)
            kills._end(child)
        for other, rank in list(waiting.items()):
            if seconds > _SECONDS or (rank == kill[0] and not kill[1] and seconds > kill[2]):
                hung |= {rank} if seconds > _SECONDS else set()
                kills._end(other)
        if cut[0] >= 0:
            is_cut = cut[1] <= seconds < cut[1] + cut[2]
            hosts[cut[0]].link(up=not is_cut)
        time.sleep(0.02)
    if cut[0] >= 0:
        hosts[cut[0]].link(up=True)
    return [
        {"status": ended[rank], "said": (host.disk / f"output.{rank}").read_text(), "hung": rank in hung}
        for rank, host in enumerate(hosts)
    ]


def result(host: Host) -> dict[str, Any]:
    """What a run left at the end, by digest."""
    last = checkpoint.last_whole(host.disk / "run/checkpoints")
    assert last
    files = [
        last / "model.safetensors",
        last / "training_state.safetensors",
        host.disk / "run/model.safetensors",
    ]
    found = {str(file.relative_to(host.disk)): sha256(file) for file in files if file.exists()}
    metrics = host.disk / "run/metrics.json"
    return found | ({"held_out": json.loads(metrics.read_text())["held_out"]} if metrics.exists() else {})


def keep(host: Host, reference: Host, steps: Sequence[int], damaged: int | None = None) -> None:
    """Leave on a disk what a run had when it was killed: its checkpoints of these steps, and perhaps damage to one."""
    shutil.rmtree(host.disk / "run", ignore_errors=True)
    if not steps:
        return
    shutil.copytree(reference.disk / "run", host.disk / "run")
    for path in checkpoints(host.disk / "run/checkpoints"):
        if int(path.name.removeprefix("step-")) not in steps:
            shutil.rmtree(path)
    for name in ("model.safetensors", "metrics.json"):
        (host.disk / "run" / name).unlink(missing_ok=True)
    if damaged:
        damage(host.disk / f"run/checkpoints/step-{damaged:08d}")


def damage(path: Path) -> None:
    """Change one bit of the weights of a checkpoint."""
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (path / "model.safetensors").write_bytes(content)


Kept = tuple[list[int], int | None]
PLACES: dict[str, tuple[Kept, Kept]] = {
    "the first alone": (([3, 6], None), ([], None)),
    "the second alone": (([], None), ([3, 6], None)),
    "an older one at the first": (([3], None), ([3, 6], None)),
    "a damaged one at the first": (([3, 6], 6), ([3, 6], None)),
    "a damaged one at the second": (([3, 6], None), ([3, 6], 6)),
    "nowhere": (([], None), ([], None)),
}
"""Checkpoints on the two hosts, and which is damaged; at best that of step 6."""


def places(folder: Path, job: str, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The undisturbed run, and those that are resumed with checkpoints here or there."""
    hosts = [Host(folder / job / name) for name in "ab"]
    for host in hosts:
        make_corpus(host.disk)
    told = sitting(hosts, job)
    yield f"{job} undisturbed", {"told": told, "result": result(hosts[0])}
    reference = Host(folder / job / "reference")
    shutil.copytree(hosts[0].disk / "run", reference.disk / "run")
    for name in names:
        for host, (steps, damaged) in zip(hosts, PLACES[name], strict=True):
            keep(host, reference, steps, damaged)
        told = sitting(hosts, job)
        yield f"{job} {name}", {"told": told, "result": result(hosts[0])}


def refused(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Sittings that must not begin."""
    hosts = [Host(folder / "refused" / name) for name in "ab"]
    yield "corpora", {"told": sitting(hosts, "train", [{"corpus": "one"}, {"corpus": "two"}])}
    yield (
        "settings",
        {"told": sitting(hosts, "train", [{}, {"train": {"learning_rate": 0.5}, "resume": False}])},
    )
    for host in hosts:  # each began a run of its own
        sitting([host], "train", [{"train": {"max_steps": 3}}])
    yield "runs", {"told": sitting(hosts, "train")}
    yield "overwritten", {"told": sitting(hosts, "train", [{"resume": False, "overwrite": True}])}
    yield "left", {"left": [(host.disk / "run/checkpoints").exists() for host in hosts]}
    yield "spoiled", {"told": sitting(hosts, "train", [{}, {"spoil": True}])}


def others(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What processes do one after the other, and what only one of them keeps."""
    one, two = (Host(folder / "others" / name) for name in "ab")
    yield "prepare", {"told": sitting([one, one, two, two], "prepare")}
    yield "gather", {"told": sitting([one, two], "gather")}


@contextlib.contextmanager
def namespaces(count: int, folder: Path) -> Iterator[list[Host]]:
    """Hosts with addresses of their own on one bridge. Needs root and iproute2.

    Raises:
        OSError: they cannot be made.
    """
    bridge, net = f"tb{os.getpid()}", f"10.77.{os.getpid() % 250}"
    names = [f"td{os.getpid()}-{number}" for number in range(1, count + 1)]

    def ip(*words: str, check: bool = True) -> None:
        process = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if check and process.returncode:
            raise OSError(f"ip {' '.join(words)}: {process.stderr.strip()}")

    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("link", "set", bridge, "up")
        for number, name in enumerate(names, 1):
            ip("netns", "add", name)
            ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"v{name}", "master", bridge, "up")
            ip("-n", name, "addr", "add", f"{net}.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [Host(folder / name, name, f"{net}.{number}") for number, name in enumerate(names, 1)]
    finally:
        for name in names:
            ip("netns", "del", name, check=False)
        ip("link", "del", bridge, check=False)


def tries(hosts: Sequence[Host], number: int, seed: int) -> dict[str, Any]:
    """Runs over two and three hosts that are killed, moved and resumed; what is wrong with each of them.

    A try: until none is killed, a sitting over the hosts in any order, in which one process may be killed, the link of a host
    cut for some seconds, or a host join late; before the next one a disk may be lost, or the newest checkpoint on it damaged. In
    the end stands what an undisturbed run has.
    Every tenth try the corpora differ, which must be refused by name.
    """
    chance = random.Random(seed)
    undisturbed: dict[tuple[str, int], tuple[Any, int, float]] = {}
    weather = random.Random(f"weather {seed}")
    count = {
        "tries": 0,
        "sittings": 0,
        "kills": 0,
        "cuts": 0,
        "late": 0,
        "hangs": 0,
        "tracebacks": 0,
        "refused": 0,
    }
    wrong: list[str] = []
    for attempt in range(number):
        job, world = chance.choice(["pretrain", "pretrain", "finetune"]), chance.choice([2, 2, 3])
        if (job, world) not in undisturbed:
            _clear(hosts)
            began = time.monotonic()
            for each in sitting(hosts[:world], job):
                assert each["status"] == 0, each["said"]
            moments = (hosts[0].disk / "moments.0").stat().st_size
            undisturbed[job, world] = result(hosts[0]), moments, time.monotonic() - began
        right, moments, seconds = undisturbed[job, world]
        _clear(hosts)
        story = f"try {attempt}: {job} over {world} hosts"
        differ = job == "pretrain" and attempt % 10 == 9
        if differ:
            make_corpus(hosts[world - 1].disk, seed=1)
        for left in range(chance.randint(1, 3), -1, -1):
            order = chance.sample(hosts[:world], world)
            kill = (-1, 0, 0.0)
            if left and not differ:
                kill = (chance.randrange(world), 0, chance.uniform(0.1, 1) * seconds)
                kill = (0, chance.randint(1, moments), 0.0) if chance.random() < 0.5 else kill
            cut, late = (-1, 0.0, 0.0), (-1, 0.0)
            if weather.random() < 0.5:
                cut = (weather.randrange(world), weather.uniform(0.2, 1) * seconds, weather.uniform(0.5, 5))
            if weather.random() < 0.3:
                late = (weather.randrange(world), weather.uniform(1, 8))
            told = sitting(order, job, kill=kill, cut=cut, late=late)
            count["cuts"] += cut[0] >= 0
            count["late"] += late[0] >= 0
            killed = [each["status"] for each in told].count(-signal.SIGKILL)
            count["sittings"] += 1
            count["kills"] += killed
            count["hangs"] += sum(each["hung"] for each in told)
            count["tracebacks"] += sum("Traceback" in each["said"] for each in told)
            story += f"; order {[hosts.index(host) for host in order]}, kill {kill}, cut {cut}, late {late}, "
            story += str([each["status"] for each in told])
            if any("Traceback" in each["said"] or each["hung"] for each in told):
                wrong.append(story + " ".join(each["said"][-1500:] for each in told))
            if differ or not killed:
                break
            victim = chance.choice(order)
            if (event := chance.random()) < 0.25:
                shutil.rmtree(victim.disk / "run", ignore_errors=True)
                story += f", disk {hosts.index(victim)} lost"
            elif event < 0.5 and (saved := checkpoints(victim.disk / "run/checkpoints")):
                damage(saved[-1])
                story += f", {saved[-1].name} damaged on {hosts.index(victim)}"
        count["tries"] += 1
        if differ:
            count["refused"] += 1
            if not all(each["status"] == 2 and "data.source differs" in each["said"] for each in told):
                wrong.append(f"{story}: not refused: {told}")
        elif any(each["status"] for each in told) or result(order[0]) != right:
            wrong.append(f"{story}: {[each['said'][-500:] for each in told]}")
        print(f"{story}; {len(wrong)} wrong so far", flush=True)  # for those who stop it before its end
    return count | {"wrong": wrong}


def _clear(hosts: Sequence[Host]) -> None:
    for host in hosts:
        shutil.rmtree(host.disk / "run", ignore_errors=True)
        make_corpus(host.disk)


def main() -> None:
    first, *rest = sys.argv[1:]
    torch.set_num_threads(1)  # a process with threads cannot be forked
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # what transformers does at the first saving need not be done by each
        kills.build("text", 0)[0].save_pretrained(Path(folder))
    if first.isdecimal():
        with tempfile.TemporaryDirectory() as folder, namespaces(3, Path(folder)) as hosts:
            print(json.dumps(tries(hosts, int(first), int([*rest, "0"][0])), indent=1))
        return
    found: dict[str, Any] = {}
    for job, names in json.loads(rest[0]).items():
        sets = {"refused": refused, "others": others}
        found |= dict(sets[job](Path(first)) if job in sets else places(Path(first), job, names))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
