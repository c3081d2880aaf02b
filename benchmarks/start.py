"""How long a start takes: `python benchmarks/start.py FILE.parquet [ROUNDS]`.

`textdae --help` and `import textdae`, each a process, beside a Python that does nothing; and from the start of a process to
the end of the first step of mini, not compiled, on a corpus prepared before: ours, and `Trainer` with BERT.
"""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from compare import Run, ask, corpus_name, take_turns

TRAINING = str(Path(__file__).parent / "training.py")


def seconds(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(contender: str, file: str, more: str) -> float:
    return ask(TRAINING, contender, file, "1", more)[0]["age"]


def main(run: Run, file: str, rounds: int = 5) -> None:
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
    take_turns(run, "start of a process", commands, rounds, "s", less_is_better=True)
    what, steps = (
        f"first step of mini, {corpus_name(file)}",
        {"textdae": ours, "A: Trainer, BERT, fp32": stock},
    )
    take_turns(run, what, steps, rounds, "s", less_is_better=True)


if __name__ == "__main__":
    with Run(__doc__, 1) as run:
        main(run, run.words[0], *map(int, run.words[1:]))
