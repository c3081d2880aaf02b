"""Attention for the CPU, where local layers are worth their name: a stretch of positions is compared with itself and its
surroundings, not with the whole block, of which the stock form hides most again.

B batch, H heads, L positions, D width of a head, W positions seen to either side, N stretches of C positions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "textdae_local"
_STRETCH = 32
"""C: longer ones compare more that is hidden, shorter ones make small products."""


def near_mask(document: Tensor, window: int) -> Tensor | None:
    """Who sees whom in a local layer: same document, at most `window` positions away.

    Args:
        document: the number of the document at each position. *Shape:* (B, L).

    Returns:
        (B, 1, N, C, C + 2 W) bool; or None where blocks are so short that nothing would be saved.
    """
    length = document.shape[1]
    if length <= _STRETCH + 2 * window:
        return None
    rest = -length % _STRETCH
    # Beyond the ends there are documents of nobody's.
    seen = F.pad(document, (window, window + rest), value=-2).unfold(1, _STRETCH + 2 * window, _STRETCH)
    looking = F.pad(document, (0, rest), value=-2).unflatten(1, (-1, _STRETCH))
    here = torch.arange(_STRETCH, device=document.device)[:, None] + window
    there = torch.arange(_STRETCH + 2 * window, device=document.device)
    near = (here - there).abs() <= window
    return ((looking[..., None] == seen[:, :, None]) & near)[:, None]


def local_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Softmax attention, (B, H, L, D) -> (B, L, H, D); within stretches where the mask is that of `near_mask`.

    Args:
        attention_mask: added to the scores: (B, 1, L, L), or (B, 1, N, C, C + 2 W), or none.
    """
    length = query.shape[2]
    if attention_mask is not None and attention_mask.ndim == 5:
        _, _, count, stretch, surroundings = attention_mask.shape
        window, rest = (surroundings - stretch) // 2, count * stretch - length
        query = F.pad(query, (0, 0, 0, rest)).unflatten(2, (count, stretch))
        key, value = (
            F.pad(side, (0, 0, window, window + rest)).unfold(2, surroundings, stretch).transpose(-1, -2)
            for side in (key, value)
        )
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    mixed = F.dropout(weights, dropout, module.training) @ value
    if mixed.ndim == 5:
        mixed = mixed.flatten(2, 3)[:, :, :length]
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, local_attention)
AttentionMaskInterface.register(NAME, eager_mask)  # for inputs that bring no documents
