"""Noises that change pixels: Gaussian, speckle, blur, salt and pepper. Their parts are in `textdae/image/noise.py`.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from textdae.core.changing import normal
from textdae.core.draw import Draw
from textdae.core.noise import Example
from textdae.image.noise import ChangingNoise, RateNoise, SigmaNoise

if TYPE_CHECKING:
    from torch import Tensor

_MOST_SIGMA, MOST_OF_A_CHAIN = 2.0, 100.0
"""Largest strength of a noise in the unit of the pixels, and where a model of all levels is trained to draw pictures."""


class _PixelUnitNoise(SigmaNoise):
    """Noise whose strength is in the unit of the pixels."""

    @model_validator(mode="after")
    def _unit(self) -> _PixelUnitNoise:
        for name in ("sigma", "final_sigma"):
            value = getattr(self, name)
            if value is not None and value > (
                MOST_OF_A_CHAIN if self.schedule == "log_uniform" else _MOST_SIGMA
            ):
                raise ValueError(
                    f"{name} {value:g} leaves nothing of a picture, whose pixels lie between 0 and 1; if it is meant in "
                    f"units of 0..255, set {name}={value / 255:.3g}"
                )
        return self


class GaussianNoise(_PixelUnitNoise):
    """Add normal noise of standard deviation `sigma`, where black is 0 and white 1.

    Example:
        >>> corrupted = textdae.GaussianNoise(0.25)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["gaussian"] = "gaussian"

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Change the pixels, and add `level` (B, 1) to the inputs, for models that have it as an input."""
        inputs, loss_mask = super().corrupt(inputs, draw, level, *context)
        return {**inputs, "level": level}, loss_mask

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """x + level n."""
        return pixels + level * normal(draw, "normal", pixels.shape)


class SpeckleNoise(_PixelUnitNoise):
    """Multiply each pixel by 1 + normal noise of standard deviation `sigma`.

    Example:
        >>> corrupted = textdae.SpeckleNoise(0.25)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["speckle"] = "speckle"

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """x (1 + level n)."""
        return pixels * (1 + level * normal(draw, "normal", pixels.shape))


class BlurNoise(SigmaNoise):
    """Blur with a Gaussian of width `sigma`, in pixels. Beyond the edge the last pixel is repeated.

    Example:
        >>> corrupted = textdae.BlurNoise(1.0)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["blur"] = "blur"
    sigma: Annotated[float, Field(gt=0, le=64)] = 1.0
    """Strength at the start of the run."""

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Sum neighbours by their weights, along the rows and then along the columns."""
        import torch

        # The reach depends on the settings only, so that an image does not depend on its batch.
        reach = max(1, math.ceil(4 * max(self.level.start, self.level.end)))
        offsets = torch.arange(-reach, reach + 1)
        weight = torch.exp(-0.5 * (offsets / level.view(-1, 1).clamp(min=1e-3)) ** 2)
        weight = weight / weight.sum(1, keepdim=True)
        for axis in (2, 3):
            length = pixels.shape[axis]
            positions = torch.arange(length)
            blurred = torch.zeros_like(pixels)
            for column, offset in enumerate(range(-reach, reach + 1)):
                shifted = pixels.index_select(axis, (positions + offset).clamp(0, length - 1))
                blurred += weight[:, column, None, None, None] * shifted
            pixels = blurred
        return pixels


class SaltAndPepperNoise(RateNoise, ChangingNoise):
    """Turn a share of the pixels black or white, half and half; `rate` is the probability of each pixel.

    Example:
        >>> corrupted = textdae.SaltAndPepperNoise(0.1)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["salt_and_pepper"] = "salt_and_pepper"

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Turn all channels of a pixel together."""
        import torch

        batch, _, height, width = pixels.shape
        u = draw.uniform("pixel", height * width).view(batch, 1, height, width)
        return torch.where(u < level, (u < level / 2).to(pixels.dtype), pixels)
