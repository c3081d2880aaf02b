"""The confusion matrix of a classifier, as PNG."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textdae.report.plots import new_figure

_MOST_CLASSES = 60


def confusion_picture(
    predictions: np.ndarray, labels: np.ndarray, classes: Sequence[str], path: Path
) -> None:
    """Draw the confusion matrix: the predictions for each class, as shares of its examples.

    Of more than 60 classes the most frequent are drawn, and the title says so.

    Args:
        predictions, labels: class indices, -1 if the class is not known. *Shape:* (n,).
    """
    known = labels >= 0
    examples = np.bincount(labels[known], minlength=len(classes))
    drawn = np.sort(np.argsort(-examples, kind="stable")[:_MOST_CLASSES])
    place = np.full(len(classes), -1)
    place[drawn] = np.arange(len(drawn))
    rows, columns = place[labels[known]], place[predictions[known]]
    both = (rows >= 0) & (columns >= 0)
    shares = np.zeros((len(drawn), len(drawn)))
    np.add.at(shares, (rows[both], columns[both]), 1)
    shares /= examples[drawn].clip(min=1)[:, None]
    side = max(4.0, 0.22 * len(drawn) + 1.5)
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [classes[number].replace("$", r"\$") for number in drawn]  # not LaTeX
    axes.set_xticks(range(len(drawn)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(drawn)), names, fontsize=7)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    if len(drawn) <= 12:
        for row, column in np.ndindex(shares.shape):
            if shares[row, column] >= 0.005:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column,
                    row,
                    f"{shares[row, column]:.0%}",
                    ha="center",
                    va="center",
                    color=color,
                    fontsize=7,
                )
    else:
        figure.colorbar(image, ax=axes, shrink=0.7, label="share of the class")
    if len(drawn) < len(classes):
        axes.set_title(f"the {len(drawn)} most frequent of {len(classes)} classes", fontsize=9)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a script that the font lacks is drawn as boxes
        figure.savefig(path, dpi=130)
