"""Split a text into parts whose tokens, joined, equal those of the whole text."""

import json
import re
import string
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

# These look at no letter on the other side of a space, and those of the first line leave no two spaces together that were not.
_KEEP_LETTERS = {"NFC", "NFD", "Lowercase"}
_MAY_DROP_LETTERS = _KEEP_LETTERS | {"BertNormalizer", "NFKC", "NFKD", "StripAccents"}
_DROP_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
# White space and what follows it. A part begins at one of four spaces that every tokenizer knows as such; others, which
# only Python may take for one, do not end it.
_WITH_SPACES = re.compile(r"\s*\S+(?:[^\S \t\n\r]\s*\S*)*|\s+")
# None of these makes one letter of two, so what was cut from a mark stays what it was.
_COMPOSE_NOTHING = {"BertNormalizer", "Lowercase", "NFD", "NFKD", "StripAccents"}
_APART = [("\t", " "), *((mark, f" {mark} ") for mark in string.punctuation)]
_TOGETHER = 1 << 15  # characters; a text alone may be short, and many together do not fit the nearest caches


def splitter(backend: Tokenizer) -> Callable[[Sequence[str]], list[list[str]]] | None:
    """Return a function that splits texts so that the tokens of the parts, joined, equal those of the text; None if unknown."""
    state = json.loads(backend.to_str())
    steps = list(_parts(state["normalizer"]))
    normalizers = {step["type"] for step in steps}
    kind = state["pre_tokenizer"] or {"type": None}
    added = state["added_tokens"]
    if state["model"].get("dropout") or any(token["single_word"] or token["rstrip"] for token in added):
        return None
    # As they are written, and as they are looked for.
    forms = [token["content"] for token in added]
    if backend.normalizer:
        forms += [backend.normalizer.normalize_str(form) for form in forms]
    if kind["type"] in _DROP_SPACES and normalizers <= _MAY_DROP_LETTERS:
        if not all(re.fullmatch(r"\S+", form) for form in forms):
            return None
        as_written = not any(token["normalized"] for token in added)
        if kind["type"] == "BertPreTokenizer" and as_written and normalizers <= _COMPOSE_NOTHING:
            lowercase = any(step["type"] == "Lowercase" or step.get("lowercase") for step in steps)
            return partial(_words_and_marks, lowercase=lowercase, added=[token["content"] for token in added])
        return _between_spaces
    if kind["type"] == "ByteLevel" and kind["use_regex"] and not kind["add_prefix_space"]:
        within = all(re.fullmatch(r"\s*\S*", form) for form in forms)
        return _with_spaces if within and normalizers <= _KEEP_LETTERS else None
    return None


def _parts(normalizer: dict[str, Any] | None) -> Iterable[dict[str, Any]]:
    if normalizer is None:
        return []
    if normalizer["type"] == "Sequence":
        return chain.from_iterable(map(_parts, normalizer["normalizers"]))
    return [normalizer]


def _between_spaces(texts: Sequence[str]) -> list[list[str]]:
    return [text.replace("\n", " ").split(" ") for text in texts]


def _with_spaces(texts: Sequence[str]) -> list[list[str]]:
    return [_WITH_SPACES.findall(text) for text in texts]


def _words_and_marks(texts: Sequence[str], lowercase: bool, added: Sequence[str]) -> list[list[str]]:
    """Cut words as BERT does, each ASCII mark by itself, so that "word", "word," and "(Word" share a part."""
    step = 1 + _TOGETHER * len(texts) // (1 + sum(map(len, texts)))
    groups = (texts[begin : begin + step] for begin in range(0, len(texts), step))
    return [parts for group in groups for parts in _marks_apart(group, lowercase, added)]


def _marks_apart(texts: Sequence[str], lowercase: bool, added: Sequence[str]) -> list[list[str]]:
    lines = [text.replace("\n", " ") for text in texts]
    if lowercase:
        lines = [line.lower() if line.isascii() else line for line in lines]
    whole, as_written = "\n".join(lines), "\n".join(texts)
    # An added token may hold marks, and is not to be cut.
    if any(token in whole or token in as_written for token in added):
        if len(texts) == 1:
            return _between_spaces(texts)
        return [parts for text in texts for parts in _marks_apart([text], lowercase, added)]
    for mark, apart in _APART:
        whole = whole.replace(mark, apart)
    return [line.split(" ") for line in whole.split("\n")]
