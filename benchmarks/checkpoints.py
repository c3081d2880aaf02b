"""What checkpoints cost: `python benchmarks/checkpoints.py [key=value ...]`, a run of mini that saves every 100 steps.

Prints the median seconds of a step and of a save, and the share of the wall clock that saving every 100 steps takes.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from textdae import load, pretrain
from textdae.settings import PretrainSettings
from textdae.training.log import read_log
from textdae.training.loop import Trainer


def main() -> None:
    real, saves = Trainer._save, []

    def timed(self, cursor):
        began = time.perf_counter()
        real(self, cursor)
        saves.append(time.perf_counter() - began)

    Trainer._save = timed
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        overrides = [f"output_dir={run}", "train.time_budget=null", "train.max_steps=300", "train.save_steps=100",
                     "train.eval_steps=0", "train.compile=never"]  # fmt: skip
        pretrain(
            load(
                PretrainSettings,
                Path(__file__).parent.parent / "configs/text-mini.yaml",
                [*overrides, *sys.argv[1:]],
            )
        )
        entries = [entry for entry in read_log(run / "log.jsonl") if "examples_per_second" in entry]
        size = sum(path.stat().st_size for path in next((run / "checkpoints").iterdir()).iterdir())
    batch = 32
    step = batch / statistics.median(entry["examples_per_second"] for entry in entries)
    save = statistics.median(saves)
    print(
        f"a step {step:.3f} s, a save of {size / 1e6:.0f} MB {save:.3f} s: every 100 steps {save / (100 * step + save):.2%}"
    )


if __name__ == "__main__":
    main()
