"""Build the image denoiser of a pretraining run from its settings, and what lies beside its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from textdae.core.building import build_seeded
from textdae.core.errors import SettingsError
from textdae.image.model import ImageDenoiser, as_denoiser
from textdae.image.models.unet import UNet
from textdae.image.starting import load_start


def build_image_denoiser(
    settings: Any, image_size: int, channels: int, seed: int, check: Callable[[int], None] | None = None
) -> ImageDenoiser:
    """Build a denoiser with fresh weights (a pure function of the seed), or with those of `model.from_pretrained`.

    Args:
        check: see `build_seeded`.

    Raises:
        SettingsError: no such checkpoint, or sizes that do not fit the images or each other.
    """
    if settings.from_pretrained:
        model, summary = load_start(settings.from_pretrained, seed)
        check_fits(model, image_size, channels, f"model.from_pretrained: {settings.from_pretrained}")
        denoiser = as_denoiser(model)
        denoiser.summary = tuple(summary)
        return denoiser
    try:
        return as_denoiser(build_seeded(lambda: settings.build(image_size, channels), seed, check))
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise SettingsError(f"model: {settings.type} cannot be built so: {why}") from None


def check_fits(model: PreTrainedModel, image_size: int, channels: int, what: str) -> None:
    """Refuse a model for images of other size or channels.

    Raises:
        SettingsError: names what to set.
    """
    config = model.config
    if config.num_channels != channels:
        raise SettingsError(
            f"{what} takes {config.num_channels} channel(s), the images have {channels}; "
            f"set data.channels={config.num_channels}"
        )
    if config.image_size != image_size and not isinstance(model, UNet):
        raise SettingsError(
            f"{what} takes images of {config.image_size} x {config.image_size}, these have {image_size} x {image_size}; "
            f"set data.image_size={config.image_size}"
        )


def save_image_processor(folder: Path, image_size: int, channels: int) -> None:
    """Write the processor that brings a picture to the size of training: shorter side resized, middle cut out, pixels in [0, 1].

    Encoders and classifiers take pictures so, also those of a run on crops; denoising takes pictures as they are.
    """
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
        resample=3,  # bicubic
        do_normalize=False,
        do_convert_rgb=channels == 3,
    )
    processor.save_pretrained(str(folder))
