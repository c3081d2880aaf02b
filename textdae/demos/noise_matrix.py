"""Train on one noise, score under another: how well the image is rebuilt, and how well its class is read.

Each row is a denoising autoencoder trained on its own noise, each column a noise that the held-out images come with.
The class is read from the code by a logistic regression that has seen the codes of the clean training images only.
"""

import functools
from typing import Any

import numpy as np
import torch

from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted, Noise
from textdae.core.noise_kind import build_noise
from textdae.demos.runs import run_once
from textdae.image.baselines import require_images_extra, score_rebuilds
from textdae.image.data.corpus import Images, prepare_images
from textdae.image.model import ImageDenoiser
from textdae.image.noises.changing import BlurNoise, GaussianNoise, SaltAndPepperNoise
from textdae.image.noises.hiding import PixelNoise
from textdae.image.noises.none import NoNoise
from textdae.image.settings import ImagePretrainSettings
from textdae.report.plots import new_figure
from textdae.training.evaluation import corrupt_for_evaluation, subsample

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-noise-matrix",
    "data": {"source": "digits"},
    "model": {"type": "autoencoder", "code_size": 32, "hidden_size": 256},
    "train": {"max_steps": 1500},
}
NOISES = {
    "none": NoNoise(),
    "gaussian .25": GaussianNoise(sigma=0.25),
    "salt and pepper .25": SaltAndPepperNoise(rate=0.25),
    "pixels .5": PixelNoise(rate=0.5),
    "blur 1": BlurNoise(sigma=1.0),
}
_MOST = 10_000


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train one autoencoder a noise, draw `noise-matrix.png`, and return the numbers."""
    require_images_extra()
    if settings.model.type != "autoencoder":
        raise SettingsError("demo noise-matrix: the class is read from a code; use model.type=autoencoder")
    corpus = prepare_images(settings.data)
    if not corpus.train.has_labels:
        raise SettingsError(
            f"demo noise-matrix: {settings.data.source} has no labels to read; use digits, or set data.label_column"
        )
    psnr = np.zeros((len(NOISES), len(NOISES)))
    accuracy = np.zeros_like(psnr)
    indices = subsample(len(corpus.held_out), settings.evaluate.max_examples)
    for row, (trained_on, noise) in enumerate(NOISES.items()):
        changes = {"noise": noise.model_dump(mode="json")}
        folder, _ = run_once(settings, trained_on.replace(" ", "-"), changes)
        denoiser = ImageDenoiser.from_pretrained(str(folder))
        read = _probe(denoiser, corpus.train)
        for column, other in enumerate(NOISES.values()):
            eval_noise = build_noise((other,))
            model = functools.partial(_rebuild, denoiser)
            rows, _ = score_rebuilds({"model": model}, corpus.held_out, eval_noise, indices)
            psnr[row, column] = rows["model"]["psnr"]
            codes = _codes(denoiser, corpus.held_out, eval_noise, indices)
            accuracy[row, column] = (read(codes) == corpus.held_out.labels[indices].numpy()).mean()
    path = settings.output_dir / "noise-matrix.png"
    _draw(
        {"PSNR of the rebuilt image (dB)": psnr, "accuracy of reading the class from the code": accuracy},
        path,
    )
    lines = [f"{'trained on':22}" + "".join(f"{name:>22}" for name in NOISES)]
    for name, decibels, shares in zip(NOISES, psnr, accuracy, strict=True):
        cells = [f"{d:.1f} dB, {a:.1%}" for d, a in zip(decibels, shares, strict=True)]
        lines.append(f"{name:22}" + "".join(f"{cell:>22}" for cell in cells))
    return [*lines, f"picture: {path}"]


@torch.no_grad()
def _rebuild(denoiser: ImageDenoiser, corrupted: Corrupted) -> np.ndarray:
    rebuilt: np.ndarray = denoiser.rebuild(corrupted.inputs).numpy()
    return rebuilt


@torch.no_grad()
def _codes(denoiser: ImageDenoiser, images: Images, noise: Noise, indices: torch.Tensor) -> np.ndarray:
    parts = [
        denoiser.encode(corrupt_for_evaluation(images, noise, part).inputs).numpy()
        for part in indices.split(512)
    ]
    return np.concatenate(parts)


def _probe(denoiser: ImageDenoiser, train: Images) -> Any:
    """Fit a logistic regression on the codes of clean training images; return a function from codes to classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    indices = subsample(len(train), _MOST)
    codes = _codes(denoiser, train, build_noise((NoNoise(),)), indices)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return probe.fit(codes, train.labels[indices].numpy()).predict


def _draw(matrices: dict[str, np.ndarray], path: Any) -> None:
    figure = new_figure(13.0, 5.0)
    for axes, (title, matrix) in zip(figure.subplots(1, 2), matrices.items(), strict=True):
        axes.imshow(matrix, cmap="viridis")
        axes.set_xticks(range(len(NOISES)), NOISES, rotation=25, ha="right")
        axes.set_yticks(range(len(NOISES)), NOISES)
        axes.set_xlabel("held-out images come with")
        axes.set_ylabel("trained on")
        axes.set_title(title, fontsize=11)
        dark = matrix.mean()
        for (row, column), value in np.ndenumerate(matrix):
            text = f"{value:.1f}" if value > 1 else f"{value:.0%}"
            axes.text(column, row, text, ha="center", va="center", color="white" if value < dark else "black")
    figure.savefig(path, dpi=120)
