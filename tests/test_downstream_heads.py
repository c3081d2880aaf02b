"""Learners on fixed features, beside scikit-learn and what can be worked out by hand; and vectors scaled for them."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from textdae.downstream import heads as module
from textdae.downstream.draws import folds
from textdae.downstream.encoder import Encoder, View
from textdae.downstream.heads import Head, choose_head, constant, fit, heads
from textdae.downstream.labelled import Labelled
from textdae.downstream.labels import LabelSchema
from textdae.downstream.metrics import main_measure, measure
from textdae.downstream.vectors import Scaled, Vectors

SINGLE = LabelSchema("single_label_classification", ("a", "b", "c"))
MULTI = LabelSchema("multi_label_classification", ("a", "b", "c"))
NUMBER = LabelSchema("regression", ("value",))


def problem(schema: LabelSchema, rows: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, 4), and labels that follow from them with some noise."""
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(rows, 4)).astype(np.float32)
    scores = features[:, :3] + 0.5 * chance.normal(size=(rows, 3))
    if schema.is_regression:
        return features, scores.sum(1).astype(np.float32)
    if schema.is_multi_label:
        return features, (scores > 0).astype(np.float32)
    return features, scores.argmax(1).astype(np.int64)


def nearest(features: np.ndarray, learnt: np.ndarray, k: int) -> np.ndarray:
    """The k rows of the smallest angle to each, by hand."""
    unit, other = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (features, learnt))
    return np.argsort(-(unit @ other.T), axis=1)[:, :k]


# Learners


@pytest.mark.parametrize("value", [0.01, 1, 100])
def test_logistic_regression_is_that_of_scikit_learn(value):
    features, labels = problem(SINGLE)
    reference = LogisticRegression(C=value, max_iter=5000, tol=1e-8).fit(features, labels)
    learner = fit(SINGLE, Head("logistic", value), features, labels)
    other, _ = problem(SINGLE, seed=1)
    np.testing.assert_allclose(learner.predict_proba(other), reference.predict_proba(other), atol=0.01)


@pytest.mark.parametrize("alpha", [0.1, 10, 1000])
def test_ridge_has_its_closed_form(alpha):
    features, labels = problem(NUMBER)
    x, y = features.astype(np.float64), labels.astype(np.float64)
    centred = x - x.mean(0)
    weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(4), centred.T @ (y - y.mean()))
    other = problem(NUMBER, seed=1)[0]
    expected = (other - x.mean(0)) @ weights + y.mean()
    found = fit(NUMBER, Head("ridge", alpha), features, labels).predict(other)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("k", [1, 3, 15])
def test_neighbours_are_those_of_the_smallest_angle(k):
    schema = LabelSchema(
        "single_label_classification", ("a", "b")
    )  # an odd number of neighbours is never undecided
    features, labels = problem(SINGLE)
    labels = labels % 2
    other = problem(SINGLE, seed=1)[0] * np.float32(7)
    votes = labels[nearest(other, features, k)]
    found = fit(schema, Head("kNN", k), features, labels).predict(other)
    assert found.tolist() == (votes.mean(1) > 0.5).astype(int).tolist()


def test_neighbours_give_the_mean_of_their_numbers():
    features, labels = problem(NUMBER)
    other, _ = problem(NUMBER, seed=1)
    found = fit(NUMBER, Head("kNN", 3), features, labels).predict(other)
    np.testing.assert_allclose(found, labels[nearest(other, features, 3)].mean(1), rtol=1e-5, atol=1e-6)


def test_each_of_several_labels_has_its_neighbours_say():
    features, labels = problem(MULTI)
    other, _ = problem(MULTI, seed=1)
    found = fit(MULTI, Head("kNN", 3), features, labels).predict(other)
    np.testing.assert_array_equal(found, labels[nearest(other, features, 3)].mean(1) > 0.5)


def test_of_fewer_rows_than_neighbours_all_are_asked():
    features, labels = problem(NUMBER, rows=5)
    found = fit(NUMBER, Head("kNN", 30), features, labels).predict(problem(NUMBER, seed=1)[0])
    np.testing.assert_allclose(found, labels.mean(), rtol=1e-5)


def test_each_of_several_labels_is_learnt_by_itself():
    features, labels = problem(MULTI)
    other, _ = problem(MULTI, seed=1)
    found = fit(MULTI, Head("logistic", 1), features, labels).predict(other)
    assert found.shape == (150, 3)
    for number in range(3):
        reference = LogisticRegression(C=1, max_iter=300, tol=1e-3).fit(features, labels[:, number])
        np.testing.assert_array_equal(found[:, number], reference.predict(other))


def test_a_label_that_all_or_none_have_is_a_constant():
    features, labels = problem(MULTI)
    labels[:, 0], labels[:, 2] = 0, 1
    found = fit(MULTI, Head("logistic", 1), features, labels).predict(features)
    assert set(found[:, 0]) == {0}
    assert set(found[:, 1]) == {0, 1}
    assert set(found[:, 2]) == {1}


@pytest.mark.parametrize("kind", ["logistic", "kNN"])
@pytest.mark.parametrize("rows", [1, 4])
def test_where_one_class_was_drawn_it_is_the_answer(kind, rows):
    features, _ = problem(SINGLE)
    learner = fit(SINGLE, Head(kind, 1), features[:rows], np.full(rows, 2))
    assert learner.predict(features).tolist() == [2] * 150


@pytest.mark.parametrize(
    ("schema", "head"),
    [
        (schema, Head(kind, 3))
        for schema, kinds in ((SINGLE, ("logistic", "kNN")), (MULTI, ("logistic", "kNN")), (NUMBER, ("kNN",)))
        for kind in kinds
    ],
    ids=str,
)
def test_sparse_features_teach_what_dense_ones_do(schema, head):
    features, labels = problem(schema)
    other, _ = problem(schema, seed=1)
    # Rows of sparse features are brought to length 1.
    features, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, other))
    dense = fit(schema, head, features, labels).predict(other)
    found = fit(schema, head, sparse.csr_array(features), labels).predict(sparse.csr_array(other))
    assert np.isclose(found, dense, atol=1e-3).mean() > 0.98


def test_a_fit_that_stops_early_says_nothing():
    features, labels = problem(SINGLE)
    features *= np.float32([1e4, 1, 1e-3, 1e3])  # what the solver cannot finish; a warning is an error here
    learner = fit(SINGLE, Head("logistic", 1e6), features, labels)
    assert (learner.predict(features) == labels).mean() > 0.5


# The plainest baseline


def test_the_constant_answer_is_the_commonest_class():
    assert constant(SINGLE, np.array([2, 0, 2, 1, 2]), 4).tolist() == [2] * 4


def test_the_constant_answer_of_several_labels_is_what_most_have():
    labels = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0]], np.float32)
    found = constant(MULTI, labels, 2)
    assert found.tolist() == [[1, 0, 0]] * 2
    assert measure(MULTI, found, labels[1:])["exact_match"] == 0.5


def test_the_constant_number_is_the_mean_which_nothing_constant_beats():
    labels = np.array([1, 2, 6], np.float32)
    found = constant(NUMBER, labels, 3)
    assert found.tolist() == [3, 3, 3]
    errors = [measure(NUMBER, found + shift, labels)["mse"] for shift in np.float32([-0.1, 0, 0.1])]
    assert errors[1] == min(errors)
    assert measure(NUMBER, found, labels)["r2"] == pytest.approx(0)


# The choice


def parts_of(labels: np.ndarray) -> list:
    return folds(labels, 5, 0)


def score(schema: LabelSchema, head: Head, features, labels: np.ndarray) -> float:
    """Cross-validation, written out."""
    each = []
    for learn, judge in parts_of(labels):
        learner = fit(schema, head, features[learn], labels[learn])
        each.append(main_measure(schema, learner.predict(features[judge]), labels[judge]))
    return sum(each) / len(each)


@pytest.mark.parametrize("schema", [SINGLE, MULTI, NUMBER], ids=lambda schema: schema.kind)
@pytest.mark.parametrize("kind", ["logistic", "kNN"])
def test_features_that_tell_are_chosen_before_noise_and_then_the_best_dial(schema, kind):
    features, labels = problem(schema, rows=60)
    noise = np.random.default_rng(9).normal(size=features.shape)
    choice = choose_head(schema, {"noise": noise, "signal": features}, labels, parts_of(labels), kind)
    assert choice.name == "signal"
    scores = {head: score(schema, head, features, labels) for head in heads(schema, kind, False, len(labels))}
    usual = next(iter(scores))
    gain = (scores[choice.head] - scores[usual]) * (-1 if schema.is_regression else 1)
    assert gain > 0 or choice.head == usual
    assert math.isclose(choice.score, scores[choice.head])


def test_judged_by_one_part_the_best_dial_is_taken():
    features, labels = problem(SINGLE, rows=90)
    features = features + np.random.default_rng(1).normal(size=features.shape)
    part = [(np.arange(45), np.arange(45, 90))]
    choice = choose_head(SINGLE, {"only": features}, labels, part, "logistic")
    learners = {
        head: fit(SINGLE, head, features[:45], labels[:45]) for head in heads(SINGLE, "logistic", False, 45)
    }
    scores = {
        head: float((learner.predict(features[45:]) == labels[45:]).mean())
        for head, learner in learners.items()
    }
    assert len(set(scores.values())) > 1
    assert choice.score == max(scores.values()) == scores[choice.head]


@pytest.mark.parametrize(
    ("gains", "changes"), [((0.1, 0.1, 0.1, 0.1), True), ((0.4, -0.3, 0.3, -0.2), False)]
)
def test_a_gain_within_its_standard_error_changes_nothing(gains, changes, monkeypatch):
    """What the folds disagree about they cannot tell."""
    labels, features = np.array([0, 1] * 8), {"first": np.zeros((16, 1)), "second": np.ones((16, 1))}
    scores = iter([0.5] * 4 + [0.5 + gain for gain in gains] + [0.0] * 100)
    monkeypatch.setattr(module, "main_measure", lambda *given: next(scores))
    choice = choose_head(SINGLE, features, labels, folds(labels, 4, 0), "logistic")
    assert choice.name == ("second" if changes else "first")


def test_the_usual_dial_is_kept_unless_another_is_better():
    labels = np.array([0, 1] * 20)
    features = np.where(labels, 5.0, -5.0)[:, None]  # any dial is right always
    first = heads(SINGLE, "logistic", False, len(labels))[0]
    choice = choose_head(
        SINGLE, {"first": features, "second": features}, labels, parts_of(labels), "logistic"
    )
    assert choice == ("first", first, 1.0)


@pytest.mark.parametrize("schema", [SINGLE, NUMBER], ids=lambda schema: schema.kind)
def test_with_too_few_rows_to_judge_by_the_first_is_taken(schema):
    features, labels = problem(schema, rows=3)
    choice = choose_head(schema, {"first": features[:, 3:], "second": features}, labels, [], "logistic")
    assert choice.name == "first"
    assert choice.head == heads(schema, "logistic", False, len(labels))[0]
    assert math.isnan(choice.score)


def test_folds_that_lack_a_class_are_judged_all_the_same():
    features, _ = problem(SINGLE, rows=10)
    labels = np.array([0] * 9 + [1])
    assert choose_head(SINGLE, {"only": features}, labels, parts_of(labels), "logistic").score >= 0.8


@pytest.mark.parametrize("is_sparse", [False, True])
def test_dials_differ_and_have_names(is_sparse):
    for schema, kind, shown in ((SINGLE, "logistic", "C"), (NUMBER, "ridge", "alpha"), (MULTI, "kNN", "k")):
        found = heads(schema, kind, is_sparse, 70)
        assert len(set(found)) == len(found) > 1
        assert all(str(head) == f"{kind}, {shown} = {head.value:g}" for head in found)


def test_the_usual_dial_weighs_an_example_the_same_however_many_there_are():
    """The same examples ten times over: the usual learner of the many is that of the few."""
    features, labels = problem(SINGLE, rows=20)
    few, many = (
        fit(
            SINGLE,
            heads(SINGLE, "logistic", False, 20 * times)[0],
            np.tile(features, (times, 1)),
            np.tile(labels, times),
        )
        for times in (1, 10)
    )
    np.testing.assert_allclose(few.coef_, many.coef_, atol=1e-2)


# Scaled vectors

DEEP, FLAT, COUNTS = View(1, "mean"), View(0, "mean"), View(None, "mean")


class Tables(Encoder):
    """Looks the vectors up: an example is the number of a row."""

    view, notes = DEEP, Counter()

    def __init__(self, tables: dict):
        self.tables, self.asked = tables, []

    def embed(self, examples, views):
        self.asked.append((list(examples), list(views)))
        return {view: self.tables[view][list(examples)] for view in views}

    def views(self):
        return list(self.tables)


def tables(rows: int = 300) -> dict:
    chance = np.random.default_rng(0)
    deep = chance.normal(5, [0.5, 1, 10], (rows, 3)).astype(np.float32)
    return {DEEP: deep, FLAT: 2 * deep, COUNTS: sparse.csr_array(chance.integers(0, 2, (rows, 6)) * 1.0)}


def unlabelled(rows: int) -> Labelled:
    return Labelled(range(rows), np.zeros(rows, np.int64))


def test_there_are_both_scales_of_dense_vectors_and_one_of_sparse_ones():
    kinds = Scaled(Tables(tables()), unlabelled(300)).kinds()
    assert kinds == [
        Vectors(DEEP, "plain"),
        Vectors(DEEP, "even"),
        Vectors(FLAT, "plain"),
        Vectors(FLAT, "even"),
        Vectors(COUNTS, "plain"),
    ]
    assert [str(kind) for kind in kinds[:2]] == [
        "layer 1, mean",
        "layer 1, mean, every number scaled by itself",
    ]


def test_plain_vectors_are_all_scaled_alike():
    kind = Vectors(DEEP, "plain")
    raw = tables()
    found = Scaled(Tables(raw), unlabelled(300)).embed(range(300), [kind])[kind]
    assert found.dtype == np.float32
    centred = raw[DEEP] - raw[DEEP].mean(0)
    ratio = np.linalg.norm(centred) / np.linalg.norm(found)
    np.testing.assert_allclose(found * ratio, centred, rtol=1e-3, atol=1e-3)
    assert math.isclose(found.var(0).mean(), 1, rel_tol=1e-4)


def test_even_vectors_have_unit_deviation_in_every_column():
    kind = Vectors(DEEP, "even")
    raw = tables()
    found = Scaled(Tables(raw), unlabelled(300)).embed(range(300), [kind])[kind]
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), 1, rtol=1e-4)
    for column in range(3):
        assert np.corrcoef(found[:, column], raw[DEEP][:, column])[0, 1] > 0.9999


def test_views_are_scaled_each_by_itself():
    found = Scaled(Tables(tables()), unlabelled(300)).embed(
        range(300), [Vectors(DEEP, "plain"), Vectors(FLAT, "plain")]
    )
    np.testing.assert_allclose(
        found[Vectors(DEEP, "plain")], found[Vectors(FLAT, "plain")], rtol=1e-3, atol=1e-5
    )


def test_sparse_vectors_stay_as_they_are():
    kind = Vectors(COUNTS, "plain")
    raw = tables()
    found = Scaled(Tables(raw), unlabelled(300)).embed([4, 2], [kind])[kind]
    assert sparse.issparse(found)
    np.testing.assert_array_equal(found.toarray(), raw[COUNTS].toarray()[[4, 2]])


def test_the_scale_is_that_of_the_unlabelled_examples():
    raw = tables()
    scaled = Scaled(Tables(raw), unlabelled(200))
    for kind in scaled.kinds()[:2]:
        alone, together = (scaled.embed(rows, [kind])[kind] for rows in ([250], [7, 250, 299]))
        np.testing.assert_array_equal(alone[0], together[1])
    expected = (raw[DEEP][250] - raw[DEEP][:200].mean(0)) / raw[DEEP][:200].std(0)
    found = scaled.embed([250], [Vectors(DEEP, "even")])[Vectors(DEEP, "even")][0]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_number_that_hardly_ever_changes_is_not_blown_up():
    chance = np.random.default_rng(0)
    raw = np.stack([chance.normal(size=300), 1e-5 * chance.normal(size=300), np.full(300, 3.0)], 1)
    kind = Vectors(DEEP, "even")
    found = Scaled(Tables({DEEP: raw}), unlabelled(300)).embed(range(300), [kind])[kind]
    assert found[:, 1].std() < 0.01
    assert not found[:, 2].any()


def test_vectors_that_are_all_the_same_are_nothing():
    raw = {DEEP: np.full((30, 4), 2.0)}
    scaled = Scaled(Tables(raw), unlabelled(30))
    for found in scaled.embed(range(30), scaled.kinds()).values():
        assert not found.any()


def test_the_scale_is_taken_from_at_most_2000_examples_spread_evenly():
    encoder = Tables({DEEP: np.arange(5000.0)[:, None]})
    Scaled(encoder, unlabelled(5000))
    ((rows, views),) = encoder.asked
    assert views == [DEEP]
    assert len(rows) == 2000
    assert set(np.diff(rows)) == {2, 3}
    assert rows[-1] >= 4997


def test_an_encoder_is_asked_once_for_each_view():
    encoder = Tables(tables())
    scaled = Scaled(encoder, unlabelled(300))
    scaled.embed([1, 2], scaled.kinds())
    assert encoder.asked[1:] == [([1, 2], [DEEP, FLAT, COUNTS])]


def test_columns_that_training_never_sees_count_for_nothing():
    generator = np.random.default_rng(0)
    dense = generator.random((40, 30)) * (generator.random((40, 30)) < 0.2)
    dense[:, 20:] = 0
    dense[:, 0] += 0.1  # no row is empty
    asked = generator.random((10, 30))
    labels = generator.integers(0, 3, 40)
    ours = fit(SINGLE, Head("logistic", 10), sparse.csr_matrix(dense), labels).predict(
        sparse.csr_matrix(asked)
    )
    seen, them = (
        each[:, :20] / np.linalg.norm(each[:, :20], axis=1, keepdims=True) for each in (dense, asked)
    )
    theirs = LogisticRegression(C=10, max_iter=300, tol=1e-3).fit(seen, labels).predict(them)
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("kind", ["logistic", "kNN", "sparse"])
def test_classes_of_hardly_more_than_one_label_are_learnt_without_a_warning(kind):
    """Warnings are errors here; 932 of scikit-learn's stood in the log of three label curves."""
    schema = LabelSchema("single_label_classification", tuple(map(str, range(30))))
    labels = np.arange(40) % 30
    features: Any = np.eye(30, dtype=np.float32)[labels]
    if kind == "sparse":
        features = sparse.csr_array(features)
    head = Head("kNN", 1) if kind == "kNN" else Head("logistic", 10)
    assert fit(schema, head, features, labels).predict(features).tolist() == labels.tolist()
