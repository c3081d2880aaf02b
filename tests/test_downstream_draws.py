"""Sets of labelled examples: every class has its share, and the same seed draws the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from textdae.downstream.draws import folds, stratified

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(lambda labels: np.array(labels, np.int64))
SEEDS = st.integers(0, 2**32 - 1)
MULTI_LABEL = np.eye(12, 3, dtype=np.float32)
NUMBERS = np.linspace(0, 1, 12, dtype=np.float32)


# Draws


@given(labels=LABELS, size=st.integers(1, 70), seed=SEEDS)
def test_a_draw_has_its_size_and_every_class_its_share(labels, size, seed):
    rows = stratified(labels, size, seed)
    size = min(size, len(labels))
    assert len(rows) == size
    assert set(rows.tolist()) <= set(range(len(labels)))
    assert (np.diff(rows) > 0).all()  # ascending, so none comes twice
    share = np.bincount(labels) * size / len(labels)
    drawn = np.bincount(labels[rows], minlength=len(share))
    assert (np.abs(drawn - share) < 1).all()


@given(labels=LABELS, size=st.integers(1, 70), seed=SEEDS)
def test_the_same_seed_draws_the_same_rows(labels, size, seed):
    assert stratified(labels, size, seed).tolist() == stratified(labels.copy(), size, seed).tolist()


def test_a_class_may_have_any_number():
    few = np.arange(40) % 3
    for labels in (few - 1, 10 * few, few.astype(np.int8)):
        assert stratified(labels, 10, 5).tolist() == stratified(few, 10, 5).tolist()


def test_another_seed_draws_other_rows():
    labels = np.arange(100) % 2
    draws = {tuple(stratified(labels, 10, seed)) for seed in range(50)}
    assert len(draws) == 50


@pytest.mark.parametrize("labels", [np.arange(12) % 5, MULTI_LABEL, NUMBERS])
@pytest.mark.parametrize("size", [12, 13, 1000])
def test_all_there_are_is_all_there_is(labels, size):
    assert stratified(labels, size, 3).tolist() == list(range(12))


@pytest.mark.parametrize("labels", [MULTI_LABEL, NUMBERS])
def test_what_is_no_single_class_is_drawn_evenly(labels):
    times = np.zeros(12)
    for seed in range(600):
        rows = stratified(labels, 5, seed)
        assert len(rows) == 5
        assert (np.diff(rows) > 0).all()
        times[rows] += 1
    # Fixed margins make the statistic a little smaller than chi-squared.
    assert stats.chisquare(times).pvalue > 1e-3


def test_the_odd_example_is_drawn_in_proportion_to_what_a_class_is_short_of():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    drawn = np.array([labels[stratified(labels, 1, seed)][0] for seed in range(1000)])
    assert stats.chisquare(np.bincount(drawn), [600, 300, 100]).pvalue > 1e-3


def test_within_a_class_every_row_is_as_likely():
    labels = np.array([0] * 6 + [1] * 4)
    times = np.zeros(10)
    for seed in range(1000):
        times[stratified(labels, 5, seed)] += 1
    assert times[:6].sum() == 3000
    assert times[6:].sum() == 2000
    assert stats.chisquare(times[:6]).pvalue > 1e-3
    assert stats.chisquare(times[6:]).pvalue > 1e-3


# Folds


@given(labels=LABELS, count=st.integers(2, 7), seed=SEEDS)
def test_each_row_is_judged_once_by_what_is_learnt_of_the_others(labels, count, seed):
    parts = folds(labels, count, seed)
    assert len(parts) == count
    everything = list(range(len(labels)))
    assert sorted(row for _, part in parts for row in part.tolist()) == everything
    for others, part in parts:
        assert sorted([*others.tolist(), *part.tolist()]) == everything


@given(labels=LABELS, count=st.integers(2, 7), seed=SEEDS)
def test_classes_and_sizes_are_spread_over_the_parts(labels, count, seed):
    parts = [part for _, part in folds(labels, count, seed)]
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    counts = np.stack([np.bincount(labels[part], minlength=6) for part in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()


@pytest.mark.parametrize("labels", [MULTI_LABEL, NUMBERS])
def test_rows_without_single_classes_are_dealt_out_too(labels):
    parts = [part for _, part in folds(labels, 5, 1)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(12))
    assert sorted(len(part) for part in parts) == [2, 2, 2, 3, 3]


@given(labels=LABELS, seed=SEEDS)
def test_the_same_seed_makes_the_same_folds(labels, seed):
    first, second = ([part.tolist() for _, part in folds(labels, 3, seed)] for _ in range(2))
    assert first == second


def test_another_seed_makes_other_folds():
    labels = np.arange(60) % 2
    assert len({tuple(folds(labels, 5, seed)[0][1]) for seed in range(20)}) == 20
