"""Labels: find the kind of task they define, and encode them as numbers.

n examples, C classes.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from textdae.core.errors import SettingsError
from textdae.downstream.entities import ragged

Kind = Literal[
    "single_label_classification", "multi_label_classification", "regression", "token_classification"
]
"""What transformers calls `problem_type`, or a tag for each word."""

Raw = Sequence[Any]
"""Original labels, None where there is none."""


@dataclass(frozen=True)
class LabelSchema:
    """The kind of labels, and their classes.

    Attributes:
        classes: their names, by number; for a regression the name of its output.
    """

    kind: Kind
    classes: tuple[str, ...]

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers instead of classes."""
        return self.kind == "regression"

    @property
    def is_multi_label(self) -> bool:
        """Whether an example may have several classes, or none."""
        return self.kind == "multi_label_classification"

    @property
    def is_tokens(self) -> bool:
        """Whether every word of an example has a class."""
        return self.kind == "token_classification"

    def encode(self, raw: Raw) -> np.ndarray:
        """Encode labels as numbers.

        *Shape:* (n,) int64, -1 where the class is not known; (n, C) float32 of 0 and 1; (n,) float32; or of tags (n,) objects,
        (words,) int64 each.
        """
        if self.is_tokens:
            of_tag = {name: index for index, name in enumerate(self.classes)}
            return ragged([np.array([of_tag[tag] for tag in tags], np.int64) for tags in raw])
        if self.is_regression:
            return np.array([float(label) for label in raw], np.float32)
        number = {name: index for index, name in enumerate(self.classes)}
        if self.is_multi_label:
            several = np.zeros((len(raw), len(self.classes)), np.float32)
            for row, labels in enumerate(raw):
                for label in labels:
                    if str(label) in number:
                        several[row, number[str(label)]] = 1
            return several
        return np.array([number.get(str(label), -1) for label in raw], np.int64)


def find_schema(
    kind: str, raw: Raw, class_names: Sequence[str] | None, column: str, most: int
) -> LabelSchema:
    """Find the schema of the training labels.

    Args:
        kind: `data.task`.
        raw: labels of the training examples, `named`, none missing.
        class_names: names of the classes in their order, where the table gives it.
        most: `data.max_classes`.

    Raises:
        SettingsError: the labels cannot be learnt, or do not fit `kind`.
    """
    where = f"data.label_column: {column}"
    kinds = {type(label) for label in raw}
    lists = bool(kinds & {list, tuple})
    if kind == "auto":
        kind = "multi_label" if lists else "single_label"
    if kind == "regression":
        schema = LabelSchema("regression", ("value",))
        check_labels(schema, raw, where)
        return schema
    fraction = None if lists else _fraction(raw)
    if fraction is not None:
        raise SettingsError(
            f"{where} holds fractions such as {fraction!r}, which are no classes; data.task=regression learns them "
            "as numbers"
        )
    if lists and (kind != "multi_label" or kinds - {list, tuple}):
        raise SettingsError(
            f"{where} holds lists; data.task=multi_label needs a list in every row, and is their only task"
        )
    if kind == "multi_label" and not lists:
        raise SettingsError(
            f"{where} holds {raw[0]!r}, but data.task=multi_label needs a list of classes in every row"
        )
    several = [label for labels in raw for label in labels] if lists else raw
    for label in several:
        if not isinstance(label, str | int):
            raise SettingsError(f"{where} holds {label!r}, a {type(label).__name__}, not a class")
    values = {str(label) for label in several}
    if not values:
        raise SettingsError(f"{where} holds empty lists only, so there are no classes")
    if len(values) > most:
        numbers = "data.task=regression learns them as numbers; " if all(map(_is_number, values)) else ""
        raise SettingsError(
            f"{where} has {len(values):,} different values in {len(raw):,} examples, which are hardly classes; {numbers}"
            f"name another column, or set data.max_classes={len(values)}"
        )
    if class_names and values <= set(class_names):
        classes = tuple(class_names)
    else:
        classes = tuple(sorted(values, key=_in_order))
    if len(classes) < 2:
        raise SettingsError(f"{where} has one class only, {classes[0]!r}; there is nothing to tell apart")
    return LabelSchema("multi_label_classification" if lists else "single_label_classification", classes)


def named(label: Any, class_names: Sequence[str] | None) -> Any:
    """Replace class numbers by their names, in a label or a list of labels; numbers without a name become None."""
    if isinstance(label, list | tuple):
        several = [named(each, class_names) for each in label]
        return [each for each in several if not is_missing(each)]
    label = whole_number(label)
    if class_names and isinstance(label, int) and not isinstance(label, bool):
        return class_names[label] if 0 <= label < len(class_names) else None
    return label


def whole_number(label: Any) -> Any:
    """Return 1 for 1.0: tables store integer columns with gaps as floats."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _in_order(label: str) -> tuple[bool, float, str]:
    """Sort key: numbers by value, then names by alphabet."""
    return (False, float(label), label) if _is_number(label) else (True, 0.0, label)


def is_missing(label: Any) -> bool:
    """Return whether a label is missing: None, a blank text, or NaN."""
    if isinstance(label, str):
        return not label.strip()
    return label is None or (isinstance(label, float) and math.isnan(label))


def _fraction(raw: Raw) -> Any:
    """Return the first label that is a fraction (also as text, if all labels are numbers), or None."""
    of_numbers = all(map(_is_number, raw))
    return next((n for n in raw if isinstance(n, float) or (of_numbers and float(n) % 1)), None)


def check_labels(schema: LabelSchema, raw: Raw, where: str) -> None:
    """Check that the labels of another side are of the same kind as the training labels.

    Raises:
        SettingsError: one is not.
    """
    for label in raw:
        if schema.is_regression and not _is_number(label):
            raise SettingsError(f"{where} holds {label!r}, but data.task=regression needs a finite number")
        if not schema.is_regression and schema.is_multi_label != isinstance(label, list | tuple):
            raise SettingsError(
                f"{where} holds {label!r}, but in training labels are {'lists' if schema.is_multi_label else 'single'}"
            )


def _is_number(label: Any) -> bool:
    """Return whether a label is a number that float32 can hold."""
    try:
        return abs(float(label)) < 3e38
    except (TypeError, ValueError, OverflowError):
        return False


def summarize_labels(
    schema: LabelSchema, train: np.ndarray, others: Mapping[str, tuple[Raw, np.ndarray]]
) -> list[str]:
    """Return lines about rare classes and about labels that training never saw."""
    if schema.is_regression:
        return []
    counts = (
        train.sum(0).astype(int)
        if schema.is_multi_label
        else np.bincount(train, minlength=len(schema.classes))
    )
    lines = []
    for count, what in ((0, "no training example"), (1, "one training example")):
        rare = [schema.classes[number] for number in np.flatnonzero(counts == count)]
        if rare:
            lines.append(f"classes with {what}: {len(rare):,} ({_some(rare)})")
    for side, (raw, encoded) in others.items():
        if schema.is_multi_label:
            known = set(schema.classes)
            unseen = Counter(str(label) for labels in raw for label in labels if str(label) not in known)
        else:
            unseen = Counter(str(raw[row]) for row in np.flatnonzero(encoded < 0).tolist())
        if unseen:
            fate = "they are left out" if schema.is_multi_label else "they count as wrong"
            lines.append(
                f"{side}: {sum(unseen.values()):,} labels of classes unseen in training ({_some(list(unseen))}); {fate}"
            )
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
