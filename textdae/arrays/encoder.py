"""Frozen encoders of arrays.

n examples, D width of the embedding.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from textdae.downstream.encoder import Encoder, Rows, StockEncoder, View

_BATCH = 1024


class ArrayEncoder(StockEncoder):
    """The encoder of a checkpoint whose model returns a `pooler_output` (B, D)."""

    @torch.inference_mode()
    def embed(self, examples: Sequence[np.ndarray], views: Sequence[View]) -> dict[View, np.ndarray]:
        """Embed arrays; the one view has *shape* (n, D), float32."""
        parts = []
        for begin in range(0, len(examples), _BATCH):
            batch = torch.from_numpy(np.stack(examples[begin : begin + _BATCH])).to(self.device)
            with self._autocast():
                parts.append(self.model(batch).pooler_output.float().cpu().numpy())
        return {self.view: np.concatenate(parts)}


class RawArrays(Encoder):
    """The values of the arrays themselves: a baseline."""

    view = View(None, "values")

    def embed(self, examples: Sequence[np.ndarray], views: Sequence[View]) -> dict[View, Any]:
        """Flatten arrays; the one view has *shape* (n, number of values)."""
        return {self.view: np.stack(examples).reshape(len(examples), -1)}


def array_rows(examples: Sequence[np.ndarray], fingerprint: str) -> Rows:
    """Return the arrays to embed, in order."""
    return Rows(fingerprint, lambda: enumerate(examples), Counter)
