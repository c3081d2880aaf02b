"""Labelled texts: a table of texts, or pairs of texts, with labels."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from textdae.core.cache import cache_root, digest
from textdae.core.split import check_apart, named_as, other_source
from textdae.downstream.labelled import SIDES, Entry, LabelledCorpus, divide, labelled_corpus
from textdae.downstream.labels import named
from textdae.text.data.data_settings import LabelledTextSettings
from textdae.text.data.sources import Source, open_source
from textdae.text.data.tables import Columns

D = TypeVar("D", bound=LabelledTextSettings)


def labelled_texts(data: LabelledTextSettings) -> LabelledCorpus:
    """Read a table of texts with labels.

    Raises:
        SettingsError: it cannot be read, or its labels make no task.
    """
    pair = (data.text_pair_column,) if data.text_pair_column else ()
    columns = Columns((data.text_column, *pair), (data.label_column,))
    root = cache_root(data.cache_dir)
    sources = open_sides(data, lambda side: open_source(side, root, columns))
    entries: dict[str, list[Entry]] = {side: [] for side in SIDES}
    notes: Counter[str] = Counter()
    for side, source in sources.items():
        for row in source.rows():
            *texts, label = row
            if not texts[0].strip():
                notes["blank texts left out"] += 1
                continue
            example = texts[0] if len(texts) == 1 else (texts[0], texts[1])
            entries[side].append((example, named(label, source.class_names)))
        notes += source.notes + source.left_out
    entries |= split_off(data, entries["train"], sources, _content, notes)
    fingerprint = digest("labelled texts", [source.fingerprint for source in sources.values()])
    return labelled_corpus(
        data, sources["train"].name, entries, sources["train"].class_names, fingerprint, notes
    )


def open_sides(data: D, open_side: Callable[[D], Source]) -> dict[str, Source]:
    """Open the source, and those of sides that have one of their own.

    Args:
        open_side: settings of the source of one side -> the source.

    Raises:
        SettingsError: one cannot be opened, or two are one.
    """
    sources = {"train": open_side(data)}
    for side in SIDES[1:]:
        if other := other_source(data, side):
            with named_as(side):
                sources[side] = open_side(other)
    check_apart(data, {side: source.fingerprint for side, source in sources.items()})
    return sources


def split_off(
    data: LabelledTextSettings,
    entries: list[Entry],
    sources: Mapping[str, Source],
    content: Callable[[Any], str],
    notes: Counter[str],
) -> dict[str, list[Entry]]:
    """Divide the examples of the source into training and the sides that have no source of their own; the test side is split
    off first. See `divide`."""
    shares = {"test": ("test ", data.test), "held_out": ("", data.held_out)}
    return divide(
        entries, content, {side: share for side, share in shares.items() if side not in sources}, notes
    )


def _content(texts: str | tuple[str, str]) -> str:
    """Return the string whose hash decides the side of a text or a pair."""
    return "\0".join(text.strip() for text in ([texts] if isinstance(texts, str) else texts))
