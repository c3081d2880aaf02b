"""What training and evaluation read: clean examples by number, and what is asked of some of them."""

from typing import NamedTuple, Protocol

from torch import Tensor

from textdae.core.noise import Noise


class Examples(Protocol):
    """Clean examples, numbered from 0."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The clean examples of these numbers (B,), named as the model's arguments. *Shapes:* (B, ...)."""
        ...


class Questions(NamedTuple):
    """What an evaluation asks; `corrupt_for_evaluation(*questions)` gives what the model is shown and its loss mask."""

    examples: Examples
    noise: Noise
    indices: Tensor
    """Of the examples. *Shape:* (n,), int64."""
