"""Two processes of one thread each against one process of two threads: `python benchmarks/processes.py FILE.parquet [ROUNDS]`.

Mini, 32 blocks of 128 a step in either case, 60 steps, not compiled; median of the speeds in the log.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import Run, take_turns

CONFIG = Path(__file__).parent.parent / "configs/text-mini.yaml"
STEPS, BLOCKS, BLOCK = 60, 32, 128


def speed(file: str, processes: int) -> float:
    """Return tokens a second."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "-m", "textdae", "pretrain",
            str(CONFIG), f"data.source={file}", f"output_dir={folder}/run", "train.time_budget=null", f"train.max_steps={STEPS}",
            f"train.per_device_train_batch_size={BLOCKS // processes}", "train.compile=never", "train.eval_steps=0",
            "train.save_steps=0", "train.logging_steps=5", "evaluate.max_examples=32",
        ]  # fmt: skip
        process = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": str(2 // processes)},
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise SystemExit(re.sub(r"\s+", " ", process.stderr)[-2000:])
        log = [json.loads(line) for line in Path(folder, "run/log.jsonl").read_text().splitlines()]
    speeds = [entry["examples_per_second"] for entry in log if "examples_per_second" in entry]
    return statistics.median(speeds[3:]) * BLOCK


def main(run: Run, file: str, rounds: int = 3) -> None:
    contenders = {"2 processes, 1 thread": 2, "1 process, 2 threads": 1}
    turns = {name: lambda n=number: speed(file, n) for name, number in contenders.items()}
    take_turns(run, "training mini, not compiled", turns, rounds, "tokens/s")


if __name__ == "__main__":
    with Run(__doc__, 1) as run:
        main(run, run.words[0], *map(int, run.words[1:]))
