"""Find a checkpoint and its modality, without loading it."""

from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, first_line
from textdae.core.layout import checkpoints
from textdae.core.names import is_local, parse_hub_name
from textdae.core.registry import modality_of_config
from textdae.core.untrusted import read_json, sha256
from textdae.core.weights import load_weights
from textdae.hub.download import fetch, or_no_folder, pinned
from textdae.hub.vetting.folder import vet


def folder_of(name: str, training_state: bool = False) -> Path:
    """Return the folder of a name, unvetted; one on the Hub is downloaded first.

    Raises:
        SettingsError: there is none.
        TextdaeError: the Hub could not be reached.
    """
    if is_local(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise SettingsError(
                f"{name}: {'a file, not a checkpoint' if folder.exists() else 'no such'} folder"
            )
        return folder
    with or_no_folder(name):
        return fetch(parse_hub_name(name), training_state)


def locate(checkpoint: str, training_state: bool = False) -> str:
    """Return the vetted folder of a checkpoint; one on the Hub is downloaded first.

    Args:
        checkpoint: a folder, or OWNER/NAME or OWNER/NAME@REVISION on the Hub.
        training_state: also download what a resume needs.

    Raises:
        SettingsError: there is none, or it may not be opened.
        TextdaeError: the Hub could not be reached.
    """
    folder, local = folder_of(checkpoint, training_state), is_local(checkpoint)
    if not (folder / "config.json").exists():
        inside = checkpoints(folder / "checkpoints")
        hint = f"; its newest checkpoint is {inside[-1]}" if inside else ""
        raise SettingsError(f"{checkpoint}: no config.json, so not a checkpoint{hint}")
    if not local and not any(folder.glob("*.safetensors")):
        raise SettingsError(
            f"{checkpoint}: the repository has no safetensors weights; pickles are not opened, because they can run any code"
        )
    vet(folder)
    return str(folder)


def modality_of(checkpoint: str) -> str:
    """Return the name of the modality whose model `config.json` describes.

    Raises:
        SettingsError: there is no such checkpoint.
    """
    folder = Path(locate(checkpoint))
    try:
        return modality_of_config(read_json(folder / "config.json")).name
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(f"{checkpoint}: no checkpoint could be loaded: {first_line(error)}") from None


def load_pretrained(model_class: Any, checkpoint: str | Path, what: str = "model") -> Any:
    """Load the model of a denoiser from a folder or the Hub; a missing weight is an error.

    Args:
        model_class: a `PreTrainedModel`.
        what: noun for the model in the error.

    Raises:
        SettingsError: there is none.
    """
    name = locate(str(checkpoint))
    try:
        model, missing = load_weights(model_class, name)
        if missing:
            raise ValueError(f"its weights lack {missing[0]}, so it is no denoiser")
        return model
    except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
        raise SettingsError(f"no {what} could be loaded from {name!r}: {first_line(error)}") from None


def weights_of(checkpoint: str) -> Any:
    """Return a fingerprint of the weights: size and time of local files, the commit of a checkpoint on the Hub."""
    files = sorted(Path(checkpoint).expanduser().glob("*.safetensors")) if is_local(checkpoint) else []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files] or pinned(checkpoint)


def digests(checkpoint: str) -> list[str]:
    """Return the SHA-256 of each weight file of a checkpoint."""
    return [sha256(file) for file in sorted(Path(locate(checkpoint)).glob("*.safetensors"))]
