"""Clean images of one size, by index.

N images, B batch, C channels, H = W pixels.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Images:
    """Clean images, numbered from 0.

    Args:
        folder: one side of a prepared corpus; its pixels are memory-mapped, not read.

    Attributes:
        pixels: *Shape:* (N, C, H, W), uint8.
        labels: the class of each image, -1 where there is none. *Shape:* (N,), int64.
        classes: their names.
    """

    def __init__(self, folder: Path) -> None:
        info = json.loads((folder / "info.json").read_text())
        self.folder = folder
        self.labels = torch.from_numpy(np.load(folder / "labels.npy"))
        self.classes: list[str] = info["classes"]
        self.image_size, self.channels = info["image_size"], info["channels"]
        self._planes: int = info.get("planes", self.channels)
        path, shape = folder / "pixels.bin", self._shape()
        self.pixels: np.ndarray = (
            np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)
        )

    def _shape(self) -> tuple[int, ...]:
        """Return the shape of `pixels`."""
        return len(self.labels), self._planes, self.image_size, self.image_size

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> str:
        """Describe their size."""
        return f"{self.image_size} x {self.image_size}"

    @property
    def has_labels(self) -> bool:
        """Return whether any image has a class."""
        return bool((self.labels >= 0).any())

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """Return the clean images of these indices: `pixel_values` in [0, 1]; of pairs also the noisy ones, `noisy_values`.

        *Shape:* (B, C, H, W) each, float32.
        """
        return as_example(self.pixels[np.asarray(indices, dtype=np.int64)], self.channels)


def as_example(pixels: np.ndarray, channels: int) -> dict[str, Tensor]:
    """Split clean pixels, and for pairs the noisy ones behind them, (B, C or 2 C, H, W) uint8, by name; in [0, 1]."""
    planes = torch.from_numpy(pixels).float() / 255
    clean, noisy = planes[:, :channels], planes[:, channels:]
    return {"pixel_values": clean, "noisy_values": noisy} if noisy.shape[1] else {"pixel_values": planes}
