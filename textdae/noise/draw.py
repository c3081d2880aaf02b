"""Randomness as a pure function: what is drawn depends on (seed, epoch, example, position) and on nothing else.

No generator is consumed, so the number of workers, processes or restarts cannot change what is drawn. The hash is
the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014) applied
once per component; integer arithmetic gives the same bits on the CPU and on the GPU.

B batch, n positions.
"""

import zlib

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """A 64-bit pattern as the signed number that torch stores it as."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


_GOLDEN, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def mix(value: Tensor) -> Tensor:
    """SplitMix64's step: add the golden ratio, then scramble. int64 to int64, any shape."""
    value = value + _GOLDEN
    value = (value ^ _shift(value, 30)) * _FIRST
    value = (value ^ _shift(value, 27)) * _SECOND
    return value ^ _shift(value, 31)


class Draw:
    """Uniform numbers for a batch of examples.

    Args:
        seed: of the run.
        epoch: the epoch of each example. *Shape:* (B,), int64.
        example: the number of each example in its corpus. *Shape:* (B,), int64.
    """

    def __init__(self, seed: int, epoch: Tensor, example: Tensor) -> None:
        start = mix(torch.tensor(_signed(seed), dtype=torch.int64, device=example.device))
        self._key = mix(mix(start + epoch) + example)

    def child(self, name: str | int) -> "Draw":
        """A draw that is independent of this one; for parts that must not share their numbers."""
        draw = object.__new__(Draw)
        draw._key = mix(self._key ^ zlib.crc32(str(name).encode()))
        return draw

    def bits(self, name: str, n: int = 1) -> Tensor:
        """64 random bits a position. *Shape:* (B, n), int64."""
        positions = torch.arange(n, dtype=torch.int64, device=self._key.device)
        return mix(mix(self._key ^ zlib.crc32(name.encode()))[:, None] + positions)

    def uniform(self, name: str, n: int = 1) -> Tensor:
        """Numbers in [0, 1), multiples of 2^-24. *Shape:* (B, n), float32."""
        return _shift(self.bits(name, n), 40).to(torch.float32) * 2.0**-24

    def integers(self, name: str, n: int, high: int) -> Tensor:
        """Whole numbers in [0, high), for `high` up to 2^31. *Shape:* (B, n), int64."""
        return (_shift(self.bits(name, n), 32) * high) >> 32
