"""What pushing in the background costs: `python benchmarks/pushes.py [key=value ...]`.

Runs of mini that save every 50 steps, with pushes to a Hub on loopback (a process of its own) and without, in turns.
Prints the median seconds of training of either, and their ratio.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
ROUNDS = 4


def serve(address):
    from hub_server import HUB

    with HUB.serving():
        address.put(HUB.url)
        threading.Event().wait()


def main() -> None:
    context = multiprocessing.get_context("spawn")
    address = context.Queue()
    context.Process(target=serve, args=(address,), daemon=True).start()
    from hub_server import TOKEN

    # Read when the client is imported.
    os.environ |= {"HF_ENDPOINT": address.get(), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    from textdae import load, pretrain
    from textdae.settings import PretrainSettings

    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for pushed in (False, True) if number % 2 else (True, False):
                name = f"run-{number}-{pushed}"
                overrides = [f"output_dir={folder}/{name}", "train.time_budget=null", "train.max_steps=150",
                             "train.save_steps=50", "train.eval_steps=0", "train.compile=never",
                             "hub.push_training_state=true"]  # fmt: skip
                if pushed:
                    overrides.append(f"hub.repo_id=tester/{name}")
                result = pretrain(
                    load(PretrainSettings, ROOT / "configs/text-mini.yaml", [*overrides, *sys.argv[1:]])
                )
                assert not pushed or result.closing[-1].startswith("pushed: "), result.closing
                seconds[pushed].append(result.fit.cursor.seconds)
                print(f"{'pushed' if pushed else 'kept here'}: {seconds[pushed][-1]:.1f} s", flush=True)
    kept, pushed = (statistics.median(seconds[key]) for key in (False, True))
    print(f"median {kept:.1f} s without pushes, {pushed:.1f} s with: {pushed / kept - 1:+.2%}")


if __name__ == "__main__":
    main()
