"""Load a text checkpoint, from a folder or the Hub, with its tokenizer."""

from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from textdae.core.errors import SettingsError
from textdae.hub.locate import locate
from textdae.text.code.bottleneck import BottleneckDenoiser
from textdae.text.code.code_decoder import decoder_of
from textdae.text.masked_lm import load_masked_lm
from textdae.text.model import TextDenoiser
from textdae.text.tokens.tokenizer import load_tokenizer


class LoadedText(NamedTuple):
    """A trained text denoiser in evaluation mode, and its tokenizer."""

    denoiser: TextDenoiser
    tokenizer: PreTrainedTokenizerFast


def load_text(checkpoint: str | Path) -> LoadedText:
    """Load any masked language model with its tokenizer, in evaluation mode.

    Raises:
        SettingsError: there is none, or its tokenizer does not fit.

    Example:
        >>> denoiser, tokenizer = textdae.load_text("runs/mine")
        >>> batch = tokenizer(["a text", "another"], padding=True, return_tensors="pt")
        >>> denoiser.encode(dict(batch)).shape[:2] == batch["input_ids"].shape
        True
    """
    name = locate(str(checkpoint))
    tokenizer = load_tokenizer(name)
    denoiser = load_denoiser(name)
    rows = denoiser.model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise SettingsError(
            f"{checkpoint}: the tokenizer has {len(tokenizer)} entries, the model {rows} embeddings"
        )
    return LoadedText(denoiser, tokenizer)


def load_denoiser(checkpoint: str | Path) -> TextDenoiser:
    """Load a masked language model without its tokenizer, in evaluation mode; with its code, where it has one.

    Raises:
        SettingsError: there is none.
    """
    name = locate(str(checkpoint))
    model, _ = load_masked_lm(name)
    decoder = decoder_of(name)
    if decoder is not None:
        width = model.get_input_embeddings().weight.shape[1]
        if decoder.to_code.in_features != width:
            raise SettingsError(
                f"{checkpoint}: its decoder is of width {decoder.to_code.in_features}, the model of {width}"
            )
        return BottleneckDenoiser(model, decoder).eval()
    return TextDenoiser(model).eval()
