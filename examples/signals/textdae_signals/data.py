"""Mixtures of two sines, a pure function of the seed, the side and the number.

B signals, L samples.
"""

import torch

from textdae.core.draw import Draw
from textdae_signals.settings import SinesSettings

CLASSES = {"octave": 2.0, "fifth": 3 / 2, "third": 5 / 4}
"""What the one frequency is of the other."""


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
        frequencies = first * torch.cat(
            [torch.ones_like(first), torch.tensor([*CLASSES.values()])[labels]], 1
        )
        angles = frequencies[:, :, None] * torch.arange(self.data.length) / self.data.length
        angles = 2 * torch.pi * (angles + draw.uniform("phase", 2)[:, :, None])
        return {"signal": angles.sin().mean(1), "labels": labels[:, 0]}


class SinesCorpus:
    """The signals of a run."""

    unit, units_per_example = "signals", 1

    def __init__(self, data: SinesSettings) -> None:
        self.train, self.held_out = Sines(data, "train"), Sines(data, "held_out")
        self.fingerprint = {"data": data.model_dump(mode="json")}
        self.summary = [
            f"sines: {len(self.train):,} signals of {data.length} samples; held out {len(self.held_out):,}"
        ]
