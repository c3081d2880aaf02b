"""Code -> picture -> code: where data lie, a code comes back; elsewhere it does not.

An autoencoder is trained to give back pictures, not codes. No loss asks for this cycle (that of CycleGAN, Zhu et al. 2017, does).
"""

from typing import Any

import numpy as np
import torch

from textdae.core.errors import SettingsError
from textdae.demos.runs import run_once
from textdae.image.data.corpus import prepare_images
from textdae.image.model import ImageDenoiser
from textdae.image.settings import ImagePretrainSettings
from textdae.report.plots import new_figure

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-cycle",
    "data": {"source": "digits"},
    "noise": {"kind": "gaussian", "sigma": 0.1},
    "model": {"type": "autoencoder", "code_size": 2, "hidden_size": 256},
    "train": {"max_steps": 3000, "learning_rate": 2e-3, "eval_steps": 0, "save_steps": 0},
}
_GRID = 121


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train an autoencoder with a code of two numbers, draw `cycle.png`, and return what it shows in words."""
    if settings.model.type != "autoencoder" or settings.model.code_size != 2:
        raise SettingsError(
            "demo cycle: its picture is a plane of codes; leave model.type and model.code_size alone"
        )
    folder, _ = run_once(settings, "autoencoder", {})
    denoiser = ImageDenoiser.from_pretrained(folder)
    held_out = prepare_images(settings.data).held_out
    codes = denoiser.codes(held_out)
    low, high = codes.min(0), codes.max(0)
    low, high = low - (high - low), high + (high - low)
    axes = [np.linspace(*ends, _GRID, dtype=np.float32) for ends in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    scale = codes.std(0)

    def moved(codes: np.ndarray) -> np.ndarray:
        """Return how far one cycle moves each code, in standard deviations of the codes of the data. (n,)."""
        pictures = torch.from_numpy(denoiser.decoded(codes))
        with torch.no_grad():
            back = denoiser.encode({"pixel_values": pictures}).numpy()
        distance: np.ndarray = np.linalg.norm((back - codes) / scale, axis=1)
        return distance

    far = torch.cdist(torch.from_numpy(grid / scale), torch.from_numpy(codes / scale)).amin(1).numpy()
    at_data, around = moved(codes), moved(grid)
    path = settings.output_dir / "cycle.png"
    _draw(axes, around.reshape(_GRID, _GRID), codes, held_out, path)
    lines = [
        f"a code of a held-out image comes back within {np.median(at_data):.3f} standard deviations (median)"
    ]
    for near, until in ((0.5, 1.0), (1.0, 2.0), (2.0, np.inf)):
        chosen = (far >= near) & (far < until)
        if chosen.any():
            where = f"{near:g} to {until:g}" if until < np.inf else f"more than {near:g}"
            lines.append(f"a code {where} away from the nearest of them: {np.median(around[chosen]):.3f}")
    return [*lines, f"picture: {path}"]


def _draw(axes_of: list[np.ndarray], moved: np.ndarray, codes: np.ndarray, images: Any, path: Any) -> None:
    figure = new_figure(8.2, 6.4)
    axes = figure.add_subplot()
    (left, right), (bottom, top) = ((each[0], each[-1]) for each in axes_of)
    shown = axes.imshow(
        np.log10(moved.clip(1e-2)),
        origin="lower",
        extent=(left, right, bottom, top),
        aspect="auto",
        cmap="magma",
    )
    bar = figure.colorbar(shown, ax=axes, label="how far a cycle carries a code, in standard deviations")
    ticks = [n for n in range(-2, 5) if n <= float(shown.get_clim()[1])]
    bar.set_ticks(ticks, labels=[f"{10.0**n:g}" for n in ticks])
    labels = images.labels.numpy()
    axes.scatter(codes[:, 0], codes[:, 1], c=labels, s=9, cmap="tab10", edgecolors="white", linewidths=0.3)
    axes.set_xlabel("first number of the code")
    axes.set_ylabel("second")
    axes.set_title("code -> picture -> code comes back where data lie (dots: held-out images)")
    figure.savefig(path, dpi=110)
