"""Counter-based randomness: each number is a pure function of (seed, epoch, example, position).

No generator is consumed, so workers, processes and restarts cannot change a number. The hash is the finaliser of SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) applied
once per component. It is computed in NumPy, which takes a third of the time of torch for the few thousand numbers of a
batch.

B batch, n positions.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_GOLDEN, _FIRST, _SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_27, _30, _31, _32, _40 = map(np.uint64, (27, 30, 31, 32, 40))


def mix(value: np.ndarray) -> np.ndarray:
    """Take a step of SplitMix64: add the golden ratio, then scramble. uint64 to uint64, any shape but ()."""
    return scramble(value + _GOLDEN)


def scramble(value: np.ndarray) -> np.ndarray:
    """Spread values over all 64 bits, in place: the finalizer of SplitMix64. uint64 to uint64, any shape but ()."""
    value ^= value >> _30
    value *= _FIRST
    value ^= value >> _27
    value *= _SECOND
    value ^= value >> _31
    return value


class Draw:
    """Random numbers for a batch of examples, on the CPU.

    Args:
        seed: of the run.
        epoch: the epoch of each example. *Shape:* (B,), int64.
        example: the number of each example in its corpus. *Shape:* (B,), int64.
        stream: the place of each example in the stream of training, over which levels are then spread evenly. *Shape:* (B,), int64.

    Example:
        >>> draw = textdae.Draw(0, epoch=torch.tensor([0, 0]), example=torch.tensor([7, 8]))
        >>> draw.uniform("anything", 3).shape
        torch.Size([2, 3])
    """

    def __init__(self, seed: int, epoch: Tensor, example: Tensor, stream: Tensor | None = None) -> None:
        start = mix(np.array([seed % 2**64], np.uint64))
        epochs, examples = (np.asarray(part, np.int64).view(np.uint64) for part in (epoch, example))
        self._key = mix(mix(start + epochs) + examples)
        # The multiples of the golden ratio, from a start of the seed's own: any stretch of them is spread evenly over [0, 1).
        positions = None if stream is None else np.asarray(stream, np.int64).view(np.uint64)
        self._spread = None if positions is None else mix(start) + positions * _GOLDEN

    @property
    def size(self) -> int:
        """B, the number of examples."""
        return len(self._key)

    def child(self, name: str | int) -> Draw:
        """Return a draw that is independent of this one, for parts that must not share their numbers."""
        draw = object.__new__(Draw)
        draw._key, draw._spread = self._named(str(name)), self._spread
        return draw

    @property
    def is_spread(self) -> bool:
        """Whether the levels of the examples are spread evenly, and hold exactly."""
        return self._spread is not None

    def level(self) -> Tensor:
        """Return a uniform number for each example: one by itself, or spread evenly over the stream. *Shape:* (B, 1), float32."""
        import torch

        if self._spread is None:
            return self.uniform("level")
        return torch.from_numpy(as_uniform(self._spread)[:, None])

    def bits(self, name: str, n: int = 1) -> np.ndarray:
        """Return 64 random bits a position. *Shape:* (B, n), uint64."""
        return mix(self._named(name)[:, None] + np.arange(n, dtype=np.uint64))

    def bits_at(self, name: str, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the entries of `bits` at these rows and positions, (k,) each, where few are needed. *Shape:* (k,),
        uint64."""
        return mix(self._named(name)[rows] + positions.astype(np.uint64))

    def uniform(self, name: str, n: int = 1) -> Tensor:
        """Return uniform numbers in [0, 1), multiples of 2^-24. *Shape:* (B, n), float32."""
        import torch

        return torch.from_numpy(as_uniform(self.bits(name, n)))

    def integers(self, name: str, n: int, high: int) -> Tensor:
        """Return whole numbers in [0, high), for `high` up to 2^31. *Shape:* (B, n), int64."""
        import torch

        return torch.from_numpy(as_integers(self.bits(name, n), high))

    def _named(self, name: str) -> np.ndarray:
        return mix(self._key ^ np.uint64(zlib.crc32(name.encode())))


def as_uniform(bits: np.ndarray) -> np.ndarray:
    """Turn random bits into numbers in [0, 1), multiples of 2^-24: float32."""
    uniform: np.ndarray = (bits >> _40).astype(np.float32)
    uniform *= np.float32(2.0**-24)
    return uniform


def as_integers(bits: np.ndarray, high: int) -> np.ndarray:
    """Turn random bits into whole numbers in [0, high), for `high` up to 2^31: int64."""
    integers: np.ndarray = (bits >> _32) * np.uint64(high) >> _32
    return integers.view(np.int64)
