"""Texts -> token ids and word starts; what stands between two spaces is tokenized once and then looked up.

A text is mostly words that have been seen, so this is several times faster than tokenizing it. It is exact for tokenizers
that look at no two sides of a space at once; others are given whole texts.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast

_MOST_KNOWN = 1 << 19  # some 100 MB
# Characters. Longer parts hardly come again, and where there are no spaces a part is a whole text.
_LONGEST_KNOWN = 64
_TOGETHER = 1 << 14  # parts; each costs the tokenizer a kilobyte beside its characters
_IN_A_TEXT = 100  # parts; a call of the tokenizer costs as much as one or two of them
# These look at no letter on the other side of a space, and those of the first line leave no two spaces together that were not.
_KEEP_LETTERS = {"NFC", "NFD", "Lowercase"}
_MAY_DROP_LETTERS = _KEEP_LETTERS | {"BertNormalizer", "NFKC", "NFKD", "StripAccents"}
_DROP_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
# White space and what follows it. A part begins at one of four spaces that every tokenizer knows as such; others, which
# only Python may take for one, do not end it.
_WITH_SPACES = re.compile(r"\s*\S+(?:[^\S \t\n\r]\s*\S*)*|\s+")


class Tokens(NamedTuple):
    """The tokens of some texts, one text after the other. N tokens, T texts."""

    ids: np.ndarray
    """*Shape:* (N,), int64."""
    word_start: np.ndarray
    """True where a word, or a special token, begins. *Shape:* (N,), bool."""
    lengths: np.ndarray
    """Tokens of each text. *Shape:* (T,), int64."""


class _Neighbours(NamedTuple):
    text: str
    begins: list[int]
    parts: list[str]


class TextTokenizer:
    """Tokenizes many texts, without the special tokens that frame them; nothing is cut off.

    Args:
        tokenizer: what it says of a text, this says too.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._split = splitter(self._backend)
        self._known: dict[str, bytes] = {}

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenize each text."""
        found = self._look_up(texts) if self._split else self._tokenize(texts)
        both = np.frombuffer(b"".join(found), np.uint32)
        lengths = np.fromiter(map(len, found), np.int64, len(found)) // both.itemsize
        return Tokens((both >> 1).astype(np.int64), (both & 1).astype(bool), lengths)

    def _look_up(self, texts: Sequence[str]) -> list[bytes]:
        split = self._split
        assert split
        parts = [split(text) for text in texts]
        new = list({*chain.from_iterable(parts)}.difference(self._known))
        if 2 * len(new) > sum(map(len, parts)):  # hardly anything comes again
            return self._tokenize(texts)
        if len(self._known) + len(new) > _MOST_KNOWN:  # the frequent ones are soon known again
            self._known = {}
            new = list({*chain.from_iterable(parts)})
        for begin in range(0, len(new), _TOGETHER):
            self._known.update(self._tokenize_parts(new[begin : begin + _TOGETHER]))
        found = [b"".join(map(self._known.__getitem__, some)) for some in parts]
        for part in new:
            if len(part) > _LONGEST_KNOWN:
                del self._known[part]
        return found

    def _tokenize_parts(self, parts: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """Each part and its tokens; most are tokenized as neighbours in one text, which is faster than each by itself."""
        groups: list[_Neighbours] = []
        ordered = sorted(parts, key=lambda part: not part[:1].isspace())  # these follow on anything
        for begin in range(0, len(ordered), _IN_A_TEXT):
            groups += self._neighbours(ordered[begin : begin + _IN_A_TEXT])
        found = self._tokenize([group.text for group in groups], [group.begins for group in groups])
        return zip(chain.from_iterable(group.parts for group in groups), found, strict=True)

    def _neighbours(self, parts: list[str]) -> Iterable["_Neighbours"]:
        """As few texts as it takes for them to be split into these parts."""
        assert self._split
        for gap in ("", " "):
            text = gap.join(parts)
            if len(parts) == 1 or self._split(text) == parts:
                begins = [0, *accumulate(len(part) + len(gap) for part in parts[:-1])]
                return [_Neighbours(text, begins, parts)]
        half = len(parts) // 2
        return chain(self._neighbours(parts[:half]), self._neighbours(parts[half:]))

    def _tokenize(self, texts: Sequence[str], begins: Sequence[Sequence[int]] | None = None) -> list[bytes]:
        """Of each text its tokens, 32 bits each: the id, and in the lowest bit whether a word begins.

        Args:
            begins: where the parts of each text begin, to get the tokens of each part instead.
        """
        encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        total = int(lengths.sum())
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.uint32, total)
        words = _word_numbers(encodings, total)
        word_start = words < 0
        word_start[1:] |= words[1:] != words[:-1]
        if begins is not None:
            lengths = _tokens_of_parts(encodings, lengths, texts, begins)
        word_start[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
        both = (ids << 1 | word_start).astype(np.uint32)
        ends = (np.cumsum(lengths) * both.itemsize).tolist()
        data = both.tobytes()
        return [data[begin:end] for begin, end in pairwise([0, *ends])]


def splitter(backend: Tokenizer) -> Callable[[str], list[str]] | None:
    """How a text is split into parts whose tokens, one after the other, are those of the text; None: not that we know."""
    state = json.loads(backend.to_str())
    normalizers = {part["type"] for part in _parts(state["normalizer"])}
    kind = state["pre_tokenizer"] or {"type": None}
    added = state["added_tokens"]
    if state["model"].get("dropout") or any(token["single_word"] or token["rstrip"] for token in added):
        return None
    # As they are written, and as they are looked for.
    forms = [token["content"] for token in added]
    if backend.normalizer:
        forms += [backend.normalizer.normalize_str(form) for form in forms]
    if kind["type"] in _DROP_SPACES and normalizers <= _MAY_DROP_LETTERS:
        return _between_spaces if all(re.fullmatch(r"\S+", form) for form in forms) else None
    if kind["type"] == "ByteLevel" and kind["use_regex"] and not kind["add_prefix_space"]:
        within = all(re.fullmatch(r"\s*\S*", form) for form in forms)
        return _WITH_SPACES.findall if within and normalizers <= _KEEP_LETTERS else None
    return None


def _parts(normalizer: dict[str, Any] | None) -> Iterable[dict[str, Any]]:
    if normalizer is None:
        return []
    if normalizer["type"] == "Sequence":
        return chain.from_iterable(map(_parts, normalizer["normalizers"]))
    return [normalizer]


def _between_spaces(text: str) -> list[str]:
    return text.replace("\n", " ").split(" ")


def _tokens_of_parts(
    encodings: Sequence[Encoding], lengths: np.ndarray, texts: Sequence[str], begins: Sequence[Sequence[int]]
) -> np.ndarray:
    """How many tokens each part has, the texts being laid one after the other."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    starts = np.cumsum(sizes) - sizes
    offsets = chain.from_iterable(encoding.offsets for encoding in encodings)
    # By its last character: a token may have taken the spaces before it.
    tokens = np.fromiter((max(begin, end - 1) for begin, end in offsets), np.int64, int(lengths.sum()))
    parts = np.fromiter(chain.from_iterable(begins), np.int64)
    parts += np.repeat(starts, np.fromiter(map(len, begins), np.int64, len(begins)))
    part = np.searchsorted(parts, tokens + np.repeat(starts, lengths), "right") - 1
    return np.bincount(part, minlength=len(parts))


def _word_numbers(encodings: Sequence[Encoding], total: int) -> np.ndarray:
    """The word of each token; -1 where it belongs to none (a special token in the text)."""
    numbers = chain.from_iterable(encoding.word_ids for encoding in encodings)
    try:
        return np.fromiter(numbers, np.int64, total)
    except TypeError:
        numbers = chain.from_iterable(encoding.word_ids for encoding in encodings)
        return np.fromiter((-1 if number is None else number for number in numbers), np.int64, total)
