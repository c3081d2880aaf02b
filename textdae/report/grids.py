"""Image grids, as PNG.

n images, C channels, H, W pixels, K code width.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from textdae.report.plots import new_figure

_DIRECTIONS, _STEPS = 8, 9
_SIDE = 72  # pixels of a drawn image, at least


def _tiles(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Join rows of images (n, C, H, W) into one picture with margins. *Shape:* (height, width, 3)."""
    size = max(rows[0].shape[2:])
    scale, margin = -(-_SIDE // size), 3
    lines = []
    for images in rows:
        colour = np.broadcast_to(images, (len(images), 3, *images.shape[2:]))
        large = colour.repeat(scale, 2).repeat(scale, 3)
        framed = np.pad(large, ((0, 0), (0, 0), (margin, margin), (margin, margin)), constant_values=1.0)
        lines.append(np.concatenate(list(framed.transpose(0, 2, 3, 1)), 1))
    width = max(line.shape[1] for line in lines)
    lines = [
        np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=1.0) for line in lines
    ]
    return np.concatenate(lines).clip(0, 1)


def _draw(rows: Sequence[np.ndarray], names: Sequence[str], title: str | None, path: Path) -> None:
    """Draw rows of images, each named at its left, as one picture: a frame for each image would take seconds."""
    tiles = _tiles(rows)
    inches = 0.0105
    figure = new_figure(1.7 + tiles.shape[1] * inches, 0.5 + tiles.shape[0] * inches)
    axes = figure.add_subplot()
    axes.imshow(tiles, interpolation="nearest")
    each = tiles.shape[0] / len(rows)
    axes.set_yticks([each * (line + 0.5) for line in range(len(rows))], names, fontsize=9)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=100, bbox_inches="tight", pad_inches=0.1)


def picture_grid(rows: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw rows of images, each named at its left: name -> (n, C, H, W)."""
    _draw(list(rows.values()), [name.replace(", ", "\n") for name in rows], None, path)


def traversal(codes: np.ndarray, decode: Callable[[np.ndarray], np.ndarray], path: Path) -> None:
    """Draw decoded images while the code moves in steps from the 2nd to the 98th percentile of `codes` (n, K).

    With K = 2 both numbers move, one along each side; with K = 1 or more than 2 each row moves one principal
    direction of the codes, the widest first, and leaves the others at their mean.
    """
    mean = codes.mean(0)
    if codes.shape[1] == 2:
        across, down = (np.percentile(codes[:, axis], np.linspace(2, 98, 12)) for axis in (0, 1))
        images = [decode(np.stack([across, np.full_like(across, y)], 1)) for y in down[::-1]]
        names = [f"{y:.1f}" for y in down[::-1]]
        title = "the decoder over the plane of its two numbers"
    else:
        directions = np.linalg.svd(codes - mean, full_matrices=False)[2][:_DIRECTIONS]
        images, names = [], []
        for number, direction in enumerate(directions, 1):
            along = np.percentile((codes - mean) @ direction, np.linspace(2, 98, _STEPS))
            images.append(decode(mean + along[:, None] * direction))
            names.append(f"direction {number}")
        title = "the decoder along the widest directions of the code"
    _draw(images, names, title, path)


def code_scatter(codes: np.ndarray, labels: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draw a scatter plot of two-dimensional codes (n, 2), coloured by class (n,); images without a class are grey."""
    figure = new_figure(6.4, 5.0)
    axes = figure.add_subplot()
    labels = labels[: len(codes)]
    axes.scatter(codes[labels < 0, 0], codes[labels < 0, 1], s=5, alpha=0.5, color="#64748b")
    if classes:
        for number, name in enumerate(classes):
            here = labels == number
            color = f"C{number % 10}" if len(classes) <= 10 else None
            axes.scatter(
                codes[here, 0],
                codes[here, 1],
                s=5,
                alpha=0.6,
                color=color,
                label=name if number < 20 else None,
            )
        axes.legend(frameon=False, fontsize=7, markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xlabel("first number of the code")
    axes.set_ylabel("second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
