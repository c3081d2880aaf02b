"""The config of a stock Vision Transformer, from settings."""

import difflib
from typing import Any

from textdae.core.errors import SettingsError


def vit_config(config_class: Any, settings: Any, sizes: dict[str, int]) -> Any:
    """Return a config of one of the stock classes.

    Args:
        settings: `ViTSettings`, or `ViTMAESettings`.
        sizes: what the class has beyond `settings`: of the images, of the decoder.

    Raises:
        SettingsError: a size or a key of `model.config` does not fit.
    """
    name = config_class.__name__
    if sizes["image_size"] % settings.patch_size:
        raise SettingsError(
            f"model.patch_size: patches of {settings.patch_size} pixels do not cover images of "
            f"{sizes['image_size']} x {sizes['image_size']}; give a divisor of it"
        )
    stock = config_class()
    for key in settings.config:
        if not hasattr(stock, key):
            near = difflib.get_close_matches(key, list(stock.to_dict()), n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise SettingsError(f"model.config.{key}: {name} has no such key{hint}")
        if key in ("image_size", "num_channels", "patch_size", "encoder_stride"):
            raise SettingsError(
                f"model.config.{key}: follows from the images and from model.patch_size; leave it out"
            )
        if key == "norm_pix_loss" and settings.config[key]:
            raise SettingsError(
                "model.config.norm_pix_loss: the target is the picture itself, so that it can be given back; leave it out"
            )
    own = {
        "num_attention_heads": settings.num_attention_heads,
        "intermediate_size": settings.intermediate_size,
        "patch_size": settings.patch_size,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    try:
        return config_class(**{**sizes, **own, **settings.config})
    except Exception as error:  # the config class checks in its own way
        why = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise SettingsError(f"model: {settings.type} refuses these values: {why}") from None
