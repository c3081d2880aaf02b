"""Entities in IOB tags, and their scores: an entity counts if its kind and both its ends are right.

The rules are those of `conlleval` (CoNLL-2000), for IOB1, IOB2, IOBES and BILOU.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

OUTSIDE = "O"
"""The tag of a word that belongs to no entity."""
_TAG = re.compile(r"O|[BIESLU]-.+")
_BEGINS, _ENDS = "BSU", "ESLU"
"""First letters of tags that begin an entity, or end one, next to any other tag."""

Tags = Sequence[str]
"""The tags of the words of a sentence."""


class Entity(NamedTuple):
    """Some words in a row that are tagged as one."""

    kind: str
    begin: int
    """Number of the first word."""
    end: int
    """Number behind the last word."""


class Score(NamedTuple):
    """How well entities are found."""

    precision: float
    """Share of the predicted entities that are right."""
    recall: float
    """Share of the true entities that were found."""
    f1: float
    """Harmonic mean of both."""
    total: int
    """Number of true entities."""


def is_tag(tag: str) -> bool:
    """Return whether a tag is `O`, or a letter of IOB, IOBES or BILOU, a hyphen, and a kind."""
    return bool(_TAG.fullmatch(tag))


def kind_of(tag: str) -> str:
    """Return the kind of entity that a tag names; of `O` nothing."""
    return tag.partition("-")[2]


def entities(tags: Tags) -> list[Entity]:
    """Return the entities of a sentence.

    Example:
        >>> entities(["B-PER", "I-PER", "O", "I-LOC"])
        [Entity(kind='PER', begin=0, end=2), Entity(kind='LOC', begin=3, end=4)]
    """
    spans, begin, before = [], 0, OUTSIDE
    for position, tag in enumerate([*tags, OUTSIDE]):
        goes_on = kind_of(tag) == kind_of(before) != "" and tag[0] not in _BEGINS and before[0] not in _ENDS
        if not goes_on:
            if before != OUTSIDE:
                spans.append(Entity(kind_of(before), begin, position))
            begin = position
        before = tag
    return spans


def scores(references: Sequence[Tags], predictions: Sequence[Tags]) -> dict[str, Score]:
    """Score the entities of predicted tags, of each kind; those of all kinds together have the name ""."""
    right, guessed, true = Counter[str](), Counter[str](), Counter[str]()
    for reference, prediction in zip(references, predictions, strict=True):
        true_spans, guessed_spans = set(entities(reference)), set(entities(prediction))
        for counts, members in (
            (right, true_spans & guessed_spans),
            (guessed, guessed_spans),
            (true, true_spans),
        ):
            counts.update(entity.kind for entity in members)
            counts[""] += len(members)
    return {
        kind: _score(right[kind], guessed[kind], true[kind]) for kind in sorted(true.keys() | guessed.keys())
    }


def _score(right: int, guessed: int, true: int) -> Score:
    return Score(right / max(guessed, 1), right / max(true, 1), 2 * right / max(guessed + true, 1), true)


def f1(references: Sequence[Tags], predictions: Sequence[Tags]) -> float:
    """Return the F1 of all entities (micro average)."""
    return scores(references, predictions)[""].f1


def precision(references: Sequence[Tags], predictions: Sequence[Tags]) -> float:
    """Return the precision of all entities."""
    return scores(references, predictions)[""].precision


def recall(references: Sequence[Tags], predictions: Sequence[Tags]) -> float:
    """Return the recall of all entities."""
    return scores(references, predictions)[""].recall


def accuracy(references: Sequence[Tags], predictions: Sequence[Tags]) -> float:
    """Return the share of the words whose tag is right."""
    pairs = [both for rows in zip(references, predictions, strict=True) for both in zip(*rows, strict=True)]
    return sum(reference == prediction for reference, prediction in pairs) / max(len(pairs), 1)


def ragged(rows: Sequence[Any]) -> np.ndarray:
    """Return an array of objects that holds these rows, of any lengths. *Shape:* (n,)."""
    array = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        array[number] = row
    return array


def tags_of_words(
    sentences: Sequence[Sequence[str]], labels: np.ndarray, others: Sequence[Sequence[str]]
) -> np.ndarray:
    """Give each word the tag that it has most often in training; other words the most frequent tag of all.

    Args:
        sentences: to count in, as words.
        labels: their tags, numbers of (words,) each. *Shape:* (n,), objects.
        others: the sentences to tag.

    Returns:
        Numbers of tags, (words,) each. *Shape:* (len(others),), objects.
    """
    counts: dict[str, Counter[int]] = {}
    for words, tags in zip(sentences, labels, strict=True):
        for word, tag in zip(words, tags.tolist(), strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    usual = most_frequent(labels)
    # Of tags that are as frequent, the lowest.
    best = {word: min(tags, key=lambda tag: (-tags[tag], tag)) for word, tags in counts.items()}
    return ragged([np.array([best.get(word, usual) for word in words], np.int64) for words in others])


def most_frequent(labels: np.ndarray) -> int:
    """Return the most frequent tag of sentences, of (words,) each. *Shape:* (n,), objects."""
    return int(np.bincount(np.concatenate(labels)).argmax())
