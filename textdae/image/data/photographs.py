"""Pictures of any sizes: training sees random crops, evaluation whole pictures.

N pictures, B batch, C channels, H, W pixels of a picture, S side of a crop.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from textdae.core.draw import Draw
from textdae.image.data.images import Images, as_example


class Photographs(Images):
    """Clean pictures at their own sizes, numbered from 0.

    Args:
        folder: one side of a prepared corpus; its pixels are memory-mapped, not read.
        crop: S, the side of the examples; None: whole pictures, which share a batch only if they share a size.
        flips: whether `view` mirrors crops and turns them by quarter turns.

    Attributes:
        pixels: of all pictures, one after the other. *Shape:* (sum of C H W,), uint8.
        image_size: S, or 0 for whole pictures.
    """

    def __init__(self, folder: Path, crop: int | None, flips: bool = True) -> None:
        self._shapes = np.load(folder / "shapes.npy")
        self._ends = self._shapes.prod(1).cumsum()
        self._crop, self._flips = crop, flips
        super().__init__(folder)
        self.image_size = crop or 0

    def _shape(self) -> tuple[int, ...]:
        return (int(self._ends[-1]) if len(self._ends) else 0,)

    @property
    def ragged(self) -> bool:
        """Whether examples may differ in size, so that a batch holds one."""
        return self._crop is None

    @property
    def unique(self) -> float:
        """How many examples are different: crops that share no pixel, in each of their orientations."""
        if self._crop is None:
            return float(len(self))
        crops = float(self._shapes[:, 1:].prod(1).sum()) / self._crop**2
        return crops * (8 if self._flips else 1)

    @property
    def sizes(self) -> str:
        """Their sizes, in words."""
        low, high = (" x ".join(map(str, side(self._shapes[:, :0:-1], axis=0))) for side in (np.min, np.max))
        return (low if low == high else f"{low} to {high}") + (
            f", crops of {self._crop} x {self._crop}" if self._crop else ""
        )

    def whole(self) -> "Photographs":
        """Return the same pictures, uncut."""
        return Photographs(self.folder, None)

    def picture(self, index: int) -> np.ndarray:
        """Return one whole picture, of pairs with the channels of the noisy one behind its own. *Shape:* (C or 2 C, H, W), uint8."""
        end, shape = self._ends[index], self._shapes[index]
        return self.pixels[end - shape.prod() : end].reshape(shape)

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """Return the middle of each picture, S x S, or whole ones: `pixel_values` in [0, 1]. *Shape:* (B, C, S, S), float32."""
        pictures = [self.picture(int(index)) for index in indices]
        if self._crop:
            pictures = [_middle(each, self._crop) for each in pictures]
        return as_example(np.stack(pictures), self.channels)

    def view(self, indices: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Return a crop of each of these pictures; its position and orientation are a pure function of the draw.

        Every position in a picture is equally likely, and so is each of the eight orientations.

        Returns:
            `pixel_values` in [0, 1]. *Shape:* (B, C, S, S), float32.
        """
        if self._crop is None:
            return self.batch(indices)
        side, crops = self._crop, []
        place = draw.bits("place", 2) >> np.uint64(32)
        turns = draw.integers("turn", 1, 8)[:, 0].tolist() if self._flips else [0] * len(indices)
        for index, at, turn in zip(indices.tolist(), place, turns, strict=True):
            picture = self.picture(index)
            top, left = (int(u) * (n - side + 1) >> 32 for u, n in zip(at, picture.shape[1:], strict=True))
            crop = np.rot90(_cut(picture, top, left, side), turn % 4, (1, 2))
            crops.append(crop[:, :, ::-1] if turn >= 4 else crop)
        return as_example(np.stack(crops), self.channels)


def _cut(picture: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    return picture[:, top : top + side, left : left + side]


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    height, width = picture.shape[1:]
    return _cut(picture, (height - side) // 2, (width - side) // 2, side)
