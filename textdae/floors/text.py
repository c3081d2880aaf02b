"""Two rivals of a masked language model that only count: unigrams, and the neighbours to the left and right.

n scored positions, N tokens of the training stream, V vocabulary.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from textdae.data.packing import Blocks
from textdae.noise import Noise, Vocabulary
from textdae.training.evaluation import frozen

_CHUNK = 1 << 22
MOST_TOKENS = 20_000_000
"""The neighbour model counts at most this many training tokens; on more it would be a little stronger."""


class Floor(NamedTuple):
    """How a rival does."""

    loss: float
    """Mean cross entropy over the scored positions, in nats."""
    accuracy: float
    """Share of the scored positions where its first guess is right."""


def text_floors(
    train: Blocks, held_out: Blocks, noise: Noise, vocabulary: Vocabulary, numbers: Tensor
) -> dict[str, Floor]:
    """The floors for the held-out blocks of these numbers (n,), corrupted by `noise` as in every evaluation.

    `unigram`: the frequency of each token in the training stream, one added to each count.
    `neighbours`: the counts of the token between its two visible neighbours, backed off to the left and the right
    neighbour each by itself, and these to the unigram.
    """
    target, left, right = _questions(held_out, noise, numbers, vocabulary)
    unigram = _unigram(train, vocabulary)
    return {
        "unigram": Floor(float(-np.log(unigram[target]).mean()), float((target == unigram.argmax()).mean())),
        "neighbours": _neighbours(train, unigram, target, left, right),
    }


def _questions(
    held_out: Blocks, noise: Noise, numbers: Tensor, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target, visible left and visible right neighbour of every scored position; -1 where none is visible. (n,)"""
    parts = []
    for batch in numbers.split(256):
        corrupted = frozen(held_out, noise, batch)
        shown = corrupted.inputs["input_ids"].numpy().copy()
        shown[shown == vocabulary.mask_id] = -1
        edge = np.full((len(shown), 1), -1)
        left = np.concatenate([edge, shown[:, :-1]], 1)
        right = np.concatenate([shown[:, 1:], edge], 1)
        where = corrupted.where.numpy()
        parts.append((corrupted.target.numpy()[where], left[where], right[where]))
    target, left, right = (np.concatenate(column) for column in zip(*parts, strict=True))
    return target, left, right


def _unigram(train: Blocks, vocabulary: Vocabulary) -> np.ndarray:
    """Probability of each ordinary token; specials are never asked for and have none. (V,)"""
    counts = np.zeros(vocabulary.size)
    for begin in range(0, train.info.tokens, _CHUNK):
        counts += np.bincount(train.ids[begin : begin + _CHUNK], minlength=vocabulary.size)
    counts += 1
    counts[list(vocabulary.special_ids)] = 0
    return (counts / counts.sum()).astype(np.float32)


class _Table:
    """How often each token was seen in each of some contexts."""

    def __init__(self, contexts: np.ndarray, size: int) -> None:
        self.contexts, self.size = np.unique(contexts[contexts >= 0]), size
        self.keys: np.ndarray = np.zeros(0, np.int64)
        self.counts: np.ndarray = np.zeros(0, np.int64)

    def add(self, contexts: np.ndarray, tokens: np.ndarray) -> None:
        """Count tokens (n,) seen in contexts (n,); other contexts than those asked for are passed over."""
        if not len(self.contexts):
            return
        place = np.searchsorted(self.contexts, contexts).clip(max=len(self.contexts) - 1)
        wanted = self.contexts[place] == contexts
        keys, counts = np.unique(place[wanted] * self.size + tokens[wanted], return_counts=True)
        self.keys, place = np.unique(np.concatenate([self.keys, keys]), return_inverse=True)
        summed = np.zeros(len(self.keys), np.int64)
        np.add.at(summed, place, np.concatenate([self.counts, counts]))
        self.counts = summed

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """The counts in these contexts; a row of zeros for one that is not there. (n,) -> (n, V)."""
        rows = np.zeros((len(contexts), self.size), np.float32)
        for index, context in enumerate(contexts):
            place = np.searchsorted(self.contexts, context)
            if context < 0 or place == len(self.contexts) or self.contexts[place] != context:
                continue
            begin, end = np.searchsorted(self.keys, [place * self.size, (place + 1) * self.size])
            rows[index, self.keys[begin:end] - place * self.size] = self.counts[begin:end]
        return rows


def _neighbours(
    train: Blocks, unigram: np.ndarray, target: np.ndarray, left: np.ndarray, right: np.ndarray
) -> Floor:
    size = len(unigram)
    both = np.where((left >= 0) & (right >= 0), left * size + right, -1)
    by_left, by_right, by_both = (_Table(contexts, size) for contexts in (left, right, both))
    for ids in _overlapping(train):
        by_left.add(ids[:-2], ids[1:-1])
        by_right.add(ids[1:-1], ids[:-2])
        by_both.add(ids[:-2] * size + ids[2:], ids[1:-1])

    def score(part: slice, trust: tuple[float, float]) -> tuple[float, int]:
        """Sum of the losses, and hits, of some questions."""
        rows_left, rows_right, rows_both = (
            table.rows(contexts[part]) * (unigram > 0)
            for table, contexts in ((by_left, left), (by_right, right), (by_both, both))
        )
        seen_left, seen_right, seen_both = (
            rows.sum(1, keepdims=True) for rows in (rows_left, rows_right, rows_both)
        )
        # Given the token, its two neighbours are taken as independent: P(x|l) P(x|r) / P(x).
        product = (rows_left + trust[0] * unigram) / (seen_left + trust[0])
        product *= (rows_right + trust[0] * unigram) / (seen_right + trust[0])
        product /= np.where(unigram > 0, unigram, 1.0)
        backed = product / product.sum(1, keepdims=True)
        p = (rows_both + trust[1] * backed) / (seen_both + trust[1])
        return float(-np.log(p[np.arange(len(p)), target[part]]).sum()), int(
            (p.argmax(1) == target[part]).sum()
        )

    # How far to trust a count against what it backs off to: the best pair on some of the very questions that it is
    # scored on, so the rival is flattered rather than slighted.
    pairs = [(one, two) for one in (2.0, 8.0, 32.0) for two in (1.0, 4.0, 16.0)]
    best = min(pairs, key=lambda pair: score(slice(0, 1024), pair)[0])
    parts = [score(slice(begin, begin + 256), best) for begin in range(0, len(target), 256)]
    losses, hits = zip(*parts, strict=True)
    return Floor(sum(losses) / len(target), sum(hits) / len(target))


def _overlapping(train: Blocks) -> Iterator[np.ndarray]:
    """The training stream in chunks that share two tokens, so that each neighbourhood is seen once."""
    end = min(train.info.tokens, MOST_TOKENS)
    for begin in range(0, max(end - 2, 0), _CHUNK):
        yield np.asarray(train.ids[begin : min(begin + _CHUNK + 2, end)]).astype(np.int64)
