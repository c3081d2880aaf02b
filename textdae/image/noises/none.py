"""No noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from textdae.core.draw import Draw
from textdae.image.noise import ChangingNoise

if TYPE_CHECKING:
    from torch import Tensor


class NoNoise(ChangingNoise):
    """Leave the image as it is: a plain autoencoder.

    Example:
        >>> corrupted = textdae.NoNoise()(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["none"] = "none"

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Return the pixels."""
        return pixels
