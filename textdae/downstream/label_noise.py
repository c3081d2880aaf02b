"""Adapt a supervised task to the denoising interface: move `labels` from the inputs to the target."""

import torch
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.noise import Corrupted, Example, Noise


class LabelNoise(Noise):
    """Move the labels from the inputs to the target.

    Args:
        inner: corrupts the other inputs, as regularisation.
    """

    field = "labels"

    def __init__(self, inner: Noise | None = None) -> None:
        self.inner = inner

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        """Corrupt a batch when `progress` (0..1) of the run is done; each example, or each word, is scored once. *Shape* of
        `loss_mask`: (B,), or (B, L)."""
        inputs = {name: value for name, value in clean.items() if name != "labels"}
        if self.inner:
            inputs = self.inner(inputs, draw, progress).inputs
        labels = clean["labels"]
        known = labels >= 0 if labels.dtype == torch.int64 else labels.new_ones(len(labels), dtype=torch.bool)
        # An unknown class (-1) is not scored, but must be a valid index.
        return Corrupted(inputs, labels.clamp(min=0) if labels.dtype == torch.int64 else labels, known)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Refuse: a label noise has no level."""
        raise TypeError("a label noise is called; it has no level of its own")
