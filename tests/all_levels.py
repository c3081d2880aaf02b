"""A checkpoint of all levels of Gaussian noise with its settings beside it, as a run leaves it; its weights are drawn."""

from pathlib import Path

import torch

from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.yaml_text import dump
from textdae.image.building import save_image_processor
from textdae.image.models.unet import UNet, UNetConfig


def save_unet_of_all_levels(folder: Path, size: int) -> Path:
    torch.manual_seed(0)
    UNet(UNetConfig(size, 1, 8, 1, condition="level")).save_pretrained(folder)
    save_image_processor(folder, size, 1)
    words = ["data.source=digits", "model.type=unet", "model.condition=level", "noise.schedule=log_uniform", "noise.sigma=20"]  # fmt: skip
    (folder / "settings.yaml").write_text(dump(load(PretrainSettings, None, words)))
    return folder
