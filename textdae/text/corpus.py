"""The text corpus: source -> documents -> tokenizer -> packed blocks, each step cached by its content."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from textdae.core.cache import cache_root, cached, digest
from textdae.core.errors import SettingsError
from textdae.core.examples import Share
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
from textdae.text.data_settings import TextDataSettings, WeightedSource
from textdae.text.mixed import MixedBlocks
from textdae.text.model_settings import TokenizerSettings
from textdae.text.packing import Blocks, Packer, StreamWriter
from textdae.text.prepared import Prepared, find_prepared
from textdae.text.sources import CUT, Source, open_source
from textdae.text.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer

_TOKENIZER_VERSION, _PACKED_VERSION = 3, 4
_BUCKETS, _LOOKED_AT = 4096, 1 << 16
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


class _Part(NamedTuple):
    """One of the sources, opened."""

    data: TextDataSettings
    source: Source
    other: Source | None
    """Where its held-out side has a source of its own."""
    share: float
    """Of its documents that is held out; 0 where the held-out side has a source of its own."""


def prepare_text(
    data: TextDataSettings,
    tokenizer_settings: TokenizerSettings,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> TextCorpus:
    """Read, tokenize and pack a corpus, or open it from the cache.

    Args:
        tokenizer: overrides the settings; an evaluation passes that of the checkpoint.

    Raises:
        SettingsError: the corpus cannot be read, or is too small for one block on either side.
    """
    root = cache_root(data.cache_dir)
    found = [find_prepared(each) for each in data.parts()]
    if any(found):
        corpora = _open_prepared(data, found, tokenizer, tokenizer_settings)
        return _mixed(corpora, data.sources) if data.sources else corpora[0]
    parts = [_open(each, root) for each in data.parts()]
    _check_distinct(parts)
    weights = [each.weight for each in data.sources] if data.sources else [1.0]
    tokenizer = tokenizer or _tokenizer(parts, weights, tokenizer_settings, root)
    corpora = [_prepare(part, tokenizer, root) for part in parts]
    return _mixed(corpora, data.sources) if data.sources else corpora[0]


def vocabulary_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a short name of all that decides what a tokenizer makes of a text."""
    return hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=12).hexdigest()


def _open_prepared(
    data: TextDataSettings,
    found: Sequence[Prepared | None],
    tokenizer: PreTrainedTokenizerFast | None,
    settings: TokenizerSettings,
) -> list[TextCorpus]:
    """Open corpora that were prepared before.

    Raises:
        SettingsError: their tokenizers differ, or another one is asked for.
    """
    corpora: list[TextCorpus] = []
    if settings.from_pretrained and not tokenizer:
        tokenizer = load_tokenizer(settings.from_pretrained)
    for part, prepared in zip(data.parts(), found, strict=True):
        if prepared is None:
            raise SettingsError(
                f"data.source: {part.source} is not prepared, and others are; prepare it with their tokenizer"
            )
        if part.held_out_source or part.held_out_split:
            raise SettingsError(
                "data.held_out_source: what is held out was chosen by `textdae prepare`; leave it out"
            )
        fingerprint = prepared.contents["fingerprint"]
        own = tokenizer or prepared.tokenizer()
        tokenizer = own
        if vocabulary_digest(own) != fingerprint["tokenizer"]:
            raise SettingsError(
                f"data.source: {part.source} was prepared with another tokenizer; prepare it with "
                "tokenizer.from_pretrained=THE CHECKPOINT, or name the text itself"
            )
        sides = prepared.blocks(_pad_id(own))
        corpora.append(
            _corpus(
                own,
                sides["train"],
                sides["held_out"],
                fingerprint,
                prepared.contents["name"],
                "",
                part,
                Counter(prepared.contents["notes"]),
            )
        )
    return corpora


def _open(data: TextDataSettings, root: Path) -> _Part:
    source = open_source(data, root)
    other_data = other_source(data)
    with named_as("held_out"):
        other = open_source(other_data, root) if other_data else None
    check_apart(data, {"train": source.fingerprint} | ({"held_out": other.fingerprint} if other else {}))
    return _Part(data, source, other, 0.0 if other else data.held_out)


def _check_distinct(parts: list[_Part]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        if before := seen.get(part.source.fingerprint):
            raise SettingsError(
                f"data.source: {part.data.source} holds the same text as {before}; name it once"
            )
        seen[part.source.fingerprint] = part.data.source


def _prepare(part: _Part, tokenizer: PreTrainedTokenizerFast, root: Path) -> TextCorpus:
    """Tokenize and pack one source, or open it from the cache."""
    data, source, other, share = part
    vocabulary = vocabulary_digest(tokenizer)
    key = digest(
        "packed", _PACKED_VERSION, source.fingerprint, vocabulary, other.fingerprint if other else share
    )
    folder = cached(
        root / f"text-{key}",
        lambda temporary: _pack(temporary, source, other, share, tokenizer, data.num_proc),
    )

    blocks = [Blocks(folder / side, data.block_size, _pad_id(tokenizer)) for side in ("train", "held_out")]
    notes = Counter(json.loads((folder / "notes.json").read_text()))
    fingerprint = {
        # A run from before very long documents were cut cannot be resumed.
        "data.source": digest(source.fingerprint, "cut") if CUT in notes else source.fingerprint,
        "data.held_out": other.fingerprint if other else share,
        "tokenizer": vocabulary,
    }
    of = f" of {other.name}" if other else ""
    return _corpus(
        tokenizer, blocks[0], blocks[1], fingerprint, source.name, of, data, _left_out(source, other) + notes
    )


def _corpus(
    tokenizer: PreTrainedTokenizerFast,
    train: Blocks,
    held_out: Blocks,
    fingerprint: dict[str, Any],
    name: str,
    held_out_name: str,
    data: TextDataSettings,
    notes: Counter[str],
) -> TextCorpus:
    """Look at what was packed, and describe it."""
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
            f"nothing was cut off; {padded:,} positions of the two last blocks are padding",
            *cautions(notes),
        ],
    )


def _mixed(corpora: list[TextCorpus], sources: tuple[WeightedSource, ...]) -> TextCorpus:
    """Join the corpora of several sources."""
    shares = [Share(each.label, each.weight, each.max_epochs) for each in sources]
    total = sum(share.weight for share in shares)
    summary = [
        f"several sources: {', '.join(f'{share.weight / total:.1%} {share.name}' for share in shares)}",
        *(line for corpus in corpora for line in corpus.summary),
    ]
    own = [
        [corpus.fingerprint["data.source"], share.weight, share.max_epochs]
        for corpus, share in zip(corpora, shares, strict=True)
    ]
    return TextCorpus(
        corpora[0].tokenizer,
        MixedBlocks([corpus.train for corpus in corpora], shares),  # type: ignore[misc]
        MixedBlocks([corpus.held_out for corpus in corpora], shares),  # type: ignore[misc]
        corpora[0].fingerprint | {"data.source": digest("mixture", own)},
        summary,
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
    parts: list[_Part], weights: list[float], settings: TokenizerSettings, root: Path
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on the training documents, of several sources on a share of each by its weight."""
    if settings.from_pretrained:
        return load_tokenizer(settings.from_pretrained)
    held_out, most = parts[0].share, settings.max_training_bytes
    own: Any = parts[0].source.fingerprint
    if len(parts) > 1:
        own = [[part.source.fingerprint, weight] for part, weight in zip(parts, weights, strict=True)]
    key = digest("tokenizer", _TOKENIZER_VERSION, own, settings.model_dump(), held_out)
    source = parts[0].source
    if source.size is None or (source.size > most and not source.is_plain):
        key = digest(key, "measured")

    def train(folder: Path) -> None:
        samples = [
            _Sample(each, share_for_both_sides(each, held_out), int(most * weight / sum(weights)))
            for each, weight in zip((part.source for part in parts), weights, strict=True)
        ]
        save_tokenizer(train_tokenizer(settings, _Chained(samples)), folder)

    return load_tokenizer(str(cached(root / f"tokenizer-{key}", train)))


class _Chained:
    """Several samples, one after the other; can be iterated repeatedly."""

    def __init__(self, samples: list["_Sample"]) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[str]:
        for sample in self._samples:
            yield from sample


class _Sample:
    """Training documents, an even sample if the source exceeds `most` bytes; can be iterated repeatedly."""

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
        """Return the share of the documents, in the order of their hashes, that holds at most so many bytes of text."""
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
