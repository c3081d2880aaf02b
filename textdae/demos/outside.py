"""A U-Net without biases carries over to levels of noise that it never saw (Mohan et al. 2020).

A U-Net with biases learns the strength of its noise with them, and fails at others. Without biases it scales with its input: a
picture twice as bright, with twice the noise, gives twice the output.
"""

from typing import Any

import numpy as np

from textdae.core.errors import SettingsError
from textdae.demos.photos import HELD_OUT, TRAIN, decibels, photograph, write
from textdae.demos.runs import run_once
from textdae.image.model import ImageDenoiser
from textdae.image.settings import ImagePretrainSettings
from textdae.report.plots import new_figure

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-outside",
    "data": {"crop": 48},
    "noise": {"kind": "gaussian", "sigma": 0.08, "schedule": "uniform"},
    "model": {"type": "unet", "hidden_size": 24, "num_hidden_layers": 2},
    "train": {"time_budget": "60s", "eval_steps": 0, "save_steps": 0},
}
LEVELS = (0.02, 0.04, 0.08, 0.12, 0.16, 0.24, 0.32, 0.4)
_SIDE = 256


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train a U-Net with biases and one without, draw `outside.png`, and return what it shows in words."""
    noise = settings.noise[0]
    if len(settings.noise) > 1 or noise.kind != "gaussian" or settings.model.type != "unet":
        raise SettingsError(
            "demo outside: it is about a U-Net and Gaussian noise; leave noise.kind and model.type alone"
        )
    photos = settings.output_dir / "photos"
    for name in TRAIN:
        write(photograph(name), photos / f"{name}.png")
    clean = [photograph(name)[100 : 100 + _SIDE, 100 : 100 + _SIDE] for name in HELD_OUT]
    normals = np.random.default_rng(0).standard_normal((len(clean), _SIDE, _SIDE)).astype(np.float32)
    noisy = {level: [each + level * n for each, n in zip(clean, normals, strict=True)] for level in LEVELS}
    curves = {"the noisy picture": [_mean(noisy[level], clean) for level in LEVELS]}
    for name, bias in (("with biases", True), ("without biases", False)):
        changes = {"data": {"source": str(photos)}, "model": {"bias": bias}}
        folder, _ = run_once(settings, name.replace(" ", "-"), changes)
        denoise = ImageDenoiser.from_pretrained(folder).denoise
        curves[name] = [_mean([denoise(each) for each in noisy[level]], clean) for level in LEVELS]
    path = settings.output_dir / "outside.png"
    _draw(curves, noise.level.start, path)
    lines = [f"{'level':20}" + "".join(f"{level:>8g}" for level in LEVELS)]
    lines += [f"{name:20}" + "".join(f"{value:8.1f}" for value in row) for name, row in curves.items()]
    seen = f"(PSNR in dB on photographs held out; in training the level was at most {noise.level.start:g})"
    return [*lines, seen, f"picture: {path}"]


def _mean(pictures: list[np.ndarray], clean: list[np.ndarray]) -> float:
    return float(np.mean([decibels(p.clip(0, 1), c) for p, c in zip(pictures, clean, strict=True)]))


def _draw(curves: dict[str, list[float]], highest: float, path: Any) -> None:
    figure = new_figure(7.0, 4.4)
    axes = figure.add_subplot()
    styles = {"the noisy picture": ("#57534e", ":"), "with biases": ("#d97706", "--")}
    for name, values in curves.items():
        color, style = styles.get(name, ("#2563eb", "-"))
        axes.plot(LEVELS, values, marker="o", markersize=4, color=color, linestyle=style, label=name)
    axes.axvspan(0, highest, color="#2563eb", alpha=0.08, label="levels of the training")
    axes.set_xlim(0, max(LEVELS) * 1.03)
    axes.set_xlabel("level of the noise, white is 1")
    axes.set_ylabel("PSNR in dB, photographs held out")
    axes.set_title("levels never seen")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
