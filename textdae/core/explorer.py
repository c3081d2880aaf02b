"""What a modality computes for the page: held-out examples, corrupted and rebuilt, as JSON that a browser can draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from textdae.core.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from textdae.core.examples import Examples

Json = dict[str, Any]
SHOWN = 8
"""Held-out examples on the page."""
MOST_ON_THE_MAP = 400
MOST_SCORED = 128
"""Held-out examples behind a point of the curve; `textdae evaluate` takes more by default."""
LEVELS = 19
"""Positions of the dial."""


class Dial(NamedTuple):
    """A kind of noise, and the levels that the page offers."""

    kind: str
    unit: str
    """Name of the setting that is turned: rate, or sigma."""
    levels: list[float]
    start: float
    """The level that the run is evaluated at, or the one next to it."""
    command: str
    """Options of `textdae evaluate` that ask for this noise; its `--levels` turn it."""
    words: str
    """What it does, in a sentence."""


class Explorer(ABC):
    """A denoiser beside its baselines, on a few examples.

    A `seed` of 0 is the noise of every evaluation; another gives the same examples another noise.

    Attributes:
        modality: its name.
        dials: the kinds of noise, that of the run first.
        count: how many examples it shows.
        row_keys: the figures of a row of `curve` that are drawn, the main one first: (name, unit, whether more is better).
    """

    modality: str
    dials: list[Dial]
    count: int
    row_keys: list[tuple[str, str, bool]]

    @abstractmethod
    def about(self) -> Json:
        """Describe the model and its examples, clean."""

    @abstractmethod
    def shot(self, kind: str, level: float, seed: int, example: int) -> Json:
        """Corrupt an example and rebuild it with the model."""

    @abstractmethod
    def baseline(self, kind: str, level: float, seed: int) -> Json:
        """Rebuild all examples with the best baseline."""

    @abstractmethod
    def curve(self, kind: str, level: float) -> Json:
        """Score model and baselines on the held-out examples, as `textdae evaluate` does."""

    @abstractmethod
    def steps(self, kind: str, level: float, seed: int, example: int) -> Json:
        """Rebuild one example in several steps."""

    @abstractmethod
    def map(self) -> Json:
        """Place held-out examples in the plane by their embeddings."""

    @abstractmethod
    def own(self, request: Json) -> Json:
        """Corrupt and rebuild an example that a person brought.

        Raises:
            SettingsError: it cannot be used.
        """

    @abstractmethod
    def at(self, checkpoint: str) -> Explorer:
        """Return the same examples, with the model of another checkpoint of the run."""

    def dial(self, kind: str) -> Dial:
        """Return the dial of a kind of noise.

        Raises:
            SettingsError: the page has no such kind.
        """
        for dial in self.dials:
            if dial.kind == kind:
                return dial
        raise SettingsError(f"no noise {kind!r} here; known: {', '.join(dial.kind for dial in self.dials)}")


def scored(settings: Any) -> tuple[int, str]:
    """Return how many examples a point of the curve is scored on, and the option that `textdae evaluate` needs for it."""
    most: int = min(settings.evaluate.max_examples, MOST_SCORED)
    return most, "" if most == settings.evaluate.max_examples else f"evaluate.max_examples={most}"


def options(*parts: str) -> str:
    """Join options of a command into one line, without the empty ones."""
    return " ".join(filter(None, parts))


def in_a_sentence(noise: type) -> str:
    """Return what a noise does: the first line of the documentation of its class."""
    return (noise.__doc__ or "").strip().split("\n")[0].replace("`", "")


def rate_levels() -> list[float]:
    """Return the levels of a noise whose level is a share: 5% to 95%."""
    return [round(0.05 * (number + 1), 2) for number in range(LEVELS)]


def strengths(usual: float) -> list[float]:
    """Return the levels of a noise that has a strength, a fifth of the usual one apart."""
    return [round(usual * (number + 1) / 5, 3) for number in range(LEVELS)]


def nearest(levels: list[float], level: float) -> float:
    """Return the level of the dial next to one."""
    return min(levels, key=lambda each: abs(each - level))


class Redrawn:
    """Examples under further numbers: number n + seed * len(examples) is example n, for which a noise draws anew."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def number(self, indices: Tensor, seed: int) -> Tensor:
        """Return the numbers of these examples under a seed. (n,) -> (n,)."""
        return indices + seed * len(self)

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """Return the examples of these numbers."""
        import torch

        return self.examples.batch(torch.as_tensor(indices) % len(self))


def in_the_plane(vectors: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Project on the two directions of the largest variance (PCA). (n, D) -> (n, 2), and the shares of the variance."""
    import numpy as np

    centred = vectors.astype(np.float64) - vectors.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    if len(directions) < 2:  # one vector, or vectors of one number
        directions = np.pad(directions, ((0, 1), (0, 0)))
        values = np.pad(values, (0, 1))
    variance = values**2 / max(float((values**2).sum()), 1e-30)
    # The sign of a direction is arbitrary: the largest weight is made positive, so that a map is the same each time.
    directions = directions[:2] * np.sign(directions[[0, 1], np.abs(directions[:2]).argmax(1)])[:, None]
    return centred @ directions.T, [float(share) for share in variance[:2]]
