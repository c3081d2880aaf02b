"""How long it takes until something happens: `python benchmarks/start.py FILE.parquet [ROUNDS]`.

`textdae --help` and `import textdae`, each a process; and from the start of a process to the end of the first step of
mini, not compiled, the corpus prepared before: ours, and the stock recipe on the same prepared documents.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from compare import ask, machine

TRAINING = str(Path(__file__).parent / "training.py")


def seconds(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(rival: str, file: str, more: str) -> float:
    return ask(TRAINING, rival, file, "1", more)[0]["age"]


def main(file: str, rounds: int = 5) -> None:
    print(machine())
    first_step("ours", file, "train.compile=never")  # prepares the corpus where it is not
    tasks = {
        "python -c pass": lambda: seconds("-c", "pass"),
        "import textdae": lambda: seconds("-c", "import textdae"),
        "textdae --help": lambda: seconds("-m", "textdae", "--help"),
        "first step, textdae": lambda: first_step("ours", file, "train.compile=never"),
        "first step, A: Trainer, BERT": lambda: first_step("A", file, "5e-4"),
    }
    found = {name: [work() for _ in range(rounds)] for name, work in tasks.items()}
    for name, values in found.items():
        print(f"{name:32} {statistics.median(values):6.2f} s  ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
