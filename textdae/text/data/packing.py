"""Pack documents into one stream of token ids on disk, with word and document starts, and cut it into blocks.

Nothing is lost: the last block of a stream is padded, a document longer than a block continues in the next one. The
stream does not depend on the block size, so another block size costs nothing. Of held-out documents the words are kept too.

N tokens of the stream, W words, S stretches of words, B batch, L positions of a block.
"""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from textdae.core.in_order import InOrder
from textdae.text.tokens.tokenizer import pieces
from textdae.text.tokens.tokenizing import TextTokenizer, Tokens
from textdae.text.tokens.words import (
    PieceWords,
    StreamWords,
    WordWriter,
    document_key,
    find_words,
    map_file,
    read_words,
)

WORD_START, DOCUMENT_START = 1, 2
_BATCH_CHARACTERS = 1 << 20
_OVERHEAD = 64  # fixed cost of a text, so that a million words are not tokenized at once
_PIECE_CHARACTERS = 1 << 17  # the tokenizer needs some 50 bytes a character while it works


class StreamInfo(NamedTuple):
    """Sizes of a stream, stored beside it as `info.json`."""

    documents: int
    tokens: int
    """N, special tokens included."""
    special: int
    """Number of special tokens around the documents."""
    bytes: int
    """UTF-8 bytes of the text."""
    dtype: str
    """Of the ids on disk: uint16 where the vocabulary fits, else uint32."""
    words: int = 0
    """W, where the words are kept."""
    stretches: int = 0
    """S."""

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text that a token stands for, on average, framing tokens not counted."""
        return self.bytes / max(1, self.tokens - self.special)


def total_info(infos: Iterable[StreamInfo]) -> StreamInfo:
    """Return what several streams hold together."""
    dtypes, counts = [], []
    for info in infos:
        dtypes.append(info.dtype)
        counts.append([getattr(info, name) for name in StreamInfo._fields if name != "dtype"])
    documents, tokens, special, size, words, stretches = map(sum, zip(*counts, strict=True))
    return StreamInfo(documents, tokens, special, size, dtypes[0], words, stretches)


class Packed(NamedTuple):
    """A part of the stream as bytes."""

    ids: bytes
    flags: bytes
    tokens: int
    words: PieceWords | None = None


class Packer:
    """Tokenize documents, or pieces of them, and join them to a stretch of the stream."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.dtype = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.uint32)
        self.prefix, self.suffix = frame(tokenizer)
        self._tokenize = TextTokenizer(tokenizer)

    def __call__(self, texts: list[str], edges: list[tuple[bool, bool]], with_words: bool = False) -> Packed:
        """Tokenize pieces and pack them.

        Args:
            edges: of each, whether it begins its document, and whether it ends it.
            with_words: find the words of the text too, and the tokens that overlap each.
        """
        tokens, offsets = self._tokenize.with_offsets(texts) if with_words else (self._tokenize(texts), None)
        ids, flags, inside = _assemble(tokens, np.array(edges), self.prefix, self.suffix)
        words = None if offsets is None else find_words(texts, tokens, offsets, inside)
        return Packed(ids.astype(self.dtype).tobytes(), flags.tobytes(), len(ids), words)


class StreamWriter:
    """Pack documents in batches and append them to `folder`; memory does not grow with the corpus.

    Args:
        with_words: keep the words too, for evaluation.
    """

    def __init__(
        self,
        folder: Path,
        pack: InOrder[list[str], list[tuple[bool, bool]], bool, Packed],
        with_words: bool = False,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder, self._pack = folder, pack
        self._words = WordWriter(folder) if with_words else None
        assert isinstance(pack.work, Packer)
        self._packer = pack.work
        self._ids = open(folder / "ids.bin", "wb")  # noqa: SIM115
        self._flags = open(folder / "flags.bin", "wb")  # noqa: SIM115
        self._texts: list[str] = []
        self._edges: list[tuple[bool, bool]] = []
        self._keys: list[int] = []
        self._waiting = self._documents = self._tokens = self._bytes = 0

    def add(self, text: str) -> None:
        """Add one document."""
        self._documents += 1
        self._bytes += len(text) if text.isascii() else len(text.encode())
        parts = list(pieces(text, _PIECE_CHARACTERS))
        key = document_key(text) if self._words else 0
        for number, part in enumerate(parts):
            self._texts.append(part)
            self._edges.append((number == 0, number == len(parts) - 1))
            self._keys.append(key)
            self._waiting += len(part) + _OVERHEAD
            if self._waiting >= _BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        write = partial(self._write, self._keys, [begins for begins, _ in self._edges])
        self._pack.call(write, self._texts, self._edges, self._words is not None)
        self._texts, self._edges, self._keys, self._waiting = [], [], [], 0

    def _write(self, keys: list[int], begins: list[bool], packed: Packed) -> None:
        self._ids.write(packed.ids)
        self._flags.write(packed.flags)
        if self._words and packed.words:
            self._words.write(packed.words, self._tokens, keys, begins)
        self._tokens += packed.tokens

    def close(self) -> StreamInfo:
        """Write pending documents, and the counts."""
        if self._texts:
            self._flush()
        self._pack.finish()
        self._ids.close()
        self._flags.close()
        frame = len(self._packer.prefix) + len(self._packer.suffix)
        info = StreamInfo(
            self._documents,
            self._tokens,
            frame * self._documents,
            self._bytes,
            self._packer.dtype.name,
            *(self._words.close() if self._words else ()),
        )
        (self.folder / "info.json").write_text(json.dumps(info._asdict()))
        return info


def frame(tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Return the special tokens that this tokenizer puts before and after a text."""
    probe = "a"
    bare = tokenizer(probe, add_special_tokens=False)["input_ids"]
    framed = tokenizer(probe)["input_ids"]
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    return [], []


def _assemble(
    tokens: Tokens, edges: np.ndarray, prefix: list[int], suffix: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join pieces into one stream, `prefix` before and `suffix` after each document.

    Returns:
        Ids and flags (n,), and the position of each token of the pieces (N,).
    """
    starts, ends = edges.T
    lengths = tokens.lengths
    framed = starts * len(prefix) + lengths + ends * len(suffix)
    positions = np.cumsum(framed) - framed  # start of each piece with its special tokens
    ids = np.zeros(int(framed.sum()), np.int64)
    flags = np.zeros(len(ids), np.uint8)
    texts = positions + starts * len(prefix)
    inside = np.arange(len(tokens.ids)) + np.repeat(texts - (np.cumsum(lengths) - lengths), lengths)
    ids[inside] = tokens.ids
    flags[inside] = tokens.word_start * np.uint8(WORD_START)
    for offset, token in enumerate(prefix):
        ids[positions[starts] + offset] = token
    for offset, token in enumerate(suffix):
        ids[(texts + lengths)[ends] + offset] = token
    flags[positions[starts & (framed > 0)]] |= DOCUMENT_START
    return ids, flags, inside


class Blocks:
    """A stream cut into blocks: the clean examples of the text side.

    Args:
        folder: of a `StreamWriter`; it is memory-mapped, not read.
        block_size: L.
        pad_id: fills the last block.
    """

    def __init__(self, folder: Path, block_size: int, pad_id: int) -> None:
        self.folder, self.block_size, self.pad_id = folder, block_size, pad_id
        self.info = StreamInfo(**json.loads((folder / "info.json").read_text()))
        self.key, self.cache = folder.parent.name, folder.parent.parent
        self.ids = map_file(folder / "ids.bin", self.info.dtype, self.info.tokens)
        self.flags = map_file(folder / "flags.bin", "uint8", self.info.tokens)

    def __len__(self) -> int:
        return -(-self.info.tokens // self.block_size)

    @property
    def words(self) -> StreamWords:
        """The words of the text, if the writer kept them."""
        return read_words(self.folder, self.info.words, self.info.stretches)

    @property
    def document_starts(self) -> np.ndarray:
        """Whether a document begins at each token of the stream. *Shape:* (N,), bool."""
        starts: np.ndarray = np.asarray(self.flags) & DOCUMENT_START > 0
        return starts

    @property
    def padding(self) -> int:
        """Return how many positions of the last block hold no token."""
        return len(self) * self.block_size - self.info.tokens

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text that a token stands for, on average, framing tokens not counted."""
        return self.info.bytes_per_token

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """Return the clean blocks of these indices.

        Returns:
            `input_ids` int64, `word_start` bool and `document` int64 (from 0 within the block, -1 on padding).
            *Shapes:* (B, L).
        """
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"blocks {rows.min()} to {rows.max()} of {len(self)}")
        positions = rows[:, None] * self.block_size + np.arange(self.block_size)
        padding = positions >= self.info.tokens
        padded = padding[:, -1].any()
        if padded:
            positions[padding] = 0
        ids, flags = self.ids[positions].astype(np.int64), self.flags[positions]
        if padded:
            ids[padding], flags[padding] = self.pad_id, 0
        starts = np.cumsum(flags & DOCUMENT_START > 0, axis=1)
        document: np.ndarray = starts - starts[:, :1]
        document[padding] = -1
        return {
            "input_ids": torch.from_numpy(ids),
            "word_start": torch.from_numpy((flags & WORD_START) > 0),
            "document": torch.from_numpy(document),
        }
