"""Image models for `textdae export`: denoisers, but for those that draw numbers of their own, and classifiers."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForImageClassification, ViTMAEForPreTraining
from transformers.utils import ModelOutput

from textdae.core.encoder_decoder import EncoderDecoder
from textdae.core.errors import SettingsError
from textdae.core.exportable import Exportable
from textdae.downstream.task import config_of
from textdae.hub.locate import load_pretrained
from textdae.image.encoder import image_input, load_processor
from textdae.image.model import load_image_model
from textdae.image.models.unet import UNet

_NOISE = 0.25


@dataclass
class DenoisedOutput(ModelOutput):
    """What our own denoisers give, in a form that transformers' exporter can take apart."""

    reconstruction: Tensor | None = None
    """(B, C, H, W)"""
    embedding: Tensor | None = None
    """(B, ...)"""


def open_exportable(checkpoint: str) -> Exportable:
    """Load the model of a checkpoint, with the head that its config names.

    Raises:
        SettingsError: there is none, or it draws numbers of its own.
    """
    config = config_of(checkpoint)
    if (config.architectures or [""])[0].endswith("ForImageClassification"):
        model: Any = load_pretrained(AutoModelForImageClassification, checkpoint)
    else:
        model = load_image_model(checkpoint)
    if isinstance(model, ViTMAEForPreTraining):
        raise SettingsError(
            f"export: {checkpoint} draws the patches that it hides by itself; fine-tune it first"
        )
    if isinstance(model, EncoderDecoder):
        _name_outputs(model)
    size, channels, mean, deviation = image_input(config, load_processor(checkpoint))
    has_level = isinstance(model, UNet) and config.condition == "level"

    def collate(pictures: Sequence[Any]) -> dict[str, Tensor]:
        """(B, C, H, W)"""
        pixels = torch.from_numpy(np.stack(pictures)).float() / 255
        inputs = {"pixel_values": ((pixels - mean) / deviation).float()}
        return inputs | ({"level": torch.full((len(pictures),), _NOISE)} if has_level else {})

    def draw(count: int) -> Sequence[Any]:
        generator = np.random.default_rng(0)
        return list(generator.integers(0, 256, (count, channels, size, size), dtype=np.uint8))

    free: dict[str, tuple[int, ...]] = {"pixel_values": (2, 3) if isinstance(model, UNet) else ()}
    return Exportable(model.eval(), collate, draw, free | ({"level": ()} if has_level else {}), "pictures")


def _name_outputs(model: Any) -> None:
    """Let the model return its outputs by name."""
    forward = model.forward

    @functools.wraps(forward)
    def named(*args: Any, **kwargs: Any) -> DenoisedOutput:
        return DenoisedOutput(*forward(*args, **kwargs)[:2])

    model.forward = named
