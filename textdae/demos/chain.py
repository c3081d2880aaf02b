"""A denoiser of all levels is a generator: it draws new digits from noise, down a chain of levels."""

from typing import Any

import torch

from textdae.core.errors import SettingsError
from textdae.demos.runs import run_once
from textdae.image.data.corpus import prepare_images
from textdae.image.model import ImageDenoiser
from textdae.image.sampling import Levels, chain, karras_levels
from textdae.image.settings import ImagePretrainSettings
from textdae.report.grids import picture_grid

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-chain",
    "data": {"source": "digits"},
    "noise": {"kind": "gaussian", "sigma": 20.0, "schedule": "log_uniform"},
    "model": {"type": "unet", "condition": "level", "hidden_size": 64},
    "train": {"time_budget": "90s", "eval_steps": 0},
}
STEPS, SHOWN, COUNT = 40, 6, 10


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train a denoiser of all levels, draw `chain.png`, and return what it shows in words."""
    if getattr(settings.model, "condition", None) != "level":
        raise SettingsError(
            "demo chain: it needs a model of all levels; set model.condition=level, the default here"
        )
    folder, _ = run_once(settings, "denoiser", {})
    denoiser = ImageDenoiser.from_pretrained(str(folder))
    config = denoiser.model.config
    shape = (COUNT, config.num_channels, config.image_size, config.image_size)
    drawn = settings.noise[0].level
    trained = Levels.of(drawn.start, drawn.end)
    levels = karras_levels(trained, STEPS)
    rows = {}
    for step, pictures in enumerate(chain(denoiser, shape, trained, STEPS, settings.train.seed)):
        if step % (STEPS // SHOWN) == 0 or step == STEPS:
            rows[f"level {levels[step]:.2f}"] = pictures.clamp(0, 1).numpy()
    images = prepare_images(settings.data).train
    train_images = images.batch(torch.arange(len(images)))["pixel_values"]
    distances = torch.cdist(pictures.flatten(1), train_images.flatten(1))
    nearest = distances.argmin(1)
    rows["nearest in the data"] = train_images[nearest].numpy()
    path = settings.output_dir / "chain.png"
    picture_grid(rows, path)
    error = float(distances.amin(1).square().mean()) / train_images[0].numel()
    return [
        f"{COUNT} samples in {STEPS} steps from noise of level {trained.highest:g}",
        f"mean squared difference to the nearest image of the data: {error:.4f}",
        f"picture: {path}",
    ]
