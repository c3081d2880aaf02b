"""A noise that was measured, not drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Example
from textdae.image.noise import ImageNoise

if TYPE_CHECKING:
    from torch import Tensor


class PairsNoise(ImageNoise):
    """Measured noise: the difference between a picture of `data.source` and its partner in `data.noisy_source`.

    Example:
        >>> corrupted = textdae.PairsNoise()({"pixel_values": pixels, "noisy_values": pixels / 2})
        >>> torch.equal(corrupted.inputs["pixel_values"], pixels / 2)
        True
    """

    kind: Literal["pairs"] = "pairs"

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Show the noisy partner."""
        import torch

        if "noisy_values" not in inputs:
            raise SettingsError("noise.kind=pairs: the noisy pictures are missing; set data.noisy_source")
        rest = {name: value for name, value in inputs.items() if name != "noisy_values"}
        noisy = inputs["noisy_values"]
        return {**rest, "pixel_values": noisy}, torch.ones_like(noisy, dtype=torch.bool)
