"""Sentences whose words have tags: columns of words and tags in a table, or CoNLL files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textdae.core.cache import cache_root, digest
from textdae.core.errors import SettingsError, listed
from textdae.core.logs import cautions
from textdae.core.source_files import find_files
from textdae.downstream.entities import OUTSIDE, is_tag, kind_of
from textdae.downstream.labelled import SIDES, Entry, Labelled, LabelledCorpus
from textdae.downstream.labels import LabelSchema, named
from textdae.text.data.data_settings import FinetuneTextDataSettings
from textdae.text.data.reading import CONLL
from textdae.text.data.sources import TAGGED_FILES, Source, open_source
from textdae.text.data.tables import Columns, Row
from textdae.text.labelled import open_sides, split_off

_DOCUMENT_MARK = "-DOCSTART-"
_MOST_NAMED = 5


def tagged_texts(data: FinetuneTextDataSettings) -> LabelledCorpus:
    """Read sentences with a tag for each word. Examples are tuples of words; labels numbers of tags, (words,) each.

    Raises:
        SettingsError: it cannot be read, words and tags do not match, a tag is none of IOB, or is unknown to training.
    """
    root = cache_root(data.cache_dir)
    sources = open_sides(data, lambda side: _open(side, root))
    entries: dict[str, list[Entry]] = {side: [] for side in SIDES}
    notes: Counter[str] = Counter()
    for side, source in sources.items():
        for number, row in enumerate(source.rows(), 1):
            where = f"{source.name}, sentence {number}"
            words, tags = _sentence(row, where, notes)
            tags = [named(tag, source.class_names) for tag in tags]
            if not words:
                notes["blank sentences left out"] += 1
            elif not tags or None in tags:
                notes["untagged sentences left out"] += 1
            else:
                _check(words, tags, where, data.label_column)
                entries[side].append((tuple(words), tags))
        notes += source.notes + source.left_out
    schema = LabelSchema("token_classification", _classes(entries["train"], sources["train"].class_names))
    entries |= split_off(data, entries["train"], sources, " ".join, notes)
    return _corpus(data, schema, entries, sources, notes)


def _open(data: FinetuneTextDataSettings, root: Path) -> Source:
    if data.source == "docstrings":
        raise SettingsError(
            "data.source: docstrings have no tags; name a table with columns of words and tags, or CoNLL files"
        )
    files = find_files(data.source, TAGGED_FILES)
    if files and all(file.name.lower().endswith(CONLL) for file in files.files):
        in_paragraphs = data.model_copy(update={"document": "paragraph"})  # blank lines between sentences
        return open_source(in_paragraphs, root, Columns(("lines",)), files=TAGGED_FILES)
    return open_source(data, root, Columns((), (data.text_column, data.label_column)), files=TAGGED_FILES)


def _sentence(row: Row, where: str, notes: Counter[str]) -> tuple[list[Any], list[Any]]:
    """Return the words and the tags of a row of a table, or of the lines of a CoNLL file."""
    if len(row) == 2:
        words, tags = (value.split() if isinstance(value, str) else value for value in row)
        for value, what in ((words, "words"), (tags, "tags")):
            if value is not None and not isinstance(value, list | tuple):
                raise SettingsError(
                    f"{where}: {what} are a list, or a text with spaces between; got {value!r}"
                )
        return list(words or []), list(tags or [])
    lines = [line.split("\t" if "\t" in line else None) for line in row[0].split("\n")]
    kept = [columns for columns in lines if columns[0] != _DOCUMENT_MARK]
    notes[f"lines {_DOCUMENT_MARK} left out"] += len(lines) - len(kept)
    for columns in kept:
        if len(columns) < 2:
            raise SettingsError(f"{where}: {columns[0]!r} has no tag; a line is a word and, last, its tag")
    return [columns[0] for columns in kept], [columns[-1].strip() for columns in kept]


def _check(words: Sequence[Any], tags: Sequence[Any], where: str, column: str) -> None:
    if len(words) != len(tags):
        raise SettingsError(f"{where}: {len(words)} words, but {len(tags)} tags")
    for word in words:
        if not isinstance(word, str):
            raise SettingsError(f"{where}: {word!r} is a {type(word).__name__}, not a word")
    for tag in tags:
        if isinstance(tag, int):
            raise SettingsError(
                f"{where}: the tag {tag} is a number without a name; write tags as text, or give the column the "
                "feature ClassLabel of datasets"
            )
        if not (isinstance(tag, str) and is_tag(tag)):
            raise SettingsError(
                f"{where}: data.label_column: {column}: {tag!r} is not an IOB tag such as O, B-PER or I-PER; a tag of "
                "single words, such as NN, is written B-NN"
            )


def _classes(entries: Sequence[Entry], class_names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the tags, O first, those of a kind together; in the order of the table, where it gives one."""
    tags = {tag for _, tags in entries for tag in tags}
    if class_names and tags <= set(class_names):
        return tuple(class_names)
    return (OUTSIDE, *sorted(tags - {OUTSIDE}, key=lambda tag: (kind_of(tag), tag)))


def _corpus(
    data: FinetuneTextDataSettings,
    schema: LabelSchema,
    entries: dict[str, list[Entry]],
    sources: dict[str, Source],
    notes: Counter[str],
) -> LabelledCorpus:
    sides = {}
    for side in SIDES:
        if not entries[side]:
            key = {"train": "data.source", "held_out": "data.held_out", "test": "data.test"}[side]
            raise SettingsError(
                f"{key}: {sources['train'].name} has no tagged sentence for the {side} side; give more"
            )
        tags = [tags for _, tags in entries[side]]
        if unknown := sorted({tag for each in tags for tag in each} - set(schema.classes)):
            raise SettingsError(
                f"data.{side}_source: tags that {sources['train'].name} does not have: {listed(unknown)}; it has "
                f"{listed(schema.classes, 20)}"
            )
        sides[side] = Labelled([words for words, _ in entries[side]], schema.encode(tags))
    kinds = sorted({kind_of(tag) for tag in schema.classes} - {""})
    if not kinds:
        raise SettingsError(
            f"data.source: {sources['train'].name} has the tag O only; there is nothing to find"
        )
    counts = ", ".join(f"{len(sides[side]):,} {side.replace('_', ' ')}" for side in SIDES)
    lines = [
        f"{sources['train'].name}: {len(kinds)} kinds of entity ({listed(kinds, _MOST_NAMED)}); {counts}"
    ]
    lines += cautions(+notes)
    seen = set(np.concatenate(sides["train"].labels).tolist())
    if unseen := [tag for number, tag in enumerate(schema.classes) if number not in seen]:
        lines.append(f"tags with no training word: {len(unseen)} ({listed(unseen, _MOST_NAMED)})")
    fingerprints = [source.fingerprint for source in sources.values()]
    how = digest("tagged texts", fingerprints, data.held_out, data.test, schema.kind, schema.classes)
    return LabelledCorpus(schema, sides["train"], sides["held_out"], sides["test"], how, lines)
