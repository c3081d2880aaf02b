"""Noises of images: they add, multiply, blur, replace or hide pixels; the target stays the clean image.

Every noise reads `pixel_values` (B, C, H, W) in [0, 1]. What it makes of them may leave that range: nothing is
clipped, for clipping is a first step of denoising and belongs to the model. A noise that hides also says what it
hid, as `hidden` (B, 1, H, W) bool, for models that have a mask of their own.

B batch, C channels, H, W pixels, N patches of an image.
"""

import functools
import math
import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.core.choice import priorities, select_to_rate
from textdae.core.draw import Draw
from textdae.core.noise import Example, Level, Noise


def normal(draw: Draw, name: str, shape: torch.Size) -> Tensor:
    """Standard normal numbers, one for each value of an example; they reach 5.4 standard deviations. *Shape:* `shape`."""
    u = draw.uniform(name, math.prod(shape[1:]))
    # u lies on a grid of 2^-24 that holds 0; half a step further in, its ends mirror each other. In this order every
    # step is exact in float32; added to u itself, the half step would round the largest u to 1, which is infinity.
    return (torch.erfinv((u * 2 - 1) + 2.0**-24) * 2**0.5).view(shape)


class ImageNoise(Noise):
    """A noise of images.

    Args:
        start, end, schedule: the dial, see `Level`; by default it stays where it is.
    """

    field = "pixel_values"

    def __init__(self, start: float, end: float | None = None, schedule: str = "linear") -> None:
        if end is None:
            end = 0.0 if schedule == "uniform" else start
        self.level = Level(start, end, schedule)  # type: ignore[arg-type]


class ChangingNoise(ImageNoise):
    """A noise that changes the pixels, all or some, and does not tell which; every pixel is scored."""

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Change the pixels."""
        pixels = inputs["pixel_values"]
        noisy = self.change(pixels, draw, level[:, :, None, None])
        return {**inputs, "pixel_values": noisy}, torch.ones_like(pixels, dtype=torch.bool)

    @abstractmethod
    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Pixels (B, C, H, W) and levels (B, 1, 1, 1) -> noisy pixels (B, C, H, W)."""


class NoNoise(ChangingNoise):
    """Leave the image as it is: the noise of a plain autoencoder."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """The pixels themselves."""
        return pixels


class GaussianNoise(ChangingNoise):
    """Add normal noise; the level is its standard deviation, where black is 0 and white 1."""

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """x + level n."""
        return pixels + level * normal(draw, "normal", pixels.shape)


class SpeckleNoise(ChangingNoise):
    """Multiply by 1 + normal noise; the level is its standard deviation."""

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """x (1 + level n)."""
        return pixels * (1 + level * normal(draw, "normal", pixels.shape))


class BlurNoise(ChangingNoise):
    """Blur with a Gaussian; the level is its width in pixels. Beyond its edge the image goes on as its last pixel."""

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Weighted sums of neighbours, along the rows and then along the columns."""
        # The reach follows from the settings, not from the batch: what else is in a batch must not matter.
        reach = max(1, math.ceil(4 * max(self.level.start, self.level.end)))
        offsets = torch.arange(-reach, reach + 1)
        weight = torch.exp(-0.5 * (offsets / level.view(-1, 1).clamp(min=1e-3)) ** 2)
        weight = weight / weight.sum(1, keepdim=True)
        for axis in (2, 3):
            length = pixels.shape[axis]
            places = torch.arange(length)
            blurred = torch.zeros_like(pixels)
            for column, offset in enumerate(range(-reach, reach + 1)):
                shifted = pixels.index_select(axis, (places + offset).clamp(0, length - 1))
                blurred += weight[:, column, None, None, None] * shifted
            pixels = blurred
        return pixels


class SaltAndPepperNoise(ChangingNoise):
    """Turn pixels black or white, half and half; the level is the probability of each pixel."""

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """All channels of a pixel turn together."""
        batch, _, height, width = pixels.shape
        u = draw.uniform("pixel", height * width).view(batch, 1, height, width)
        return torch.where(u < level, (u < level / 2).to(pixels.dtype), pixels)


class PatchNoise(ImageNoise):
    """Hide square patches; the level is the share of patches that is hidden.

    Args:
        patch_size: height and width of a patch, in pixels.
        fill: what a hidden pixel shows.
        scored: `hidden`: score the hidden pixels only; `everywhere`: score all.
    """

    def __init__(
        self,
        start: float,
        end: float | None = None,
        schedule: str = "linear",
        patch_size: int = 4,
        fill: float = 0.0,
        scored: str = "hidden",
    ) -> None:
        super().__init__(start, end, schedule)
        self.patch_size, self.fill, self.everywhere = patch_size, fill, scored == "everywhere"

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Hide the share `level` (B, 1) of each image's patches."""
        pixels, size = inputs["pixel_values"], self.patch_size
        batch, _, height, width = pixels.shape
        if height % size or width % size:
            raise ValueError(f"patches of {size} pixels do not cover an image of {height} x {width} pixels")
        rows, columns = height // size, width // size
        priority = self.choose(rows, columns, draw)
        every = np.ones(priority.shape, bool)
        taken = select_to_rate(priority, every, level.numpy(), draw.uniform("last").numpy())
        hidden = torch.from_numpy(taken).view(batch, 1, rows, columns)
        hidden = hidden.repeat_interleave(size, 2).repeat_interleave(size, 3)
        shown = torch.where(hidden, self.fill, pixels)
        before = inputs.get("hidden")
        inputs = {**inputs, "pixel_values": shown, "hidden": hidden if before is None else hidden | before}
        return inputs, (hidden | self.everywhere).expand(pixels.shape)

    def choose(self, rows: int, columns: int, draw: Draw) -> np.ndarray:
        """Each patch's priority, row by row; patches are hidden from the lowest up. *Shape:* (B, N), int64."""
        return priorities(draw, rows * columns)


class BlockNoise(PatchNoise):
    """Hide rectangles of neighbouring patches.

    Every patch is the corner of a candidate rectangle with a random priority; rectangles are taken in that order, the
    last one cut short where the share is met. The two-dimensional twin of the spans of text.

    Args:
        min_side, max_side: of a rectangle, in patches; each side is drawn evenly between the two.
    """

    def __init__(self, *args: Any, min_side: int = 2, max_side: int = 4, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.min_side, self.max_side = min_side, max_side

    def choose(self, rows: int, columns: int, draw: Draw) -> np.ndarray:
        """A patch has the lowest priority among the candidate rectangles that cover it."""
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


def image_noise(noises: Sequence[Any]) -> Noise:
    """The noise that the settings ask for."""
    return functools.reduce(operator.or_, map(_build, noises))


def _build(settings: Any) -> Noise:
    if settings.kind == "none":
        return NoNoise()
    values = settings.model_dump(exclude={"kind"})
    name = "sigma" if "sigma" in values else "rate"
    dial = (values.pop(name), values.pop(f"final_{name}"), values.pop("schedule"))
    if settings.kind == "pixels":
        return PatchNoise(*dial, patch_size=1, **values)
    kinds: dict[str, type[ImageNoise]] = {
        "gaussian": GaussianNoise,
        "speckle": SpeckleNoise,
        "blur": BlurNoise,
        "salt_and_pepper": SaltAndPepperNoise,
        "patches": PatchNoise,
        "blocks": BlockNoise,
    }
    built: Noise = kinds[settings.kind](*dial, **values)
    return built
