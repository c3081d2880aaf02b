"""The last layer where it is wanted: what it makes of other positions nobody reads, so it is not computed.

Keys and values are those of all positions; queries, output and MLP those of the wanted ones, which are the scored ones and
a few more. The results there are the same to rounding, as is every gradient.

B batch, L positions, M wanted positions, D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.modernbert.modeling_modernbert import (
    ModernBertAttention,
    ModernBertEncoderLayer,
    ModernBertModel,
    eager_attention_forward,
)

_MULTIPLE = 4
"""M is a multiple, so that few sizes occur."""


def skip_unwanted(encoder: nn.Module) -> bool:
    """Let `encoder(..., wanted=positions)` give the embedding at these positions, (B, M) -> (B, M, D); else nothing changes.

    The encoder's weights and their names stay as they are.

    Returns:
        Whether it can: it is a ModernBERT whose last layer sees the whole block.
    """
    if not isinstance(encoder, ModernBertModel) or encoder.config.layer_types[-1] != "full_attention":
        return False
    encoder.layers[-1].__class__ = _LastLayer
    return True


def wanted_positions(where: Tensor) -> Tensor | None:
    """The positions at which `where` (B, L) is true, and as many others as it takes for rows of one length, in order.

    Returns:
        int64. *Shape:* (B, M); None where that would be all.
    """
    most = -(-max(1, int(where.sum(1).max())) // _MULTIPLE) * _MULTIPLE
    if most >= where.shape[1]:
        return None
    return (~where).byte().argsort(dim=1, stable=True)[:, :most].sort(1).values


class _LastLayer(ModernBertEncoderLayer):
    """The stock layer, which `skip_unwanted` makes one of these; it may be copied and pickled."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Any = None,
        wanted: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """What the stock layer returns, (B, L, D); with `wanted` (B, M) at these positions, (B, M, D)."""
        attn, width = self.attn, hidden_states.shape[-1]
        # Where someone has put something in the place of its parts (FSDP, quantization) only they know how to call them.
        plain = type(attn) is ModernBertAttention and type(attn.Wqkv) is nn.Linear
        if wanted is None or not plain:
            whole: Tensor = super().forward(hidden_states, attention_mask, position_embeddings, **kwargs)
            return whole if wanted is None else whole.take_along_dim(wanted[..., None], 1)
        at = wanted[..., None]
        normed = self.attn_norm(hidden_states)
        weight, bias = attn.Wqkv.weight, attn.Wqkv.bias
        query = F.linear(normed.take_along_dim(at, 1), weight[:width], None if bias is None else bias[:width])
        both = F.linear(normed, weight[width:], None if bias is None else bias[width:])
        query = query.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)
        key, value = (side.transpose(1, 2) for side in both.unflatten(-1, (2, -1, attn.head_dim)).unbind(2))
        cos, sin = (part.expand(len(wanted), -1, -1) for part in position_embeddings)
        query = _rotate(query, cos.take_along_dim(at, 1), sin.take_along_dim(at, 1))
        key = _rotate(key, cos, sin)
        if attention_mask is not None and attention_mask.ndim == 4:
            rows = attention_mask.expand(-1, -1, hidden_states.shape[1], -1)
            attention_mask = rows.take_along_dim(at[:, None], 2)
        kind = attn.config._attn_implementation
        mixed, _ = ALL_ATTENTION_FUNCTIONS.get_interface(kind, eager_attention_forward)(
            attn, query, key, value, attention_mask,
            dropout=attn.attention_dropout if attn.training else 0.0, scaling=attn.head_dim**-0.5, sliding_window=None,
            deterministic=attn.deterministic_flash_attn, wanted=wanted, **kwargs,
        )  # fmt: skip
        added = attn.out_drop(attn.Wo(mixed.reshape(*wanted.shape, -1)))
        here = hidden_states.take_along_dim(at, 1) + added
        there: Tensor = here + self.mlp(self.mlp_norm(here))
        return there


def _rotate(side: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions in fp32, as in the stock model. (B, H, L, D), and (B, L, D) twice."""
    first, second = side.float().chunk(2, -1)
    turned = side.float() * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]
    return turned.to(side.dtype)
