"""Where a checkpoint is, and what it is a model of, without loading it."""

import json
from pathlib import Path
from typing import Any

from textdae.errors import SettingsError, first_line
from textdae.vetting import vet

IMAGE_MODEL_TYPES = ("textdae_autoencoder", "textdae_unet", "vit")
"""`model_type` of the families of image denoisers, as their `config.json` has it."""


def locate(checkpoint: str) -> str:
    """The name to load from: a folder that is there, or a Hub id.

    Raises:
        SettingsError: a folder that holds no checkpoint, or one that may not be opened, or a path that is not there.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        inside = sorted(path.glob("checkpoints/step-*"))
        hint = f"; its newest checkpoint is {inside[-1]}" if inside else ""
        raise SettingsError(f"{checkpoint}: no config.json, so not a checkpoint{hint}")
    if not path.exists() and (checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1):
        raise SettingsError(f"{checkpoint}: no such folder")
    if path.is_dir():
        vet(path)
    return str(path) if path.exists() else checkpoint


def modality_of(checkpoint: str) -> str:
    """text or image, by the family that its `config.json` names, or by what it counts: words, or pixels.

    Raises:
        SettingsError: there is no such checkpoint.
    """
    name = locate(checkpoint)
    try:
        if Path(name).is_dir():
            config: dict[str, Any] = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
        else:
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
        pixels = {"image_size", "num_channels"} & config.keys()
        return "image" if config.get("model_type") in IMAGE_MODEL_TYPES or pixels else "text"
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(f"{checkpoint}: no checkpoint could be loaded: {first_line(error)}") from None


def weights_of(checkpoint: str) -> Any:
    """What tells the weights of a local checkpoint from others; a Hub id is its own name."""
    files = sorted(Path(checkpoint).expanduser().glob("*.safetensors"))
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files] or checkpoint
