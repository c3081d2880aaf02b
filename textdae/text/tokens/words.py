"""Words of a text by Unicode's rules (UAX 29), before any tokenizer, and the random numbers that belong to them.

Evaluation chooses words by these numbers, so that all tokenizers are scored on the same words. A number depends only on the
content of the document and the index of the word in it.

N tokens, W words, S stretches.
"""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import regex

from textdae.core.draw import mix
from textdae.text.tokens.tokenizing import Tokens

STRETCH = 64
"""Words in a stretch, which is evaluated as a whole; the last stretch of a document may be shorter."""
_BOUNDARY = regex.compile(r"\b", regex.WORD | regex.VERSION1)
_OF_STRETCHES = 0x5354524554434845  # keeps their numbers apart from those of the words


def words(text: str) -> np.ndarray:
    """Return begin and end of each word, in characters: the segments that hold a letter or a digit. *Shape:* (W, 2),
    int64."""
    borders = [match.start() for match in _BOUNDARY.finditer(text)]
    spans = [(begin, end) for begin, end in pairwise(borders) if any(map(str.isalnum, text[begin:end]))]
    return np.array(spans, np.int64).reshape(-1, 2)


def document_key(text: str) -> int:
    """Return a 64-bit hash of a document, without the white space around it."""
    return int.from_bytes(hashlib.blake2b(text.strip().encode(), digest_size=8).digest())


def word_hash(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Hash words by document key and index in the document to 64 bits. (n,) each -> (n,), uint64."""
    return mix(mix(keys) + numbers.astype(np.uint64))


def stretch_hash(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Hash stretches of a document to 64 bits. (n,) each -> (n,), uint64."""
    return word_hash(keys ^ np.uint64(_OF_STRETCHES), numbers)


def is_below(hashes: np.ndarray, rate: float) -> np.ndarray:
    """Return which hashes, as numbers in [0, 1), lie below the rate; a higher rate only adds words. (n,), bool."""
    below: np.ndarray = (hashes >> np.uint64(11)) * 2.0**-53 < rate
    return below


def ranges(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the whole numbers of each range, concatenated. (n,) each -> (m,), int64."""
    lengths = ends - begins
    skipped = np.repeat(ends - np.cumsum(lengths), lengths)
    return np.arange(int(lengths.sum())) + skipped


class PieceWords(NamedTuple):
    """The words of some pieces, one piece after the other."""

    counts: np.ndarray
    """Words of each piece. *Shape:* (pieces,)."""
    begin: np.ndarray
    """Position of the first token that overlaps the word. *Shape:* (w,)."""
    end: np.ndarray
    """Position behind the last of them; `begin` where there is none. *Shape:* (w,)."""
    bytes: np.ndarray
    """UTF-8 bytes of the word. *Shape:* (w,)."""


class StreamWords(NamedTuple):
    """The words of a stream in their order, as `words.py` defines them."""

    begin: np.ndarray
    """Position of the first token that overlaps the word. *Shape:* (W,), int64."""
    end: np.ndarray
    """Position behind the last of them; `begin` where no token stands for the word. *Shape:* (W,), int64."""
    bytes: np.ndarray
    """UTF-8 bytes of the word. *Shape:* (W,), uint32."""
    hash: np.ndarray
    """Random bits that depend on the text alone. *Shape:* (W,), uint64."""
    stretch: np.ndarray
    """First word of each stretch. *Shape:* (S,), int64."""
    stretch_hash: np.ndarray
    """Random bits of each stretch. *Shape:* (S,), uint64."""


WORD_TYPES = {"begin": "int64", "end": "int64", "bytes": "uint32", "hash": "uint64", "stretch": "int64", "stretch_hash": "uint64"}  # fmt: skip


class WordWriter:
    """Number the words within their documents, and append them to files, one a column."""

    def __init__(self, folder: Path) -> None:
        self._files = {name: open(word_file(folder, name), "wb") for name in WORD_TYPES}  # noqa: SIM115
        self._words = self._stretches = 0
        self._next = 0  # number of the next word in the document that goes on

    def write(self, words: PieceWords, position: int, keys: list[int], begins: list[bool]) -> None:
        """Append the words of some pieces; the first piece begins at a position of the stream."""
        firsts = []
        for count, begins_document in zip(words.counts.tolist(), begins, strict=True):
            firsts.append(0 if begins_document else self._next)
            self._next = firsts[-1] + count
        counts = words.counts
        key = np.repeat(np.array(keys, np.uint64), counts)
        number = np.arange(len(key)) + np.repeat(np.array(firsts) - (np.cumsum(counts) - counts), counts)
        stretch = np.flatnonzero(number % STRETCH == 0)
        columns = StreamWords(
            words.begin + position, words.end + position, words.bytes, word_hash(key, number),
            stretch + self._words, stretch_hash(key[stretch], number[stretch] // STRETCH),
        )  # fmt: skip
        for name, column in columns._asdict().items():
            self._files[name].write(column.astype(WORD_TYPES[name]).tobytes())
        self._words += len(number)
        self._stretches += len(stretch)

    def close(self) -> tuple[int, int]:
        """Return how many words and stretches there are."""
        for file in self._files.values():
            file.close()
        return self._words, self._stretches


def word_file(folder: Path, name: str) -> Path:
    """Return the file of a column."""
    return folder / f"word-{name.replace('_', '-')}.bin"


def find_words(texts: list[str], tokens: Tokens, offsets: np.ndarray, inside: np.ndarray) -> PieceWords:
    """Find the words of each text, and the positions (N,) of the tokens that overlap them."""
    spans = [words(text) for text in texts]
    sizes = [
        len(word) if text.isascii() else len(word.encode())
        for text, span in zip(texts, spans, strict=True)
        for word in (text[begin:end] for begin, end in span.tolist())
    ]
    counts = np.array([len(span) for span in spans], np.int64)
    # All texts at once: positions are offset by the texts before.
    starts = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
    begin, end = (np.concatenate(spans) + np.repeat(starts, counts)[:, None]).T
    token_begin, token_end = (offsets + np.repeat(starts, tokens.lengths)[:, None]).T
    # Normalizers may change the order of marks; what lies between two tokens of a word belongs to it.
    first = np.searchsorted(np.maximum.accumulate(token_end), begin, "right")
    last = np.searchsorted(np.minimum.accumulate(token_begin[::-1])[::-1], end, "left")
    position = np.append(inside, inside[-1:] + 1)  # a word after the last token has none
    if not len(inside):
        return PieceWords(counts, np.zeros_like(begin), np.zeros_like(begin), np.array(sizes, np.int64))
    size = np.maximum(last - first, 0)
    return PieceWords(counts, position[first], position[first] + size, np.array(sizes, np.int64))


def read_words(folder: Path, words: int, stretches: int) -> StreamWords:
    """Open the words that a `WordWriter` wrote, memory-mapped."""
    sizes = {name: stretches if name.startswith("stretch") else words for name in WORD_TYPES}
    return StreamWords(
        **{name: map_file(word_file(folder, name), dtype, sizes[name]) for name, dtype in WORD_TYPES.items()}
    )


def map_file(path: Path, dtype: str, length: int) -> Any:
    """Memory-map the numbers in a file. *Shape:* (length,)."""
    return np.memmap(path, dtype, "r", shape=(length,)) if length else np.zeros(0, dtype)
