"""Photographs that come with scikit-image and scikit-learn, for the demos: grey, as files.

H, W pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from textdae.report.scores import psnr

TRAIN = ("astronaut", "chelsea", "coffee", "rocket", "china", "flower")
HELD_OUT = ("camera", "moon")


def photograph(name: str) -> np.ndarray:
    """Return a photograph by its name, in [0, 1]. (H, W), float32."""
    from skimage import color, data
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image(f"{name}.jpg") if name in ("china", "flower") else getattr(data, name)()
    if pixels.ndim == 3:
        pixels = color.rgb2gray(pixels)
    grey: np.ndarray = (pixels if pixels.dtype.kind == "f" else pixels / 255).astype(np.float32)
    return grey


def write(pixels: np.ndarray, file: Path) -> None:
    """Write a picture (H, W) in [0, 1], in 8 bits, unless the file exists."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)).save(file)


def decibels(rebuilt: np.ndarray, clean: np.ndarray) -> float:
    """Return the PSNR in dB."""
    return psnr(float(np.square(rebuilt.astype(np.float64) - clean).mean()))
