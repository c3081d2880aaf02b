"""Load an exported model with its stock class, and check that it equals the trained model.

C classes (of a regression: 1).
"""

from pathlib import Path

import torch
from torch import Tensor

from textdae.core.errors import TextdaeError
from textdae.downstream.classifier import Classifier

COMPARED_EXAMPLES = 256
"""Test examples on which the trained and the exported model are compared."""
_MOST = 0.05
"""Largest mean difference between their outputs, in deviations of the outputs; 16-bit training alone causes 0.01."""


def load_exported(folder: Path, trained: Classifier, weights: dict[str, Tensor] | None = None) -> Classifier:
    """Load the model that `Classifier.export` wrote, and check every weight.

    Raises:
        TextdaeError: it cannot be loaded, or its weights differ.
    """
    exported = trained.load_export(folder)
    loaded = exported.model.state_dict()
    expected = trained.in_units(weights)
    others = [name for name, value in expected.items() if not _same(loaded.get(name), value)]
    if others or loaded.keys() != expected.keys():
        name = (others or sorted(loaded.keys() ^ expected.keys()))[0]
        raise TextdaeError(f"{folder}: the exported model is not the one that was trained: {name} differs")
    return exported


def _same(loaded: Tensor | None, value: Tensor) -> bool:
    return loaded is not None and torch.equal(loaded.cpu(), value.detach().cpu().to(loaded.dtype))


def check_answers(folder: Path, trained: Tensor, exported: Tensor, unit: float | None) -> None:
    """Compare the outputs of the two models on the same examples.

    Args:
        trained, exported: logits, or the predictions of a regression. *Shape:* (n, C) or (n,).
        unit: deviation of the labels of a regression, else None.

    Raises:
        TextdaeError: they differ by more than rounding.
    """
    deviation = unit or max(float(trained.std()), 1e-3)
    apart = float((trained - exported).abs().mean()) / deviation
    if not apart <= _MOST:  # NaN too
        raise TextdaeError(
            f"{folder}: the exported model answers otherwise than the trained one, by {apart:.2g} deviations of the "
            "answers on average; no figures are given for it"
        )
