"""How long it takes until something happens: `python benchmarks/start.py FILE.parquet [ROUNDS]`.

`textdae --help` and `import textdae`, each a process, beside a Python that does nothing; and from the start of a process to
the end of the first step of mini, not compiled, on a corpus prepared before: ours, and `Trainer` with BERT.
"""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from compare import ask, take_turns

TRAINING = str(Path(__file__).parent / "training.py")


def seconds(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(rival: str, file: str, more: str) -> float:
    return ask(TRAINING, rival, file, "1", more)[0]["age"]


def main(file: str, rounds: int = 5) -> None:
    ours, stock = (
        partial(first_step, "ours", file, "train.compile=never"),
        partial(first_step, "A", file, "5e-4"),
    )
    ours(), stock()  # which prepare the corpus where it is not
    words = {
        "textdae --help": ("-m", "textdae", "--help"),
        "import textdae": ("-c", "import textdae"),
        "pass": ("-c", "pass"),
    }
    commands = {name: partial(seconds, *command) for name, command in words.items()}
    take_turns(commands, rounds, "s", less_is_better=True)
    take_turns({"first step, textdae": ours, "first step, A": stock}, rounds, "s", less_is_better=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
