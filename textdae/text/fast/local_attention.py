"""Sliding-window attention for the CPU: each chunk of 32 positions attends to itself and its window, instead of computing
all L x L scores and masking most of them.

B batch, H heads, L positions, D width of a head, W positions seen to either side, N chunks of C positions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "textdae_local"
_CHUNK = 32
"""C: longer chunks compute more scores that are masked, shorter ones make small products."""


def window_mask(document: Tensor, window: int) -> Tensor | None:
    """Say which positions see each other in a local layer: those of one document, at most `window` apart.

    Args:
        document: the number of the document at each position. *Shape:* (B, L).

    Returns:
        (B, 1, N, C, C + 2 W) bool; None where a block is no longer than a chunk with its window.
    """
    length = document.shape[1]
    if length <= _CHUNK + 2 * window:
        return None
    rest = -length % _CHUNK
    # Positions beyond the ends belong to no document.
    seen = F.pad(document, (window, window + rest), value=-2).unfold(1, _CHUNK + 2 * window, _CHUNK)
    own = F.pad(document, (0, rest), value=-2).unflatten(1, (-1, _CHUNK))
    here = torch.arange(_CHUNK, device=document.device)[:, None] + window
    there = torch.arange(_CHUNK + 2 * window, device=document.device)
    near = (here - there).abs() <= window
    return ((own[..., None] == seen[:, :, None]) & near)[:, None]


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
    """Compute softmax attention, (B, H, L, D) -> (B, L, H, D), in chunks where the mask comes from `window_mask`.

    Args:
        attention_mask: added to the scores: (B, 1, L, L), or (B, 1, N, C, C + 2 W), or none.
    """
    length = query.shape[2]
    if attention_mask is not None and attention_mask.ndim == 5:
        _, _, count, chunk, keys = attention_mask.shape
        window = (keys - chunk) // 2
        query = F.pad(query, (0, 0, 0, count * chunk - length)).unflatten(2, (count, chunk))
        key, value = (_WithWindow.apply(side, chunk, window) for side in (key, value))
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
    """Softmax attention, (..., Q, D), (..., K, D) twice -> (..., Q, D), with a backward pass of its own.

    It keeps the weights, so no exponential is computed twice, and gives every gradient in the layout of its input; autograd
    transposes the one of the keys, which compiled loops read slowly.
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


class _WithWindow(torch.autograd.Function):
    """Cut keys or values into overlapping chunks, (B, H, L, D) -> (B, H, N, C + 2 W, D); zeros beyond the ends.

    The stock backward pass adds overlaps number by number; this one adds whole chunks.
    """

    @staticmethod
    def forward(ctx: Any, side: Tensor, chunk: int, window: int) -> Tensor:
        length = side.shape[2]
        ctx.length, ctx.chunk, ctx.window = length, chunk, window
        padded = F.pad(side, (0, 0, window, window + -length % chunk))
        return padded.unfold(2, chunk + 2 * window, chunk).mT.contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # Part j of a chunk and its window is chunk j after it, in a block that begins W positions early.
        parts = grad.split(ctx.chunk, 3)
        after = len(parts) - 1
        whole = sum(
            F.pad(part, (0, 0, 0, ctx.chunk - part.shape[3], number, after - number))
            for number, part in enumerate(parts)
        )
        return whole.flatten(2, 3)[:, :, ctx.window : ctx.window + ctx.length], None, None


AttentionInterface.register(NAME, local_attention)
AttentionMaskInterface.register(NAME, eager_mask)  # for inputs that bring no documents
