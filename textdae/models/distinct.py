"""What depends on the token alone, computed once for each distinct token of a batch and handed to all that are the same.

B batch, L positions, U distinct tokens, D width.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_MULTIPLE = 128
"""U is filled up to a multiple, so that few sizes occur."""
_WORTH_IT = 0.75
"""The share of U in all positions above which little is saved."""


class Distinct(NamedTuple):
    """Where each distinct token of a batch is; positions are counted through its rows."""

    first: Tensor
    """A position of each; what fills them up has position 0. *Shape:* (U,), int64."""
    which: Tensor
    """The number of the token at each position. *Shape:* (B, L), int64."""
    order: Tensor
    """All positions, those of one token together. *Shape:* (B L,), int64."""
    starts: Tensor
    """Where in `order` those of each token begin; what fills them up has none. *Shape:* (U,), int64."""


def distinct_tokens(ids: Tensor) -> Distinct | None:
    """Find the distinct tokens of `ids` (B, L); None where nearly all are."""
    tokens, order = ids.flatten().sort(stable=True)
    begins = torch.ones_like(tokens, dtype=torch.bool)
    begins[1:] = tokens[1:] != tokens[:-1]
    starts = begins.nonzero().squeeze(1)
    rest = -len(starts) % _MULTIPLE
    if len(starts) + rest > _WORTH_IT * len(tokens):
        return None
    which = torch.empty_like(order)
    which[order] = begins.cumsum(0) - 1
    first = F.pad(order[starts], (0, rest))
    return Distinct(first, which.view(ids.shape), order, F.pad(starts, (0, rest), value=len(tokens)))


def spread(rows: Tensor, distinct: Distinct) -> Tensor:
    """Hand the row of each distinct token to all of its positions. (U, D) -> (B, L, D)."""
    spread_out: Tensor = _Spread.apply(rows, distinct.which, distinct.order, distinct.starts)
    return spread_out


class _Spread(torch.autograd.Function):
    """The stock backward pass adds the gradients up one number after the other; this one adds whole rows, token by token."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, which: Tensor, order: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(order, starts)
        return rows[which]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        order, starts = ctx.saved_tensors
        return F.embedding_bag(order, grad.flatten(0, -2), starts, mode="sum"), None, None, None
