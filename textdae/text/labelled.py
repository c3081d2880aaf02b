"""Labelled texts: a table of texts, or pairs of texts, with labels."""

from collections import Counter

from textdae.core.cache import cache_root, digest
from textdae.core.split import check_apart, named_as, other_source
from textdae.downstream.labelled import SIDES, Entry, LabelledCorpus, divide, labelled_corpus
from textdae.downstream.labels import named
from textdae.text.data_settings import LabelledTextSettings
from textdae.text.sources import open_source
from textdae.text.tables import Columns


def labelled_texts(data: LabelledTextSettings) -> LabelledCorpus:
    """Read a table of texts with labels.

    Raises:
        SettingsError: it cannot be read, or its labels make no task.
    """
    pair = (data.text_pair_column,) if data.text_pair_column else ()
    columns = Columns((data.text_column, *pair), (data.label_column,))
    root = cache_root(data.cache_dir)
    sources = {"train": open_source(data, root, columns)}
    for side in SIDES[1:]:
        if other := other_source(data, side):
            with named_as(side):
                sources[side] = open_source(other, root, columns)
    check_apart(data, {side: source.fingerprint for side, source in sources.items()})
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
    # The test side is split off first.
    shares = {"test": ("test ", data.test), "held_out": ("", data.held_out)}
    shares = {side: share for side, share in shares.items() if side not in sources}
    entries |= divide(entries["train"], _content, shares, notes)
    fingerprint = digest("labelled texts", [source.fingerprint for source in sources.values()])
    return labelled_corpus(
        data, sources["train"].name, entries, sources["train"].class_names, fingerprint, notes
    )


def _content(texts: str | tuple[str, str]) -> str:
    """Return the string whose hash decides the side of a text or a pair."""
    return "\0".join(text.strip() for text in ([texts] if isinstance(texts, str) else texts))
