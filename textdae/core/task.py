"""The interface of a modality for pretraining and evaluation: corpus, evaluation, noise, fresh denoiser."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from accelerate import Accelerator

from textdae.core.denoiser import Denoiser
from textdae.core.examples import Examples, Questions
from textdae.core.noise import Noise

Row = dict[str, float]
"""The scores of the model or of a baseline: `loss`, and the modality's other measures."""


class Corpus(Protocol):
    """Clean examples, prepared."""

    @property
    def train(self) -> Examples:
        """Examples for training."""
        ...

    @property
    def held_out(self) -> Examples:
        """Examples for evaluation."""
        ...

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Values that identify the examples, by setting; equal for equal examples."""
        ...

    @property
    def summary(self) -> list[str]:
        """What was read, and what was left out."""
        ...

    @property
    def unit(self) -> str:
        """The unit of the training speed: "tokens"."""
        ...

    @property
    def units_per_example(self) -> int:
        """How many units an example has."""
        ...


class Evaluation(ABC):
    """A denoiser on held-out examples under a fixed noise, beside its baselines."""

    corpus: Corpus
    denoiser: Denoiser

    def finish(self) -> None:  # noqa: B027  # most modalities have nothing left to do
        """Bring the trained denoiser into the form that is scored and exported; called once, on every process."""

    def measure(self) -> list[str]:
        """Measure what depends on no questions, for `describe`; return lines to print. Called on every process."""
        return []

    def not_measured(self, why: str) -> list[str]:
        """Note that `measure` failed at the end of a training, which does not cost the export; return lines to print."""
        return []

    @abstractmethod
    def questions(self, most: int, level: float | None = None) -> Questions:
        """Choose at most so many held-out examples, and their noise; a smaller number chooses a subset.

        Args:
            level: of the noise, instead of that of the settings.

        Raises:
            SettingsError: the noise has no level, or no position is left to score.
        """

    def questions_in_training(self, most: int) -> Questions:
        """Choose the questions of evaluations during training, few enough not to hold it up."""
        return self.questions(most)

    def describe(self, questions: Questions) -> dict[str, Any]:
        """Return entries of the metrics that describe the questions; that of the key `asked` is printed."""
        return {}

    @abstractmethod
    def score(
        self, questions: Questions, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """Score the denoiser; return its row, and the number of scored positions."""

    def by_source(self, questions: Questions) -> dict[str, Questions]:
        """Return the questions of each source by its name, where the corpus has several."""
        return {}

    @abstractmethod
    def baselines(self, *questions: Questions) -> list[dict[str, Row]]:
        """Score the baselines on each of these sets of questions, under the same noise; they are fitted once."""

    @abstractmethod
    def samples(self, questions: Questions) -> Any:
        """Return some held-out examples with their reconstructions, for `report`."""

    @abstractmethod
    def report(self, folder: Path, settings: Any, metrics: Mapping[str, Any], samples: Any) -> list[str]:
        """Write the pictures and the model card; return the lines that are printed at the end of a run."""


class Pretraining(NamedTuple):
    """The parts of a pretraining run, built from its settings."""

    evaluation: Evaluation
    """Holds the corpus, and the denoiser to train."""
    noise: Noise
    """The noise of the training."""
    model: Any
    """The settings of the denoiser, with open defaults filled in."""
    save_assets: Callable[[Path], None]
    """Writes the files that belong to the model beside its weights: a tokenizer, or an image processor."""
