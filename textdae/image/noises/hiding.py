"""Noises that hide pixels, patches or rectangles of patches.

B batch, H, W pixels, N patches of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from textdae.core.choice import priorities, select_to_rate
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Example
from textdae.core.settings.base import Share
from textdae.image.noise import RateNoise

if TYPE_CHECKING:
    from torch import Tensor


class HidingNoise(RateNoise):
    """Hide square patches in the order of their priority until the share is met; `choose` returns the priorities."""

    fill: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What a hidden pixel shows; a ViT sees its own learned mask there instead."""
    scored: Literal["hidden", "everywhere"] = "hidden"
    """Where the reconstruction is compared with the clean image."""

    def side(self) -> int:
        """Height and width of a patch, in pixels."""
        return 1

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Hide the share `level` (B, 1) of each image's patches."""
        import torch

        pixels, size = inputs["pixel_values"], self.side()
        batch, _, height, width = pixels.shape
        if height % size or width % size:
            raise SettingsError(
                f"patches of {size} pixels do not cover an image of {height} x {width} pixels"
            )
        rows, columns = height // size, width // size
        priority = self.choose(rows, columns, draw)
        every = np.ones(priority.shape, bool)
        taken = select_to_rate(priority, every, level.numpy(), draw.uniform("last").numpy())
        hidden = torch.from_numpy(taken).view(batch, 1, rows, columns)
        hidden = hidden.repeat_interleave(size, 2).repeat_interleave(size, 3)
        shown = torch.where(hidden, self.fill, pixels)
        before = inputs.get("hidden")
        inputs = {**inputs, "pixel_values": shown, "hidden": hidden if before is None else hidden | before}
        return inputs, (hidden | (self.scored == "everywhere")).expand(pixels.shape)

    def choose(self, rows: int, columns: int, draw: Draw) -> np.ndarray:
        """Return the priority of each patch, row by row; the lowest is hidden first. *Shape:* (B, N), int64."""
        return priorities(draw, rows * columns)


class PixelNoise(HidingNoise):
    """Hide pixels, each on its own: the masking noise of Vincent et al. 2010, section 3.3.

    Example:
        >>> corrupted = textdae.PixelNoise(0.25)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["pixels"] = "pixels"
    scored: Literal["hidden", "everywhere"] = "everywhere"
    """Where the reconstruction is compared with the clean image."""


class PatchNoise(HidingNoise):
    """Hide square patches, each on its own (He et al. 2022, section 3).

    Example:
        >>> corrupted = textdae.PatchNoise(0.75, patch_size=2)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["patches"] = "patches"
    rate: Share = 0.75
    """Share of the pixels or patches at the start of the run."""
    patch_size: Annotated[int, Field(ge=1)] = 4
    """Height and width of a patch, in pixels; must divide the image size."""

    def side(self) -> int:
        """Return the setting."""
        return self.patch_size


class BlockNoise(PatchNoise):
    """Hide rectangles of neighbouring patches (Bao et al. 2022, section 2.3).

    Every patch is the corner of a candidate rectangle with a random priority; rectangles are taken in that order, the
    last one cut short where the share is met. The two-dimensional twin of the spans of text.

    Example:
        >>> corrupted = textdae.BlockNoise(0.4, patch_size=2)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["blocks"] = "blocks"  # type: ignore[assignment]
    rate: Share = 0.4
    """Share of the pixels or patches at the start of the run."""
    min_side: Annotated[int, Field(ge=1)] = 2
    """Shortest side of a rectangle, in patches."""
    max_side: Annotated[int, Field(ge=1, le=64)] = 4
    """Longest side of a rectangle, in patches."""

    @model_validator(mode="after")
    def _sides(self) -> BlockNoise:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is more than max_side {self.max_side}")
        return self

    def choose(self, rows: int, columns: int, draw: Draw) -> np.ndarray:
        """Return for each patch the lowest priority among the candidate rectangles that cover it."""
        sides = self.max_side - self.min_side + 1
        n = rows * columns
        own = priorities(draw, n).reshape(-1, rows, columns)
        tall = self.min_side + draw.integers("height", n, sides).numpy().reshape(own.shape)
        wide = self.min_side + draw.integers("width", n, sides).numpy().reshape(own.shape)
        lowest = own.copy()
        for down in range(min(self.max_side, rows)):
            for right in range(min(self.max_side, columns)):
                corners = (slice(None), slice(rows - down), slice(columns - right))
                reached = lowest[:, down:, right:]
                covers = (tall[corners] > down) & (wide[corners] > right)
                np.minimum(reached, own[corners], out=reached, where=covers)
        return lowest.reshape(-1, n)
