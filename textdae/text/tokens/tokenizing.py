"""Tokenize texts into ids and word starts; repeated parts of texts are tokenized once and then looked up.

A text is mostly words that have been seen, so this is several times faster than tokenizing it. It is exact, for the parts are
those that the tokenizer takes by themselves (`splitting.py`); where it knows none, it is given whole texts.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

from textdae.core.errors import panics_refused
from textdae.text.tokens.split_text import splitter

_MOST_KNOWN = 1 << 19  # some 100 MB
# Characters. Longer parts hardly come again, and where there are no spaces a part is a whole text.
_LONGEST_KNOWN = 64
_TOGETHER = 1 << 14  # parts; each costs the tokenizer a kilobyte beside its characters
_IN_A_TEXT = 100  # parts; a call of the tokenizer costs as much as one or two of them


class Tokens(NamedTuple):
    """The tokens of some texts, one text after the other. N tokens, T texts."""

    ids: np.ndarray
    """*Shape:* (N,), int64."""
    word_start: np.ndarray
    """True where a word, or a special token, begins. *Shape:* (N,), bool."""
    lengths: np.ndarray
    """Tokens of each text. *Shape:* (T,), int64."""


class TextTokenizer:
    """Tokenizes many texts, without the special tokens that frame them; nothing is cut off.

    Args:
        tokenizer: what it says of a text, this says too.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._split = splitter(self._backend)
        self._separator = _separator(self._backend)
        self._known: dict[str, bytes] = {}

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenize each text."""
        encoded = self._look_up(texts) if self._split else self._tokenize(texts)
        both = np.frombuffer(b"".join(encoded), np.uint32)
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded)) // both.itemsize
        return Tokens((both >> 1).astype(np.int64), (both & 1).astype(bool), lengths)

    def with_offsets(self, texts: Sequence[str]) -> tuple[Tokens, np.ndarray]:
        """Tokenize each text as a whole, which is slower; return also where in its text each token begins and ends. (N, 2)"""
        encodings = self._encodings(texts)
        both, lengths = _joined(encodings)
        _begin_words(both, lengths)
        offsets = np.fromiter(
            chain.from_iterable(chain.from_iterable(e.offsets for e in encodings)), np.int64
        )
        return Tokens((both >> 1).astype(np.int64), (both & 1).astype(bool), lengths), offsets.reshape(-1, 2)

    def _look_up(self, texts: Sequence[str]) -> list[bytes]:
        split = self._split
        assert split
        parts = split(texts)
        new = list({*chain.from_iterable(parts)}.difference(self._known))
        if 2 * len(new) > sum(map(len, parts)):  # hardly anything comes again
            return self._tokenize(texts)
        if len(self._known) + len(new) > _MOST_KNOWN:  # the frequent ones are soon known again
            self._known = {}
            new = list({*chain.from_iterable(parts)})
        for begin in range(0, len(new), _TOGETHER):
            self._known.update(self._tokenize_parts(new[begin : begin + _TOGETHER]))
        rows = [b"".join(map(self._known.__getitem__, some)) for some in parts]
        for part in new:
            if len(part) > _LONGEST_KNOWN:
                del self._known[part]
        return rows

    def _tokenize_parts(self, parts: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """Return each part and its tokens; with a special token after each they are tokenized many in a text, which is faster."""
        if self._separator is None:
            return zip(parts, self._tokenize(parts), strict=True)
        text, number = self._separator
        whole = [part for part in parts if text not in part]
        groups = [whole[begin : begin + _IN_A_TEXT] for begin in range(0, len(whole), _IN_A_TEXT)]
        both, lengths = self._encode([text.join([*group, ""]) for group in groups])
        ends = both >> 1 == number
        counts = np.bincount(np.repeat(np.arange(len(groups)), lengths)[ends], minlength=len(groups))
        if counts.tolist() != list(map(len, groups)):  # one was lost in, or made of, what is beside it
            return zip(parts, self._tokenize(parts), strict=True)
        positions = np.flatnonzero(ends)
        alone = [part for part in parts if text in part]
        tokens = _cut(both[~ends], np.diff(positions, prepend=-1) - 1) + self._tokenize(alone)
        return zip(whole + alone, tokens, strict=True)

    def _tokenize(self, texts: Sequence[str]) -> list[bytes]:
        """Return the tokens of each text, 32 bits each: the id, and in the lowest bit whether a word begins."""
        return _cut(*self._encode(texts))

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of all texts, and how many each text has."""
        return _joined(self._encodings(texts))

    def _encodings(self, texts: Sequence[str]) -> list[Encoding]:
        with panics_refused("the tokenizer"):
            encodings: list[Encoding] = self._backend.encode_batch(texts, add_special_tokens=False)
        return encodings


def _joined(encodings: Sequence[Encoding]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of all texts, 32 bits each, and how many each text has."""
    lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
    total = int(lengths.sum())
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.uint32, total)
    # A special token in the text belongs to no word: it becomes NaN, which differs from whatever is beside it.
    words = np.array(list(chain.from_iterable(encoding.word_ids for encoding in encodings)), np.float64)
    word_start = np.ones(total, bool)
    word_start[1:] = words[1:] != words[:-1]
    return (ids << 1 | word_start).astype(np.uint32), lengths


def _cut(both: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Return the tokens of each text, in the first of which a word begins."""
    ends = _begin_words(both, lengths)
    data = both.tobytes()
    return [data[begin:end] for begin, end in pairwise([0, *(ends * both.itemsize).tolist()])]


def _begin_words(both: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Let a word begin with the first token of each text; return where the texts end. (T,)"""
    ends: np.ndarray = np.cumsum(lengths)
    both[(ends - lengths)[lengths > 0]] |= 1
    return ends


def _separator(backend: Tokenizer) -> tuple[str, int] | None:
    """Return a token, and its id, that parts a text into texts of their own: found as it is written, taking nothing from beside it.

    Its end is not its beginning, or it could be found some letters early; and it does not stand for unknown words.
    """
    unknown = getattr(backend.model, "unk_token", None)
    for number, token in backend.get_added_tokens_decoder().items():
        text = token.content
        overlaps = any(text.startswith(text[-length:]) for length in range(1, len(text)))
        takes = token.normalized or token.single_word or token.lstrip or token.rstrip
        if not overlaps and not takes and text != unknown:
            return text, number
    return None
