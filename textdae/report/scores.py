"""The table of a model and its baselines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_FORMATS = {  # other measures: their name, and four digits
    "loss": ("loss", ".3f"),
    "accuracy": ("accuracy", ".1%"),
    "bits_per_byte": ("bits/byte", ".3f"),
    "standard_error": ("std. error", ".4f"),
    "mse": ("MSE", ".5f"),
    "psnr": ("PSNR (dB)", ".2f"),
    "mean_psnr": ("mean PSNR", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "macro_f1": ("macro F1", ".3f"),
    "weighted_f1": ("weighted F1", ".3f"),
    "micro_f1": ("micro F1", ".3f"),
    "exact_match": ("exact match", ".1%"),
    "f1": ("entity F1", ".3f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "difference": ("difference", ".1e"),
    "agreement": ("agreement", ".2%"),
    "texts_per_second": ("texts/s", ".4g"),
    "pictures_per_second": ("pictures/s", ".4g"),
    "megabytes": ("MB", ".1f"),
    "mcc": ("MCC", ".3f"),
    "mae": ("MAE", ".4f"),
    "r2": ("R2", ".3f"),
    "pearson": ("Pearson", ".3f"),
}

Scores = dict[str, dict[str, float]]
"""Row (the model, or a baseline) -> measure -> value."""


def score_table(model: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> Scores:
    """Return the table: the row of the model, then those of its baselines."""
    return {"model": dict(model)} | {f"baseline: {name}": dict(row) for name, row in baselines.items()}


def with_bits_per_byte(loss: float, accuracy: float, bytes_per_token: float) -> dict[str, float]:
    """Return a row of a text model: loss in nats, accuracy and bits per byte.

    Bits per byte is the loss of a scored token over the mean number of bytes that a scored token stands for. Where whole words
    are scored, it does not depend on how finely a tokenizer cuts: models with different tokenizers can be compared.
    """
    return {"loss": loss, "accuracy": accuracy, "bits_per_byte": loss / math.log(2) / bytes_per_token}


def _cells(table: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a table; a loss that is the MSE is listed once."""
    measures = list(next(iter(table.values())))
    if "mse" in measures and "loss" in measures:
        measures.remove("loss")
    looks = [_FORMATS.get(measure, (measure, ".4g")) for measure in measures]
    return [heading for heading, _ in looks], [
        [
            name,
            *(
                format(row[measure], form) if measure in row else ""
                for measure, (_, form) in zip(measures, looks, strict=True)
            ),
        ]
        for name, row in table.items()
    ]


def is_in_decibels(table: Mapping[str, Mapping[str, float]]) -> bool:
    """Return whether the losses of a table are squared errors of values in [0, 1]: then it has `psnr`."""
    return "psnr" in table["model"]


def psnr(mse: float) -> float:
    """Return the peak signal-to-noise ratio of a squared error of values in [0, 1], in dB; at most 120.

    Example:
        >>> psnr(0.01)
        20.0
    """
    return -10 * math.log10(max(mse, 1e-12))


def format_table(table: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table as text, one line for each row."""
    return format_rows(*_cells(table))


def format_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text, the first cell of each to the left, under headings of the others."""
    width = max(22, *(len(row[0]) for row in rows)) + 1
    wide = [
        max(12, *(len(cell) + 2 for cell in column))
        for column in zip(headings, *(row[1:] for row in rows), strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        return "".join(f"{cell:>{size}}" for cell, size in zip(cells, wide, strict=True))

    return "\n".join([" " * width + line(headings), *(f"{row[0]:{width}}" + line(row[1:]) for row in rows)])


def format_sources(metrics: Mapping[str, Any]) -> str:
    """Return the tables of the sources of a run that has several as text; nothing where it has one."""
    tables = metrics.get("by_source", {})
    return "".join(f"\n\nof {name}:\n{format_table(table)}" for name, table in tables.items())


def markdown_table(table: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table as Markdown."""
    headings, rows = _cells(table)
    lines = [["", *headings], ["---"] * (len(headings) + 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
