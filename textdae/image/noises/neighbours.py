"""Learning from noisy pictures alone, by way of two smaller ones.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from textdae.core.draw import Draw
from textdae.core.noise import Corrupted, Example, Noise
from textdae.core.noise_kind import BuiltNoise
from textdae.image.noise import ImageNoise

if TYPE_CHECKING:
    from torch import Tensor

_PAIRS = ((0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0), (1, 3), (3, 1))
"""Pixels of a square of 2 x 2 that share a side, numbered row by row: one to show, one to ask for."""


class NeighbourNoise(ImageNoise):
    """Take two neighbours from each square of 2 x 2 pixels: one makes a picture of half the size to show, the other one to ask for
    (Huang et al. 2021, Neighbor2Neighbor).

    For a source of noisy pictures: the two show nearly the same and have different noise, so that the best guess is the
    clean picture. That holds only where the noise of a pixel says nothing of its neighbours' noise: not after JPEG, blur,
    resizing or demosaicing. In training `correction` accounts for what the two show differently.

    Example:
        >>> corrupted = textdae.NeighbourNoise()(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape[2:] == corrupted.target.shape[2:]  # half of the height and width
        True
    """

    kind: Literal["neighbours"] = "neighbours"
    correction: Annotated[float, Field(ge=0)] = 1.0
    """Weight, at the end of the run, of the difference that the model sees between the two itself (gamma of the paper); it grows from 0."""

    def build(self, *context: Any) -> Noise:
        """Build the noise, whose target is not the picture itself."""
        return _BuiltNeighbours(self)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Return the smaller picture to show, beside `whole` and the neighbours that were taken, `shown` and `target`."""
        import torch

        whole = inputs["pixel_values"]
        height, width = (side - side % 2 for side in whole.shape[2:])
        if not height or not width:
            raise ValueError(f"an image of {whole.shape[2]} x {whole.shape[3]} pixels has no square of 2 x 2")
        whole = whole[:, :, :height, :width]
        squares = height * width // 4
        pairs = torch.tensor(_PAIRS)[draw.integers("pair", squares, len(_PAIRS))]
        shown, target = (each.view(-1, 1, height // 2, width // 2) for each in pairs.unbind(2))
        first = take(whole, shown)
        return {
            **inputs,
            "pixel_values": first,
            "whole": whole,
            "shown": shown,
            "target": target,
        }, torch.ones_like(first, dtype=torch.bool)


class _BuiltNeighbours(BuiltNoise):
    """The noise whose target is the second smaller picture."""

    settings: NeighbourNoise

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        inputs, loss_mask = self.corrupt(clean, draw, self.level.at(progress, draw))
        gamma = self.settings.correction * min(max(progress, 0.0), 1.0)
        inputs["correction"] = inputs["pixel_values"].new_full((draw.size, 1, 1, 1), gamma / (1 + gamma))
        return Corrupted(inputs, take(inputs["whole"], inputs["target"]), loss_mask)


def take(pixels: Tensor, neighbour: Tensor) -> Tensor:
    """Take one pixel of each square of 2 x 2.

    Args:
        pixels: *Shape:* (B, C, H, W), both even.
        neighbour: which one, 0 to 3, row by row. *Shape:* (B, 1, H/2, W/2), int64.

    Returns:
        *Shape:* (B, C, H/2, W/2).
    """
    squares = pixels.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).movedim(3, 4).flatten(4)
    return squares.gather(4, neighbour[..., None].expand(-1, pixels.shape[1], -1, -1, -1)).squeeze(4)


def corrected_target(corrupted: Corrupted, rebuilt: Tensor) -> Corrupted:
    """Add to the target what the model sees as the difference between the picture to show and the one to ask for.

    The paper's loss |f(a) - b|^2 + gamma |f(a) - b - d|^2, whose d has no gradient, has the gradient of
    (1 + gamma) |f(a) - (b + gamma / (1 + gamma) d)|^2.

    Args:
        rebuilt: the model's guess for the whole picture, (B, C, H, W).
    """
    inputs = corrupted.inputs
    difference = take(rebuilt, inputs["shown"]) - take(rebuilt, inputs["target"])
    return corrupted._replace(target=corrupted.target + inputs["correction"] * difference)
