"""Find near duplicates among the documents of a corpus by MinHash, in tasks that any process may do.

A document is the set of its runs of five words. Two documents are near duplicates if the estimated Jaccard similarity of
these sets, the share of 128 minima that agree (Broder 1997), reaches a threshold; the standard error is at most .044. Which
pairs are looked at follows from bands of the minima (Leskovec et al., "Mining of Massive Datasets", 3.4): a pair right at the
threshold is looked at with a probability of 99% or more. Of near duplicates, also by way of others, the first stays.

n documents, K minima, B bands.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import numpy as np

from textdae.core.draw import scramble

WORDS, MINIMA = 5, 128
_MOST_CACHED, _AT_ONCE, _SMALL = 1 << 20, 1 << 13, 20
_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def bands_of(threshold: float) -> tuple[int, int]:
    """Return how many bands there are, and the minima in each: as many as still find 99% of pairs at the threshold."""
    for rows in range(MINIMA, 1, -1):
        bands = MINIMA // rows
        if 1 - (1 - threshold**rows) ** bands >= 0.99:
            return bands, rows
    return MINIMA, 1


class Signer:
    """Compute the minima of documents."""

    def __init__(self) -> None:
        state = np.random.Generator(np.random.PCG64(0x7E87DAE))
        self._factors = state.integers(0, 2**64, MINIMA, np.uint64) | np.uint64(1)
        self._terms = state.integers(0, 2**64, MINIMA, np.uint64)
        self._words: dict[str, int] = {}

    def __call__(self, texts: Iterable[str]) -> np.ndarray:
        """Return the minima of each document. *Shape:* (n, K), uint32."""
        rows = [self._minima(self.runs(text)) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, MINIMA), np.uint32)

    def runs(self, text: str) -> np.ndarray:
        """Return a hash of each run of five words; of a shorter document one of all its words. (m,), uint64."""
        words = _WORD.findall(text.lower()) or [text]
        if len(self._words) > _MOST_CACHED:
            self._words.clear()
        hashes = np.array([self._hash(word) for word in words], np.uint64)
        width = min(WORDS, len(hashes))
        runs = np.zeros(len(hashes) - width + 1, np.uint64)
        for offset in range(width):
            runs = runs * _FACTOR + hashes[offset : offset + len(runs)]
        return scramble(runs)

    def _hash(self, word: str) -> int:
        known = self._words.get(word)
        if known is None:
            content = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            known = self._words[word] = int.from_bytes(content, "little")
        return known

    def _minima(self, runs: np.ndarray) -> np.ndarray:
        least = np.full(MINIMA, 2**32 - 1, np.uint32)
        for begin in range(0, len(runs), _AT_ONCE):
            part = runs[None, begin : begin + _AT_ONCE] * self._factors[:, None] + self._terms[:, None]
            np.minimum(least, (part >> np.uint64(32)).min(1).astype(np.uint32), out=least)
        return least


def band_keys(minima: np.ndarray, threshold: float) -> np.ndarray:
    """Return the key of each band of each document; near duplicates share one. (n, K) -> (B, n), uint64."""
    bands, rows = bands_of(threshold)
    keys = np.zeros((bands, len(minima)), np.uint64)
    for row in range(rows):
        keys = keys * _FACTOR + minima[:, row : bands * rows : rows].T.astype(np.uint64)
    return scramble(keys)


def candidates(keys: np.ndarray) -> np.ndarray:
    """Return pairs of documents with the same key of a band; of many, each with the first and with the next. (n,) -> (p, 2)."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.append(keys[order][1:] != keys[order][:-1], len(keys) > 0)) + 1
    pairs: list[tuple[int, int]] = []
    begin = 0
    for end in ends:
        group = order[begin:end].tolist()
        if 1 < len(group) <= _SMALL:
            pairs += combinations(group, 2)
        elif len(group) > _SMALL:
            pairs += [(group[0], other) for other in group[1:]]
            pairs += pairwise(group[1:])
        begin = int(end)
    return np.array(pairs, np.int64).reshape(-1, 2)


def is_similar(one: np.ndarray, other: np.ndarray, threshold: float) -> np.ndarray:
    """Return which pairs reach the threshold by their minima. (p, K), (p, K) -> (p,), bool."""
    return (one == other).mean(1) >= threshold


def later_ones(pairs: np.ndarray) -> np.ndarray:
    """Return the documents that go, all but the first of each group of pairs. (p, 2) -> (q,), int64, ascending."""
    first: dict[int, int] = {}

    def find(number: int) -> int:
        path = []
        while first.get(number, number) != number:
            path.append(number)
            number = first[number]
        for passed in path:
            first[passed] = number
        return number

    for one, other in pairs.tolist():
        one, other = sorted((find(one), find(other)))
        first.setdefault(one, one)
        first[other] = one
    return np.array(sorted(number for number in first if find(number) != number), np.int64)


def split_by_shard(numbers: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Split ascending numbers of documents into those within each shard, counted from its own first. Each (q,), int64."""
    starts = np.cumsum([0, *sizes])
    bounds = np.searchsorted(numbers, starts)
    return [numbers[bounds[shard] : bounds[shard + 1]] - starts[shard] for shard in range(len(sizes))]
