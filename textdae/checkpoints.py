"""Load what a run left: a checkpoint folder, or a Hub id, as a denoiser with what belongs to it."""

from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from textdae.data.tokenizer import load_tokenizer
from textdae.errors import SettingsError
from textdae.locate import locate
from textdae.models.image import ImageDenoiser, as_denoiser, load_image_model
from textdae.models.text import TextDenoiser, load_masked_lm


class LoadedText(NamedTuple):
    """A trained text denoiser, ready to be asked."""

    denoiser: TextDenoiser
    tokenizer: PreTrainedTokenizerFast


def load_text(checkpoint: str | Path) -> LoadedText:
    """Load a masked language model of ours or anyone's, in evaluation mode.

    Raises:
        SettingsError: there is none, or its tokenizer does not fit.
    """
    name = locate(str(checkpoint))
    tokenizer = load_tokenizer(name)
    denoiser = TextDenoiser(load_masked_lm(name)[0]).eval()
    rows = denoiser.model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise SettingsError(
            f"{checkpoint}: the tokenizer has {len(tokenizer)} entries, the model {rows} embeddings"
        )
    return LoadedText(denoiser, tokenizer)


def load_image(checkpoint: str | Path) -> ImageDenoiser:
    """Load an image denoiser of ours, or any `ViTForMaskedImageModeling`, in evaluation mode.

    Raises:
        SettingsError: there is none.
    """
    denoiser: ImageDenoiser = as_denoiser(load_image_model(locate(str(checkpoint)))).eval()
    return denoiser
