"""Mixtures of two sines, a pure function of the seed, the side and the number.

B signals, L samples.
"""

import torch

from textdae.arrays.evaluation import ArrayCorpus
from textdae.core.draw import Draw
from textdae.downstream.labelled import Labelled
from textdae_signals.settings import SinesSettings

CLASSES = {"octave": 2.0, "fifth": 3 / 2, "third": 5 / 4}
"""The ratio of the two frequencies."""


class Sines:
    """The signals of a side (`train`, `held_out`, `test`), numbered from 0."""

    def __init__(self, data: SinesSettings, side: str) -> None:
        self.data, self.size = data, getattr(data, side)
        self.side = ("train", "held_out", "test").index(side)

    def __len__(self) -> int:
        return self.size

    def batch(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """`signal` (B, L), float32, and its class as `labels` (B,)."""
        draw = Draw(self.data.seed, torch.full_like(indices, self.side), indices)
        labels = draw.integers("class", 1, len(CLASSES))
        first = 2 + 4 * draw.uniform("frequency")  # periods in a signal
        frequencies = torch.cat([first, first * torch.tensor([*CLASSES.values()])[labels]], 1)
        angles = frequencies[:, :, None] * torch.arange(self.data.length) / self.data.length
        angles = 2 * torch.pi * (angles + draw.uniform("phase", 2)[:, :, None])
        return {"signal": angles.sin().mean(1), "labels": labels[:, 0]}

    def labelled(self) -> Labelled:
        """Return all signals with their classes."""
        batch = self.batch(torch.arange(self.size))
        return Labelled(list(batch["signal"].numpy()), batch["labels"].numpy())


def sines_corpus(data: SinesSettings) -> ArrayCorpus:
    """Return the signals of a pretraining run."""
    summary = f"sines: {data.train:,} signals of {data.length} samples; held out {data.held_out:,}"
    sides = Sines(data, "train"), Sines(data, "held_out")
    return ArrayCorpus(*sides, {"data": data.model_dump(mode="json")}, [summary], "signals")
