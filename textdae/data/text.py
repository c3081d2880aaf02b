"""The text corpus: source -> documents -> tokenizer -> packed blocks, each step cached by its content."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from textdae.data.cache import cache_root, cached, digest
from textdae.data.in_order import InOrder
from textdae.data.packing import Blocks, Packer, StreamWriter
from textdae.data.sources import Source, open_source
from textdae.data.split import check_apart, is_held_out, named_as, other_source
from textdae.data.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer
from textdae.errors import SettingsError
from textdae.settings import TextDataSettings, TokenizerSettings

_TOKENIZER_VERSION, _PACKED_VERSION = 3, 4


class TextCorpus(NamedTuple):
    """A corpus that is ready to train on."""

    tokenizer: PreTrainedTokenizerFast
    train: Blocks
    held_out: Blocks
    facts: dict[str, Any]
    """What makes these blocks, by the setting that says so; the same for the same blocks."""
    notes: list[str]
    """What was read, and what was left out."""


def prepare_text(
    data: TextDataSettings,
    tokenizer_settings: TokenizerSettings,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> TextCorpus:
    """Read, tokenize and pack a corpus, or find it prepared.

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
    padded = train.padding + held_out.padding
    return TextCorpus(
        tokenizer,
        train,
        held_out,
        {
            "data.source": source.fingerprint,
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
            *(f"{reason}: {count:,}" for reason, count in (_left_out(source, other) + notes).items()),
        ],
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
        raise SettingsError(
            f"data.source: too small for one block: {train.info.tokens} training tokens, data.block_size is "
            f"{data.block_size}; give more text or set data.block_size={max(8, train.info.tokens // 2)}"
        )
    if not held_out.info.documents:
        raise SettingsError(
            f"data.held_out: none of the {documents} documents fell into the held-out share of {data.held_out:g}; "
            "raise data.held_out, or cut the text finer with data.document=paragraph"
        )


def _tokenizer(
    source: Source, held_out: float, settings: TokenizerSettings, root: Path
) -> PreTrainedTokenizerFast:
    if settings.from_pretrained:
        return load_tokenizer(settings.from_pretrained)
    key = digest("tokenizer", _TOKENIZER_VERSION, source.fingerprint, settings.model_dump(), held_out)

    def train(folder: Path) -> None:
        save_tokenizer(
            train_tokenizer(settings, _Sample(source, held_out, settings.max_training_bytes)), folder
        )

    return load_tokenizer(str(cached(root / f"tokenizer-{key}", train)))


class _Sample:
    """Training documents, thinned out evenly where the source is larger than `most` bytes; read it as often as needed."""

    def __init__(self, source: Source, held_out: float, most: int) -> None:
        self.source, self.held_out, self.most = source, held_out, most
        self.share = min(1.0, most / source.size) if source.size else 1.0

    def __iter__(self) -> Iterator[str]:
        read = 0
        for text in _progress(self.source, "training the tokenizer"):
            if is_held_out(text, self.held_out):
                continue
            if self.share < 1 and not is_held_out(f"sample {text}", self.share):
                continue
            read += len(text)
            if read > self.most and not self.source.size:
                return
            yield text


def _pack(
    folder: Path,
    source: Source,
    other: Source | None,
    share: float,
    tokenizer: PreTrainedTokenizerFast,
    processes: int | None,
) -> None:
    with InOrder(Packer(tokenizer), processes) as pack:
        writers = {
            side: StreamWriter(folder / side, pack, with_words=side == "held_out")
            for side in ("train", "held_out")
        }
        for text in _progress(source, "tokenizing and packing"):
            writers["held_out" if is_held_out(text, share) else "train"].add(text)
        notes: Counter[str] = Counter(source.notes)
        if other:
            for text in _progress(other, "tokenizing and packing what is held out"):
                writers["held_out"].add(text)
            notes += other.notes
        for writer in writers.values():
            writer.close()
    (folder / "notes.json").write_text(json.dumps(notes))


def _progress(source: Source, what: str) -> Iterator[str]:
    """The documents, with a bar of the text read."""
    with tqdm(desc=what, unit="B", unit_scale=True, disable=None) as bar:
        waiting = 0
        for text in source:
            yield text
            waiting += len(text)
            if waiting > 1 << 18:
                bar.update(waiting)
                waiting = 0
        bar.update(waiting)
