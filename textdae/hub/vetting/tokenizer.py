"""Check an untrusted tokenizer: the size of its tables, and by how much it can lengthen a text.

The growth of a chain is the product of that of its parts, each for the worst text.
"""

import base64
import math
import struct
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from textdae.core.untrusted import parse_json, read_bytes, read_json

_MOST_VOCABULARY = 1_000_000
_MOST_MERGES = 2_000_000
_MOST_ADDED = 20_000
"""Added tokens; each costs a look at all that were added before."""
_MOST_SPECIAL = 5_000
"""Special tokens, which cost more."""
_MOST_STEPS = 200
"""Normalizers, pre-tokenizers and the like, together."""
_MOST_CHARACTERS = 10_000
"""Of a pattern, a replacement, a token."""
_MOST_GROWTH = 100
"""Characters that may come of one. XLM-R and ALBERT reach 72 at their worst: 18 by compatibility forms, 2 by the
replacement of spaces, 2 by the space before a word."""
_MOST_WORD = 1_000
"""Characters of a word that WordPiece looks into, which takes the square of them; and of a SentencePiece."""
_MOST_SPLITS = 300_000_000
"""Squares of the lengths of all SentencePieces: each is tried at all its splits, and copied."""
_LISTS = {"normalizers", "pretokenizers", "processors", "decoders"}
_TABLES = ("vocab.txt", "merges.txt", "vocab.json", "added_tokens.json", "special_tokens_map.json")
_PROTOBUFS = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")


def check_tokenizer(folder: Path) -> None:
    """Refuse a tokenizer whose files need too much memory or time.

    Raises:
        ValueError: says which file, and why.
    """
    for path in sorted(folder.glob("tokenizer*.json")):
        status = path.stat()
        if path.name != "tokenizer_config.json":
            _check_fast(path, status.st_size, status.st_mtime_ns)
    for name in _TABLES:
        if (folder / name).exists():
            _check_table(folder / name)
    for name in _PROTOBUFS:
        if (folder / name).exists():
            _check_pieces(folder / name)
    if (folder / "tokenizer_config.json").exists():
        _check_settings(read_json(folder / "tokenizer_config.json"), folder)


@lru_cache(maxsize=32)
def _check_fast(path: Path, size: int, changed: int) -> None:
    check_pipeline(read_json(path), path.name)


def check_pipeline(tokenizer: dict[str, Any], name: str) -> None:
    """Refuse a `tokenizer.json` that is too large, or makes texts too long.

    Raises:
        ValueError: says what, and how much.
    """
    model = tokenizer.get("model") or {}
    _check_count(name, "entries in its vocabulary", model.get("vocab") or (), _MOST_VOCABULARY)
    _check_count(name, "merges", model.get("merges") or (), _MOST_MERGES)
    _check_count(name, "added tokens", tokenizer.get("added_tokens") or (), _MOST_ADDED)
    if (most := model.get("max_input_chars_per_word") or 0) > _MOST_WORD:
        raise ValueError(
            f"{name} has max_input_chars_per_word = {most:,}, more than the {_MOST_WORD:,} allowed"
        )
    vocabulary = model.get("vocab") or ()
    words = (entry[0] for entry in vocabulary) if isinstance(vocabulary, list) else vocabulary
    added = (str(token.get("content")) for token in tokenizer.get("added_tokens") or ())
    _check_lengths(name, [*words, *added])
    for part in ("padding", "truncation"):
        for key, value in _numbers(tokenizer.get(part)):
            if value > _MOST_VOCABULARY:
                raise ValueError(f"{name} has {part}.{key} = {value:,}, which no tokenizer has")
    ways = {"texts": ("normalizer", "pre_tokenizer", "post_processor"), "decoded texts": ("decoder",)}
    for what, parts in ways.items():
        steps = [step for part in parts for step in _steps(tokenizer.get(part))]
        _check_count(name, f"steps for {what}", steps, _MOST_STEPS)
        growth = math.prod(_growth(step, name) for step in steps)
        if growth > _MOST_GROWTH:
            raise ValueError(
                f"{name} can make {what} {growth:.3g} times as long, which is more than the {_MOST_GROWTH} allowed"
            )


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """Yield each step of a part, in order, those of sequences within sequences too."""
    if not isinstance(part, dict):
        return
    inner = [part[key] for key in _LISTS if isinstance(part.get(key), list)]
    if inner:
        for step in (step for steps in inner for step in steps):
            yield from _steps(step)
    else:
        yield part


def _growth(step: dict[str, Any], name: str) -> float:
    """Characters that a step makes of one, at worst; of a template, how often the text stands in it."""
    kind, most = step.get("type"), 1.0
    pattern = next(iter(step["pattern"].values())) if isinstance(step.get("pattern"), dict) else ""
    _check_lengths(name, [str(pattern), str(step.get("content", ""))])
    if kind == "Replace":
        added = _unfolded(str(step.get("content", "")))
        # A regular expression may match nothing, between any two characters.
        exact = "String" in (step.get("pattern") or {}) and pattern
        most = max(1.0, added / len(pattern)) if exact else 1.0 + added
    elif kind == "Prepend":
        most = 1.0 + _unfolded(str(step.get("prepend", "")))
    elif kind == "Precompiled":
        most = _longest_mapped(base64.b64decode(step.get("precompiled_charsmap") or ""))
    elif kind == "ByteLevel":
        most = 4.0  # bytes of a character
    elif kind == "Metaspace":
        most = 2.0  # before a word of one letter
    elif kind == "BertNormalizer":
        most = 3.0  # a space on either side
    elif kind == "TemplateProcessing":
        most = _check_template(step, name)
    return most


def _unfolded(content: str) -> float:
    """Return the length of what is put in, also if it is put into compatibility forms afterwards, which make 18 of one."""
    forms = [unicodedata.normalize("NFKD", form) for form in (content, content.lower())]
    return float(max(len(content), *map(len, forms)))


def _longest_mapped(content: bytes) -> float:
    """Return the length of the longest entry of a table of SentencePiece: the size of a trie, the trie, entries with zeros between."""
    if len(content) < 4:
        return 1.0
    entries = content[4 + struct.unpack("<I", content[:4])[0] :].split(b"\0")
    return float(max([1, *(len(entry.decode("utf-8", "replace")) for entry in entries)]))


def _check_template(step: dict[str, Any], name: str) -> float:
    most = 1.0
    for side in ("single", "pair"):
        pieces = step.get(side) or []
        _check_count(name, f"pieces in a template ({side})", pieces, _MOST_STEPS)
        texts = [piece["Sequence"]["id"] for piece in pieces if "Sequence" in piece]
        most = max([most, *(float(texts.count(text)) for text in texts)])
    for token in (step.get("special_tokens") or {}).values():
        _check_count(name, "tokens in a piece of a template", token.get("ids") or (), _MOST_STEPS)
    return most


def _check_settings(settings: dict[str, Any], folder: Path) -> None:
    """Check the settings beside a tokenizer: its files stay in the folder, its lists of special tokens are short."""
    name = "tokenizer_config.json"
    named = [value for key, value in settings.items() if key.endswith("_file") and isinstance(value, str)]
    # Many name where their author had the file, which is nowhere here and not read.
    outside = [place for place in named if Path(place).name != place and Path(place).exists()]
    versions = settings.get("fast_tokenizer_files") or []
    outside += [place for place in versions if Path(place).name != place]
    if outside:
        raise ValueError(f"{name} names {outside[0]!r}, which is no file of this folder")
    _check_count(name, "added tokens", settings.get("added_tokens_decoder") or (), _MOST_ADDED)
    for key in ("extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens"):
        _check_count(name, key, settings.get(key) or (), _MOST_SPECIAL)
    _check_count(name, "keys", settings, _MOST_SPECIAL)


def _check_table(path: Path) -> None:
    content = read_bytes(path)
    if path.suffix == ".json":
        table = parse_json(content, path.name)
        most = {"vocab.json": _MOST_VOCABULARY, "added_tokens.json": _MOST_ADDED}.get(
            path.name, _MOST_SPECIAL
        )
        _check_count(path.name, "entries", table, most)
        for value in table.values():
            if isinstance(value, list | dict):
                _check_count(path.name, "entries", value, _MOST_SPECIAL)
        _check_lengths(path.name, list(table))
    else:
        lines = content.split(b"\n")
        _check_count(path.name, "lines", lines, _MOST_MERGES)
        _check_lengths(path.name, lines)


def _check_pieces(path: Path) -> None:
    """Check a SentencePiece model, a message of protobuf with one field 1 for each piece, or a table of lines."""
    content, tables = read_bytes(path), []
    try:
        fields = list(_fields(content))
        pieces = [value for field, value in fields if field == 1]
        tables = [
            value for field, spec in fields if field == 3 for inner, value in _fields(spec) if inner == 2
        ]
    except (IndexError, ValueError):  # tiktoken's, a line of text for each token
        pieces = content.split(b"\n")
    _check_count(path.name, "pieces", pieces, _MOST_VOCABULARY)
    _check_lengths(path.name, pieces, _MOST_WORD)
    if sum(len(piece) ** 2 for piece in pieces) > _MOST_SPLITS:
        raise ValueError(f"{path.name} has pieces that are longer than those of any tokenizer")
    # The conversion puts spaces before and between words.
    if (growth := 4 * max(map(_longest_mapped, tables), default=1.0)) > _MOST_GROWTH:
        raise ValueError(f"{path.name} can make texts {growth:,.0f} times as long")


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of the fields of a message, in order."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place, value, shift = place + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("no number")

    while place < len(content):
        key = number()
        kind = key & 7
        length = {0: 0, 1: 8, 5: 4}.get(kind, -1)
        if kind == 0:
            number()
        elif kind == 2:
            length = number()
        if length < 0 or place + length > len(content):
            raise ValueError("no message")
        yield key >> 3, content[place : place + length]
        place += length


def _numbers(part: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(part, dict):
        for inner, value in part.items():
            yield from _numbers(value, inner)
    elif isinstance(part, int) and not isinstance(part, bool):
        yield key, part


def _check_count(name: str, what: str, values: Any, most: int) -> None:
    if len(values) > most:
        raise ValueError(f"{name} has {len(values):,} {what}, more than the {most:,} allowed")


def _check_lengths(name: str, words: list[Any], most: int = _MOST_CHARACTERS) -> None:
    longest = max(map(len, words), default=0)
    if longest > most:
        raise ValueError(f"{name} has an entry of {longest:,} characters, which no tokenizer has")
