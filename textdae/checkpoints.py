"""Load what a run left: a checkpoint folder, or a Hub id, as a denoiser with what belongs to it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoConfig, PreTrainedTokenizerFast

from textdae.data.tokenizer import load_tokenizer
from textdae.errors import SettingsError
from textdae.models.image import MODEL_TYPES, ImageDenoiser, as_denoiser, load_image_model
from textdae.models.text import TextDenoiser, load_masked_lm


class LoadedText(NamedTuple):
    """A trained text denoiser, ready to be asked."""

    denoiser: TextDenoiser
    tokenizer: PreTrainedTokenizerFast


def _find(checkpoint: str) -> str:
    """The name to load from: a folder that is there, or a Hub id."""
    path = Path(checkpoint).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        inside = sorted(path.glob("checkpoints/step-*"))
        hint = f"; its newest checkpoint is {inside[-1]}" if inside else ""
        raise SettingsError(f"{checkpoint}: no config.json, so not a checkpoint{hint}")
    if not path.exists() and (checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1):
        raise SettingsError(f"{checkpoint}: no such folder")
    return str(path) if path.exists() else checkpoint


def modality_of(checkpoint: str) -> str:
    """text or image, by the family that its `config.json` names.

    Raises:
        SettingsError: there is no such checkpoint.
    """
    name = _find(checkpoint)
    try:
        if Path(name).is_dir():
            config: dict[str, Any] = json.loads((Path(name) / "config.json").read_text())
        else:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False).to_dict()
        return "image" if config.get("model_type") in MODEL_TYPES else "text"
    except (OSError, ValueError, AttributeError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SettingsError(f"{checkpoint}: no checkpoint could be loaded: {why}") from None


def load_text(checkpoint: str) -> LoadedText:
    """Load a masked language model of ours or anyone's, in evaluation mode.

    Raises:
        SettingsError: there is none, or its tokenizer does not fit.
    """
    name = _find(checkpoint)
    tokenizer = load_tokenizer(name)
    denoiser = TextDenoiser(load_masked_lm(name)).eval()
    rows = denoiser.model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise SettingsError(
            f"{checkpoint}: the tokenizer has {len(tokenizer)} entries, the model {rows} embeddings"
        )
    return LoadedText(denoiser, tokenizer)


def load_image(checkpoint: str) -> ImageDenoiser:
    """Load an image denoiser of ours, or any `ViTForMaskedImageModeling`, in evaluation mode.

    Raises:
        SettingsError: there is none.
    """
    denoiser: ImageDenoiser = as_denoiser(load_image_model(_find(checkpoint))).eval()
    return denoiser
