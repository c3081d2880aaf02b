"""The two embedded sources of pictures: scikit-learn's digits, and 3 x 3 patterns with two kinds of variation.

N pictures.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from textdae.core.cache import digest
from textdae.core.errors import SettingsError
from textdae.image.data.sources import Entry, ImageSource

PATTERNS = 4096


def digits() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return 1,797 handwritten digits (Alpaydin and Kaynak 1998): pixels (N, 1, 8, 8) uint8, class (N,), names of the
    classes.

    Raises:
        SettingsError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise SettingsError(
            "data.source: digits come with scikit-learn; run: pip install 'textdae[images]'"
        ) from None
    dataset = load_digits()
    # Levels 0..16 become 0..255.
    pixels = np.rint(dataset.images * (255 / 16)).astype(np.uint8)[:, None]
    return pixels, dataset.target.astype(np.int64), [str(name) for name in dataset.target_names]


def patterns(count: int = PATTERNS) -> tuple[np.ndarray, np.ndarray]:
    """Return crosses on 3 x 3 pixels that vary in exactly two ways: pixels (N, 1, 3, 3) uint8, and the two (N, 2).

    The first is where the upright bar stands, from the left column (0) to the right (2); the second is where the level
    bar lies, from the top row (0) to the bottom (2). A bar between two columns lies on both. The two are independent,
    so two numbers say everything; but moving a bar is not a straight line in pixel space, so two *linear* numbers do
    not.
    """
    # The additive recurrence of the plastic number covers the square evenly (Roberts 2018); nothing is random.
    plastic = 1.324717957244746
    steps = np.arange(1, count + 1)[:, None] * np.array([1 / plastic, 1 / plastic**2])
    positions = 2 * ((steps + 0.5) % 1.0)
    bars = np.clip(1 - np.abs(positions[:, :, None] - np.arange(3)), 0, 1)
    pixels = np.maximum(bars[:, 0, None, :], bars[:, 1, :, None])
    return np.rint(pixels[:, None] * 255).astype(np.uint8), positions.astype(np.float32)


def digits_source() -> ImageSource:
    """Return the digits as a source, with their classes."""
    pixels, labels, names = digits()
    return _source("digits", pixels, labels.tolist(), names)


def patterns_source() -> ImageSource:
    """Return the patterns as a source."""
    pixels, _ = patterns()
    return _source("patterns", pixels, [None] * len(pixels), None)


def _source(name: str, pixels: Any, labels: list[Any], class_names: list[str] | None) -> ImageSource:
    def entries() -> Iterator[Entry]:
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            picture = Image.fromarray(image[0])
            yield f"{name}, picture {number}", functools.partial(_as_it_is, picture), label

    return ImageSource(name, digest(name, pixels.tobytes().hex()), len(pixels), entries, class_names)


def _as_it_is(picture: Image.Image, notes: Counter[str]) -> Image.Image:
    return picture
