"""Build the text denoiser of a pretraining run from its settings."""

from collections.abc import Callable

import torch
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from textdae.core.building import build_seeded
from textdae.core.errors import SettingsError
from textdae.core.logs import Caution
from textdae.core.names import public
from textdae.text.code.code_decoder import decoder_of
from textdae.text.masked_lm import load_masked_lm
from textdae.text.model import TextDenoiser
from textdae.text.model_config import text_config
from textdae.text.model_settings import TextModelSettings


def build_text_denoiser(
    settings: TextModelSettings,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    check: Callable[[int], None] | None = None,
) -> TextDenoiser:
    """Build a denoiser with fresh weights (a pure function of the seed), or with those of `model.from_pretrained`.

    Args:
        check: see `build_seeded`.

    Raises:
        SettingsError: no such family or checkpoint, a key its config does not know, a vocabulary that does not fit, or
            a family that cannot keep the documents of a block apart.
    """
    if settings.from_pretrained:
        model, fresh = load_masked_lm(settings.from_pretrained, any_head=True)
        denoiser = TextDenoiser(model)
        denoiser.fresh = tuple(fresh)
        rows = denoiser.embeddings.shape[0]
        if len(tokenizer) > rows:
            raise SettingsError(
                f"model.from_pretrained: {settings.from_pretrained} has {rows} embeddings, the tokenizer has "
                f"{len(tokenizer)} entries"
            )
    else:
        config = text_config(settings, tokenizer)
        try:
            denoiser = TextDenoiser(
                build_seeded(lambda: AutoModelForMaskedLM.from_config(config), seed, check)
            )
        except (ValueError, TypeError, RuntimeError, AssertionError, KeyError) as error:
            raise SettingsError(
                f"model: {settings.type} cannot be built so: {str(error).splitlines()[0]}"
            ) from None
    _check_documents_apart(denoiser)
    return denoiser


def with_code_of(
    start: str, settings: TextModelSettings, drop: bool, summary: list[str]
) -> TextModelSettings:
    """Return the settings with the code that the checkpoint has, unless they leave it out, and say so in the summary.

    Args:
        drop: leave the code out in any case.

    Raises:
        SettingsError: it has none, and settings say how to train it.
    """
    decoder = decoder_of(start)
    if decoder is None:
        if not settings.code_size and (only := settings.of_a_code()):
            raise SettingsError(
                f"model.{only[0]}: {public(start)} has no code; give it one with model.code_size=64"
            )
        return settings
    if settings.code_size == 0:
        summary.append(f"{public(start)} has a code, which is left out (model.code_size=0)")
        return settings
    if drop:
        summary.append(
            Caution(
                f"{public(start)} has a code, which train.loss_weight=elbo does not train: it is left out"
            )
        )
        return settings
    summary.append(
        f"{public(start)} has a code of {decoder.code_size} numbers: its decoder and its weights of the tokens are taken too"
    )
    return settings if settings.code_size else settings.model_copy(update={"code_size": decoder.code_size})


@torch.no_grad()
def _check_documents_apart(denoiser: TextDenoiser) -> None:
    """Check that a document in a block is encoded as it is alone.

    Raises:
        SettingsError: it is not.
    """
    rows, length = denoiser.embeddings.shape[0], min(16, denoiser.longest)
    begin = length * 3 // 8
    ids = (torch.arange(length) * 7 + 11) % rows
    document = torch.arange(length).ge(begin).long()
    was_training = denoiser.training
    denoiser.eval()
    try:
        packed = denoiser.encode({"input_ids": ids[None], "document": document[None]})[0, begin:]
        alone = denoiser.encode({"input_ids": ids[None, begin:], "document": document[None, begin:]})[0]
        apart = torch.allclose(packed, alone, atol=1e-4)
        why = "the documents of a block see each other"
    except Exception as error:  # each family refuses an unknown mask in its own way
        apart, why = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    denoiser.train(was_training)
    if not apart:
        raise SettingsError(
            f"model.type: {denoiser.model.config.model_type} cannot be trained on packed blocks ({why}); "
            "modernbert, bert, roberta, distilbert, electra, albert and others can"
        )
