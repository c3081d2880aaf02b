"""Weights that are spread over processes (FSDP): gather them whole, and deal whole ones out again."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, on the CPU. A collective: every process must ask."""
    gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return gathered.detach().cpu().contiguous()


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor, placed as `model` is."""
    moved = tensor.to(model.device)
    return (
        distribute_tensor(moved, model.device_mesh, model.placements) if isinstance(model, DTensor) else moved
    )


def whole_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """The state dict with all weights whole; None where they are anyway."""
    state = model.state_dict()
    if not any(isinstance(tensor, DTensor) for tensor in state.values()):
        return None
    return {name: whole(tensor) for name, tensor in state.items()}


@torch.no_grad()
def put(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy whole weights into a model, sharded or not."""
    own = model.state_dict()
    if own.keys() != weights.keys():
        raise ValueError(f"weights that do not fit: {sorted(own.keys() ^ weights.keys())[:3]} ...")
    for name, tensor in own.items():
        tensor.copy_(like(weights[name], tensor))
