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
    values is the root of the norm of the Gram matrix, which is needed anyway and is nearer to the largest one than the
    norm of the matrix.
    """
    flip = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT.contiguous() if flip else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    gram = x @ x.mT
    bound = gram.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7) * _MARGIN**2
    x, gram = x / bound.sqrt(), gram / bound
    for number, (a, b, c) in enumerate(_POLYNOMIALS):
        if number:
            gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if flip else x


def orthogonalize_together(matrices: Tensor) -> Tensor:
    """The same, where every process has the same matrices: each does a part of them, and all get all. (n, r, c) -> (n, r, c)."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world == 1:
        return orthogonalize(matrices)
    mine = slice(dist.get_rank(), None, world)
    found = torch.zeros_like(matrices)
    if len(matrices[mine]):
        found[mine] = orthogonalize(matrices[mine])
    dist.all_reduce(found)  # adding zeros changes nothing
    return found


class Muon(Optimizer):
    """Trains matrices and convolution kernels.

    Args:
        dtype: what the iteration is computed in; its result need only be roughly orthogonal, so bf16 will do.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.flatten(1).shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if not state:
                        state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                    momentum = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
                    nesterov = parameter.grad.lerp(momentum, group["momentum"])
                    updates.append(nesterov.flatten(1).to(self.dtype))
                orthogonal = orthogonalize_together(torch.stack(updates))
                # A tall matrix takes a longer step, so that its outputs change as much (Jordan et al.).
                step = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, orthogonal, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.view(parameter.shape), alpha=-step)
