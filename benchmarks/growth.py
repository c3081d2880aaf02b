"""Whether speed and memory stay as they are when the corpus grows.

    python benchmarks/growth.py [MEGABYTES ...]     default: 10 100 1000

For each size, in a process of its own: a text file of that size (the docstrings, over and over) is prepared, and mini is
trained on it for 60 steps, not compiled. All that a step has to do with the size of the corpus is the making of its batch,
which is timed by itself: speeds of training, one size after the other, would also differ by the other load of the machine. The peak is
that of the memory of its own (RssAnon), sampled 20 times a second; pages of a mapped file do not count, as the system can take them away.
"""

import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

from compare import Run, ask, machine

from textdae import load_settings, pretrain
from textdae.core.noise_kind import build_noise
from textdae.core.settings.runs import PretrainSettings
from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.sources import open_source
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.training.batches import Batches, BatchSpec

CONFIG = Path(__file__).parent.parent / "configs/text-mini.yaml"


class Peak(threading.Thread):
    """The most megabytes of its own that this process has had."""

    most = 0.0

    def run(self) -> None:
        while True:
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.most = max(self.most, int(fields["RssAnon"].split()[0]) / 1024)
            time.sleep(0.05)


def write(path: Path, megabytes: float, cache: Path) -> None:
    texts = [" ".join(text.split()) for text in open_source(TextDataSettings(source="docstrings"), cache)]
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        while size < megabytes * 1e6:
            for text in texts:
                size += file.write(f"{text}\n\n")
                if size >= megabytes * 1e6:
                    break


def one(megabytes: str, name: str) -> None:
    folder = Path(name)
    path = folder / "text.txt"
    if pid := os.fork():  # so that the writing is not part of the peak
        os.waitpid(pid, 0)
    else:
        write(path, float(megabytes), folder)
        os._exit(0)
    given = [
        f"data.source={path}", f"data.cache_dir={folder}", f"output_dir={folder}/run", "train.time_budget=null",
        "train.max_steps=60", "train.logging_steps=5", "train.compile=never", "train.eval_steps=0", "train.save_steps=0", "evaluate.max_examples=32",
    ]  # fmt: skip
    settings = load_settings(PretrainSettings, CONFIG, given)
    watch = Peak(daemon=True)
    watch.start()
    time.sleep(0.2)
    found: dict[str, float] = {"before": watch.most}
    began = time.monotonic()
    corpus = prepare_text(settings.data, settings.tokenizer)
    seconds = time.monotonic() - began
    tokens = corpus.train.info.tokens + corpus.held_out.info.tokens
    found |= {"tokens": tokens, "preparing": tokens / seconds, "prepared": watch.most}
    pretrain(settings)
    log = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    speeds = [entry["examples_per_second"] for entry in log if "examples_per_second" in entry]
    found |= {"training": 128 * statistics.median(speeds[3:]), "peak": watch.most}
    noise = build_noise(settings.noise, vocabulary_of(corpus.tokenizer))
    batches, times = Batches(corpus.train, noise, settings.train.seed), []
    for number in range(300):
        began = time.perf_counter()
        batches[BatchSpec(number * 32, 32, None, 0.5)]
        times.append(time.perf_counter() - began)
    found["batch"] = 1000 * statistics.median(times)
    print(json.dumps(found))


MEASURED = {
    "preparing": ("speed of preparing", "tokens/s"),
    "prepared": ("peak memory of preparing", "MB"),
    "training": ("speed of training", "tokens/s"),
    "peak": ("peak memory of training", "MB"),
    "batch": ("making a batch", "ms"),
}


def main(run: Run) -> None:
    print(machine())
    sizes, first = run.words or ["10", "100", "1000"], None
    for megabytes in sizes:
        found = ask(__file__, megabytes)[-1]
        first = first or found
        for key, (what, unit) in MEASURED.items():
            run.add(f"{what}, {megabytes} MB of text", found[key], unit)
            if found is not first:
                run.add(f"{what}, {megabytes} MB against {sizes[0]} MB of text", found[key] / first[key], "x")
        print(
            f"{megabytes} MB, {found['tokens']:,} tokens: prepared {found['preparing']:,.0f} tokens/s, at most "
            f"{found['prepared']:,.0f} MB ({found['before']:,.0f} before); trained {found['training']:,.0f} tokens/s, at most "
            f"{found['peak']:,.0f} MB; a batch made in {found['batch']:.2f} ms",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        with Run(__doc__) as run:
            main(run)
