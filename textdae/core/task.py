"""The interface between a run and what it runs on. A run asks; only a modality knows text from images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from textdae.core.denoiser import Denoiser
from textdae.core.examples import Examples, Questions
from textdae.core.noise import Noise

Row = dict[str, float]
"""How the model, or a baseline, does: `loss`, and the modality's other measures."""


class Task(ABC):
    """Clean examples, a noise, a denoiser, and how to tell people about them.

    Attributes:
        train, held_out: the clean examples of either side.
        model: the settings of the denoiser, with what they leave open decided; of a run only.
        noise: that of the training.
        fingerprint: what makes the examples of either side, by the setting that says so.
        summary: what was read, and what was left out.
        unit, units_per_example: what its speed is counted in.
    """

    train: Examples
    held_out: Examples
    denoiser: Denoiser
    model: Any
    noise: Noise
    fingerprint: dict[str, Any]
    summary: list[str]
    unit: str
    units_per_example: int

    @classmethod
    @abstractmethod
    def of_settings(cls, settings: Any, check: Callable[[int], None] | None = None) -> "Task":
        """For a run: prepare the corpus, and build the denoiser.

        Args:
            check: called with the number of parameters before a fresh model is built; raises where they are too many.
        """

    @classmethod
    @abstractmethod
    def of_checkpoint(cls, checkpoint: str, settings: Any) -> "Task":
        """For an evaluation: load the denoiser, and prepare the corpus for it."""

    @abstractmethod
    def questions(self, most: int, level: float | None = None) -> Questions:
        """What an evaluation asks of at most so many held-out examples; of fewer, a part of the same.

        Args:
            level: where the dial of the noise is set, instead of as the settings have it.

        Raises:
            SettingsError: the noise has no dial, or nothing is left to ask.
        """

    def describe(self, questions: Questions) -> dict[str, Any]:
        """What is asked, for the metrics: `asked` is a line for people."""
        return {}

    @abstractmethod
    def score(
        self, questions: Questions, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """How the denoiser does on the questions, and how many positions were scored."""

    @abstractmethod
    def baselines(self, *questions: Questions) -> list[dict[str, Row]]:
        """How the baselines do on each of these sets of questions, under the same noise; they are fitted once."""

    @abstractmethod
    def samples(self, questions: Questions) -> Any:
        """Some held-out examples with what the denoiser makes of them, for `report`."""

    @abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Write what belongs to the model beside its weights: a tokenizer, or an image processor."""

    @abstractmethod
    def report(self, folder: Path, settings: Any, metrics: Mapping[str, Any], samples: Any) -> list[str]:
        """Write the pictures and the model card; return the lines that are printed at the end of a run."""
