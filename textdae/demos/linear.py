"""The linear autoencoder is PCA.

Trained by gradient descent, its decoder spans the directions in which images vary most (Baldi and Hornik 1989). Its code equals
that of PCA up to an invertible matrix, so the demo compares the two spaces by their angles.
"""

from typing import Any

import numpy as np
import torch

from textdae.core.errors import SettingsError
from textdae.demos.runs import run_once
from textdae.image.data.corpus import prepare_images
from textdae.image.model import ImageDenoiser
from textdae.image.settings import ImagePretrainSettings
from textdae.report.grids import picture_grid

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-linear",
    "data": {"source": "digits"},
    "noise": {"kind": "none"},
    "model": {"type": "autoencoder", "num_hidden_layers": 0, "code_size": 4},
    "train": {"max_steps": 2000, "learning_rate": 5e-3, "weight_decay": 0, "eval_steps": 0, "save_steps": 0},
}


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train a linear autoencoder, draw `linear.png`, and return what it shows in words."""
    model = settings.model
    if model.type != "autoencoder" or model.num_hidden_layers or settings.noise[0].kind != "none":
        raise SettingsError(
            "demo linear: it is about linear autoencoders without noise; leave model.type, model.num_hidden_layers and "
            "noise alone"
        )
    folder, metrics = run_once(settings, "autoencoder", {})
    images = prepare_images(settings.data).train
    pixels = images.batch(torch.arange(len(images)))["pixel_values"]
    flat = pixels.flatten(1).double().numpy()
    denoiser = ImageDenoiser.from_pretrained(str(folder))
    width = denoiser.model.config.code_size
    decoder: np.ndarray = denoiser.model.decoder[0][0].weight.detach().double().numpy()
    directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:width].T
    angles, ours, theirs = principal_angles(decoder, directions)
    shape = (width, *pixels.shape[1:])
    path = settings.output_dir / "linear.png"
    picture_grid(
        {"PCA": _as_images(theirs, shape), "linear autoencoder": _as_images(ours, shape)},
        path,
    )
    held_out = metrics["held_out"]
    return [
        "angles between the two spaces, in degrees: " + ", ".join(f"{angle:.1f}" for angle in angles),
        f"squared error on held-out images: autoencoder {held_out['model']['mse']:.5f}, "
        f"PCA {held_out[f'baseline: PCA {width}']['mse']:.5f}",
        f"picture: {path} (the directions of each space that are nearest to the other)",
    ]


def principal_angles(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the spaces of the columns of two matrices (D, K) (Björck and Golub 1973).

    Returns:
        The principal angles in degrees (K,), and in either space the directions between which they lie (D, K).
    """
    one, other = (np.linalg.qr(matrix)[0] for matrix in (first, second))
    left, cosines, right = np.linalg.svd(one.T @ other)
    return np.degrees(np.arccos(cosines.clip(0, 1))), one @ left, other @ right.T


def _as_images(directions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return directions (D, K) as images around mid-grey. (K, C, H, W)."""
    sign = np.sign(directions[np.abs(directions).argmax(0), range(directions.shape[1])])
    scaled: np.ndarray = 0.5 + 0.5 * directions * sign / np.abs(directions).max(0)
    return scaled.T.reshape(shape)
