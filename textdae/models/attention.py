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
        window = (surroundings - stretch) // 2
        query = F.pad(query, (0, 0, 0, count * stretch - length)).unflatten(2, (count, stretch))
        key, value = (_Surroundings.apply(side, stretch, window) for side in (key, value))
    if dropout and module.training:
        weights = F.dropout(_weights(query, key, attention_mask, scaling), dropout)
        mixed = weights @ value
    else:
        mixed = _Mixed.apply(query, key, value, attention_mask, scaling)
    if mixed.ndim == 5:
        mixed = mixed.flatten(2, 3)[:, :, :length]
    return mixed.transpose(1, 2).contiguous(), None


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    scores = query @ key.mT * scaling
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype)


class _Mixed(torch.autograd.Function):
    """Softmax attention, (..., Q, D), (..., K, D) twice -> (..., Q, D), with the backward pass spelt out.

    The weights are kept, so no exponential is taken twice, and every gradient comes in the layout of what it is the
    gradient of; what autograd makes of the formula turns the one of the keys around, which compiled loops read slowly.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float
    ) -> Tensor:
        weights = _weights(query, key, mask, scaling)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scaling = scaling
        return weights @ value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, value, weights = ctx.saved_tensors
        share = weights.float()
        change = (grad @ value.mT).float()
        change = share * (change - (share * change).sum(-1, keepdim=True))
        of_scores = (change * ctx.scaling).to(query.dtype)
        return of_scores @ key, of_scores.mT @ query, weights.mT @ grad, None, None


class _Surroundings(torch.autograd.Function):
    """What each stretch sees, (B, H, L, D) -> (B, H, N, C + 2 W, D); zeros beyond the ends.

    The stock backward pass adds up what overlaps one number after the other; this one adds whole stretches.
    """

    @staticmethod
    def forward(ctx: Any, side: Tensor, stretch: int, window: int) -> Tensor:
        length = side.shape[2]
        ctx.length, ctx.stretch, ctx.window = length, stretch, window
        padded = F.pad(side, (0, 0, window, window + -length % stretch))
        return padded.unfold(2, stretch + 2 * window, stretch).mT.contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # The j-th stretch of what a stretch sees is the j-th after it, in a block that begins W positions early.
        parts = grad.split(ctx.stretch, 3)
        after = len(parts) - 1
        whole = sum(
            F.pad(part, (0, 0, 0, ctx.stretch - part.shape[3], number, after - number))
            for number, part in enumerate(parts)
        )
        return whole.flatten(2, 3)[:, :, ctx.window : ctx.window + ctx.length], None, None


AttentionInterface.register(NAME, local_attention)
AttentionMaskInterface.register(NAME, eager_mask)  # for inputs that bring no documents
