"""What pushing in the background costs: `python benchmarks/pushes.py [key=value ...]`.

A run of mini that saves every 50 steps and pushes each checkpoint, with the training state, to a Hub on loopback (a process of
its own on the same cores, so what the Hub does is counted too). Whole runs differ by more than pushes cost, so steps are
timed: steps during a push against the other steps of the same run.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time

from compare import ROOT, Run

sys.path.insert(0, str(ROOT / "tests"))
STEPS, EVERY, WARM_UP = 400, 50, 10


def serve(address):
    from hub_server import HUB

    with HUB.serving():
        address.put(HUB.url)
        threading.Event().wait()


def main(run: Run) -> None:
    context = multiprocessing.get_context("spawn")
    address = context.Queue()
    context.Process(target=serve, args=(address,), daemon=True).start()
    from hub_server import TOKEN

    # Read when the client is imported.
    os.environ |= {"HF_ENDPOINT": address.get(), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    from textdae import load_settings, pretrain
    from textdae.core.settings.runs import PretrainSettings
    from textdae.hub.background import Pushes
    from textdae.training.loop import Trainer

    steps: dict[bool, list[float]] = {False: [], True: []}
    on_the_way: list[Pushes] = []
    real, begin = Trainer._step, Pushes.__init__

    def remembered(self, *args):
        begin(self, *args)
        on_the_way.append(self)

    def timed(self, number, micro_batches):
        busy, began = bool(on_the_way[0]._sending), time.perf_counter()
        done = real(self, number, micro_batches)
        if number >= WARM_UP:
            steps[busy or bool(on_the_way[0]._sending)].append(time.perf_counter() - began)
        return done

    Trainer._step, Pushes.__init__ = timed, remembered
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"output_dir={folder}/run", "train.time_budget=null", f"train.max_steps={STEPS}",
                     f"train.save_steps={EVERY}", "train.eval_steps=0", "train.compile=never",
                     "hub.push_training_state=true", "hub.repo_id=tester/run"]  # fmt: skip
        result = pretrain(
            load_settings(PretrainSettings, ROOT / "configs/text-mini.yaml", [*overrides, *run.words])
        )
    assert result.closing[-1].startswith("pushed: "), result.closing
    usual = statistics.median(steps[False])
    extra = sum(steps[True]) - usual * len(steps[True])
    share = extra / (sum(steps[False]) + sum(steps[True]))
    print(
        f"{len(steps[False])} steps of {usual:.3f} s; {len(steps[True])} while one of {STEPS // EVERY} checkpoints was sent, "
        f"of {statistics.median(steps[True]):.3f} s: {share:+.2%} of the training"
    )
    run.add("mini, a step while nothing is pushed", usual, "s", steps[False])
    run.add("mini, a step while a checkpoint is pushed", statistics.median(steps[True]), "s", steps[True])
    run.add("mini, share of the time that pushing every 50 steps takes", 100 * share, "%")


if __name__ == "__main__":
    with Run(__doc__) as run:
        main(run)
