"""Metrics of scikit-learn as `evaluate` modules that need no download.

`evaluate.load("accuracy")` downloads a script from the Hub and runs it; these measures need none.

n examples, C classes.
"""

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn import metrics

from textdae.downstream import entities
from textdae.downstream.labels import LabelSchema

Measures = dict[str, float]


def _seen(references: np.ndarray, predictions: np.ndarray) -> list[int]:
    """Return the classes that occur, without -1, which stands for a class unseen in training."""
    return sorted({*references.tolist(), *predictions.tolist()} - {-1})


def _f1(average: str) -> Callable[..., float]:
    def compute(references: np.ndarray, predictions: np.ndarray) -> float:
        labels = _seen(references, predictions) if references.ndim == 1 else None
        return float(
            metrics.f1_score(references, predictions, labels=labels, average=average, zero_division=0)
        )

    return compute


def _mcc(references: np.ndarray, predictions: np.ndarray) -> float:
    if len({*references.tolist(), *predictions.tolist()}) < 2:
        return 0.0  # one class only, where scikit-learn warns
    return float(metrics.matthews_corrcoef(references, predictions))


def _r2(references: np.ndarray, predictions: np.ndarray) -> float:
    return float(metrics.r2_score(references, predictions)) if len(references) > 1 else 0.0


def _pearson(references: np.ndarray, predictions: np.ndarray) -> float:
    if len(references) < 2 or np.ptp(references) == 0 or np.ptp(predictions) == 0:
        return 0.0  # a constant correlates with nothing
    return float(stats.pearsonr(references, predictions)[0])


_FUNCTIONS: dict[str, dict[str, Callable[..., float]]] = {
    "single_label_classification": {
        "accuracy": metrics.accuracy_score,
        "macro_f1": _f1("macro"),
        "weighted_f1": _f1("weighted"),
        "mcc": _mcc,
    },
    "multi_label_classification": {
        "micro_f1": _f1("micro"),
        "macro_f1": _f1("macro"),
        "weighted_f1": _f1("weighted"),
        "exact_match": metrics.accuracy_score,
    },
    "token_classification": {
        "f1": entities.f1,
        "precision": entities.precision,
        "recall": entities.recall,
        "accuracy": entities.accuracy,
    },
    "regression": {
        "mse": metrics.mean_squared_error,
        "mae": metrics.mean_absolute_error,
        "r2": _r2,
        "pearson": _pearson,
    },
}
_VALUES = {"regression": "float32", "token_classification": "string"}
"""What labels are, where they are no numbers of classes."""
LOWER_IS_BETTER = ("loss", "mse", "mae")


def measures_of(kind: str) -> tuple[str, ...]:
    """Return the names of the measures of a task, the main one first."""
    return tuple(_FUNCTIONS[kind])


class Measure(evaluate.Metric):
    """One measure of scikit-learn as an `evaluate` module."""

    def __init__(self, kind: str, measure: str) -> None:
        self.kind, self.function = kind, _FUNCTIONS[kind][measure]
        self.measure = measure
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        value: Any = datasets.Value(_VALUES.get(self.kind, "int64"))
        several = self.kind in ("multi_label_classification", "token_classification")
        feature = datasets.Sequence(value) if several else value
        whose = "conlleval" if self.kind == "token_classification" else "scikit-learn"
        return evaluate.MetricInfo(
            description=f"{self.measure}, as {whose} has it",
            citation="",
            features=datasets.Features({"predictions": feature, "references": feature}),
        )

    def _compute(self, predictions: Any, references: Any) -> Measures:
        if self.kind != "token_classification":
            predictions, references = np.asarray(predictions), np.asarray(references)
        return {self.measure: float(self.function(references, predictions))}


def combined(kind: str) -> evaluate.CombinedEvaluations:
    """Combine all measures of a task into one `evaluate` module."""
    return evaluate.combine([Measure(kind, measure) for measure in _FUNCTIONS[kind]])


def _as_classes(schema: LabelSchema, *several: np.ndarray) -> list[Any]:
    """Turn the float zeros and ones of a multi-label task into integers, as scikit-learn expects, and numbers of tags into
    tags."""
    if schema.is_tokens:
        return [[[schema.classes[tag] for tag in tags] for tags in each] for each in several]
    return [each.astype(np.int64) if schema.is_multi_label else each for each in several]


def measure(schema: LabelSchema, predictions: np.ndarray, labels: np.ndarray) -> Measures:
    """Return all measures of predictions; these have the shape and dtype of labels, see `LabelSchema.encode`."""
    predictions, labels = _as_classes(schema, predictions, labels)
    return dict(combined(schema.kind).compute(predictions=predictions, references=labels))


def intervals(
    schema: LabelSchema, predictions: np.ndarray, labels: np.ndarray, resamples: int = 200
) -> dict[str, list[float]]:
    """Return 95% percentile bootstrap intervals of the first two measures (Efron 1979)."""
    predictions, labels = _as_classes(schema, predictions, labels)
    generator = np.random.default_rng(0)
    bounds: dict[str, list[float]] = {}
    rows = [generator.integers(0, len(labels), len(labels)) for _ in range(resamples)]
    for name, function in list(_FUNCTIONS[schema.kind].items())[:2]:
        values = [float(function(labels[each], predictions[each])) for each in rows]
        bounds[name] = np.percentile(values, [2.5, 97.5]).tolist()
    return bounds


def main_measure(schema: LabelSchema, predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the main measure alone, which is faster than `measure`."""
    predictions, labels = _as_classes(schema, predictions, labels)
    return float(next(iter(_FUNCTIONS[schema.kind].values()))(labels, predictions))


def per_class(schema: LabelSchema, predictions: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and number of examples of each class, or of each kind of entity."""
    if schema.is_tokens:
        by_kind = entities.scores(*_as_classes(schema, labels, predictions))
        return [
            {
                "class": kind,
                "precision": each.precision,
                "recall": each.recall,
                "f1": each.f1,
                "examples": each.total,
            }
            for kind, each in by_kind.items()
            if kind
        ]
    numbers = range(len(schema.classes))
    columns = metrics.precision_recall_fscore_support(
        labels, predictions, labels=list(numbers), zero_division=0
    )
    return [
        {
            "class": name,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "examples": int(support),
        }
        for name, precision, recall, f1, support in zip(schema.classes, *columns, strict=True)
    ]


def is_better(measure: str, value: float, than: float | None) -> bool:
    """Return whether a value of a measure beats another."""
    return than is None or (value < than if measure in LOWER_IS_BETTER else value > than)
