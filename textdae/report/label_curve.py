"""The label curve: score against the number of labels, as table, picture and one sentence on the gain of pretraining."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from textdae.report.plots import new_figure


class Point(NamedTuple):
    """One measure of a line at a number of labels."""

    line: str
    labels: int
    measure: str
    mean: float
    low: float
    high: float
    values: tuple[float, ...]
    """Values of the draws; the same index means the same labels in every line."""


Curve = list[Point]
_LEAST_DRAWS = 3
"""With two draws Student's t is 12.7: hardly any difference would be significant."""


def write_csv(curve: Curve, path: Path) -> None:
    """Write one row for each point: mean, and the ends of its 95% interval."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(Point._fields)
        writer.writerows(
            (*point[:3], *(f"{value:.6g}" for value in point[3:6]), len(point.values)) for point in curve
        )


def _series(curve: Curve, line: str, measure: str) -> list[Point]:
    return sorted((p for p in curve if p.line == line and p.measure == measure), key=lambda p: p.labels)


def labels_needed(series: Sequence[Point], value: float) -> float:
    """Return how many labels a line needs to reach a value, interpolated in the logarithm of the labels.

    0 if its first point is above the value already, infinity if it never reaches it.
    """
    best, before = -math.inf, None
    for point in series:
        if point.mean >= value:
            if before is None:
                return 0.0 if point.mean > value else float(point.labels)
            share = (value - before.mean) / (point.mean - before.mean)
            return math.exp(math.log(before.labels) + share * math.log(point.labels / before.labels))
        if point.mean > best:
            best, before = point.mean, point
    return math.inf


def equivalence(curve: Curve, pretrained: Sequence[str], baselines: Sequence[str]) -> str:
    """Return one sentence: how many labels a baseline needs to match the pretrained encoder, also if that is worse.

    It compares the best line of each, at the middle number of labels of the curve.
    """
    measures = list(dict.fromkeys(point.measure for point in curve))
    if not (curve and pretrained and baselines):
        return "no baseline was measured beside the pretrained encoder, so there is nothing to compare"
    measure = measures[0]
    sizes = sorted({point.labels for point in curve})
    size = sizes[(len(sizes) - 1) // 2]

    def at(line: str) -> Point:
        return next(p for p in _series(curve, line, measure) if p.labels == size)

    # The smallest error is the best.
    sign = -1 if measure in ("mse", "mae") else 1
    ours, baseline = (max(lines, key=lambda line: sign * at(line).mean) for lines in (pretrained, baselines))
    value, other = at(ours).mean, at(baseline).mean
    needed = labels_needed(
        [p._replace(mean=sign * p.mean) for p in _series(curve, baseline, measure)], sign * value
    )
    if needed == 0:
        reach = f"is as good as {baseline} with fewer than {sizes[0]:,}"
    elif math.isinf(needed):
        reach = f"is better than {baseline} with {sizes[-1]:,}, the most that was measured"
    else:
        reach = f"is as good as {baseline} with {_round(needed):,}"
    mean, low, high = interval(
        [sign * (a - b) for a, b in zip(at(ours).values, at(baseline).values, strict=True)]
    )
    verdict = "" if mean > 0 else "; pretraining does worse here"
    draws = len(at(ours).values)
    if draws < _LEAST_DRAWS:
        verdict = f"; {draws} draw{'s' if draws > 1 else ''} of the labels, too few to tell which is better"
    elif low <= 0 <= high:
        verdict = "; between the two there is no clear difference"
    return (
        f"with {size:,} labels the pretrained encoder ({ours}, {measure} {value:.3f}) {reach} "
        f"({baseline} with {size:,}: {other:.3f}{verdict})"
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of several draws and the ends of its 95% interval (Student's t); one draw has no width."""
    from scipy import stats

    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, mean, mean
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * math.sqrt(variance / len(values))
    return mean, mean - half, mean + half


_RANGES = {"mse": (0.0, math.inf), "mae": (0.0, math.inf), "r2": (-math.inf, 1.0), "mcc": (-1.0, 1.0), "pearson": (-1.0, 1.0)}  # fmt: skip


def within_range(measure: str, low: float, high: float) -> tuple[float, float]:
    """Clip an interval to the range of its measure, which the interval of a few draws exceeds."""
    least, most = _RANGES.get(measure, (0.0, 1.0))
    return max(low, least), min(high, most)


def _round(value: float) -> int:
    """Round to two significant figures."""
    digits = max(0, math.floor(math.log10(value)) - 1)
    return int(round(value, -digits))


_COLORS = ("#2563eb", "#0d9488", "#d97706", "#9333ea", "#6b7280", "#dc2626", "#65a30d")


def label_curve_picture(curve: Curve, sentence: str, path: Path) -> None:
    """Draw each measure against the number of labels, one line each with its 95% interval."""
    measures = list(dict.fromkeys(point.measure for point in curve))
    lines = list(dict.fromkeys(point.line for point in curve))
    figure = new_figure(5.2 * len(measures), 4.6)
    for panel, measure in enumerate(measures, 1):
        axes = figure.add_subplot(1, len(measures), panel)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        for number, line in enumerate(lines):
            points = _series(curve, line, measure)
            color = _COLORS[number % len(_COLORS)]
            labels = [point.labels for point in points]
            own = line in ("fine-tuned", "probe")
            axes.plot(labels, [p.mean for p in points], color=color, marker="o", markersize=4,
                      linestyle="-" if own else "--", label=line)  # fmt: skip
            # Thin bars, side by side: bands of several lines would hide the lines.
            beside = [size * 1.03 ** (number - (len(lines) - 1) / 2) for size in labels]
            axes.vlines(
                beside, [p.low for p in points], [p.high for p in points], color=color, alpha=0.5, linewidth=1
            )
        # The intervals of two draws are far longer than the lines are apart.
        means = [point.mean for point in curve if point.measure == measure]
        room = 0.08 * (max(means) - min(means) or 1)
        axes.set_ylim(min(means) - room, max(means) + room)
        axes.set_xscale("log")
        axes.set_xlabel("labels")
        axes.set_ylabel(measure.replace("_", " "))
        if panel == 1:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(sentence, fontsize=8, wrap=True)
    figure.savefig(path, dpi=130)
