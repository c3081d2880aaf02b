"""No noise."""

from typing import Literal

from torch import Tensor

from textdae.core.draw import Draw
from textdae.image.noise import ChangingNoise


class NoNoise(ChangingNoise):
    """Leave the image as it is: a plain autoencoder."""

    kind: Literal["none"] = "none"

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """The pixels themselves."""
        return pixels
