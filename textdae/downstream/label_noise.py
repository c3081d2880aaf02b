"""Adapts a supervised task to the denoising interface: moves `labels` from the inputs to the target."""

import torch
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.noise import Corrupted, Example, Noise


class LabelNoise(Noise):
    """Take the labels out of the inputs and make them the target.

    Args:
        inner: corrupts what is left, as regularisation; the target stays the label.
    """

    field = "labels"

    def __init__(self, inner: Noise | None = None) -> None:
        self.inner = inner

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        """Corrupt a batch when `progress` (0..1) of the run is done; each example is scored once. *Shape* of `loss_mask`: (B,)."""
        inputs = {name: value for name, value in clean.items() if name != "labels"}
        if self.inner:
            inputs = self.inner(inputs, draw, progress).inputs
        labels = clean["labels"]
        known = labels >= 0 if labels.dtype == torch.int64 else labels.new_ones(len(labels), dtype=torch.bool)
        # A class that is not known (-1) is scored nowhere, but has to be a number.
        return Corrupted(inputs, labels.clamp(min=0) if labels.dtype == torch.int64 else labels, known)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Refuse: a label noise has no level."""
        raise TypeError("a label noise is called; it has no level of its own")
