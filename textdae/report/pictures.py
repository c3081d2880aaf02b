"""Pictures of pictures, as PNG.

n images, C channels, H, W pixels, K code width.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textdae.report.plots import new_figure

_DIRECTIONS, _STEPS = 8, 9


def _show(axes: Any, image: np.ndarray) -> None:
    """One image (C, H, W) in [0, 1], without a frame of numbers."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#cbd5e1")


def picture_grid(rows: Mapping[str, np.ndarray], path: Path) -> None:
    """Rows of images, each named at its left: name -> (n, C, H, W)."""
    count = max(len(images) for images in rows.values())
    figure = new_figure(1.9 + 0.9 * count, 0.95 * len(rows))
    grid = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=False):
            _show(axes, image)
        for axes in line[len(images) :]:
            axes.set_axis_off()
        line[0].set_ylabel(name.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(path, dpi=110)


def traversal(codes: np.ndarray, decode: Callable[[np.ndarray], np.ndarray], path: Path) -> None:
    """What the decoder makes of codes (n, K) that move one step at a time, from rare to rare (2nd to 98th percentile).

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
    figure = new_figure(1.3 + 0.75 * len(images[0]), 0.6 + 0.75 * len(images))
    grid = figure.subplots(len(images), len(images[0]), squeeze=False)
    for line, row, name in zip(grid, images, names, strict=True):
        for axes, image in zip(line, row, strict=True):
            _show(axes, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=100)


def code_scatter(codes: np.ndarray, labels: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Where the images lie in a code of two numbers (n, 2), coloured by class (n,); grey where there is none."""
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
