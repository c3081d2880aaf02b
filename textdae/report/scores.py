"""The table of a model and its floors."""

import math
from collections.abc import Mapping

from textdae.floors.text import Floor

Scores = dict[str, dict[str, float]]
"""Row (the model, or a floor) -> loss, accuracy, bits_per_byte."""


def score_table(scores: Mapping[str, float], floors: Mapping[str, Floor], bytes_per_token: float) -> Scores:
    """Model and floors, each with loss in nats, accuracy and bits per byte.

    Bits per byte is the loss of a scored token over the mean number of bytes that a token stands for. It does not
    depend on how finely a tokenizer cuts, so models with different tokenizers can be compared.
    """
    rows = {"model": (scores["loss"], scores["accuracy"])} | {
        f"floor: {k}": tuple(v) for k, v in floors.items()
    }
    return {
        name: {"loss": loss, "accuracy": accuracy, "bits_per_byte": loss / math.log(2) / bytes_per_token}
        for name, (loss, accuracy) in rows.items()
    }


def print_table(table: Scores) -> str:
    """The table as text, a line a row."""
    lines = [f"{'':22}{'loss':>8}{'accuracy':>10}{'bits/byte':>11}"]
    for name, row in table.items():
        lines.append(f"{name:22}{row['loss']:8.3f}{row['accuracy']:10.1%}{row['bits_per_byte']:11.3f}")
    return "\n".join(lines)
