"""Measures beside their closed forms and scikit-learn's functions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from sklearn import metrics

from textdae.downstream.labels import LabelSchema
from textdae.downstream.metrics import (
    LOWER_IS_BETTER,
    combined,
    intervals,
    is_better,
    main_measure,
    measure,
    measures_of,
    per_class,
)

SINGLE = LabelSchema("single_label_classification", ("a", "b", "c"))
MULTI = LabelSchema("multi_label_classification", ("a", "b", "c"))
NUMBER = LabelSchema("regression", ("value",))
TASKS = [SINGLE, MULTI, NUMBER]


def answers(schema: LabelSchema, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, and labels that two thirds of them agree with."""
    chance = np.random.default_rng(seed)
    if schema.is_regression:
        labels = chance.normal(size=rows).astype(np.float32)
        return (labels + chance.normal(size=rows)).astype(np.float32), labels
    shape = (rows, 3) if schema.is_multi_label else rows
    most, kind = (2, np.float32) if schema.is_multi_label else (3, np.int64)
    labels, other = (chance.integers(0, most, shape).astype(kind) for _ in range(2))
    return np.where(chance.random(shape) < 0.5, labels, other), labels


def f1_of(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Of one class, as yes or no."""
    hits = np.sum(predictions & labels)
    either = np.sum(predictions) + np.sum(labels)
    return float(2 * hits / either) if either else 0.0


def correlation_of_classes(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' coefficient as the correlation of indicators (Gorodkin 2004)."""
    classes = np.union1d(predictions, labels)
    guess, truth = (values[:, None] == classes for values in (predictions, labels))

    def together(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a - a.mean(0)) * (b - b.mean(0))).sum())

    spread = together(guess, guess) * together(truth, truth)
    return together(guess, truth) / math.sqrt(spread) if spread else 0.0


# Closed forms


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_classes_have_their_closed_forms(seed):
    predictions, labels = answers(SINGLE, 60, seed)
    each = [f1_of(predictions == c, labels == c) for c in range(3)]
    share = np.bincount(labels, minlength=3) / 60
    assert measure(SINGLE, predictions, labels) == pytest.approx(
        {
            "accuracy": np.mean(predictions == labels),
            "macro_f1": np.mean(each),
            "weighted_f1": np.dot(each, share),
            "mcc": correlation_of_classes(predictions, labels),
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_several_labels_have_their_closed_forms(seed):
    predictions, labels = answers(MULTI, 60, seed)
    guess, truth = predictions > 0, labels > 0
    each = [f1_of(guess[:, c], truth[:, c]) for c in range(3)]
    assert measure(MULTI, predictions, labels) == pytest.approx(
        {
            "micro_f1": f1_of(guess.ravel(), truth.ravel()),
            "macro_f1": np.mean(each),
            "weighted_f1": np.dot(each, truth.sum(0)) / truth.sum(),
            "exact_match": np.mean((guess == truth).all(1)),
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_numbers_have_their_closed_forms(seed):
    predictions, labels = answers(NUMBER, 60, seed)
    gaps = predictions - labels
    assert measure(NUMBER, predictions, labels) == pytest.approx(
        {
            "mse": np.mean(gaps**2),
            "mae": np.mean(np.abs(gaps)),
            "r2": 1 - np.sum(gaps**2) / np.sum((labels - labels.mean()) ** 2),
            "pearson": np.corrcoef(predictions, labels)[0, 1],
        },
        rel=1e-4,
    )


def test_measures_are_those_of_scikit_learn():
    predictions, labels = answers(SINGLE, 80)
    found = measure(SINGLE, predictions, labels)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="weighted"))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(labels, predictions))
    predictions, labels = answers(MULTI, 80)
    assert measure(MULTI, predictions, labels)["micro_f1"] == pytest.approx(
        metrics.f1_score(labels, predictions, average="micro")
    )
    predictions, labels = answers(NUMBER, 80)
    found = measure(NUMBER, predictions, labels)
    assert found["r2"] == pytest.approx(metrics.r2_score(labels, predictions), rel=1e-4)
    assert found["pearson"] == pytest.approx(stats.pearsonr(labels, predictions)[0], rel=1e-4)


@given(
    predictions=arrays.arrays(np.int64, 8, elements=st.integers(0, 2)),
    labels=arrays.arrays(np.int64, 8, elements=st.integers(-1, 2)),
)
def test_accuracy_is_the_share_that_is_right_whatever_the_labels(predictions, labels):
    right = sum(p == t for p, t in zip(predictions.tolist(), labels.tolist(), strict=True))
    assert main_measure(SINGLE, predictions, labels) == right / 8


@pytest.mark.parametrize("schema", TASKS, ids=lambda schema: schema.kind)
def test_the_first_measure_is_the_main_one(schema):
    predictions, labels = answers(schema, 40)
    names = measures_of(schema.kind)
    found = measure(schema, predictions, labels)
    assert tuple(found) == names
    assert main_measure(schema, predictions, labels) == pytest.approx(found[names[0]])
    typed = (predictions, labels) if schema is NUMBER else (predictions.astype(int), labels.astype(int))
    assert combined(schema.kind).compute(predictions=typed[0], references=typed[1]) == found


@pytest.mark.parametrize("schema", TASKS, ids=lambda schema: schema.kind)
def test_what_is_all_right_is_perfect(schema):
    _, labels = answers(schema, 40)
    found = measure(schema, labels, labels)
    assert found == pytest.approx({name: 0 if name in LOWER_IS_BETTER else 1 for name in found}, abs=1e-6)


# Edges


def test_a_class_that_training_never_saw_counts_as_wrong():
    predictions, labels = answers(SINGLE, 60)
    unseen = np.where(np.arange(60) < 20, -1, labels)
    found = measure(SINGLE, predictions, unseen)
    assert found["accuracy"] == pytest.approx(np.sum(predictions[20:] == labels[20:]) / 60)
    each = [f1_of(predictions == c, unseen == c) for c in range(3)]
    assert found["macro_f1"] == pytest.approx(np.mean(each))
    assert found["mcc"] == pytest.approx(correlation_of_classes(predictions, unseen))
    without = measure(SINGLE, predictions[20:], labels[20:])
    assert all(found[name] < without[name] for name in found)


def test_where_nothing_is_known_nothing_is_right():
    found = measure(SINGLE, np.array([0, 1, 1]), np.array([-1, -1, -1]))
    assert found == {"accuracy": 0, "macro_f1": 0, "weighted_f1": 0, "mcc": 0}


def test_no_labels_at_all_are_right_when_none_is_given():
    found = measure(MULTI, np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32))
    assert found["exact_match"] == 1
    assert found["micro_f1"] == 0


@pytest.mark.parametrize(
    ("predictions", "labels"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [1, 1, 1]), ([2, 2], [2, 2]), ([1], [3])]
)
def test_a_constant_goes_along_with_nothing(predictions, labels):
    found = measure(NUMBER, np.array(predictions, np.float32), np.array(labels, np.float32))
    assert found["pearson"] == 0
    assert math.isfinite(found["r2"])
    assert found["mse"] == pytest.approx(np.mean(np.subtract(predictions, labels) ** 2))


def test_one_example_can_be_measured():
    assert measure(SINGLE, np.array([1]), np.array([2]))["accuracy"] == 0
    assert measure(MULTI, np.array([[0.0, 1, 0]]), np.array([[0.0, 1, 1]]))["micro_f1"] == pytest.approx(
        2 / 3
    )


# Class by class


@pytest.mark.parametrize("schema", [SINGLE, MULTI], ids=lambda schema: schema.kind)
def test_each_class_has_its_precision_recall_and_f1(schema):
    predictions, labels = answers(schema, 60)
    if schema is SINGLE:
        labels[:10] = -1
    rows = per_class(schema, predictions, labels)
    assert [row["class"] for row in rows] == ["a", "b", "c"]
    for number, row in enumerate(rows):
        guess, truth = (
            values[:, number] > 0 if schema is MULTI else values == number for values in (predictions, labels)
        )
        assert row["examples"] == truth.sum()
        assert row["precision"] == pytest.approx((guess & truth).sum() / guess.sum())
        assert row["recall"] == pytest.approx((guess & truth).sum() / truth.sum())
        assert row["f1"] == pytest.approx(f1_of(guess, truth))


def test_a_class_that_never_comes_up_has_a_row_of_zeros():
    rows = per_class(SINGLE, np.array([0, 1]), np.array([0, 1]))
    assert rows[2] == {"class": "c", "precision": 0, "recall": 0, "f1": 0, "examples": 0}


# Intervals


@pytest.mark.parametrize("schema", TASKS, ids=lambda schema: schema.kind)
def test_intervals_hold_the_measure_and_shrink_with_more_examples(schema):
    few, many = (intervals(schema, *answers(schema, rows), resamples=80) for rows in (60, 960))
    point = measure(schema, *answers(schema, 960))
    assert tuple(many) == measures_of(schema.kind)[:2]
    for name, (low, high) in many.items():
        assert low < point[name] < high
        # Of sixteen times the examples the interval is a quarter as wide.
        assert 2.5 < (few[name][1] - few[name][0]) / (high - low) < 6


def test_the_interval_of_a_share_is_that_of_the_binomial():
    predictions, labels = answers(SINGLE, 400)
    low, high = intervals(SINGLE, predictions, labels, resamples=500)["accuracy"]
    share = np.mean(predictions == labels)
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert (low + high) / 2 == pytest.approx(share, abs=0.15 * half)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize("schema", TASKS, ids=lambda schema: schema.kind)
def test_the_same_predictions_have_the_same_interval(schema):
    predictions, labels = answers(schema, 30)
    assert intervals(schema, predictions, labels, 20) == intervals(schema, predictions, labels, 20)


# Comparisons


def test_of_errors_the_smaller_is_better_and_of_the_rest_the_larger():
    for kind in (schema.kind for schema in TASKS):
        for name in measures_of(kind):
            assert is_better(name, 0.4, 0.5) == (name in ("mse", "mae"))
            assert is_better(name, 0.5, 0.4) == (name not in ("mse", "mae"))
            assert not is_better(name, 0.5, 0.5)
            assert is_better(name, 0.5, None)
    assert is_better("loss", 1.0, 2.0)
