"""Muon: momentum, then the nearest orthogonal matrix, as the update of a hidden weight matrix.

Jordan et al. 2024, kellerjordan.github.io/posts/muon. The rule of `torch.optim.Muon`, which rounds to bf16 on every
machine, takes one matrix at a time and needs five iterations; here the format is that of the run, so that a run in fp32
is exact to fp32 rounding and a machine without bf16 products is not slowed down, matrices of one shape go together, and
three iterations do. A convolution is the matrix of its outputs against everything that one of them reads.

r rows, c columns of a matrix, n matrices of one shape.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

_POLYNOMIALS = ((8.0934, -23.6206, 17.4463), (3.5779, -2.5779, 0.4886), (2.6461, -1.9024, 0.4183))
_MARGIN = 1.02  # for rounding to bf16: at their upper ends the polynomials are steep


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values from 0.01 of the bound up into 0.72 to 1.28, smaller ones up 77 times. (n, r, c) -> (n, r, c).

    Three odd quintics, each the one that errs least on what the one before leaves (Amsel et al. 2025, "The Polar
    Express"), bring those as near to 1 as Jordan's five; five bring smaller ones up 485 times. The bound on the singular
    values is the root of the norm of the Gram matrix. The last two go through the Gram matrix of the shorter side alone,
    which saves two of six products with the matrices; were the first one to do so too, rounding to bf16 would be made
    65 times larger.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]

    def gram_of(x: Tensor) -> Tensor:
        return x.mT @ x if tall else x @ x.mT

    def times(square: Tensor, x: Tensor, beta: float = 0.0) -> Tensor:
        """Return the polynomial with `beta` times x added."""
        return torch.baddbmm(x, *((x, square) if tall else (square, x)), beta=beta)

    gram = gram_of(matrices)
    # The trace, the square of the norm, first: the norm of a Gram matrix of small numbers would be zero.
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None].clamp(min=1e-20)
    bound = trace * (gram / trace).norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7) * _MARGIN**2
    first, second, third = _POLYNOMIALS
    # The terms of the first one nearly cancel each other, so its constant is added where sums are exact.
    x = times(_polynomial(gram / bound, (0, *first[1:])), matrices / bound.sqrt(), beta=first[0])
    gram = gram_of(x)
    inner = _polynomial(gram, second)
    outer = _polynomial(inner @ gram @ inner, third)
    return times(outer @ inner, x)


def _polynomial(gram: Tensor, coefficients: tuple[float, float, float]) -> Tensor:
    """a + b G + c G^2: what x, of the Gram matrix G, is multiplied with for a x + b x^3 + c x^5."""
    a, b, c = coefficients
    polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
    return polynomial


def orthogonalize_together(matrices: Tensor) -> Tensor:
    """Orthogonalize matrices that all processes have: each processes a part, and all get the whole. (n, r, c) -> (n, r,
    c)."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world == 1:
        return orthogonalize(matrices)
    mine = slice(dist.get_rank(), None, world)
    results = torch.zeros_like(matrices)
    if len(matrices[mine]):
        results[mine] = orthogonalize(matrices[mine])
    dist.all_reduce(results)  # adding zeros changes nothing
    return results


def into_blocks(matrices: Tensor, block: int) -> Tensor:
    """Cut matrices along their longer side, square ones along their columns. (n, r, c) -> (n k, ...).

    They stay whole where `block` does not divide that side, or is no less than the other one: it would save nothing. In the
    attention of ModernBERT these are its heads, if `block` is their size.
    """
    n, rows, columns = matrices.shape
    longer = max(rows, columns)
    if not block or longer % block or min(rows, columns) <= block:
        return matrices
    if rows > columns:
        return matrices.reshape(-1, block, columns)
    return matrices.view(n, rows, -1, block).transpose(1, 2).reshape(-1, rows, block)


def from_blocks(blocks: Tensor, shape: torch.Size) -> Tensor:
    """Join blocks into matrices again. (n k, ...) -> shape (n, r, c)."""
    if blocks.shape[2] != shape[2]:  # cut along the columns
        blocks = blocks.view(shape[0], -1, *blocks.shape[1:]).transpose(1, 2)
    return blocks.reshape(shape)


class Muon(Optimizer):
    """Trains matrices and convolution kernels.

    Args:
        block: rows or columns that are brought near the nearest orthogonal matrix by themselves, see `into_blocks`; 0: all
            together. The products grow with the shorter side squared, so that thin blocks take less of them.
        dtype: what the iteration is computed in; its result need only be roughly orthogonal, so bf16 will do.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        block: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.block, self.dtype = block, dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.flatten(1).shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = torch.empty(len(parameters), *shape, dtype=self.dtype, device=parameters[0].device)
                for parameter, update in zip(parameters, updates, strict=True):
                    state = self.state[parameter]
                    if not state:
                        state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                    momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                    update.copy_(parameter.grad.lerp(momentum, group["momentum"]).flatten(1))
                blocks = orthogonalize_together(into_blocks(updates, self.block))
                # Such that the squares of a matrix add up to its rows, as if every row had the norm 1: a tall one takes a
                # longer step, so that its outputs change as much (Jordan et al.), and blocks as long a one as the whole.
                scale = len(updates) * shape[0] / (len(blocks) * min(blocks.shape[1:]))
                step = group["lr"] * scale**0.5
                for parameter, update in zip(parameters, from_blocks(blocks, updates.shape), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.view(parameter.shape), alpha=-step)
