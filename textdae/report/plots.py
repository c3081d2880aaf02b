"""Pictures of a run, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from textdae.report.scores import psnr

_BLUE = "#2563eb"
_BASELINES = ("#d97706", "#059669", "#7c3aed", "#dc2626", "#57534e", "#0891b2", "#be185d")
_STYLES = ("--", ":", "-.", (0, (1, 4)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 6)))
"""Line styles of the baselines, which differ without colours too."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches; it needs no screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float = 7.0, height: float = 4.2) -> tuple[Figure, Any]:
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _probe_figure(probed: Sequence[tuple[int, str, float]]) -> tuple[Figure, Any]:
    """Return a figure with the scores of a probe, each (step, measure, score), below axes for something else."""
    figure = new_figure(7.0, 6.2)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for each in (axes, below):
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.25)
    steps, (measure, *_), scores = zip(*sorted(probed), strict=True)
    label = f"linear probe, at the end {scores[-1]:.3f}"
    below.plot(steps, scores, color=_BASELINES[1], marker="o", markersize=4, label=label)
    below.set_ylabel(f"{measure}, held out")
    return figure, axes


def loss_curve(
    entries: Sequence[Mapping[str, Any]],
    final: tuple[int, float],
    baselines: Mapping[str, float],
    path: Path,
    final_name: str = "held out",
    decibels: bool = False,
    training_name: str = "its own noise",
) -> None:
    """Draw training and held-out loss against the step, with the baselines as lines; and below, where there is one, the probe.

    Args:
        entries: of the log, with its evaluations; `eval_probe_MEASURE` is the score of a probe.
        final: step and loss of the evaluation at the end, on the examples that the baselines are measured on.
        baselines: name -> loss.
        final_name: the examples of the evaluation at the end.
        training_name: what the training loss is of.
        decibels: the losses are squared errors of pixels in [0, 1], and shown as PSNR.
    """
    shown = psnr if decibels else float
    probed = [
        (entry["step"], name.removeprefix("eval_probe_"), value)
        for entry in entries
        for name, value in entry.items()
        if name.startswith("eval_probe_")
    ]
    figure, axes = _probe_figure(probed) if probed else _figure()
    training = [(entry["step"], shown(entry["loss"])) for entry in entries if "loss" in entry]
    held_out = [(entry["step"], shown(entry["eval_loss"])) for entry in entries if "eval_loss" in entry]
    if training:
        axes.plot(
            *zip(*training, strict=True),
            color=_BLUE,
            alpha=0.45,
            linewidth=1,
            label=f"training ({training_name})",
        )
    if held_out:
        axes.plot(
            *zip(*held_out, strict=True),
            color=_BLUE,
            marker="o",
            markersize=4,
            label="held out",
        )
    at_the_end = f"{final_name}, at the end ({_said(shown(final[1]), decibels)})"
    axes.plot(
        final[0], shown(final[1]), color=_BLUE, marker="*", markersize=13, linestyle="", label=at_the_end
    )
    for (color, style), (name, loss) in zip(_looks(len(baselines)), baselines.items(), strict=True):
        label = f"baseline: {name} ({_said(shown(loss), decibels)})"
        axes.axhline(shown(loss), color=color, linestyle=style, linewidth=1.2, label=label)
    figure.axes[-1].set_xlabel("optimizer step")
    _finish(figure, axes, _measure(decibels), path)


def level_sweep(
    levels: Sequence[float], losses: Mapping[str, Sequence[float]], path: Path, decibels: bool = False
) -> None:
    """Draw the held-out loss against the level of the noise, for the model and its baselines.

    Args:
        decibels: the losses are squared errors of pixels in [0, 1], and shown as PSNR.
    """
    figure, axes = _figure(5.5)
    looks = iter(_looks(len(losses)))
    for name, values in losses.items():
        color, style = (_BLUE, "-") if name == "model" else next(looks)
        shown = [psnr(value) for value in values] if decibels else values
        axes.plot(levels, shown, color=color, marker="o", markersize=4, linestyle=style, label=name)
    axes.set_xlabel("level of the noise")
    _finish(figure, axes, _measure(decibels), path)


def size_curve(scores: Mapping[int, float], baselines: Mapping[str, float], measure: str, path: Path) -> None:
    """Draw a score against how many numbers of a code it takes, with baselines as lines."""
    figure, axes = _figure(5.5)
    axes.plot(list(scores), list(scores.values()), color=_BLUE, marker="o", markersize=4, label="model")
    for (color, style), (name, score) in zip(_looks(len(baselines)), baselines.items(), strict=True):
        axes.axhline(score, color=color, linestyle=style, linewidth=1.2, label=f"{name} ({score:.3f})")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(scores), [str(size) for size in scores])
    axes.set_xlabel("numbers K of the code")
    _finish(figure, axes, measure, path)


def plan_curves(
    sizes: Mapping[str, Sequence[tuple[float, float, float, float]]],
    runs: Mapping[str, Sequence[tuple[float, float]]],
    budget: float,
    path: Path,
    decibels: bool = False,
) -> None:
    """Draw the loss that is predicted of each size against the time, the pilot runs as points, and the budget.

    Args:
        sizes: name -> seconds, loss, and the lower and upper end of its interval, of some budgets; the first one is chosen.
        runs: name -> seconds and loss of each pilot run.
        budget: seconds.
        decibels: the losses are PSNR with its sign turned.
    """
    figure, axes = _figure()
    sign = -1 if decibels else 1
    looks = [(_BLUE, "-"), *_looks(max(len(sizes) - 1, 0))]
    for (color, style), (name, curve) in zip(looks, sizes.items(), strict=True):
        minutes = [seconds / 60 for seconds, *_ in curve]
        losses, low, high = ([sign * each[column] for each in curve] for column in (1, 2, 3))
        axes.plot(minutes, losses, color=color, linestyle=style, label=name)
        if color == _BLUE:
            axes.fill_between(
                minutes, low, high, color=color, alpha=0.12, linewidth=0, label="95% prediction interval"
            )
        for seconds, loss in runs.get(name, ()):
            axes.plot(seconds / 60, sign * loss, color=color, marker="o", markersize=5)
    axes.axvline(budget / 60, color="#57534e", linewidth=1, label="budget")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("minutes of training; points are pilot runs")
    _finish(figure, axes, _measure(decibels), path)


def _looks(count: int) -> list[tuple[str, Any]]:
    """Return a colour and a line style for each baseline; 49 differ."""
    return [(_BASELINES[number % 7], _STYLES[(number + number // 7) % 7]) for number in range(count)]


def _said(value: float, decibels: bool) -> str:
    return f"{value:.2f} dB" if decibels else f"{value:.3g}"


def _measure(decibels: bool) -> str:
    return "PSNR in dB, higher is better" if decibels else "loss per scored position"


def _finish(figure: Figure, axes: Any, measure: str, path: Path) -> None:
    """Name the measure, and put the legend below the axes, where it hides no line."""
    axes.set_ylabel(measure)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
