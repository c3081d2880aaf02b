"""What checkpoints cost: `python benchmarks/checkpoints.py [key=value ...]`, a run of mini that saves every 100 steps.

Prints the median seconds of a step and of a save, and the share of the wall clock that saving every 100 steps takes.
"""

import statistics
import tempfile
import time
from pathlib import Path

from compare import Run

from textdae import load_settings, pretrain
from textdae.core.settings.runs import PretrainSettings
from textdae.training.log import read_log
from textdae.training.loop import Trainer


def main(run: Run) -> None:
    real, saves = Trainer._save, []

    def timed(self, cursor):
        began = time.perf_counter()
        real(self, cursor)
        saves.append(time.perf_counter() - began)

    Trainer._save = timed
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        overrides = [f"output_dir={output}", "train.time_budget=null", "train.max_steps=300", "train.save_steps=100",
                     "train.eval_steps=0", "train.compile=never"]  # fmt: skip
        pretrain(
            load_settings(
                PretrainSettings,
                Path(__file__).parent.parent / "configs/text-mini.yaml",
                [*overrides, *run.words],
            )
        )
        entries = [entry for entry in read_log(output / "log.jsonl") if "examples_per_second" in entry]
        size = sum(path.stat().st_size for path in next((output / "checkpoints").iterdir()).iterdir())
    batch = 32
    steps = [batch / entry["examples_per_second"] for entry in entries]
    step, save = statistics.median(steps), statistics.median(saves)
    share = save / (100 * step + save)
    print(f"a step {step:.3f} s, a save of {size / 1e6:.0f} MB {save:.3f} s: every 100 steps {share:.2%}")
    run.add("mini, a step", step, "s", steps)
    run.add("mini, a save", save, "s", saves)
    run.add("mini, size of a checkpoint", size / 1e6, "MB")
    run.add("mini, share of the time that saving every 100 steps takes", 100 * share, "%")


if __name__ == "__main__":
    with Run(__doc__) as run:
        main(run)
