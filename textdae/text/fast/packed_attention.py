"""Flash attention for GPUs over packed documents: they are laid one after the other, and each attends to itself alone.

B batch, H heads, L positions, D width of a head, N documents.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None

NAME = "textdae_packed"


def is_supported(config: PretrainedConfig, device: torch.device) -> bool:
    """Say whether the kernel can be used: it has windows since torch 2.11, and it has no dropout."""
    if varlen_attn is None or "window_size" not in inspect.signature(varlen_attn).parameters:
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    width = config.hidden_size // config.num_attention_heads
    return width % 8 == 0 and width <= 256 and not getattr(config, "attention_dropout", 0)


@torch.compiler.disable  # the number of documents changes from batch to batch
def boundaries(document: Tensor) -> Tensor:
    """Find where the documents begin when the rows of a batch are laid one after the other, and where the last one ends.

    Args:
        document: the number of the document at each position. *Shape:* (B, L).

    Returns:
        int32. *Shape:* (N + 1,), for N documents; a compiled encoder takes any N, without being compiled anew.
    """
    starts = torch.ones_like(document, dtype=torch.bool)
    starts[:, 1:] = document[:, 1:] != document[:, :-1]
    ends = F.pad(starts.flatten().nonzero().squeeze(1), (0, 1), value=document.numel()).int()
    torch._dynamo.mark_dynamic(ends, 0)  # the encoder around it is compiled for fixed shapes
    return ends


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sliding_window: int | None = None,
    selected: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute softmax attention, (B, H, L, D) -> (B, L, H, D).

    Args:
        attention_mask: what `boundaries` returns; any other mask goes to sdpa.
        sliding_window: one more than the positions seen to either side, as transformers counts.
        selected: the positions of the queries, in order, where these are not all positions; there is no window then.
            *Shape:* (B, M).
    """
    if attention_mask is None or attention_mask.ndim != 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    batch, _, queries, _ = query.shape
    length = key.shape[2]
    laid_out = [side.transpose(1, 2).flatten(0, 1) for side in (query, key, value)]
    window = (sliding_window - 1,) * 2 if sliding_window else (-1, -1)
    query_starts = attention_mask
    if selected is not None and selected.shape[1] == queries:
        positions = selected + torch.arange(batch, device=selected.device)[:, None] * length
        query_starts = torch.searchsorted(positions.flatten(), attention_mask, out_int32=True)
    mixed = varlen_attn(
        *laid_out, query_starts, attention_mask, queries, length, scale=scaling, window_size=window
    )
    return mixed.unflatten(0, (batch, queries)), None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)  # for inputs that bring no documents
