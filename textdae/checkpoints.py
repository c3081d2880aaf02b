"""Load what a run left: a checkpoint folder, or a Hub id, as denoiser and tokenizer."""

from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from textdae.data.tokenizer import load_tokenizer
from textdae.errors import SettingsError
from textdae.models.text import TextDenoiser, load_masked_lm


class LoadedText(NamedTuple):
    """A trained text denoiser, ready to be asked."""

    denoiser: TextDenoiser
    tokenizer: PreTrainedTokenizerFast


def load_text(checkpoint: str) -> LoadedText:
    """Load a masked language model of ours or anyone's, in evaluation mode.

    Raises:
        SettingsError: there is none, or its tokenizer does not fit.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        inside = sorted(path.glob("checkpoints/step-*"))
        hint = f"; its newest checkpoint is {inside[-1]}" if inside else ""
        raise SettingsError(f"{checkpoint}: no config.json, so not a checkpoint{hint}")
    if not path.exists() and (checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1):
        raise SettingsError(f"{checkpoint}: no such folder")
    name = str(path) if path.exists() else checkpoint
    tokenizer = load_tokenizer(name)
    denoiser = TextDenoiser(load_masked_lm(name)).eval()
    rows = denoiser.model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise SettingsError(
            f"{checkpoint}: the tokenizer has {len(tokenizer)} entries, the model {rows} embeddings"
        )
    return LoadedText(denoiser, tokenizer)
