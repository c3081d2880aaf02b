"""The n-gram model against dictionaries, as Chen and Goodman write it down."""

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest

from textdae.text.ngram import NGramModel

DOCUMENTS = [
    [0, 1, 2, 1, 2, 0, 3],
    [0, 1, 1, 2, 4],
    [0, 2, 1, 2, 1, 2, 1],
    [0],
    [0, 4, 4, 1, 2, 3, 3, 3, 3],
    [0, 1, 2, 1, 1, 5],
] * 2


def stream(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([token for document in documents for token in document], np.uint16)
    begins = np.concatenate([[True] + [False] * (len(document) - 1) for document in documents])
    return ids, begins


def reference(documents: list[list[int]], order: int, size: int):
    """p(token | context) by counting with dictionaries."""
    raw: list[Counter] = [Counter() for _ in range(order + 1)]
    for document in documents:
        for n in range(1, order + 1):
            raw[n].update(tuple(document[i : i + n]) for i in range(len(document) - n + 1))
    counts: list[dict] = [{}, *({**raw[n]} for n in range(1, order + 1))]
    for n in range(1, order):
        before = defaultdict(set)
        for gram in raw[n + 1]:
            before[gram[1:]].add(gram[0])
        counts[n] = {gram: len(before[gram]) or raw[n][gram] for gram in raw[n]}

    def discounts(n: int) -> list[float]:
        k = [0, *(sum(count == c for count in counts[n].values()) for c in (1, 2, 3, 4))]
        share = k[1] / (k[1] + 2 * k[2]) if k[1] and k[2] else 0.5
        found = [c - (c + 1) * share * k[c + 1] / k[c] if k[c] else share for c in (1, 2, 3)]
        return [0.0] + [min(max(d, 0.1), c) for c, d in zip((1, 2, 3), found, strict=True)]

    taken = [[], *(discounts(n) for n in range(1, order + 1))]

    def p(token: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        lower = p(token, context[1:]) if context else 1 / size
        seen = {gram: count for gram, count in counts[n].items() if gram[:-1] == context}
        if not seen:
            return lower
        left = sum(min(taken[n][min(count, 3)], count) for count in seen.values())
        own = seen.get((*context, token), 0)
        own -= min(taken[n][min(own, 3)], own)
        return (own + left * lower) / sum(seen.values())

    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_is_that_of_dictionaries(order):
    p = reference(DOCUMENTS, order, 6)
    asked = [[0, 1, 2, 1, 2, 0, 3], [0, 5, 1, 2, 3, 3], [2], [0, 1, 2, 1, 2, 4, 1, 2]]
    found = NGramModel(*stream(DOCUMENTS), 6, order).log_probabilities(*stream(asked))
    expected = [
        np.log(p(token, tuple(document[max(0, i - order + 1) : i])))
        for document in asked
        for i, token in enumerate(document)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_probabilities_of_all_tokens_sum_to_one():
    model = NGramModel(*stream(DOCUMENTS), 6, 3)
    for context in product(range(6), repeat=2):
        asked = [[*context, token] for token in range(6)]
        last = np.exp(model.log_probabilities(*stream(asked)))[2::3]
        assert last.sum() == pytest.approx(1)


def test_it_learns_what_a_unigram_cannot():
    rng = np.random.default_rng(0)
    documents = [list(np.cumsum(rng.integers(1, 3, 50)) % 20) for _ in range(60)]
    held_out = [list(np.cumsum(rng.integers(1, 3, 50)) % 20) for _ in range(5)]
    losses = [
        -NGramModel(*stream(documents), 20, order).log_probabilities(*stream(held_out)).mean()
        for order in (1, 2)
    ]
    assert losses[0] == pytest.approx(np.log(20), abs=0.1)
    assert losses[1] == pytest.approx(np.log(2), abs=0.15)
