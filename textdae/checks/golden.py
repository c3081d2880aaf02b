"""Golden run: compare the loss curve of a short deterministic run with the recorded one.

A small grammar generates the text, so the run needs no download and no particular package.
"""

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from textdae.core.errors import Interrupted
from textdae.core.finding import Finding
from textdae.text.settings import TextPretrainSettings
from textdae.training.log import read_log

RECORD = Path(__file__).with_name("golden.json")
"""Losses by step, as this program recorded them."""
_TOLERANCE = 0.03
"""Other threads, processors and versions differ by rounding, which training blows up; faults differ by more."""

_NOUNS = {"one": ["cat", "dog", "bird", "child", "king", "ship"], "many": ["cats", "dogs", "birds", "children", "kings", "ships"]}  # fmt: skip
_VERBS = {"one": ["sees", "hears", "follows", "knows"], "many": ["see", "hear", "follow", "know"]}
_KINDS = ["old", "small", "red", "quiet", "tall"]
_PLACES = ["by the river", "in the house", "at night", "under the bridge", "near the sea"]


def golden_text(sentences: int = 6000) -> str:
    """Generate sentences in which verbs agree with their nouns, ten in a paragraph."""
    chance = random.Random(0).random  # the one function whose numbers Python promises to keep

    def one_of(words: list[str]) -> str:
        return words[int(chance() * len(words))]

    def phrase(number: str) -> str:
        article = one_of(["the", "a"] if number == "one" else ["the", "some"])
        return " ".join([article, *([one_of(_KINDS)] if chance() < 0.5 else []), one_of(_NOUNS[number])])

    lines = []
    for _ in range(sentences):
        subject, other = (one_of(["one", "many"]) for _ in range(2))
        lines.append(f"{phrase(subject)} {one_of(_VERBS[subject])} {phrase(other)} {one_of(_PLACES)}.")
    return "\n\n".join(" ".join(lines[begin : begin + 10]) for begin in range(0, sentences, 10))


def golden_losses() -> dict[int, float]:
    """Train on the golden text, and return the loss by step."""
    from textdae.commands.pretrain import pretrain

    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "golden.txt"
        corpus.write_text(golden_text())
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
        train = {
            "max_steps": 120, "per_device_train_batch_size": 32, "logging_steps": 20, "eval_steps": 0, "save_steps": 0,
            "precision": "fp32", "compile": "never", "learning_rate": 2e-3, "muon_learning_rate": 0.02,
        }  # fmt: skip
        options = {
            "output_dir": Path(folder) / "run", "data": {"source": str(corpus), "cache_dir": Path(folder) / "cache", "block_size": 64},
            "tokenizer": {"vocab_size": 256}, "model": sizes, "train": train, "noise": {"final_rate": 0.15},
            "evaluate": {"max_examples": 32},
        }  # fmt: skip
        if number := pretrain(TextPretrainSettings.model_validate(options)).fit.stopped_by:
            raise Interrupted(number)
        return {
            entry["step"]: entry["loss"]
            for entry in read_log(Path(folder) / "run/log.jsonl")
            if "loss" in entry
        }


def check_loss(losses: Callable[[], dict[int, float]] = golden_losses) -> Finding:
    """Compare the loss curve of the golden run with the recorded one."""
    recorded = {int(step): loss for step, loss in json.loads(RECORD.read_text()).items()}
    measured = losses()
    off = {step: measured.get(step, float("nan")) / loss - 1 for step, loss in recorded.items()}
    worst = max(off, key=lambda step: abs(off[step]) if off[step] == off[step] else float("inf"))
    curve = ", ".join(f"{loss:.2f}" for loss in measured.values())
    if not abs(off[worst]) <= _TOLERANCE:
        return Finding(
            False, "loss", f"{curve}; at step {worst} it is {measured.get(worst, float('nan')):.3f}, not {recorded[worst]:.3f}: something "
            "here computes wrongly; compare `textdae settings pretrain` and the versions above with a machine where it is right",
        )  # fmt: skip
    return Finding(True, "loss", f"{curve}: as recorded, within {max(map(abs, off.values())):.1%}")


if __name__ == "__main__":
    RECORD.write_text(json.dumps(golden_losses(), indent=1) + "\n")
