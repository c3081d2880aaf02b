"""Start from a checkpoint, `model.from_pretrained`; an encoder without a decoder gets a fresh one.

C channels, P patch size, D width of the encoder.
"""

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from textdae.core.errors import SettingsError, first_line
from textdae.core.names import public
from textdae.core.weights import load_weights
from textdae.hub.locate import locate
from textdae.image.model import LOADERS, load_image_model
from textdae.image.models.mae import init_positions
from textdae.image.scaling import take_plain_pixels
from textdae.image.spec import OWN_MODEL_TYPES


def load_start(name: str, seed: int) -> tuple[PreTrainedModel, list[str]]:
    """Load a model to go on from, for pixels in [0, 1].

    Where its processor scales the pixels otherwise, that is folded into its first layer, and undone in its own decoder.

    Args:
        name: a checkpoint that is a denoiser, or the encoder of one: any stock ViT.
        seed: of the weights of a decoder that it lacks.

    Returns:
        The model, and lines on what is not as it was.

    Raises:
        SettingsError: there is none, or it is of an unknown family.
    """
    folder = locate(name)
    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError ...: one line each
        raise SettingsError(f"no image model could be loaded from {name!r}: {first_line(error)}") from None
    if config.model_type not in LOADERS or config.model_type in OWN_MODEL_TYPES:
        return load_image_model(name), []
    if config.model_type == "vit":
        config.encoder_stride = config.patch_size
    summary = []
    if getattr(config, "norm_pix_loss", False):
        config.norm_pix_loss = False
        summary.append(
            f"{public(name)} gave patches of mean 0 and deviation 1; here it learns to give the pixels"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, missing = load_weights(LOADERS[config.model_type], folder, config=config)
        fresh = [key for key in missing if not key.endswith("embeddings.mask_token")]
        if body := [key for key in fresh if not key.startswith("decoder.")]:
            raise ValueError(f"its weights lack {body[0]}, so it holds no {config.model_type} encoder")
    except Exception as error:  # OSError, ValueError, safetensors errors ...: one line each
        raise SettingsError(f"no image model could be loaded from {name!r}: {first_line(error)}") from None
    if fresh:
        summary.append(
            f"{public(name)} has no decoder: one is added, {len(fresh)} of its weights begin at random "
            f"({fresh[0]}{', ...' if len(fresh) > 1 else ''})"
        )
        if config.model_type == "vit_mae":
            init_positions(model.decoder.decoder_pos_embed)
    take_plain_pixels(model, name, undo=not fresh)
    return model, summary
