"""Figures of a run: no two lines look alike, the legend hides none, and images are shown in dB as in the tables."""

import math
from itertools import combinations

import pytest
from matplotlib.figure import Figure

from textdae.report.plots import level_sweep, loss_curve

BASELINES = ["noisy", "clipped", "median 3x3", "blur 0.6", "linear denoiser", "PCA 32"]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *given, **named: (figures.append(self), save(self, *given, **named))
    )
    return figures


def curve(path, decibels=True):
    entries = [{"step": n, "loss": 0.1 / n, "eval_loss": 0.2 / n} for n in (1, 2, 3)]
    baselines = {name: 0.01 * (n + 1) for n, name in enumerate(BASELINES)}
    loss_curve(entries, (3, 0.001), baselines, path, decibels=decibels)


def sweep(path, decibels=True):
    values = {name: [0.01 * (n + 1), 0.02 * (n + 1)] for n, name in enumerate(["model", *BASELINES])}
    level_sweep([0.1, 0.2], values, path, decibels)


@pytest.mark.parametrize("draw", [curve, sweep])
def test_lines_differ_and_the_legend_hides_none(draw, drawn, tmp_path):
    draw(tmp_path / "it.png")
    [figure] = drawn
    [axes] = figure.axes
    lines = axes.get_lines()
    looks = [
        (line.get_color(), str(line._dash_pattern), line.get_marker(), line.get_alpha()) for line in lines
    ]
    assert all(one != other for one, other in combinations(looks, 2))
    assert (
        len(
            {
                line.get_color()
                for line in lines
                if line.get_label().removeprefix("baseline: ").split(" (")[0] in BASELINES
            }
        )
        == 6
    )
    [legend] = figure.legends
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert "dB" in axes.get_ylabel()
    assert max(lines[0].get_ydata()) == pytest.approx(-10 * math.log10(0.1 / 3 if draw is curve else 0.01))


def test_text_stays_in_nats(drawn, tmp_path):
    curve(tmp_path / "it.png", decibels=False)
    assert drawn[0].axes[0].get_ylabel() == "loss per scored position"
    assert drawn[0].axes[0].get_lines()[0].get_ydata()[0] == 0.1
