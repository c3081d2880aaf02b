"""What a run asks of a modality: a corpus, an evaluation, and for pretraining a noise and a fresh denoiser."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from accelerate import Accelerator

from textdae.core.denoiser import Denoiser
from textdae.core.examples import Examples, Questions
from textdae.core.noise import Noise

Row = dict[str, float]
"""How the model, or a baseline, does: `loss`, and the modality's other measures."""


class Corpus(Protocol):
    """Clean examples, prepared."""

    @property
    def train(self) -> Examples:
        """Those that are trained on."""
        ...

    @property
    def held_out(self) -> Examples:
        """Those that are kept for evaluation."""
        ...

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What makes these examples, by the setting that says so; the same for the same examples."""
        ...

    @property
    def summary(self) -> list[str]:
        """What was read, and what was left out."""
        ...

    @property
    def unit(self) -> str:
        """What the speed of training is counted in: "tokens"."""
        ...

    @property
    def units_per_example(self) -> int:
        """How many of them an example has."""
        ...


class Evaluation(ABC):
    """A denoiser on held-out examples under a fixed noise, beside its baselines."""

    corpus: Corpus
    denoiser: Denoiser

    def finish(self) -> None:  # noqa: B027  # most modalities have nothing left to do
        """Bring the trained denoiser into the form that is scored and exported; called once, on every process."""

    @abstractmethod
    def questions(self, most: int, level: float | None = None) -> Questions:
        """Choose what is asked of at most so many held-out examples; of fewer, a part of the same.

        Args:
            level: the level of the noise, instead of that of the settings.

        Raises:
            SettingsError: the noise has no level, or nothing is left to ask.
        """

    def questions_in_training(self, most: int) -> Questions:
        """Choose what is asked between the steps of a run, which should not hold it up."""
        return self.questions(most)

    def describe(self, questions: Questions) -> dict[str, Any]:
        """Describe the questions, for the metrics: `asked` is a line for people."""
        return {}

    @abstractmethod
    def score(
        self, questions: Questions, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """Score the denoiser; return its row, and how many positions were scored."""

    @abstractmethod
    def baselines(self, *questions: Questions) -> list[dict[str, Row]]:
        """Score the baselines on each of these sets of questions, under the same noise; they are fitted once."""

    @abstractmethod
    def samples(self, questions: Questions) -> Any:
        """Return some held-out examples with what the denoiser makes of them, for `report`."""

    @abstractmethod
    def report(self, folder: Path, settings: Any, metrics: Mapping[str, Any], samples: Any) -> list[str]:
        """Write the pictures and the model card; return the lines that are printed at the end of a run."""


class Pretraining(NamedTuple):
    """What a modality makes of the settings of `textdae pretrain`."""

    evaluation: Evaluation
    """Holds the corpus, and the denoiser to train."""
    noise: Noise
    """That of the training."""
    model: Any
    """The settings of the denoiser, with what they leave open decided."""
    save_assets: Callable[[Path], None]
    """Writes what belongs to the model beside its weights: a tokenizer, or an image processor."""
