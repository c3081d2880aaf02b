"""Scale the vectors of an encoder by their moments on unlabelled examples.

n examples, D width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from textdae.downstream.encoder import Encoder, View
from textdae.downstream.labelled import Labelled
from textdae.training.evaluation import subsample

_MOST = 2000
"""Examples for the estimate of the scale."""


class Vectors(NamedTuple):
    """A view of an encoder, and the scaling of its dimensions: `plain`, one factor for all, or `even`, one for each."""

    view: View
    scale: str

    def __str__(self) -> str:
        return f"{self.view}" + (", every number scaled by itself" if self.scale == "even" else "")


class Scaled:
    """An encoder whose vectors are centred and scaled.

    The moments come from unlabelled examples, as ten labelled ones are too few for a deviation. Sparse vectors stay
    unscaled.

    Args:
        views: default: all that the encoder has.
    """

    def __init__(self, encoder: Encoder, unlabelled: Labelled, views: Sequence[View] | None = None) -> None:
        self.encoder = encoder
        sample = unlabelled.take(subsample(len(unlabelled), _MOST).numpy()).examples
        self._moments: dict[View, tuple[np.ndarray, np.ndarray] | None] = {}
        for view, vectors in encoder.embed(sample, views or encoder.views()).items():
            moments = None if sparse.issparse(vectors) else (vectors.mean(0), vectors.std(0))
            self._moments[view] = moments

    def kinds(self) -> list[Vectors]:
        """Return all kinds of vectors, the default first."""
        return [
            Vectors(view, scale)
            for view, moments in self._moments.items()
            for scale in (("plain",) if moments is None else ("plain", "even"))
        ]

    def embed(self, examples: Sequence[Any], kinds: Sequence[Vectors]) -> dict[Vectors, Any]:
        """Return the vectors of examples, for each kind. *Shape* of each: (n, D)."""
        vectors = self.encoder.embed(examples, list(dict.fromkeys(kind.view for kind in kinds)))
        return {kind: self._scale(vectors[kind.view], kind) for kind in kinds}

    def _scale(self, vectors: Any, kind: Vectors) -> Any:
        moments = self._moments[kind.view]
        if moments is None:
            return vectors
        mean, deviation = moments
        overall = max(float(np.sqrt(np.square(deviation).mean())), 1e-12)
        # A nearly constant dimension is not amplified.
        each = np.maximum(deviation, 0.01 * overall) if kind.scale == "even" else overall
        return ((vectors - mean) / each).astype(np.float32)
