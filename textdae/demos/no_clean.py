"""Denoisers that never see a clean picture.

The best guess of a second noisy picture of the same scene is the clean picture (Noise2Noise, Lehtinen et al. 2018). So is the
best guess of a noisy pixel from its surroundings (Noise2Void, Krull et al. 2019) or from its neighbour (Neighbor2Neighbor, Huang et
al. 2021), if the noise of each pixel is independent.
"""

from pathlib import Path
from typing import Any

import numpy as np

from textdae.core.errors import SettingsError
from textdae.demos.photos import HELD_OUT, TRAIN, decibels, photograph, write
from textdae.demos.runs import run_once
from textdae.image.model import ImageDenoiser
from textdae.image.settings import ImagePretrainSettings
from textdae.report.grids import picture_grid

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-no-clean",
    "data": {"crop": 48},
    "noise": {"kind": "blind_spots", "rate": 0.05},
    "model": {"type": "unet", "hidden_size": 24, "num_hidden_layers": 2},
    "train": {"time_budget": "40s", "eval_steps": 0, "save_steps": 0},
}
_SIGMA, _BLACK, _CONTRAST = 0.1, 0.25, 0.5
_SIDE, _SHOWN = 256, 96


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train towards clean pictures, other noisy ones and hidden noisy pixels, draw `no-clean.png`, and return what it shows."""
    if settings.noise[0].kind != "blind_spots" or settings.model.type != "unet":
        raise SettingsError(
            "demo no-clean: it is about blind spots and a U-Net; leave noise.kind and model.type alone"
        )
    folder = settings.output_dir / "photos"
    _write_photographs(folder)

    def pairs(target: str) -> dict[str, Any]:
        return {"source": str(folder / target), "noisy_source": str(folder / "first")}

    noise = settings.noise[0].model_dump(mode="json")
    ways = {
        "clean target": {"data": pairs("clean"), "noise": {"kind": "pairs"}},
        "noisy target": {"data": pairs("second"), "noise": {"kind": "pairs"}},
        "blind spots": {"data": {"source": str(folder / "first")}, "noise": noise},
        "neighbours": {"data": {"source": str(folder / "first")}, "noise": {"kind": "neighbours"}},
    }
    clean = [_dimmed(photograph(name)[100 : 100 + _SIDE, 100 : 100 + _SIDE]) for name in HELD_OUT]
    generator = np.random.default_rng(1)
    noisy = [each + _SIGMA * generator.standard_normal(each.shape) for each in clean]
    rows, lines = {"clean": clean, "noisy": noisy}, []
    for name, changes in ways.items():
        where, _ = run_once(settings, name.replace(" ", "-"), changes)
        denoise = ImageDenoiser.from_pretrained(where).denoise
        rows[name] = [denoise(each) for each in noisy]
    grid = {}
    for name, pictures in rows.items():
        label = name
        if name != "clean":
            score = float(np.mean([decibels(p, c) for p, c in zip(pictures, clean, strict=True)]))
            label = f"{name}, {score:.1f} dB"
            lines.append(f"{name}: {score:.2f} dB from the clean pictures")
        shown = [each[top : top + _SHOWN, :_SHOWN] for each in pictures for top in (0, _SIDE - _SHOWN)]
        grid[label] = ((np.stack(shown)[:, None] - _BLACK) / _CONTRAST).clip(0, 1)
    path = settings.output_dir / "no-clean.png"
    picture_grid(grid, path)
    return [*lines, f"picture: {path} (photographs held out; noise of level {_SIGMA:g})"]


def _dimmed(pixels: np.ndarray) -> np.ndarray:
    """Reduce the contrast, so that 8 bits clip almost no noise."""
    dimmed: np.ndarray = _BLACK + _CONTRAST * pixels
    return dimmed


def _write_photographs(folder: Path) -> None:
    """Write the clean photographs, and two noisy ones of each; the second with other noise."""
    for number, name in enumerate(TRAIN):
        clean, generator = _dimmed(photograph(name)), np.random.default_rng(10 + number)
        write(clean, folder / "clean" / f"{name}.png")
        for which in ("first", "second"):
            write(clean + _SIGMA * generator.standard_normal(clean.shape), folder / which / f"{name}.png")
