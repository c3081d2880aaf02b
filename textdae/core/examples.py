"""Clean examples by index, those of several sources together, and the set of examples that an evaluation scores."""

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from textdae.core.noise import Noise


class Examples(Protocol):
    """Clean examples, numbered from 0."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """Return the clean examples of these indices (B,), named as the model's arguments. *Shapes:* (B, ...)."""
        ...


class SourceWeight(NamedTuple):
    """What part of a run comes from one of several sources."""

    name: str
    """What the report calls the source."""
    weight: float
    """Positive; as many examples are drawn from a source as its weight is of the sum of all."""
    max_epochs: float | None = None
    """It is gone through at most so often; None: without end."""


E = TypeVar("E", bound=Examples)


class Concatenated(Generic[E]):
    """The examples of several sources, one source after the other.

    Args:
        parts: the sources; an example of each has the same shape.
        shares: what a run draws from each.
    """

    def __init__(self, parts: Sequence[E], shares: Sequence[SourceWeight]) -> None:
        self.parts, self.shares = list(parts), list(shares)
        self.starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """Return the examples of these indices (B,), in their order. *Shapes:* (B, ...)."""
        numbers = np.asarray(indices, dtype=np.int64)
        part = np.searchsorted(self.starts, numbers, "right") - 1
        rows, batches = [], []
        for which in np.unique(part):
            here = np.flatnonzero(part == which)
            rows.append(here)
            batches.append(self.parts[which].batch(torch.from_numpy(numbers[here] - self.starts[which])))
        back = torch.from_numpy(np.concatenate(rows).argsort())
        return {name: torch.cat([each[name] for each in batches])[back] for name in batches[0]}


class Questions(NamedTuple):
    """The examples and the noise of an evaluation; `corrupt_for_evaluation(*questions)` returns the corrupted batch."""

    examples: Examples
    noise: Noise
    indices: Tensor
    """Of the examples. *Shape:* (n,), int64."""
