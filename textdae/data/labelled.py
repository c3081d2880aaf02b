"""Labelled examples in three sides: what is learnt from, what choices are made on, what the figures are taken on."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from textdae.data.cache import cache_root, digest
from textdae.data.files import Columns
from textdae.data.image_sources import open_images
from textdae.data.images import Images, prepare_images
from textdae.data.labels import Task, check_labels, find_task, is_missing, named, remarks
from textdae.data.sources import open_source
from textdae.data.split import check_apart, is_held_out, named_as, other_source, settled_share
from textdae.errors import SettingsError
from textdae.settings import LabelledImageSettings, LabelledTextSettings

SIDES = ("train", "held_out", "test")


@dataclass(frozen=True)
class Labelled:
    """Examples and their labels.

    Attributes:
        examples: a text or a pair of texts each, or pixels (C, H, W) uint8.
        labels: see `Task.numbers`.
    """

    examples: Sequence[Any]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, numbers: np.ndarray) -> "Labelled":
        """Those of these numbers (k,), in this order."""
        return Labelled([self.examples[number] for number in numbers], self.labels[numbers])


class LabelledCorpus(NamedTuple):
    """A task, and the examples of its three sides."""

    task: Task
    train: Labelled
    held_out: Labelled
    test: Labelled
    fingerprint: str
    """The same for the same examples on the same sides."""
    notes: list[str]
    """What was read, and what was left out."""


Entry = tuple[Any, Any]
"""An example and its label as it was read, None where it has none."""


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
    # The test side takes its share first.
    shares = {"test": ("test ", data.test), "held_out": ("", data.held_out)}
    shares = {side: share for side, share in shares.items() if side not in sources}
    entries |= _divide(entries["train"], _content, shares, notes)
    fingerprint = digest("labelled texts", [source.fingerprint for source in sources.values()])
    return _corpus(data, sources["train"].name, entries, sources["train"].class_names, fingerprint, notes)


def labelled_images(data: LabelledImageSettings) -> LabelledCorpus:
    """Read pictures with labels.

    Raises:
        SettingsError: they cannot be read, or their labels make no task.
    """
    corpus = prepare_images(data)
    sides: dict[str, list[Images]] = {"train": [corpus.train], "held_out": [corpus.held_out], "test": []}
    tests, fingerprints = other_source(data, "test"), [corpus.facts]
    if tests:
        apart = {"train": data, "held_out": other_source(data, "held_out"), "test": tests}
        with named_as("test"):  # the other two have been opened before
            opened = {side: open_images(other).fingerprint for side, other in apart.items() if other}
        check_apart(data, opened)
        size = {"image_size": corpus.train.image_size, "channels": corpus.train.channels}
        with named_as("test"):
            found = prepare_images(tests.model_copy(update=size), whole=True)
        sides["test"] = [found.train]
        fingerprints.append(found.facts)
    entries: dict[str, list[Entry]] = {side: [] for side in SIDES}
    for side, parts in sides.items():
        for images in parts:
            for pixels, number in zip(images.pixels, images.labels.tolist(), strict=True):
                entries[side].append((pixels, images.classes[number] if number >= 0 else None))
    notes = Counter[str]()
    if not tests:
        entries |= _divide(entries["train"], np.ndarray.tobytes, {"test": (b"test", data.test)}, notes)
    labelled = _corpus(
        data, data.source, entries, corpus.train.classes, digest("labelled images", fingerprints), notes
    )
    changed = [*corpus.notes[1:], *(f"test: {note}" for note in (found.notes[1:] if tests else []))]
    return labelled._replace(notes=[*labelled.notes, *changed])


def _content(texts: str | tuple[str, str]) -> str:
    """What decides the side of a text or a pair of texts."""
    return "\0".join(text.strip() for text in ([texts] if isinstance(texts, str) else texts))


def _divide(
    entries: list[Entry],
    content: Callable[[Any], Any],
    shares: dict[str, tuple[Any, float]],
    notes: Counter[str],
) -> dict[str, list[Entry]]:
    """Divide the examples of one source by a hash of their content.

    Every side gets a labelled example, where there are enough.

    Args:
        content: of an example, str or bytes.
        shares: of each side but `train`: what stands before the content in its hash, and its share of what is left.
    """
    sides: dict[str, list[Entry]] = {}
    for side, (prefix, share) in shares.items():
        labelled = (prefix + content(example) for example, label in entries if not is_missing(label))
        settled = settled_share(labelled, share)
        if settled != share:
            notes[f"put on a side that data.{side}={share:g} left empty"] = 1
        taken = [is_held_out(prefix + content(example), settled) for example, _ in entries]
        sides[side] = list(compress(entries, taken))
        entries = [entry for entry, gone in zip(entries, taken, strict=True) if not gone]
    return sides | {"train": entries}


def _corpus(
    data: LabelledTextSettings | LabelledImageSettings,
    name: str,
    entries: dict[str, list[Entry]],
    class_names: Sequence[str] | None,
    fingerprint: str,
    notes: Counter[str],
) -> LabelledCorpus:
    kept = {side: list(_with_label(found, notes)) for side, found in entries.items()}
    for side, found in kept.items():
        if not found:
            key = {"train": "data.source", "held_out": "data.held_out", "test": "data.test"}[side]
            why = "every example is unlabelled" if entries[side] else "no example fell to this side"
            raise SettingsError(
                f"{key}: {name} has no labelled example for the {side} side: {why}; give more, or see data.label_column"
            )
    raw = {side: [label for _, label in found] for side, found in kept.items()}
    task = find_task(data.task, raw["train"], class_names, data.label_column, data.max_classes)
    for side in SIDES[1:]:
        check_labels(task, raw[side], f"{side}: data.label_column: {data.label_column}")
    sides = {
        side: Labelled([example for example, _ in kept[side]], task.numbers(raw[side])) for side in SIDES
    }
    others = {side: (raw[side], sides[side].labels) for side in ("held_out", "test")}
    what = "numbers to predict" if task.is_regression else f"{len(task.classes)} classes"
    counts = ", ".join(f"{len(sides[side]):,} {side.replace('_', ' ')}" for side in SIDES)
    lines = [f"{name}: {what}; {counts}", *(f"{what}: {count:,}" for what, count in notes.items())]
    lines += remarks(task, sides["train"].labels, others)
    how = digest(fingerprint, data.label_column, data.held_out, data.test, task.kind, task.classes)
    return LabelledCorpus(task, sides["train"], sides["held_out"], sides["test"], how, lines)


def _with_label(entries: Sequence[Entry], notes: Counter[str]) -> Iterator[Entry]:
    for example, label in entries:
        if is_missing(label):
            notes["unlabelled examples left out"] += 1
        else:
            yield example, label
