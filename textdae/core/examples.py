"""Clean examples by index, and the set of examples that an evaluation scores."""

from typing import NamedTuple, Protocol

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


class Questions(NamedTuple):
    """The examples and the noise of an evaluation; `corrupt_for_evaluation(*questions)` returns the corrupted batch."""

    examples: Examples
    noise: Noise
    indices: Tensor
    """Of the examples. *Shape:* (n,), int64."""
