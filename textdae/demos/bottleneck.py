"""How wide must the bottleneck be? As wide as there are kinds of variation.

The 3 x 3 patterns are crosses that vary in two ways: where the upright bar stands, and where the level bar lies. So
the error of an autoencoder falls off at a code of two numbers, and the two numbers are a map of the two variations. A
linear autoencoder has no such elbow, because moving a bar is not a straight line in pixel space.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from textdae.core.errors import SettingsError
from textdae.demos.runs import run_once
from textdae.image.data.embedded import patterns
from textdae.image.model import ImageDenoiser
from textdae.image.settings import ImagePretrainSettings
from textdae.report.plots import new_figure

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-bottleneck",
    "data": {"source": "patterns"},
    "noise": {"kind": "none"},
    "model": {"type": "autoencoder", "hidden_size": 256, "num_hidden_layers": 2},
    "train": {
        "max_steps": 3000,
        "learning_rate": 2e-3,
        "eval_steps": 0,
        "save_steps": 0,
        "logging_steps": 100,
    },
}
WIDTHS = (1, 2, 3, 4)


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train eight autoencoders, draw `bottleneck.png`, and return what it shows in words."""
    resized = settings.data.image_size or settings.data.channels
    if settings.data.source != "patterns" or resized or settings.model.type != "autoencoder":
        raise SettingsError(
            "demo bottleneck: it is about autoencoders of the 3x3 patterns; leave data.source, data.image_size, "
            "data.channels and model.type alone"
        )
    errors: dict[str, list[float]] = {"autoencoder": [], "linear autoencoder": []}
    for name, model in (("autoencoder", {}), ("linear autoencoder", {"num_hidden_layers": 0})):
        for width in WIDTHS:
            changes = {"model": {**model, "code_size": width}}
            _, metrics = run_once(settings, f"{name.replace(' ', '-')}-{width}", changes)
            errors[name].append(metrics["held_out"]["model"]["mse"])
    path = settings.output_dir / "bottleneck.png"
    _draw(errors, settings.output_dir / "autoencoder-2", path)
    lines = [f"{'code width':20}" + "".join(f"{width:>10}" for width in WIDTHS)]
    lines += [f"{name:20}" + "".join(f"{error:10.5f}" for error in row) for name, row in errors.items()]
    return [*lines, "(mean squared error on held-out patterns)", f"picture: {path}"]


@torch.no_grad()
def _draw(errors: dict[str, list[float]], two: Path, path: Path) -> None:
    pixels, variations = patterns()
    clean = torch.from_numpy(pixels).float() / 255
    codes: np.ndarray = ImageDenoiser.from_pretrained(str(two)).encode({"pixel_values": clean}).numpy()
    figure = new_figure(12.5, 3.9)
    left, *maps = figure.subplots(1, 3)
    for (name, row), style in zip(errors.items(), ("o-", "s--"), strict=True):
        left.plot(WIDTHS, row, style, label=name, color="#2563eb" if style == "o-" else "#d97706")
    left.set_yscale("log")
    left.set_xticks(WIDTHS)
    left.set_xlabel("code width K")
    left.set_ylabel("mean squared error, held out")
    left.set_title("two kinds of variation, two numbers")
    left.legend(frameon=False, fontsize=9)
    left.grid(alpha=0.25)
    for axes, values, name in zip(
        maps, variations.T, ("place of the upright bar", "place of the level bar"), strict=True
    ):
        dots = axes.scatter(codes[:, 0], codes[:, 1], c=values, s=4, cmap="viridis")
        figure.colorbar(dots, ax=axes, label=name)
        axes.set_xlabel("first number of the code")
        axes.set_ylabel("second")
        axes.set_title(f"code of width 2, coloured by\n{name}", fontsize=10)
    figure.savefig(path, dpi=120)
