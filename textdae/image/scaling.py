"""Fold the scale of an image processor into the model, which then takes pixels as they are."""

from typing import Any

import torch

from textdae.core.errors import SettingsError
from textdae.image.encoder import image_input, load_processor


@torch.no_grad()
def take_plain_pixels(model: Any, checkpoint: str, undo: bool = True) -> None:
    """Let a stock ViT take pixels in [0, 1], where the processor of its checkpoint gives it (pixels - mean) / deviation.

    Args:
        model: a `ViTForMaskedImageModeling` or `ViTMAEForPreTraining`; its first layer is changed.
        checkpoint: where it comes from.
        undo: let its decoder give pixels in [0, 1], too.

    Raises:
        SettingsError: the processor scales other channels than the model has.
    """
    _, _, mean, deviation = image_input(model.config, load_processor(checkpoint))
    if not bool((mean != 0).any() or (deviation != 1).any()):
        return
    if not {len(mean), len(deviation)} <= {1, model.config.num_channels}:
        raise SettingsError(
            f"{checkpoint}: its image processor scales {len(mean)} channels, and the model has {model.config.num_channels}"
        )
    mean, deviation = (
        (torch.zeros(model.config.num_channels, 1, 1) + each).flatten() for each in (mean, deviation)
    )
    first = model.vit.embeddings.patch_embeddings.projection  # (D, C, P, P)
    first.weight /= deviation[:, None, None]
    first.bias -= (first.weight * mean[:, None, None]).sum((1, 2, 3))
    if not undo:
        return
    area = model.config.patch_size**2
    if model.config.model_type == "vit_mae":  # P, P, C
        last, scale, shift = model.decoder.decoder_pred, deviation.repeat(area), mean.repeat(area)
    else:  # C, P, P
        last, scale, shift = (
            model.decoder[0],
            deviation.repeat_interleave(area),
            mean.repeat_interleave(area),
        )
    last.weight *= scale.view(-1, *[1] * (last.weight.ndim - 1))
    last.bias.mul_(scale).add_(shift)
