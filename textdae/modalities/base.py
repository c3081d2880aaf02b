"""The interface between a run and what it runs on. A run asks; only a modality knows text from images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from textdae.models import Denoiser
from textdae.noise import Noise
from textdae.training.batches import Examples

Row = dict[str, float]
"""How the model, or a floor, does: `loss`, and the modality's other measures."""


class Modality(ABC):
    """Clean examples, a noise, a denoiser, and how to tell people about them.

    Attributes:
        train, held_out: the clean examples of either side.
        noise: that of the training.
        asked: that of the evaluation.
        facts: what makes the examples of either side, by the setting that says so.
        notes: what was read, and what was left out.
        unit, units_per_example: what its speed is counted in.
    """

    train: Examples
    held_out: Examples
    denoiser: Denoiser
    noise: Noise
    asked: Noise
    facts: dict[str, Any]
    notes: list[str]
    unit: str
    units_per_example: int

    @classmethod
    @abstractmethod
    def of_settings(cls, settings: Any) -> "Modality":
        """For a run: prepare the corpus, and build the denoiser."""

    @classmethod
    @abstractmethod
    def of_checkpoint(cls, checkpoint: str, settings: Any, say: Callable[[str], None]) -> "Modality":
        """For an evaluation: load the denoiser, and prepare the corpus for it."""

    @abstractmethod
    def at_level(self, level: float) -> Noise:
        """The noise of the evaluation with its dial at `level`.

        Raises:
            SettingsError: it has no dial.
        """

    @abstractmethod
    def score(
        self, asked: Noise, numbers: Tensor, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """How the denoiser does on the held-out examples of these numbers, and how many positions were scored."""

    @abstractmethod
    def floors(self, asked: Noise, numbers: Tensor) -> dict[str, Row]:
        """How the rivals that learn no representation do on the same questions."""

    @abstractmethod
    def samples(self, asked: Noise) -> Any:
        """Some held-out examples with what the denoiser makes of them, for `report`."""

    @abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Write what belongs to the model beside its weights: a tokenizer, or an image processor."""

    @abstractmethod
    def report(self, folder: Path, settings: Any, metrics: Mapping[str, Any], samples: Any) -> list[str]:
        """Write the pictures and the model card; return the lines that are printed at the end of a run."""
