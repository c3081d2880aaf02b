"""Text models for `textdae export`: masked language models, and classifiers of texts and of words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import transformers
from torch import Tensor

from textdae.core.errors import SettingsError
from textdae.core.exportable import Exportable
from textdae.downstream.task import config_of
from textdae.hub.locate import load_pretrained, locate
from textdae.text.collator import MaskingCollator
from textdae.text.noises.masking import TokenNoise
from textdae.text.tokens.tokenizer import load_tokenizer, longest_input
from textdae.text.tokens.vocabulary import vocabulary_of

_HEADS = {
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
}
"""Ends of the names of classes that can be exported, and what loads them."""
_LONGEST = 128
_RATE = 0.15


def open_exportable(checkpoint: str) -> Exportable:
    """Load the model of a checkpoint, with the head that its config names.

    Raises:
        SettingsError: there is none, or its head is none of these.
    """
    name, config = locate(checkpoint), config_of(checkpoint)
    architecture = (config.architectures or ["a model without a head"])[0]
    head = next((head for head in _HEADS if architecture.endswith(head)), None)
    if head is None:
        raise SettingsError(
            f"export: {checkpoint} holds {architecture}; what can be exported ends in {', '.join(_HEADS)}"
        )
    model = load_pretrained(getattr(transformers, _HEADS[head]), name).eval()
    tokenizer = load_tokenizer(name, needs=("pad_token",))
    limit = min(_LONGEST, longest_input(tokenizer, config))
    masked = head == "ForMaskedLM"
    collator = (
        MaskingCollator(tokenizer, TokenNoise(rate=_RATE, mask_share=1, random_share=0)) if masked else None
    )

    def collate(texts: Sequence[Any]) -> dict[str, Tensor]:
        """(B, L)"""
        sides = (
            [list(texts)] if isinstance(texts[0], str) else [list(side) for side in zip(*texts, strict=True)]
        )
        encoded = tokenizer(*sides, truncation=True, max_length=limit, verbose=False)
        if collator:
            rows = [{key: encoded[key][row] for key in encoded} for row in range(len(texts))]
            collator.set_epoch(0)
            return dict(collator(rows))
        return dict(tokenizer.pad(encoded, return_tensors="pt"))

    def draw(count: int) -> Sequence[Any]:
        generator, ordinary = np.random.default_rng(0), vocabulary_of(tokenizer).ordinary
        lengths = generator.integers(limit // 4, limit, count)
        return [tokenizer.decode(generator.choice(ordinary, length)) for length in lengths]

    free: dict[str, tuple[int, ...]] = {
        argument: (1,) for argument in collate(draw(2)) if argument != "labels"
    }
    return Exportable(model, collate, draw, free, "texts")
