"""ModernBERT's layers for training, and for masked copies of a text: faster loops when compiled, and a last layer that
computes the scored positions only.

In the last layer keys and values come from all positions; queries, output and MLP are needed at the scored positions and a
few more, which make the rows equally long. Every result and every gradient equals the stock one to rounding.

B batch, H heads, L positions, M selected positions, D width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.modernbert.modeling_modernbert import (
    ModernBertAttention,
    ModernBertModel,
    ModernBertRotaryEmbedding,
    eager_attention_forward,
)
from transformers.models.modernbert.modeling_modernbert import ModernBertEncoderLayer as StockLayer

_MULTIPLE = 4
"""M is a multiple, so that few sizes occur."""
_MOST_TABULATED = 8192


def prepare_for_training(encoder: nn.Module) -> bool:
    """Replace the classes of a ModernBERT's layers by those of this file; weights and their names stay as they are.

    In training, hooks on the attention of a layer are not called: the layer uses its parts.

    Returns:
        Whether `encoder(..., selected=positions)`, (B, M), gives the embedding at these positions only, (B, M, D): it does
        where the last layer sees the whole block.
    """
    if not isinstance(encoder, ModernBertModel):
        return False
    for layer in encoder.layers:
        layer.__class__ = ModernBertEncoderLayer
    if set(encoder.rotary_emb.rope_type.values()) == {"default"}:
        encoder.rotary_emb.__class__ = _TabulatedRotary
        encoder.rotary_emb.tabulate()
    if encoder.config.layer_types[-1] != "full_attention":
        return False
    encoder.layers[-1].__class__ = _LastLayer
    return True


def select_positions(loss_mask: Tensor, compiled: bool) -> Tensor | None:
    """Find the positions at which `loss_mask` (B, L) is true, and add others until all rows are equally long, in order.

    Args:
        compiled: the encoder is compiled; their number M is then marked as one that changes.

    Returns:
        int64. *Shape:* (B, M); None where M would be L.
    """
    loss_mask = loss_mask.bool()
    most = -(-max(1, int(loss_mask.sum(1).max())) // _MULTIPLE) * _MULTIPLE
    if most >= loss_mask.shape[1]:
        return None
    selected = (~loss_mask).byte().argsort(dim=1, stable=True)[:, :most].sort(1).values
    if compiled:
        torch._dynamo.mark_dynamic(selected, 1)
    return selected


class ModernBertEncoderLayer(StockLayer):
    """The stock layer, its parts called one by one in training, or where positions are selected. It can be copied and pickled.

    It has the stock name, by which FSDP finds what to wrap.
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Any = None,
        selected: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return what the stock layer returns, (B, L, D)."""
        if not (self._has_its_parts and (self.attn.training or selected is not None)):
            stock: Tensor = super().forward(hidden_states, attention_mask, position_embeddings, **kwargs)
            return stock
        qkv = self.attn.Wqkv(self.attn_norm(hidden_states)).unflatten(-1, (3, -1, self.attn.head_dim))
        query, key, value = qkv.transpose(1, 3).unbind(2)
        cos, sin = position_embeddings
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        return self._add(hidden_states, self._attend(query, key, value, attention_mask, **kwargs))

    @property
    def _has_its_parts(self) -> bool:
        """Whether the parts of the layer are the stock ones (FSDP and quantization replace them)."""
        return type(self.attn) is ModernBertAttention and type(self.attn.Wqkv) is nn.Linear

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attend and project: queries, keys and values, (B, H, ., D / H) -> (B, ., D)."""
        attn = self.attn
        kind = attn.config._attn_implementation
        mixed, _ = ALL_ATTENTION_FUNCTIONS.get_interface(kind, eager_attention_forward)(
            attn, query, key, value, mask, dropout=attn.attention_dropout if attn.training else 0.0, scaling=attn.head_dim**-0.5,
            sliding_window=attn.sliding_window, deterministic=attn.deterministic_flash_attn, **kwargs,
        )  # fmt: skip
        output: Tensor = attn.out_drop(attn.Wo(mixed.flatten(2)))
        return output

    def _add(self, hidden_states: Tensor, attention: Tensor) -> Tensor:
        """Add the attention's output, then the MLP's. (B, ., D) twice -> (B, ., D)"""
        hidden_states = hidden_states + attention
        output: Tensor = hidden_states + self.mlp(self.mlp_norm(hidden_states))
        return output


class _LastLayer(ModernBertEncoderLayer):
    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Any = None,
        selected: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return what the stock layer returns, (B, L, D); with `selected` (B, M) at these positions, (B, M, D)."""
        if selected is None or not self._has_its_parts:
            output = super().forward(hidden_states, attention_mask, position_embeddings, **kwargs)
            return output if selected is None else output.take_along_dim(selected[..., None], 1)
        index, width, attn = selected[..., None], hidden_states.shape[-1], self.attn
        normed = self.attn_norm(hidden_states)
        weight, bias = attn.Wqkv.weight, attn.Wqkv.bias
        query = F.linear(
            normed.take_along_dim(index, 1), weight[:width], None if bias is None else bias[:width]
        )
        key_value = F.linear(normed, weight[width:], None if bias is None else bias[width:])
        query = query.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)
        key, value = key_value.unflatten(-1, (2, -1, attn.head_dim)).transpose(1, 3).unbind(2)
        cos, sin = (part.expand(len(selected), -1, -1) for part in position_embeddings)
        query = _rotate(query, cos.take_along_dim(index, 1), sin.take_along_dim(index, 1))
        key = _rotate(key, cos, sin)
        if attention_mask is not None and attention_mask.ndim == 4:
            rows = attention_mask.expand(-1, -1, hidden_states.shape[1], -1)
            attention_mask = rows.take_along_dim(index[:, None], 2)
        attention = self._attend(query, key, value, attention_mask, selected=selected, **kwargs)
        return self._add(hidden_states.take_along_dim(index, 1), attention)


class _TabulatedRotary(ModernBertRotaryEmbedding):
    """Looks cosines and sines up; compiled loops would compute them anew for every head of every layer."""

    def tabulate(self) -> None:
        """Compute the tables for the positions that the config allows, at most 8,192."""
        count = min(self.config.max_position_embeddings, _MOST_TABULATED)
        # Not buffers: those are sent from process to process at every step.
        self.tables = {}
        for kind in self.layer_types:
            x = torch.empty(0, device=getattr(self, f"{kind}_inv_freq").device)
            self.tables[kind] = super().forward(x, torch.arange(count, device=x.device), kind)

    def forward(self, x: Tensor, position_ids: Tensor, layer_type: str) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of each angle at each position. (., L) -> (., L, D / H) twice"""
        cos, sin = self.tables[layer_type]
        if not self.training or position_ids.shape[-1] > len(cos):  # in training they count from 0
            return super().forward(x, position_ids, layer_type)
        return cos.to(x)[position_ids], sin.to(x)[position_ids]


def _rotate(side: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions in fp32, as the stock model does. (B, H, L, D / H), and (B, L, D / H) twice.

    A flip exchanges the halves: concatenated, they would be written one number after the other.
    """
    halves, cos, sin = (part.float().unflatten(-1, (2, -1)) for part in (side, cos[:, None], sin[:, None]))
    sign = torch.arange(-1, 2, 2, device=side.device)[:, None]
    return (halves * cos + halves.flip(-2) * (sin * sign)).flatten(-2).to(side.dtype)
