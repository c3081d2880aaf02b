"""What the curve of labels says: the labels a baseline needs, beside brute force; the sentence; the table and the pictures."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from textdae.commands.label_curve import Cell, _gather
from textdae.report.confusion import confusion_picture
from textdae.report.label_curve import (
    Point,
    equivalence,
    interval,
    label_curve_picture,
    labels_needed,
    write_csv,
)

SIZES = (10, 30, 100, 300)


def series(
    means, line: str = "baseline", measure: str = "accuracy", sizes=SIZES, jitter=(0.0,)
) -> list[Point]:
    """A line with these means, its draws around them."""
    points = []
    for size, mean in zip(sizes, means, strict=True):
        values = tuple(mean + shift for shift in jitter)
        points.append(Point(line, size, measure, *interval(values), values))
    return points


def searched(points: list[Point], value: float) -> float:
    """The fewest labels on a fine grid whose interpolated record reaches the value."""
    grid = np.exp(np.linspace(math.log(points[0].labels), math.log(points[-1].labels), 20_001))
    records = [p for n, p in enumerate(points) if all(q.mean < p.mean for q in points[:n])]
    line = np.interp(np.log(grid), np.log([p.labels for p in records]), [p.mean for p in records])
    reached = np.flatnonzero(line >= value)
    return float(grid[reached[0]]) if len(reached) else math.inf


# The labels that a line needs


@given(
    means=st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=6),
    value=st.integers(0, 100).map(lambda n: n / 100 + 0.003),  # between the means, so no comparison is a tie
)
def test_labels_needed_are_those_that_a_search_finds(means, value):
    points = series(means, sizes=[10 * 3**n for n in range(len(means))])
    found = labels_needed(points, value)
    if means[0] > value:
        assert found == 0
    elif max(means) < value:
        assert math.isinf(found)
    else:
        assert found == pytest.approx(searched(points, value), rel=1e-3)


def test_halfway_between_two_points_is_their_geometric_mean():
    assert labels_needed(series([0.5, 0.7], sizes=(10, 1000)), 0.6) == pytest.approx(100)


def test_a_value_that_a_point_has_needs_its_labels():
    points = series([0.5, 0.6, 0.6, 0.8])
    assert [labels_needed(points, value) for value in (0.5, 0.6, 0.8)] == pytest.approx([10, 30, 300])


def test_of_no_points_no_labels_are_enough():
    assert math.isinf(labels_needed([], 0.5))


# Intervals


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_the_interval_is_students(values):
    mean, low, high = interval(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    error = stats.sem(values)
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), error) if error else (mean, mean)
    assert (low, high) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_of_a_single_draw_the_interval_is_itself():
    assert interval([0.25]) == (0.25, 0.25, 0.25)


# The sentence

STEADY = (-0.01, 0.0, 0.01)


def said(ours, baseline, jitter=STEADY, baselines=STEADY, measure: str = "accuracy") -> str:
    curve = [
        *series(ours, "probe", measure, jitter=jitter),
        *series(baseline, "tf-idf", measure, jitter=baselines),
    ]
    return equivalence(curve, ["probe"], ["tf-idf"])


def test_where_pretraining_is_better_the_baseline_needs_more():
    # 0.8 lies halfway between 0.7 with 100 and 0.9 with 300 labels: 173, which is 170 in two figures.
    sentence = said([0.7, 0.8, 0.85, 0.9], [0.4, 0.5, 0.7, 0.9])
    assert sentence == (
        "with 30 labels the pretrained encoder (probe, accuracy 0.800) is as good as tf-idf with 170 "
        "(tf-idf with 30: 0.500)"
    )


def test_where_pretraining_is_worse_the_sentence_says_so():
    sentence = said([0.3, 0.5, 0.6, 0.7], [0.4, 0.6, 0.7, 0.9])
    assert "is as good as tf-idf with 17 (" in sentence
    assert sentence.endswith("(tf-idf with 30: 0.600; pretraining does worse here)")


def test_where_the_draws_do_not_decide_the_sentence_says_so():
    for ours in (0.5, 0.51, 0.49):
        sentence = said([0.3, ours, 0.6, 0.7], [0.4, 0.5, 0.7, 0.9], jitter=(-0.1, 0.0, 0.1))
        assert sentence.endswith("; between the two there is no clear difference)")


def test_a_difference_is_clear_where_its_interval_leaves_out_zero():
    # Of three draws the 95% interval is 4.303 / sqrt(3) = 2.484 standard deviations either way.
    for deviation, clear in ((0.0200, True), (0.0203, False)):
        jitter = (-deviation, 0.0, deviation)
        sentence = said([0.3, 0.55, 0.6, 0.7], [0.3, 0.5, 0.6, 0.7], jitter, baselines=(0.0, 0.0, 0.0))
        assert sentence.endswith("0.500)" if clear else "no clear difference)")
        sentence = said([0.3, 0.45, 0.6, 0.7], [0.3, 0.5, 0.6, 0.7], jitter, baselines=(0.0, 0.0, 0.0))
        assert sentence.endswith("does worse here)" if clear else "no clear difference)")


def test_draws_are_compared_in_pairs():
    # Both vary widely from draw to draw, but the difference is the same in each.
    widely = (-0.2, 0.0, 0.2)
    assert said([0.3, 0.55, 0.6, 0.7], [0.3, 0.5, 0.6, 0.7], widely, (-0.2001, 0.0, 0.2)).endswith("0.500)")
    assert said([0.3, 0.55, 0.6, 0.7], [0.3, 0.5, 0.6, 0.7], widely, widely[::-1]).endswith(
        "no clear difference)"
    )


def test_what_no_labels_reach_and_what_the_fewest_pass_is_told():
    beyond = said([0.7, 0.95, 0.97, 0.98], [0.4, 0.5, 0.7, 0.9])
    assert "is better than tf-idf with 300, the most that was measured (" in beyond
    assert "is as good as tf-idf with fewer than 10 (" in said([0.2, 0.3, 0.4, 0.5], [0.4, 0.5, 0.7, 0.9])


def test_of_errors_the_smaller_is_the_better():
    better = said([1.0, 0.5, 0.4, 0.3], [2.0, 1.0, 0.5, 0.4], measure="mse")
    assert better == (
        "with 30 labels the pretrained encoder (probe, mse 0.500) is as good as tf-idf with 100 "
        "(tf-idf with 30: 1.000)"
    )
    assert said([2.0, 1.5, 1.0, 0.9], [2.0, 1.0, 0.5, 0.4], measure="mse").endswith(
        "pretraining does worse here)"
    )


def test_the_best_line_of_each_is_compared_at_the_middle_of_the_curve():
    curve = [
        *series([0.9, 0.6, 0.6, 0.6], "probe"),
        *series([0.1, 0.7, 0.7, 0.7], "fine-tuned"),
        *series([0.1, 0.5, 0.9, 0.9], "counts"),
        *series([0.9, 0.2, 0.9, 0.9], "vectors"),
        *series([0.99, 0.99, 0.99, 0.99], "random"),
    ]
    sentence = equivalence(curve, ["probe", "fine-tuned"], ["counts", "vectors"])
    assert sentence.startswith(
        "with 30 labels the pretrained encoder (fine-tuned, accuracy 0.700) is as good as counts with"
    )


def test_only_the_first_measure_is_spoken_of():
    curve = [
        *series([0.5, 0.6, 0.7, 0.8], "probe"),
        *series([0.3, 0.4, 0.5, 0.6], "counts"),
        *series([0.1, 0.1, 0.1, 0.1], "probe", "macro_f1"),
        *series([0.9, 0.9, 0.9, 0.9], "counts", "macro_f1"),
    ]
    sentence = equivalence(curve, ["probe"], ["counts"])
    assert "accuracy 0.600" in sentence
    assert "macro_f1" not in sentence


@pytest.mark.parametrize(
    ("curve", "ours", "baselines"),
    [
        ([], ["probe"], ["counts"]),
        (series([1, 1, 1, 1], "probe"), ["probe"], []),
        (series([1] * 4), [], ["baseline"]),
    ],
)
def test_with_nothing_to_compare_the_sentence_says_so(curve, ours, baselines):
    assert equivalence(curve, ours, baselines).startswith("no baseline was measured beside")


# The table and the pictures


def test_the_table_has_a_row_a_point(tmp_path):
    curve = series([0.5, 0.6, 0.7, 0.8], "a, b", jitter=STEADY)
    write_csv(curve, tmp_path / "curve.csv")
    with open(tmp_path / "curve.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["line", "labels", "measure", "mean", "low", "high", "values"]
    assert len(rows) == 4
    for row, point in zip(rows, curve, strict=True):
        assert (row["line"], int(row["labels"]), row["measure"]) == ("a, b", point.labels, "accuracy")
        assert [float(row[name]) for name in ("mean", "low", "high")] == pytest.approx(point[3:6], rel=1e-5)
        assert int(row["values"]) == 3


def drawn(path: Path) -> np.ndarray:
    """The pixels of a picture, which is a PNG and not blank."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("L"))
    assert pixels.std() > 1
    return pixels


def test_the_curve_is_drawn(tmp_path):
    lines = ("fine-tuned", "probe", *(f"baseline {n}" for n in range(7)))  # more than there are colours
    curve = [
        point
        for n, line in enumerate(lines)
        for measure in ("accuracy", "macro_f1")
        for point in series([0.1 * n, 0.5, 0.6, 0.7], line, measure, jitter=STEADY)
    ]
    label_curve_picture(curve, "with 30 labels ...", tmp_path / "two.png")
    one = [point for point in curve if point.measure == "accuracy"]
    label_curve_picture(one, "with 30 labels ...", tmp_path / "one.png")
    assert drawn(tmp_path / "two.png").shape[1] > 1.5 * drawn(tmp_path / "one.png").shape[1]


def test_a_curve_of_one_point_is_drawn(tmp_path):
    label_curve_picture(series([0.5], sizes=(10,)), "nothing", tmp_path / "point.png")
    drawn(tmp_path / "point.png")


@pytest.mark.parametrize("classes", [3, 80])
def test_confusions_are_drawn_also_of_many_classes(tmp_path, classes):
    chance = np.random.default_rng(0)
    labels = chance.integers(-1, classes, 500)  # some of classes that nobody knows
    predictions = np.where(chance.random(500) < 0.7, labels.clip(0), chance.integers(0, classes, 500))
    names = [f"class number {number}" for number in range(classes)]
    confusion_picture(predictions, labels, names, tmp_path / "confusion.png")
    drawn(tmp_path / "confusion.png")


def test_right_answers_lie_on_the_diagonal(tmp_path):
    labels = np.arange(60) % 3
    confusion_picture(labels, labels, ["a", "b", "c"], tmp_path / "right.png")
    confusion_picture((labels + 1) % 3, labels, ["a", "b", "c"], tmp_path / "wrong.png")
    assert (drawn(tmp_path / "right.png") != drawn(tmp_path / "wrong.png")).any()


def test_names_of_classes_are_no_formulas_and_may_be_of_any_script(tmp_path):
    classes = ["$5_$10", "$10-$20", "\u4e2d\u6587"]
    confusion_picture(np.array([0, 1, 2]), np.array([0, 1, 1]), classes, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("draws", "few"), [(1, True), (2, True), (3, False)])
def test_of_one_or_two_draws_nothing_is_concluded(draws, few):
    # The case that was seen: .136 and .236, far apart in every draw.
    jitter = (-0.01, 0.0, 0.01)[:draws]
    sentence = said([0.1, 0.136, 0.3, 0.4], [0.1, 0.236, 0.3, 0.4], jitter, jitter)
    assert ("too few to tell which is better" in sentence) is few
    assert "no clear difference" not in sentence
    assert ("does worse here" in sentence) is not few


@pytest.mark.parametrize(
    ("measure", "values", "ends"),
    [
        ("accuracy", (0.9, 1.0), (None, 1.0)),
        ("accuracy", (0.02, 0.3), (0.0, 1.0)),
        ("mse", (0.1, 3.0), (0.0, None)),
        ("r2", (-3.0, 0.9), (None, 1.0)),
        ("mcc", (-0.9, 0.9), (-1.0, 1.0)),
    ],
)
def test_the_interval_of_two_draws_stays_within_the_measure(measure, values, ends, tmp_path):
    cells = [Cell("probe", 10, draw) for draw in range(2)]
    for cell, value in zip(cells, values, strict=True):
        (tmp_path / cell.file).write_text(json.dumps({"measures": {measure: value}, "intervals": {}}))
    (point,) = _gather(cells, tmp_path, (measure,))
    mean, *free = interval(values)
    assert point.mean == mean
    # Cut at the ends of the measure, and nowhere else.
    expected = [own if end is None else end for own, end in zip(free, ends, strict=True)]
    assert [point.low, point.high] == expected
    assert point.low <= point.mean <= point.high
