"""The interface of a noise, in any modality.

B batch, ... the shape of one example.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Example: TypeAlias = "dict[str, Tensor]"
"""A batch of clean examples, named as the model's arguments."""


class Corrupted(NamedTuple):
    """A corrupted batch with its target.

    Example:
        >>> corrupted = textdae.GaussianNoise(0.25)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == corrupted.target.shape == corrupted.loss_mask.shape
        True
    """

    inputs: Example
    """The inputs of the encoder, named as the model's arguments. *Shapes:* (B, ...), each its own."""
    target: Tensor
    """The clean original. *Shape:* (B, ...), which differs from that of the inputs if a noise changes the length."""
    loss_mask: Tensor
    """True where the reconstruction of the target is scored; as float32 how much it counts there. *Shape:* the first dimensions of
    `target`, bool."""

    def to(self, device: torch.device) -> Corrupted:
        """Copy to another device; does not wait where the memory is pinned."""
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        return Corrupted(
            inputs, self.target.to(device, non_blocking=True), self.loss_mask.to(device, non_blocking=True)
        )

    def pin_memory(self) -> Corrupted:
        """Copy into page-locked memory, from which a GPU can read directly."""
        # An expanded tensor cannot be pinned before it has memory of its own.
        return Corrupted(
            {name: value.contiguous().pin_memory() for name, value in self.inputs.items()},
            self.target.contiguous().pin_memory(),
            self.loss_mask.contiguous().pin_memory(),
        )


class Level(NamedTuple):
    """The level of a noise over the run, in the unit of the noise."""

    start: float
    end: float
    schedule: Literal["linear", "cosine", "uniform", "log_uniform"] = "linear"

    @property
    def is_drawn(self) -> bool:
        """Whether each example draws its own, throughout the run."""
        return self.schedule in ("uniform", "log_uniform")

    def at(self, progress: float, draw: Draw) -> Tensor:
        """Return the level of each example at `progress` (0..1) of the run. *Shape:* (B, 1), float32."""
        import torch

        if self.schedule == "uniform":
            return self.end + (self.start - self.end) * draw.level()
        if self.schedule == "log_uniform":
            return self.end * (self.start / self.end) ** draw.level()
        share = min(max(progress, 0.0), 1.0)
        if self.schedule == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        level = self.start + (self.end - self.start) * share
        return torch.full((draw.size, 1), level, dtype=torch.float32)


class Noise(ABC):
    """Corrupts clean examples; the target is never touched.

    A subclass has the `field` that it corrupts, and `corrupt`. `a | b` corrupts with `a`, then with `b`; positions that
    either scores are scored.

    Example:
        >>> noise = textdae.GaussianNoise(0.1).build() | textdae.PixelNoise(0.2).build()  # one after the other
        >>> numbers = torch.arange(len(pixels))
        >>> noise({"pixel_values": pixels}, textdae.Draw(0, torch.zeros_like(numbers), numbers)).loss_mask.all()
        tensor(True)
    """

    field: str
    level: Level
    aligned: bool = True
    """Whether position i of the inputs stands for position i of the target. A noise that deletes or inserts is
    not aligned: its `loss_mask` has the positions of the target, it needs a denoiser that does not rely on alignment, and
    it can only end a chain."""

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        """Corrupt a batch of clean examples at `progress` (0..1) of the run."""
        target = clean[self.field]
        before = _version(target)
        inputs, loss_mask = self.corrupt(dict(clean), draw, self.level.at(progress, draw))
        if _version(target) != before:
            raise SettingsError(
                f"noise {self}: it changes what it is given in place, which may be the target; let it return a new tensor"
            )
        return Corrupted(inputs, target, loss_mask)

    @abstractmethod
    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Return new inputs and the loss mask; `level` has *shape* (B, 1)."""

    def at_level(self, level: float, where: str = "level") -> Noise:
        """Return the same noise at `level` throughout.

        Args:
            where: the level was given, for the error.

        Raises:
            SettingsError: it has no one level, or this one is out of range.
        """
        raise SettingsError(f"{where} is for a run with one noise")

    def candidates(self, clean: Example) -> Tensor:
        """Return where it may hide something. *Shape:* that of the loss mask, bool.

        Raises:
            SettingsError: it hides nothing, so the hidden share is undefined.
        """
        raise SettingsError(f"train.loss_weight: elbo weighs what is hidden, and noise {self} hides nothing")

    def __str__(self) -> str:
        return type(self).__name__

    def __or__(self, other: Noise) -> Noise:
        return Chain(self, other)


def _version(values: Tensor) -> int | None:
    """Return how often a tensor was changed in place; None where torch does not count."""
    return None if values.is_inference() else values._version


class Chain(Noise):
    """Noises applied in turn, each with its own level and its own random numbers.

    Raises:
        ValueError: they corrupt different fields.
        SettingsError: a noise that is not `aligned` comes before another one.
    """

    def __init__(self, *noises: Noise) -> None:
        self.noises: list[Noise] = []
        for noise in noises:
            self.noises += noise.noises if isinstance(noise, Chain) else [noise]
        self.field = self.noises[0].field
        if any(noise.field != self.field for noise in self.noises):
            raise ValueError(
                f"noises on different fields do not combine: {[noise.field for noise in self.noises]}"
            )
        for noise in self.noises[:-1]:
            if not noise.aligned:
                raise SettingsError(
                    f"noise: {noise} moves the positions that the next noise goes by; put it last"
                )
        self.aligned = self.noises[-1].aligned

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        """Corrupt with each noise in turn."""
        inputs, target, loss_mask = clean, clean[self.field], None
        for index, noise in enumerate(self.noises):
            corrupted = noise(inputs, draw.child(index), progress)
            inputs = corrupted.inputs
            loss_mask = corrupted.loss_mask if loss_mask is None else loss_mask | corrupted.loss_mask
        assert loss_mask is not None
        return Corrupted(inputs, target, loss_mask)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Refuse: a chain has no level of its own."""
        raise TypeError("a chain of noises is called; its parts corrupt")
