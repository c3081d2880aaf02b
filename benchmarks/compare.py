"""What the comparisons share: rivals take turns in one run, and medians are compared."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import torch
import transformers

_BEGAN = "TEXTDAE_BENCHMARK_BEGAN"


def take_turns(
    rivals: dict[str, Callable[[], float]], rounds: int, unit: str, less_is_better: bool = False
) -> dict[str, float]:
    """Run every rival in each round, in turns forwards and backwards; print and return the medians.

    Args:
        rivals: name -> does the work and returns how much of it was done in a second, or what it took.
    """
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds):
        for name in list(rivals)[:: -1 if number % 2 else 1]:
            found[name].append(rivals[name]())
    medians = {name: statistics.median(values) for name, values in found.items()}
    ours = next(iter(medians.values()))
    print(f"\n{rounds} rounds, medians; {machine()}")
    for name, median in medians.items():
        spread = f"{min(found[name]):,.3g} to {max(found[name]):,.3g}"
        times = median / ours if less_is_better else ours / median
        ratio = "" if median is ours else f"   ours is {times:.2f} x" + (" as fast" if less_is_better else "")
        print(f"{name:42} {median:12,.4g} {unit}  ({spread}){ratio}")
    return medians


def timed(work: Callable[[], float]) -> Callable[[], float]:
    """Turn what returns an amount into what returns an amount a second."""

    def run() -> float:
        began = time.perf_counter()
        amount = work()
        return amount / (time.perf_counter() - began)

    return run


def ask(script: str, *words: str) -> list[dict]:
    """The lines of JSON that `python SCRIPT one WORDS... FOLDER` prints, in a process and an empty folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, script, "one", *words, folder]
        began = {**os.environ, _BEGAN: str(time.time())}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=began)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def age() -> float:
    """Seconds since `ask` started this process."""
    return time.time() - float(os.environ[_BEGAN])


def machine() -> str:
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {versions}"
