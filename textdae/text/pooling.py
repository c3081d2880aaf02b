"""Vectors of texts from the embeddings of their tokens.

n texts, L positions, D width.
"""

import torch
from torch import Tensor


def first_position(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the first position that is no padding. (n, L, D), (n, L) -> (n, D)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.argmax(1)]


def weighted_mean(hidden: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over the positions, by weights that are 0 on padding. (n, L, D), (n, L) -> (n, D)."""
    weight = weight[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
