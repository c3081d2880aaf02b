"""The n-gram model against dictionaries, as Chen and Goodman write it down."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest

from textdae.text import ngram
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
        alone = raw[n] if n > 1 else Counter()  # what begins a document is given, not predicted
        counts[n] = {gram: len(before[gram]) or alone[gram] for gram in raw[n]}

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


SHORT = [
    [0, 2, 3, 2, 3, 1],
    [0, 4, 1],
    [0, 5, 2, 1],
    [0, 2, 5, 3, 4, 1],
    [0, 2, 3, 3, 3, 5, 1],
    [0, 1],
    [0, 6, 2, 4, 2, 1],
]
SPECIAL = (0, 1, 6)
"""What begins and ends a document, and the unknown token."""


def discounted(counts: list[int]) -> tuple[list[Fraction], list[Fraction]]:
    """The counts less their discounts, and the discounts (Chen and Goodman 1999, section 3)."""
    n = [counts.count(size) for size in range(5)]
    y = Fraction(n[1], n[1] + 2 * n[2]) if n[1] and n[2] else Fraction(1, 2)
    discount = [Fraction(0)] + [k - (k + 1) * y * n[k + 1] / n[k] if n[k] else y for k in (1, 2, 3)]
    taken = [min(max(discount[min(count, 3)], Fraction(1, 10)), Fraction(min(count, 3))) for count in counts]
    return [count - less for count, less in zip(counts, taken, strict=True)], taken


def distribution(last: int, size: int) -> np.ndarray:
    """p(. | last token) of a bigram model on `SHORT`, in fractions, with the special tokens struck out."""
    pairs = [pair for document in SHORT for pair in pairwise(document)]
    tokens = range(size)
    precede = [len({one for one, other in pairs if other == token}) for token in tokens]
    kept, taken = discounted(precede)
    lower = [(own + sum(taken) * Fraction(1, size)) / sum(precede) for own in kept]
    counts = [pairs.count((one, other)) for one in tokens for other in tokens]
    kept, taken = (each[last * size : (last + 1) * size] for each in discounted(counts))
    total = sum(counts[last * size : (last + 1) * size])
    whole = [(own + sum(taken) * p) / total for own, p in zip(kept, lower, strict=True)] if total else lower
    assert sum(whole) == 1
    ordinary = [Fraction(0) if token in SPECIAL else p for token, p in enumerate(whole)]
    return np.array([float(p / sum(ordinary)) for p in ordinary])


@pytest.mark.parametrize("last", range(8))
def test_without_special_tokens_the_others_share_all_of_the_probability(last):
    model = NGramModel(*stream(SHORT), 8, 2)
    asked = stream([[last, token] for token in range(8)])
    found = np.exp(model.log_probabilities(*asked, SPECIAL))[1::2]
    ordinary = [2, 3, 4, 5, 7]
    np.testing.assert_allclose(found[ordinary], distribution(last, 8)[ordinary], rtol=1e-12)
    assert found[ordinary].sum() == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_where_documents_end_costs_nothing(order):
    """Tokens that are drawn evenly from ten cost ln 10, however short the documents are."""
    rng = np.random.default_rng(0)
    special = (10, 11, 12)
    lengths = rng.geometric(0.3, 20_000)
    short = [[10, *rng.integers(0, 10, length).tolist(), 11] for length in lengths]
    ids, begins = stream(short[:2000])
    model = NGramModel(*stream(short[2000:]), 13, order)
    costs = -model.log_probabilities(ids, begins, special)[ids < 10]
    assert costs.mean() == pytest.approx(np.log(10), abs=0.05)
    assert -model.log_probabilities(ids, begins)[ids < 10].mean() > np.log(10) + 0.15


def test_what_begins_documents_has_no_part_in_the_lowest_order():
    """Behind a context that was never seen [CLS] is as improbable as a token that does not occur at all."""
    documents = [[0, 1, 2, 3], [0, 2, 1, 3]] * 50
    model = NGramModel(*stream(documents), 6, 3)
    cls, never = np.exp(model.log_probabilities(*stream([[5, 0], [5, 4]])))[1::2]
    assert cls == pytest.approx(never)


def test_a_part_that_is_not_counted_is_named(monkeypatch):
    monkeypatch.setattr(ngram, "MOST_TOKENS", 10)
    assert ngram.part_counted(10) == ""
    assert ngram.part_counted(1234) == "; n-grams are counted in the first 10 of 1,234 training tokens"
    found = NGramModel(*stream([[0, 1, 2], [0, 2, 1], [0, 1, 1, 1], [5, 5, 5]]), 6, 1)
    assert found.orders[0].context_count == [10]


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
