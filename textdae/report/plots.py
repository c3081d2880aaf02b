"""Pictures of a run, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BLUE, _ORANGE = "#2563eb", "#d97706"


def _figure(width: float = 7.0, height: float = 4.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def loss_curve(
    entries: Sequence[Mapping[str, Any]], final: tuple[int, float], floors: Mapping[str, float], path: Path
) -> None:
    """Training and held-out loss against the step, with the floors as lines.

    Args:
        entries: of the log; its evaluations are on fewer examples, so as not to hold up the training.
        final: step and loss of the evaluation at the end, on all the examples that the floors are measured on.
        floors: name -> loss.
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
    at_the_end = f"held out, at the end ({final[1]:.2f})"
    axes.plot(*final, color=_BLUE, marker="*", markersize=13, linestyle="", label=at_the_end)
    for style, (name, loss) in zip(("--", ":", "-.", (0, (1, 4))), floors.items(), strict=False):
        axes.axhline(loss, color=_ORANGE, linestyle=style, linewidth=1.2, label=f"floor: {name} ({loss:.2f})")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss per scored position")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def rate_sweep(rates: Sequence[float], losses: Mapping[str, Sequence[float]], path: Path) -> None:
    """Held-out loss against the share that is hidden, for the model and its floors."""
    figure, axes = _figure(5.5)
    for name, values in losses.items():
        color = _BLUE if name == "model" else _ORANGE
        axes.plot(
            rates, values, color=color, marker="o", linestyle="-" if name == "model" else "--", label=name
        )
    axes.set_xlabel("share of tokens hidden")
    axes.set_ylabel("loss per scored token (nats)")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
