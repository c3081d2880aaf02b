"""Evaluate a denoiser of arrays: mean squared error beside baselines, a picture, a model card.

B batch, ... the shape of one example.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from textdae.core.denoiser import Denoiser
from textdae.core.examples import Examples, Questions
from textdae.core.noise import Corrupted, Noise
from textdae.core.noise_kind import NoiseKind, build_noise, in_words
from textdae.core.settings.runs import PretrainSettings
from textdae.core.task import Evaluation, Pretraining, Row
from textdae.report.card import SELF, run_card
from textdae.report.card_data import front_matter
from textdae.training.evaluation import corrupt_for_evaluation, evaluate, subsample

Rebuild = Callable[[Corrupted], Tensor]
"""Corrupted batch -> reconstruction of its target, on the CPU. (B, ...)."""


class ArrayCorpus(NamedTuple):
    """Clean arrays of a run; see `Corpus`."""

    train: Examples
    held_out: Examples
    fingerprint: dict[str, Any]
    summary: list[str]
    unit: str = "examples"
    units_per_example: int = 1


class CardWords(NamedTuple):
    """The sentences of a model card that a modality writes itself."""

    title: str
    idea: str
    """What the model does, in a sentence or two."""
    examples: str
    """What the examples are called: "signals"."""
    limits: str


class ArrayEvaluation(Evaluation):
    """Held-out arrays under a noise, scored by the mean squared error.

    Args:
        noises: of the evaluation.

    Attributes:
        words: for the model card.
    """

    words: ClassVar[CardWords]
    corpus: ArrayCorpus

    def __init__(self, corpus: ArrayCorpus, denoiser: Denoiser, noises: Sequence[NoiseKind]) -> None:
        self.corpus, self.denoiser, self.noises = corpus, denoiser, noises

    @abstractmethod
    def fit_baselines(self, noise: Noise) -> dict[str, Rebuild]:
        """Return the baselines by name, fitted to training examples under this noise."""

    def draw(self, folder: Path, samples: dict[str, Tensor]) -> list[str]:
        """Draw the samples into files in a folder; return their names. Default: none.

        Args:
            samples: `noisy`, `clean` and `rebuilt`. *Shape* of each: (3, ...).
        """
        return []

    def questions(self, most: int, level: float | None = None) -> Questions:
        """Choose held-out examples, spread evenly; `level` replaces that of the first noise."""
        first, *others = self.noises
        first = first if level is None else first.at_level(level, "--levels")
        held_out = self.corpus.held_out
        return Questions(held_out, build_noise((first, *others)), subsample(len(held_out), most))

    def score(
        self, questions: Questions, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """Score the denoiser; return the mean squared error, and the number of values scored."""
        scores = evaluate(self.denoiser, *questions, batch_size, accelerator)
        return {"loss": scores["loss"], "mse": scores["loss"]}, int(scores["scored"])

    def baselines(self, *questions: Questions) -> list[dict[str, Row]]:
        """Score the baselines on the same questions."""
        return [self._score_baselines(each) for each in questions]

    def _score_baselines(self, questions: Questions) -> dict[str, Row]:
        rows = {}
        for name, rebuild in self.fit_baselines(questions.noise).items():
            total, count = 0.0, 0
            for indices in questions.indices.split(1024):
                corrupted = corrupt_for_evaluation(questions.examples, questions.noise, indices)
                errors = (rebuild(corrupted) - corrupted.target)[corrupted.loss_mask]
                total, count = total + float(errors.double().square().sum()), count + errors.numel()
            rows[name] = {"loss": total / count, "mse": total / count}
        return rows

    @torch.no_grad()
    def samples(self, questions: Questions) -> dict[str, Tensor]:
        """Return three held-out examples: noisy, clean and rebuilt. *Shape* of each: (3, ...)."""
        corrupted = corrupt_for_evaluation(questions.examples, questions.noise, questions.indices[:3])
        device = next(self.denoiser.parameters()).device
        rebuilt = self.denoiser(corrupted.to(device)).reconstruction.float().cpu()
        return {
            "noisy": corrupted.inputs[questions.noise.field],
            "clean": corrupted.target,
            "rebuilt": rebuilt,
        }

    def report(
        self, folder: Path, settings: Any, metrics: Mapping[str, Any], samples: dict[str, Tensor]
    ) -> list[str]:
        """Draw the samples, and write the model card."""
        pictures, words, table = [*self.draw(folder, samples), "loss.png"], self.words, metrics["held_out"]
        package = type(self.denoiser.model).__module__.partition(".")[0]
        load = f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{SELF}")'
        card = run_card(
            settings,
            metrics,
            self.corpus.summary,
            head=front_matter(settings, table, "other", ["denoising-autoencoder"]),
            title=words.title,
            idea=words.idea,
            question=f"Held-out {words.examples} under {in_words(self.noises)}, the same at every evaluation. A baseline "
            "learns no representation.",
            table=table,
            noise=in_words(settings.noise),
            example=words.examples,
            pictures="\n\n".join(f"![{Path(name).stem}]({name})" for name in pictures),
            load=load
            if package == "transformers"
            else f"import {package}  # makes AutoModel know this model\n{load}",
            limits=words.limits,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        return [f"try it: textdae denoise {folder} NOISY.npy -o clean.npy"]


def array_pretraining(evaluation: ArrayEvaluation, settings: PretrainSettings) -> Pretraining:
    """Return the parts of a pretraining run; nothing but the model is saved."""
    return Pretraining(evaluation, build_noise(settings.noise), settings.model, lambda folder: None)
