"""Labelled data in three sides: train, held out (early stopping, choices), test (reported only)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from textdae.core.cache import digest
from textdae.core.errors import SettingsError
from textdae.core.logs import Caution, cautions
from textdae.core.settings.downstream import LabelledDataSettings
from textdae.core.split import is_held_out, share_for_both_sides
from textdae.downstream.labels import LabelSchema, check_labels, find_schema, is_missing, summarize_labels

SIDES = ("train", "held_out", "test")
_FEW = 30
"""With fewer test examples an accuracy is off by a tenth and more."""


@dataclass(frozen=True)
class Labelled:
    """Examples and their labels.

    Attributes:
        examples: a text or a pair of texts each, or pixels (C, H, W) uint8.
        labels: see `LabelSchema.encode`.
    """

    examples: Sequence[Any]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, indices: np.ndarray) -> "Labelled":
        """Return the examples of these indices (k,), in this order."""
        return Labelled([self.examples[number] for number in indices], self.labels[indices])


class LabelledCorpus(NamedTuple):
    """A label schema, and the examples of three sides."""

    schema: LabelSchema
    train: Labelled
    held_out: Labelled
    test: Labelled
    fingerprint: str
    """Equal for equal examples on the same sides."""
    summary: list[str]
    """Lines on what was read and left out."""


Entry = tuple[Any, Any]
"""An example and its original label, None if it has none."""


def divide(
    entries: list[Entry],
    content: Callable[[Any], Any],
    shares: dict[str, tuple[Any, float]],
    notes: Counter[str],
) -> dict[str, list[Entry]]:
    """Divide the examples of one source by a hash of their content.

    Every side gets a labelled example if there are enough.

    Args:
        content: of an example, str or bytes.
        shares: for each side but `train`: a prefix of the content in its hash, and its share of the remaining examples.
    """
    sides: dict[str, list[Entry]] = {}
    for side, (prefix, share) in shares.items():
        labelled = (prefix + content(example) for example, label in entries if not is_missing(label))
        used = share_for_both_sides(labelled, share)
        if used != share:
            notes[f"examples put on a side that data.{side}={share:g} left empty"] = 1
        taken = [is_held_out(prefix + content(example), used) for example, _ in entries]
        sides[side] = list(compress(entries, taken))
        entries = [entry for entry, gone in zip(entries, taken, strict=True) if not gone]
    return sides | {"train": entries}


def labelled_corpus(
    data: LabelledDataSettings,
    name: str,
    entries: dict[str, list[Entry]],
    class_names: Sequence[str] | None,
    fingerprint: str,
    notes: Counter[str],
) -> LabelledCorpus:
    """Build a labelled corpus from the entries of its three sides; unlabelled examples are left out and counted.

    Args:
        data: the settings of the source.
        name: of the source, for messages.
        entries: of each side.
        class_names: names of the classes in their order, where the source gives it.
        notes: counts of what was left out; updated.

    Raises:
        SettingsError: a side is empty, or the labels cannot be learnt.
    """
    kept = {side: list(_with_label(labelled, notes)) for side, labelled in entries.items()}
    for side, labelled in kept.items():
        if not labelled:
            key = {"train": "data.source", "held_out": "data.held_out", "test": "data.test"}[side]
            why = (
                f"every example is unlabelled, none has a {data.label_column!r}"
                if entries[side]
                else "no example fell to this side"
            )
            raise SettingsError(
                f"{key}: {name} has no labelled example for the {side} side: {why}; give more, or see data.label_column"
            )
    raw = {side: [label for _, label in labelled] for side, labelled in kept.items()}
    schema = find_schema(data.task, raw["train"], class_names, data.label_column, data.max_classes)
    for side in SIDES[1:]:
        check_labels(schema, raw[side], f"{side}: data.label_column: {data.label_column}")
    sides = {
        side: Labelled([example for example, _ in kept[side]], schema.encode(raw[side])) for side in SIDES
    }
    others = {side: (raw[side], sides[side].labels) for side in ("held_out", "test")}
    what = "numbers to predict" if schema.is_regression else f"{len(schema.classes)} classes"
    counts = ", ".join(f"{len(sides[side]):,} {side.replace('_', ' ')}" for side in SIDES)
    lines = [f"{name}: {what}; {counts}", *cautions(notes)]
    if len(sides["test"]) < _FEW:
        lines.append(Caution(f"scores on so few test examples say little: {len(sides['test'])}"))
    lines += summarize_labels(schema, sides["train"].labels, others)
    how = digest(fingerprint, data.label_column, data.held_out, data.test, schema.kind, schema.classes)
    return LabelledCorpus(schema, sides["train"], sides["held_out"], sides["test"], how, lines)


def _with_label(entries: Sequence[Entry], notes: Counter[str]) -> Iterator[Entry]:
    for example, label in entries:
        if is_missing(label):
            notes["unlabelled examples left out"] += 1
        else:
            yield example, label
