"""A corpus that is ready to train on: its blocks on either side, their fingerprint, and a summary of what was read."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from textdae.core.cache import digest
from textdae.core.errors import SettingsError
from textdae.core.examples import SourceWeight
from textdae.core.logs import cautions
from textdae.text.data.data_settings import TextDataSettings, WeightedSource
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks

_LOOKED_AT = 1 << 16
_LONG_TOKENS = 100
"""Bytes; the average token of a tokenizer of words is shorter."""


class TextCorpus(NamedTuple):
    """A corpus that is ready to train on."""

    tokenizer: PreTrainedTokenizerFast
    train: Blocks | MixedBlocks
    held_out: Blocks | MixedBlocks
    fingerprint: dict[str, Any]
    """Values that determine the blocks, by setting: equal fingerprints mean equal blocks."""
    summary: list[str]
    """Lines on what was read and left out."""

    @property
    def unit(self) -> str:
        """The unit of the training speed."""
        return "tokens"

    @property
    def units_per_example(self) -> int:
        """Positions of a block."""
        return self.train.block_size


def packed_corpus(
    tokenizer: PreTrainedTokenizerFast,
    train: Blocks,
    held_out: Blocks,
    fingerprint: dict[str, Any],
    name: str,
    held_out_name: str,
    data: TextDataSettings,
    notes: Counter[str],
) -> TextCorpus:
    """Check the blocks of one source, and describe them.

    Args:
        held_out_name: " of NAME", where the held-out side has a source of its own, else empty.
        notes: how many documents were left out or changed, by the reason.

    Raises:
        SettingsError: they are too few to train on, or to evaluate on.
    """
    _check_size(train, held_out, data)
    _check_words(held_out, tokenizer)
    padded = train.padding + held_out.padding
    return TextCorpus(
        tokenizer,
        train,
        held_out,
        {**fingerprint, "data.block_size": data.block_size},
        [
            f"{name}: {train.info.documents:,} documents, {train.info.bytes / 1e6:,.1f} MB, "
            f"{train.info.tokens:,} tokens, {len(train):,} blocks of {data.block_size}; "
            f"held out {held_out.info.documents:,} documents, {len(held_out):,} blocks{held_out_name}",
            f"every token is in a block; {padded:,} positions of the two last blocks are padding",
            *cautions(notes),
        ],
    )


def mixed_corpus(corpora: list[TextCorpus], sources: tuple[WeightedSource, ...]) -> TextCorpus:
    """Join the corpora of several sources."""
    shares = [SourceWeight(each.label, each.weight, each.max_epochs) for each in sources]
    total = sum(share.weight for share in shares)
    summary = [
        f"several sources: {', '.join(f'{share.weight / total:.1%} {share.name}' for share in shares)}",
        *(line for corpus in corpora for line in corpus.summary),
    ]
    split = corpora[0].fingerprint["data.held_out"]
    own = [
        [corpus.fingerprint["data.source"], share.weight, share.max_epochs]
        # Sources that were prepared may each have a split of their own.
        + ([each] if (each := corpus.fingerprint["data.held_out"]) != split else [])
        for corpus, share in zip(corpora, shares, strict=True)
    ]
    return TextCorpus(
        corpora[0].tokenizer,
        MixedBlocks([corpus.train for corpus in corpora], shares),  # type: ignore[misc]
        MixedBlocks([corpus.held_out for corpus in corpora], shares),  # type: ignore[misc]
        corpora[0].fingerprint | {"data.source": digest("mixture", own)},
        summary,
    )


def _check_size(train: Blocks, held_out: Blocks, data: TextDataSettings) -> None:
    documents = train.info.documents + held_out.info.documents
    if not documents:
        raise SettingsError(f"data.source: {data.source} holds no text (only blank documents)")
    if train.info.tokens < data.block_size:
        way_out = f"give more text or set data.block_size={max(8, train.info.tokens // 2)}"
        if train.bytes_per_token > _LONG_TOKENS:
            way_out = (
                f"a token stands for {train.bytes_per_token:,.0f} bytes, as words without end are one unknown token each; "
                "tokenizer.algorithm=bpe reads them"
            )
        raise SettingsError(
            f"data.source: too small for one block: {train.info.tokens} training tokens, data.block_size is "
            f"{data.block_size}; {way_out}"
        )
    if not held_out.info.documents:
        what = "there is one document" if documents == 1 else f"the {documents} documents are all the same"
        raise SettingsError(
            f"data.held_out: {what}, so none can be held out; give more, cut the text finer with "
            "data.document=paragraph or line, or name data.held_out_source"
        )


def _check_words(held_out: Blocks, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse an evaluation without words to predict: special tokens are never scored."""
    if np.isin(held_out.ids[:_LOOKED_AT], tokenizer.all_special_ids).all():
        raise SettingsError(
            "data.held_out: the tokenizer knows no word of the documents held out; give more text, or hold out another share"
        )
