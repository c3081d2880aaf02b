"""Simple learners on fixed features: logistic regression, k nearest neighbours, ridge; and their selection.

n examples, D features.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from textdae.downstream.labels import LabelSchema
from textdae.downstream.metrics import is_better, main_measure, measures_of

Fold = tuple[np.ndarray, np.ndarray]
"""Rows to train on, rows to validate on."""


class Head(NamedTuple):
    """A learner with its hyperparameter."""

    kind: str
    """logistic, kNN, or ridge."""
    value: float
    """Inverse strength of the regularisation of logistic, strength of that of ridge, neighbours of kNN."""

    def __str__(self) -> str:
        dial = {"logistic": "C", "ridge": "alpha", "kNN": "k"}[self.kind]
        return f"{self.kind}, {dial} = {self.value:g}"


class Choice(NamedTuple):
    """The best features and head, and their score."""

    name: Any
    """Name of the features."""
    head: Head
    score: float
    """The main measure of the task on the validation rows."""


def heads(schema: LabelSchema, kind: str, is_sparse: bool, count: int) -> list[Head]:
    """Return the heads to try, the default first. Dense features are `Scaled`, so their grid differs from that of sparse ones.

    C multiplies a sum over the examples, so on dense features it begins where C times their number is the same.

    Args:
        count: number of labels to train on.
    """
    if kind == "kNN":
        return [Head("kNN", k) for k in (10, 1, 3, 30)]
    if schema.is_regression:
        return [Head("ridge", alpha) for alpha in ((1, 0.1, 10) if is_sparse else (100, 1, 10, 1e3, 1e4))]
    usual = 10 / count
    values = (10, 1, 100, 1000) if is_sparse else (usual, usual / 10, usual * 10, usual / 100, usual * 100)
    return [Head("logistic", value) for value in values]


def fit(schema: LabelSchema, head: Head, features: Any, labels: np.ndarray) -> Any:
    """Train a learner on features (n, D), and return it; it has `predict`."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A fit that stops a little early predicts as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # With few labels most classes may have a single example; `find_schema` has checked that they are classes.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        return _fit(schema, head, features, labels)


def _fit(schema: LabelSchema, head: Head, features: Any, labels: np.ndarray) -> Any:
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    if not schema.is_regression and not schema.is_multi_label and len(np.unique(labels)) < 2:
        return DummyClassifier().fit(features, labels)  # only one class was drawn
    if head.kind == "kNN":
        neighbours = KNeighborsRegressor if schema.is_regression else KNeighborsClassifier
        # The nearest of vectors of length 1 have the smallest angle.
        return make_pipeline(Normalizer(), neighbours(min(int(head.value), len(labels)))).fit(
            features, labels
        )
    learner: Any = (
        Ridge(head.value)
        if schema.is_regression
        else LogisticRegression(C=head.value, max_iter=300, tol=1e-3)
    )
    if schema.is_multi_label:
        learner = _EachClass(learner)
    return (_SeenColumns(learner) if sparse.issparse(features) else learner).fit(features, labels)


class _SeenColumns:
    """A learner on the columns of sparse features that occur in training, with rows scaled to length 1.

    The other columns have no weight; if they counted in the length, a text with many unseen words would have a vector near
    zero.
    """

    def __init__(self, learner: Any) -> None:
        self.learner = learner

    def fit(self, features: Any, labels: np.ndarray) -> "_SeenColumns":
        self.columns = np.unique(features.indices)
        self.learner.fit(self._seen(features), labels)
        return self

    def predict(self, features: Any) -> np.ndarray:
        guesses: np.ndarray = self.learner.predict(self._seen(features))
        return guesses

    def _seen(self, features: Any) -> Any:
        from sklearn.preprocessing import normalize

        return normalize(features[:, self.columns])


class _EachClass:
    """A separate learner for each class; a class that all examples have, or none, is a constant."""

    def __init__(self, learner: Any) -> None:
        self.learner = learner

    def fit(self, features: Any, labels: np.ndarray) -> "_EachClass":
        from sklearn.base import clone
        from sklearn.dummy import DummyClassifier

        self.learners = [
            (clone(self.learner) if len(np.unique(column)) > 1 else DummyClassifier()).fit(features, column)
            for column in labels.T
        ]
        return self

    def predict(self, features: Any) -> np.ndarray:
        return np.stack([learner.predict(features) for learner in self.learners], 1)


def constant(schema: LabelSchema, labels: np.ndarray, count: int) -> np.ndarray:
    """Predict the same for `count` examples: the most frequent class, the frequent classes, or the mean of the labels."""
    if schema.is_regression:
        return np.full(count, labels.mean(), np.float32)
    if schema.is_multi_label:
        return np.tile((labels.mean(0) > 0.5).astype(np.float32), (count, 1))
    return np.full(count, np.bincount(labels).argmax())


def choose_head(
    schema: LabelSchema, features: Mapping[Any, Any], labels: np.ndarray, parts: Sequence[Fold], kind: str
) -> Choice:
    """Choose the features, then the hyperparameter, that score best on the validation rows.

    With several folds the first candidate is kept unless another is better by more than one standard error of their
    difference (after Breiman et al. 1984, section 3.4.3).

    Args:
        features: by name. *Shape* of each: (n, D).
        kind: logistic or kNN.
    """
    main = measures_of(schema.kind)[0]

    def judged(name: Any, head: Head) -> tuple[Choice, np.ndarray]:
        each = features[name]
        scores = [
            main_measure(
                schema, fit(schema, head, each[learn], labels[learn]).predict(each[judge]), labels[judge]
            )
            for learn, judge in parts
        ]
        return Choice(name, head, float(np.mean(scores))), np.array(scores)

    def best(tried: Iterator[tuple[Choice, np.ndarray]]) -> tuple[Choice, np.ndarray]:
        top, scores = next(tried)
        for other, others in tried:
            gain = others - scores
            error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
            if is_better(main, other.score, top.score) and abs(gain.mean()) > error:
                top, scores = other, others
        return top, scores

    count = (
        len(parts[0][0]) if len(parts) == 1 else len(labels)
    )  # with folds, the final learner is trained on all labels
    usual = {name: heads(schema, kind, sparse.issparse(each), count) for name, each in features.items()}
    if not parts:  # too few labels to validate: the first, with its default
        name = next(iter(features))
        return Choice(name, usual[name][0], float("nan"))
    first = best(judged(name, each[0]) for name, each in usual.items())
    name = first[0].name
    return best(chain([first], (judged(name, head) for head in usual[name][1:])))[0]
