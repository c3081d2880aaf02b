"""Pictures of a run, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BLUE, _ORANGE = "#2563eb", "#d97706"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which needs no screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float = 7.0, height: float = 4.2) -> tuple[Figure, Any]:
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def loss_curve(
    entries: Sequence[Mapping[str, Any]],
    final: tuple[int, float],
    floors: Mapping[str, float],
    path: Path,
    final_name: str = "held out",
) -> None:
    """Training and held-out loss against the step, with the floors as lines.

    Args:
        entries: of the log; its evaluations are on fewer examples, so as not to hold up the training.
        final: step and loss of the evaluation at the end, on all the examples that the floors are measured on.
        floors: name -> loss.
        final_name: what the evaluation at the end was on.
    """
    figure, axes = _figure()
    training = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    held_out = [(entry["step"], entry["eval_loss"]) for entry in entries if "eval_loss" in entry]
    if training:
        axes.plot(
            *zip(*training, strict=True),
            color=_BLUE,
            alpha=0.45,
            linewidth=1,
            label="training (its own noise)",
        )
    if held_out:
        axes.plot(
            *zip(*held_out, strict=True),
            color=_BLUE,
            marker="o",
            markersize=4,
            label="held out, a sample",
        )
    at_the_end = f"{final_name}, at the end ({final[1]:.3g})"
    axes.plot(*final, color=_BLUE, marker="*", markersize=13, linestyle="", label=at_the_end)
    styles = ("--", ":", "-.", (0, (1, 4)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 6)))
    for style, (name, loss) in zip(styles, floors.items(), strict=False):
        axes.axhline(loss, color=_ORANGE, linestyle=style, linewidth=1.2, label=f"floor: {name} ({loss:.3g})")
    if final[1] < 0.1:  # a squared error, where what matters happens near zero
        axes.set_yscale("log")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss per scored position")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def level_sweep(levels: Sequence[float], losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """Held-out loss against the level of the noise, for the model and its floors."""
    figure, axes = _figure(5.5)
    for name, values in losses.items():
        color = _BLUE if name == "model" else _ORANGE
        axes.plot(
            levels, values, color=color, marker="o", linestyle="-" if name == "model" else "--", label=name
        )
    axes.set_xlabel("level of the noise")
    axes.set_ylabel("loss per scored position")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
