"""One denoiser: BERT at 15% hidden, a language model over all shares.

A masked language model that learns to fill any number of masks is scored with more and more of the text hidden. Its loss at 15%
is the loss of BERT; the mean of its loss over all shares bounds the negative log likelihood of the whole text (MDLM, Sahoo
et al. 2024), which can be compared with that of any language model.
"""

from pathlib import Path
from typing import Any

import numpy as np

from textdae.core.errors import SettingsError
from textdae.core.examples import Questions
from textdae.demos.runs import run_once
from textdae.report.plots import new_figure
from textdae.text.baselines import TextBaselines
from textdae.text.data.corpus import prepare_text
from textdae.text.data.packing import Blocks
from textdae.text.diffusion.bound import Bound, diffusion_noise
from textdae.text.loading import load_text
from textdae.text.noises.masking import TokenNoise
from textdae.text.settings import TextPretrainSettings
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.training.evaluation import evaluate, subsample

SETTINGS = TextPretrainSettings
BASE: dict[str, Any] = {
    "modality": "text",
    "output_dir": "runs/demo-language-model",
    "data": {"source": "docstrings", "max_bytes": "8MB"},
    "train": {"time_budget": "150s", "loss_weight": "elbo", "eval_steps": 0},
    "evaluate": {"max_examples": 256},
}
BERT = 0.15
SHARES = (0.02, 0.08, BERT, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)


def run(settings: TextPretrainSettings) -> list[str]:
    """Train the denoiser, draw `language-model.png`, and return what it shows in words."""
    if settings.train.loss_weight != "elbo" or settings.train.loss_weight_exponent != 1:
        raise SettingsError(
            "demo language-model: it is about masked diffusion; leave train.loss_weight and train.loss_weight_exponent alone"
        )
    folder, _ = run_once(settings, "denoiser", {})
    denoiser, tokenizer = load_text(str(folder))
    corpus = prepare_text(settings.data, settings.tokenizer, tokenizer)
    held_out, vocabulary = corpus.held_out, vocabulary_of(tokenizer)
    if not isinstance(held_out, Blocks):
        raise SettingsError("demo language-model: one source, got several in data.source")
    indices = subsample(len(held_out), settings.evaluate.max_examples)
    questions = [
        Questions(held_out, TokenNoise(rate=share, mask_share=1, random_share=0).build(vocabulary), indices)
        for share in SHARES
    ]
    batch_size = settings.evaluate.batch_size
    losses = {"model": [evaluate(denoiser, *each, batch_size)["loss"] for each in questions]}
    baselines = TextBaselines(corpus.train, vocabulary, questions)
    for each in questions:
        for name, baseline in baselines.score(each).items():
            losses.setdefault(name, []).append(baseline.loss)
    bound = Bound(corpus.train, held_out, tokenizer, vocabulary)
    diffusion = Questions(held_out, diffusion_noise(vocabulary), indices)
    whole = bound.model_row(denoiser, diffusion, settings.evaluate.draws, batch_size)
    rows = {name: row["bits_per_byte"] for name, row in bound.baselines(indices).items() if "loss" in row}
    path = settings.output_dir / "language-model.png"
    _draw(losses, whole["loss"], path)
    at_15 = {name: row[SHARES.index(BERT)] for name, row in losses.items()}
    return [
        f"{BERT:.0%} hidden, nats a token: "
        + ", ".join(f"{name} {loss:.3f}" for name, loss in at_15.items()),
        f"all shares, nats a token of the whole text: at most {whole['loss']:.3f}; area under the curve {area(losses['model']):.3f}",
        f"bits per byte of the whole text: model at most {whole['bits_per_byte']:.3f} (standard error {whole['standard_error']:.3f}), "
        + ", ".join(f"{name} {bits:.3f}" for name, bits in rows.items()),
        f"picture: {path}",
    ]


def area(losses: list[float]) -> float:
    """Return the mean of the loss over all shares, by trapezia between the measured ones; below the first it stays as it is."""
    return float(np.trapezoid([losses[0], *losses], [0.0, *SHARES]))


def _draw(losses: dict[str, list[float]], bound: float, path: Path) -> None:
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots()
    for name, row in losses.items():
        strong = name == "model"
        colour = {"model": "#2563eb", "neighbours": "#d97706"}.get(name, "#6b7280")
        axes.plot(
            SHARES, row, "o-" if strong else "s--", color=colour, label=name, markersize=5 if strong else 3.5
        )
    model = losses["model"]
    axes.fill_between([0.0, *SHARES], [model[0], *model], alpha=0.12, color="#2563eb")
    axes.axvline(BERT, color="#111827", linestyle=":")
    axes.annotate("BERT asks here", (BERT, 0), (6, 8), textcoords="offset points", fontsize=9)
    axes.annotate(
        f"the area is a language model:\nat most {bound:.2f} nats a token of the whole text", (0.42, 0), (0, 30),
        textcoords="offset points", ha="center", fontsize=9,
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, None)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the tokens that is hidden")
    axes.set_ylabel("loss of a hidden token, nats, held out")
    axes.set_title("one denoiser, every share of the text hidden", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)
