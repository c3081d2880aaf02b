"""Labelled examples in three sides: what is learnt from, what choices are made on, what the figures are taken on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from textdae.data.cache import cache_root, digest
from textdae.data.files import Columns
from textdae.data.image_sources import open_images
from textdae.data.images import Images, prepare_images
from textdae.data.labels import Task, check_labels, find_task, is_missing, named, remarks
from textdae.data.sources import open_source
from textdae.data.split import check_apart, is_held_out, named_as, other_source
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
    for origin, source in sources.items():
        for row in source.rows():
            *texts, label = row
            if not texts[0].strip():
                notes["blank texts left out"] += 1
                continue
            example = texts[0] if len(texts) == 1 else (texts[0], texts[1])
            side = _side(origin, "\0".join(text.strip() for text in texts), data, sources)
            entries[side].append((example, named(label, source.class_names)))
        notes += source.notes + source.left_out
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
    for origin, parts in sides.items():
        for images in parts:
            for pixels, number in zip(images.pixels, images.labels.tolist(), strict=True):
                to_test = (
                    origin == "train" and not tests and is_held_out(b"test" + pixels.tobytes(), data.test)
                )
                label = images.classes[number] if number >= 0 else None
                entries["test" if to_test else origin].append((pixels, label))
    notes = Counter[str]()
    labelled = _corpus(
        data, data.source, entries, corpus.train.classes, digest("labelled images", fingerprints), notes
    )
    changed = [*corpus.notes[1:], *(f"test: {note}" for note in (found.notes[1:] if tests else []))]
    return labelled._replace(notes=[*labelled.notes, *changed])


def _side(origin: str, content: str, data: LabelledTextSettings, sources: dict[str, Any]) -> str:
    """The side of an example: that of its source, or of those of the first source by a hash of its content."""
    if origin != "train":
        return origin
    if "test" not in sources and is_held_out(f"test {content}", data.test):
        return "test"
    return "held_out" if "held_out" not in sources and is_held_out(content, data.held_out) else "train"


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
