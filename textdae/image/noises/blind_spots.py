"""Learning from noisy pictures alone.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from textdae.core.draw import Draw
from textdae.core.noise import Example
from textdae.core.settings.base import Share
from textdae.image.noise import RateNoise

if TYPE_CHECKING:
    from torch import Tensor


class BlindSpotNoise(RateNoise):
    """Put a random neighbour in the place of some pixels, and ask for these (Krull et al. 2019, Noise2Void).

    For a source of noisy pictures: a pixel can be guessed from its surroundings, its noise cannot, so that the best guess is
    the clean pixel. That holds only where the noise of a pixel says nothing of its neighbours' noise: not after JPEG, blur,
    resizing or demosaicing.

    Example:
        >>> corrupted = textdae.BlindSpotNoise(0.05)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["blind_spots"] = "blind_spots"
    rate: Share = 0.05
    """Share of the pixels or patches at the start of the run."""
    radius: Annotated[int, Field(ge=1, le=32)] = 2
    """How far away a neighbour may lie, in rows and in columns."""

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Replace all channels of a pixel together; a neighbour beyond the edge is mirrored at it, one beside the pixel where that
        would be the pixel itself."""
        import torch

        pixels = inputs["pixel_values"]
        batch, _, height, width = pixels.shape
        hidden = (draw.uniform("pixel", height * width) < level).view(batch, 1, height, width)
        side = 2 * self.radius + 1
        # All positions of the square but its middle, which is the pixel itself.
        place = draw.integers("neighbour", height * width, side**2 - 1).view(batch, height, width)
        place = place + (place >= side**2 // 2)
        rows = _mirrored(torch.arange(height)[:, None] + place // side - self.radius, height)
        columns = _mirrored(torch.arange(width) + place % side - self.radius, width)
        itself = (rows == torch.arange(height)[:, None]) & (columns == torch.arange(width))
        beside = torch.arange(width) + torch.where(torch.arange(width) > 0, -1, 1 if width > 1 else 0)
        columns = torch.where(itself, beside, columns)
        images = torch.arange(batch)[:, None, None]
        neighbours = pixels[images, :, rows, columns].permute(0, 3, 1, 2)
        shown = torch.where(hidden, neighbours, pixels)
        return {**inputs, "pixel_values": shown}, hidden.expand(pixels.shape)


def _mirrored(positions: Tensor, length: int) -> Tensor:
    """Return positions beyond either edge, brought back inside."""
    inside = positions.abs()
    return (length - 1 - (length - 1 - inside).abs()).clamp(min=0)
