"""ModernBERT's layers for training: written so that compiled loops are fast, the first and the last one without what is idle.

The first layer's queries, keys and values depend on the token alone, until they are turned by their position: they are
computed once for each distinct token of a batch. What the last layer makes of positions that are not scored nobody reads.
There its keys and values are those of all positions; queries, output and MLP those of the wanted ones, which are the scored
ones and a few more. Every result is the same to rounding, and so is every gradient.

B batch, H heads, L positions, M wanted positions, D width.
"""

from typing import Any, NamedTuple

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

from textdae.models.distinct import Distinct, distinct_tokens, spread

_MULTIPLE = 4
"""M is a multiple, so that few sizes occur."""
_MOST_TABULATED = 8192


class Savings(NamedTuple):
    """What an encoder can leave out in training."""

    first: bool = False
    """`encoder(..., distinct=tokens)` computes the first layer's queries, keys and values once for each of these."""
    last: bool = False
    """`encoder(..., wanted=positions)` gives the embedding at these positions, (B, M) -> (B, M, D)."""

    def arguments(self, ids: Tensor, where: Tensor, compiled: bool) -> dict[str, Any]:
        """Those of the two with which a batch of tokens saves something; `where` says what is scored, (B, L) both."""
        wanted = wanted_positions(where) if self.last else None
        distinct = distinct_tokens(ids) if self.first else None
        if compiled:  # every number of them would be compiled anew otherwise
            if wanted is not None:
                torch._dynamo.mark_dynamic(wanted, 1)
            if distinct is not None:
                torch._dynamo.mark_dynamic(distinct.first, 0)
                torch._dynamo.mark_dynamic(distinct.starts, 0)
        given = {"wanted": wanted, "distinct": distinct}
        return {name: value for name, value in given.items() if value is not None}


def prepare_for_training(encoder: nn.Module) -> Savings:
    """Let a ModernBERT in training compute its layers as said above; its weights and their names stay as they are.

    In training hooks on the attention of a layer are not called: the layer uses its parts.

    Returns:
        The first layer saves where embeddings have no dropout, the last one where it sees the whole block; a model of
        one layer saves as the last one does.
    """
    if not isinstance(encoder, ModernBertModel):
        return Savings()
    for layer in encoder.layers:
        layer.__class__ = ModernBertEncoderLayer
    if set(encoder.rotary_emb.rope_type.values()) == {"default"}:
        encoder.rotary_emb.__class__ = _Rotary
        encoder.rotary_emb.tabulate()
    last = encoder.config.layer_types[-1] == "full_attention"
    if last:
        encoder.layers[-1].__class__ = _LastLayer
    first = encoder.embeddings.drop.p == 0 and type(encoder.layers[0]) is ModernBertEncoderLayer
    if first:
        encoder.layers[0].__class__ = _FirstLayer
    return Savings(first, last)


def wanted_positions(where: Tensor) -> Tensor | None:
    """The positions at which `where` (B, L) is true, and as many others as it takes for rows of one length, in order.

    Returns:
        int64. *Shape:* (B, M); None where that would be all.
    """
    most = -(-max(1, int(where.sum(1).max())) // _MULTIPLE) * _MULTIPLE
    if most >= where.shape[1]:
        return None
    return (~where).byte().argsort(dim=1, stable=True)[:, :most].sort(1).values


class ModernBertEncoderLayer(StockLayer):
    """The stock layer, which `prepare_for_training` makes one of these; it may be copied and pickled.

    It has the stock name, by which FSDP is told what to wrap.
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Any = None,
        wanted: Tensor | None = None,
        distinct: Distinct | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """What the stock layer returns, (B, L, D)."""
        if not self._is_plain:
            whole: Tensor = super().forward(hidden_states, attention_mask, position_embeddings, **kwargs)
            return whole
        qkv = self._project(hidden_states, distinct).unflatten(-1, (3, -1, self.attn.head_dim))
        query, key, value = qkv.transpose(1, 3).unbind(2)
        cos, sin = position_embeddings
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        return self._after(hidden_states, self._attend(query, key, value, attention_mask, **kwargs))

    def _project(self, hidden_states: Tensor, distinct: Distinct | None) -> Tensor:
        """Queries, keys and values, before they are turned. (B, L, D) -> (B, L, 3 D)."""
        projected: Tensor = self.attn.Wqkv(self.attn_norm(hidden_states))
        return projected

    @property
    def _is_plain(self) -> bool:
        """Whether it is in training, and nobody has put in the place of its parts what only they know how to call (FSDP, quantization)."""
        return (
            self.attn.training
            and type(self.attn) is ModernBertAttention
            and type(self.attn.Wqkv) is nn.Linear
        )

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Queries, keys and values, (B, H, ., D / H) -> (B, ., D)."""
        attn = self.attn
        kind = attn.config._attn_implementation
        mixed, _ = ALL_ATTENTION_FUNCTIONS.get_interface(kind, eager_attention_forward)(
            attn, query, key, value, mask, dropout=attn.attention_dropout, scaling=attn.head_dim**-0.5,
            sliding_window=attn.sliding_window, deterministic=attn.deterministic_flash_attn, **kwargs,
        )  # fmt: skip
        added: Tensor = attn.out_drop(attn.Wo(mixed.flatten(2)))
        return added

    def _after(self, before: Tensor, added: Tensor) -> Tensor:
        """What attention has added, and what the MLP makes of it. (B, ., D) twice -> (B, ., D)"""
        here = before + added
        there: Tensor = here + self.mlp(self.mlp_norm(here))
        return there


class _FirstLayer(ModernBertEncoderLayer):
    def _project(self, hidden_states: Tensor, distinct: Distinct | None) -> Tensor:
        if distinct is None:
            return super()._project(hidden_states, None)
        return spread(super()._project(hidden_states.flatten(0, 1)[distinct.first], None), distinct)


class _LastLayer(ModernBertEncoderLayer):
    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Any = None,
        wanted: Tensor | None = None,
        distinct: Distinct | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """What the stock layer returns, (B, L, D); with `wanted` (B, M) at these positions, (B, M, D)."""
        if wanted is None or not self._is_plain:
            whole = super().forward(hidden_states, attention_mask, position_embeddings, **kwargs)
            return whole if wanted is None else whole.take_along_dim(wanted[..., None], 1)
        at, width, attn = wanted[..., None], hidden_states.shape[-1], self.attn
        normed = self.attn_norm(hidden_states)
        weight, bias = attn.Wqkv.weight, attn.Wqkv.bias
        query = F.linear(normed.take_along_dim(at, 1), weight[:width], None if bias is None else bias[:width])
        both = F.linear(normed, weight[width:], None if bias is None else bias[width:])
        query = query.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)
        key, value = both.unflatten(-1, (2, -1, attn.head_dim)).transpose(1, 3).unbind(2)
        cos, sin = (part.expand(len(wanted), -1, -1) for part in position_embeddings)
        query = _rotate(query, cos.take_along_dim(at, 1), sin.take_along_dim(at, 1))
        key = _rotate(key, cos, sin)
        if attention_mask is not None and attention_mask.ndim == 4:
            rows = attention_mask.expand(-1, -1, hidden_states.shape[1], -1)
            attention_mask = rows.take_along_dim(at[:, None], 2)
        added = self._attend(query, key, value, attention_mask, wanted=wanted, **kwargs)
        return self._after(hidden_states.take_along_dim(at, 1), added)


class _Rotary(ModernBertRotaryEmbedding):
    """Looks cosines and sines up; compiled loops would compute them anew for every head of every layer."""

    def tabulate(self) -> None:
        """Write down those of the positions that the config allows."""
        count = min(self.config.max_position_embeddings, _MOST_TABULATED)
        # Not buffers: those are sent from process to process at every step.
        self.tables = {}
        for kind in self.layer_types:
            x = torch.empty(0, device=getattr(self, f"{kind}_inv_freq").device)
            self.tables[kind] = super().forward(x, torch.arange(count, device=x.device), kind)

    def forward(self, x: Tensor, position_ids: Tensor, layer_type: str) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each angle at each position. (., L) -> (., L, D / H) twice"""
        cos, sin = self.tables[layer_type]
        if not self.training or position_ids.shape[-1] > len(cos):  # in training they count from 0
            return super().forward(x, position_ids, layer_type)
        return cos.to(x)[position_ids], sin.to(x)[position_ids]


def _rotate(side: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions in fp32, as in the stock model. (B, H, L, D / H), and (B, L, D / H) twice.

    The halves change places by a flip: put together anew, they would be written one number after the other.
    """
    halves, cos, sin = (part.float().unflatten(-1, (2, -1)) for part in (side, cos[:, None], sin[:, None]))
    sign = torch.arange(-1, 2, 2, device=side.device)[:, None]
    return (halves * cos + halves.flip(-2) * (sin * sign)).flatten(-2).to(side.dtype)
