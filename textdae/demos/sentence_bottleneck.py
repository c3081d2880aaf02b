"""How many numbers hold a sentence? The share of its tokens that come back from a code of K numbers, against K.

The model gives each token back at its position, after minutes of training. Its baseline ignores the order: the bag of the
sentence's words, through PCA to K, and the most probable words. It needs no training and improves with every direction.
"""

from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError
from textdae.demos.runs import run_once
from textdae.report.plots import new_figure
from textdae.text.code.returned import LONGEST, WordPCA, short_documents
from textdae.text.data.corpus import prepare_text
from textdae.text.settings import TextPretrainSettings
from textdae.text.tokens.vocabulary import vocabulary_of

SETTINGS = TextPretrainSettings
BASE: dict[str, Any] = {
    "modality": "text",
    "output_dir": "runs/demo-sentence-bottleneck",
    "data": {"source": "docstrings", "block_size": 64},
    "model": {"num_hidden_layers": 2},
    "train": {"time_budget": "75s", "per_device_train_batch_size": 32, "eval_steps": 0},
}
WIDTHS = (8, 16, 32, 64, 128, 256, 512)
TRAINED = (16, 64, 256)
"""Widths that a model is trained for."""


def run(settings: TextPretrainSettings) -> list[str]:
    """Train the models, draw `sentence-bottleneck.png`, and return what it shows in words."""
    if settings.model.code_size is not None or settings.model.from_pretrained:
        raise SettingsError(
            "demo sentence-bottleneck: the widths of the code are its subject, and each begins afresh; leave model.code_size "
            "and model.from_pretrained alone"
        )
    model: dict[int, float] = {}
    for width in TRAINED:
        _, metrics = run_once(settings, f"code-{width}", {"model": {"code_size": width}})
        if "model" not in metrics["through_code"]:
            raise SettingsError(
                f"demo sentence-bottleneck: no held-out document has at most {LONGEST} tokens; give shorter documents, "
                "or a larger data.held_out"
            )
        model[width] = metrics["through_code"]["model"]
    corpus = prepare_text(settings.data, settings.tokenizer)
    documents = short_documents(corpus.held_out, settings.evaluate.max_examples)
    pca = WordPCA(corpus.train, vocabulary_of(corpus.tokenizer), max(WIDTHS))
    shares = {width: pca.returned(documents, width) for width in WIDTHS}
    baseline = {width: share for width, share in shares.items() if share is not None}
    path = settings.output_dir / "sentence-bottleneck.png"
    _draw(model, baseline, path)

    def row(name: str, shares: dict[int, float]) -> str:
        cells = (f"{shares[width]:>8.1%}" if width in shares else " " * 8 for width in WIDTHS)
        return f"{name:34}" + "".join(cells)

    return [
        f"{'numbers K':34}" + "".join(f"{width:>8}" for width in WIDTHS),
        row("model, each token at its place", model),
        row("bag of words and PCA, in any order", baseline),
        f"(share of the tokens of {len(documents):,} held-out documents of at most {LONGEST} tokens that come back)",
        f"picture: {path}",
    ]


def _draw(model: dict[int, float], baseline: dict[int, float], path: Path) -> None:
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(
        list(model), list(model.values()), "o-", color="#2563eb", label="model, each token at its place"
    )
    axes.plot(
        list(baseline),
        list(baseline.values()),
        "s--",
        color="#d97706",
        label="bag of words and PCA, in any order",
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("numbers K that a sentence passes through")
    axes.set_ylabel("tokens that come back, held out")
    axes.set_title(f"how many numbers hold a sentence of at most {LONGEST} tokens", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)
