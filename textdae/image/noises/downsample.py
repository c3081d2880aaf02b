"""Lost resolution as a noise: giving it back is super-resolution.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from textdae.core.draw import Draw
from textdae.image.noise import ChangingNoise

if TYPE_CHECKING:
    from torch import Tensor


class DownsampleNoise(ChangingNoise):
    """Shrink by `factor` and enlarge again, bicubic both times as Pillow does it; what lay between the pixels is gone.

    Example:
        >>> corrupted = textdae.DownsampleNoise(factor=2)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["downsample"] = "downsample"
    factor: Annotated[int, Field(ge=2, le=16)] = 2
    """How many times smaller each side becomes, rounded up."""

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Shrink, and enlarge to the size as before."""
        from torch.nn.functional import interpolate

        height, width = pixels.shape[2:]
        small = (-(-height // self.factor), -(-width // self.factor))
        shrunk = interpolate(pixels, small, mode="bicubic", antialias=True)
        return interpolate(shrunk, (height, width), mode="bicubic", antialias=True)
