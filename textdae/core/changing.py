"""Noises that change numbers: pixels, samples of a signal. Parts for the noises of any such modality.

B batch, ... the shape of one example.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Example
from textdae.core.settings.base import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Changing:
    """Mixin for a `NoiseKind` that changes values of its field and does not tell which; every value is scored."""

    field: ClassVar[str]

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Change the values.

        Raises:
            SettingsError: `change` returned something of another shape or type.
        """
        import torch

        clean = inputs[self.field]
        noisy = self.change(clean, draw, level.view(-1, *[1] * (clean.ndim - 1)))
        if not isinstance(noisy, torch.Tensor) or noisy.shape != clean.shape or not noisy.is_floating_point():
            got = (
                f"{noisy.dtype} {tuple(noisy.shape)}"
                if isinstance(noisy, torch.Tensor)
                else type(noisy).__name__
            )
            raise SettingsError(
                f"{type(self).__name__}: change() returned {got}, must return {clean.dtype} {tuple(clean.shape)}"
            )
        noisy = noisy.to(clean.dtype)
        return {**inputs, self.field: noisy}, torch.ones_like(clean, dtype=torch.bool)

    def change(self, values: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Values (B, ...) and levels (B, 1, ...) -> noisy values (B, ...)."""
        raise NotImplementedError


class SigmaDial(Settings):
    """Mixin for a `NoiseKind` whose level is the strength `sigma`."""

    dial: ClassVar[str | None] = "sigma"
    sigma: Annotated[float, Field(gt=0)] = 0.25
    """Strength at the start of the run."""
    final_sigma: Annotated[float, Field(ge=0)] | None = None
    """Strength at the end of the run; default: `sigma` throughout (uniform: 0, log_uniform: a thousandth of `sigma`)."""
    schedule: Literal["linear", "cosine", "uniform", "log_uniform"] = "linear"
    """How the strength moves from start to end; uniform: each example draws its own between the two; log_uniform: as many between .1 and 1 as between 1 and 10."""

    @model_validator(mode="after")
    def _has_a_logarithm(self) -> SigmaDial:
        if self.schedule == "log_uniform" and self.final_sigma == 0:
            raise ValueError(
                "schedule log_uniform draws no level of 0; set final_sigma=0.01, or leave it out"
            )
        return self


def normal(draw: Draw, name: str, shape: torch.Size) -> Tensor:
    """Draw a standard normal number for each value of each example; they reach 5.4 standard deviations. *Shape:* `shape`."""
    import torch

    u = draw.uniform(name, math.prod(shape[1:]))
    # u lies on a grid of 2^-24 that holds 0; half a step further in, its ends mirror each other. In this order every
    # step is exact in float32; added to u itself, the half step would round the largest u to 1, which is infinity.
    return (torch.erfinv((u * 2 - 1) + 2.0**-24) * 2**0.5).view(shape)
