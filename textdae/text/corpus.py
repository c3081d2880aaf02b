"""The text corpus: source -> documents -> tokenizer -> packed blocks, each step cached by its content."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from textdae.core.cache import cache_root, cached, digest
from textdae.core.errors import SettingsError
from textdae.core.in_order import InOrder
from textdae.core.logs import cautions
from textdae.core.progress import Progress
from textdae.core.split import (
    check_apart,
    is_held_out,
    named_as,
    other_source,
    share_for_both_sides,
    split_point,
)
from textdae.text.packing import Blocks, Packer, StreamWriter
from textdae.text.settings import TextDataSettings, TokenizerSettings
from textdae.text.sources import CUT, Source, open_source
from textdae.text.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer

_TOKENIZER_VERSION, _PACKED_VERSION = 3, 4
_BUCKETS, _LOOKED_AT = 4096, 1 << 16
_LONG_TOKENS = 100
"""Bytes; no tokenizer of words has longer ones on average."""


class TextCorpus(NamedTuple):
    """A corpus that is ready to train on."""

    tokenizer: PreTrainedTokenizerFast
    train: Blocks
    held_out: Blocks
    fingerprint: dict[str, Any]
    """What determines these blocks, by setting: equal fingerprints mean equal blocks."""
    summary: list[str]
    """What was read, and what was left out."""

    @property
    def unit(self) -> str:
        """What the speed of training is counted in."""
        return "tokens"

    @property
    def units_per_example(self) -> int:
        """Positions of a block."""
        return self.train.block_size


def prepare_text(
    data: TextDataSettings,
    tokenizer_settings: TokenizerSettings,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> TextCorpus:
    """Read, tokenize and pack a corpus, or open it from the cache.

    Args:
        tokenizer: use this one, whatever the settings say (evaluation brings the checkpoint's own).

    Raises:
        SettingsError: the corpus cannot be read, or is too small for one block on either side.
    """
    root = cache_root(data.cache_dir)
    source = open_source(data, root)
    other_data = other_source(data)
    with named_as("held_out"):
        other = open_source(other_data, root) if other_data else None
    check_apart(data, {"train": source.fingerprint} | ({"held_out": other.fingerprint} if other else {}))
    # With a source of its own for evaluation, all of the first is trained on.
    share = 0.0 if other else data.held_out
    tokenizer = tokenizer or _tokenizer(source, share, tokenizer_settings, root)
    vocabulary = hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=12).hexdigest()
    key = digest(
        "packed", _PACKED_VERSION, source.fingerprint, vocabulary, other.fingerprint if other else share
    )
    folder = cached(
        root / f"text-{key}",
        lambda temporary: _pack(temporary, source, other, share, tokenizer, data.num_proc),
    )

    blocks = [Blocks(folder / side, data.block_size, _pad_id(tokenizer)) for side in ("train", "held_out")]
    train, held_out = blocks
    notes = Counter(json.loads((folder / "notes.json").read_text()))
    _check_size(train, held_out, data)
    _check_words(held_out, tokenizer)
    padded = train.padding + held_out.padding
    return TextCorpus(
        tokenizer,
        train,
        held_out,
        {
            # A run from before very long documents were cut is not gone on with.
            "data.source": digest(source.fingerprint, "cut") if CUT in notes else source.fingerprint,
            "data.held_out": other.fingerprint if other else share,
            "tokenizer": vocabulary,
            "data.block_size": data.block_size,
        },
        [
            f"{source.name}: {train.info.documents:,} documents, {train.info.bytes / 1e6:,.1f} MB, "
            f"{train.info.tokens:,} tokens, {len(train):,} blocks of {data.block_size}; "
            f"held out {held_out.info.documents:,} documents, {len(held_out):,} blocks"
            + (f" of {other.name}" if other else ""),
            f"nothing was cut off; {padded:,} positions of the two last blocks are padding",
            *cautions(_left_out(source, other) + notes),
        ],
    )


def _check_words(held_out: Blocks, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse an evaluation without words to predict: special tokens are never scored."""
    if np.isin(held_out.ids[:_LOOKED_AT], tokenizer.all_special_ids).all():
        raise SettingsError(
            "data.held_out: the tokenizer knows no word of the documents held out; give more text, or hold out another share"
        )


def _left_out(source: Source, other: Source | None) -> Counter[str]:
    return source.left_out + (other.left_out if other else Counter())


def _pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    assert isinstance(tokenizer.pad_token_id, int)
    return tokenizer.pad_token_id


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
        raise SettingsError(
            f"data.held_out: the {documents} documents are all the same, so none can be held out; give more, cut the text "
            "finer with data.document=paragraph, or name data.held_out_source"
        )


def _tokenizer(
    source: Source, held_out: float, settings: TokenizerSettings, root: Path
) -> PreTrainedTokenizerFast:
    if settings.from_pretrained:
        return load_tokenizer(settings.from_pretrained)
    key = digest("tokenizer", _TOKENIZER_VERSION, source.fingerprint, settings.model_dump(), held_out)
    if source.size is None or (source.size > settings.max_training_bytes and not source.is_plain):
        key = digest(key, "measured")

    def train(folder: Path) -> None:
        share = share_for_both_sides(source, held_out)
        save_tokenizer(train_tokenizer(settings, _Sample(source, share, settings.max_training_bytes)), folder)

    return load_tokenizer(str(cached(root / f"tokenizer-{key}", train)))


class _Sample:
    """Training documents, subsampled evenly if the source exceeds `most` bytes; can be iterated repeatedly."""

    def __init__(self, source: Source, held_out: float, most: int) -> None:
        self.source, self.held_out = source, held_out
        self.share = 1.0
        if source.size is None or source.size > most:
            self.share = most / source.size if source.size and source.is_plain else self._measured(most)

    def __iter__(self) -> Iterator[str]:
        for text in self._training("training the tokenizer"):
            if self.share >= 1 or is_held_out(f"sample {text}", self.share):
                yield text

    def _training(self, what: str) -> Iterator[str]:
        return (text for text in _progress(self.source, what) if not is_held_out(text, self.held_out))

    def _measured(self, most: int) -> float:
        """The share of the documents, in the order of their hashes, that holds at most so many bytes of text."""
        sizes = np.zeros(_BUCKETS, np.int64)
        for text in self._training("measuring the text"):
            size = len(text) if text.isascii() else len(text.encode())
            sizes[split_point(f"sample {text}") * _BUCKETS >> 64] += size
        return max(1, int((sizes.cumsum() <= most).sum())) / _BUCKETS


def _pack(
    folder: Path,
    source: Source,
    other: Source | None,
    share: float,
    tokenizer: PreTrainedTokenizerFast,
    processes: int | None,
) -> None:
    used = share_for_both_sides(source, share)
    with InOrder(Packer(tokenizer), processes) as pack:
        writers = {
            side: StreamWriter(folder / side, pack, with_words=side == "held_out")
            for side in ("train", "held_out")
        }
        for text in _progress(source, "tokenizing and packing"):
            writers["held_out" if is_held_out(text, used) else "train"].add(text)
        notes: Counter[str] = Counter(source.notes)
        if used != share:
            notes[f"put on a side that data.held_out={share:g} left empty"] = 1
        if other:
            for text in _progress(other, "tokenizing and packing what is held out"):
                writers["held_out"].add(text)
            notes += other.notes
        for writer in writers.values():
            writer.close()
    (folder / "notes.json").write_text(json.dumps(notes))


def _progress(source: Source, what: str) -> Iterator[str]:
    """Yield the documents, with a progress bar of the text read."""
    with Progress(what, unit="B") as bar:
        waiting = 0
        for text in source:
            yield text
            waiting += len(text)
            if waiting > 1 << 18:
                bar.update(waiting)
                waiting = 0
        bar.update(waiting)
