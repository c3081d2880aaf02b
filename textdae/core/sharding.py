"""Weights that are sharded over processes (FSDP): gather full tensors, and shard full tensors again."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def gather_full(tensor: Tensor, keep: bool = True) -> Tensor | None:
    """Gather the full tensor on the CPU of the processes that keep it. A collective: every process must call it."""
    gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return gathered.detach().cpu().contiguous() if keep else None


def shard_like(tensor: Tensor, model: Tensor) -> Tensor:
    """Shard a full tensor as `model` is sharded."""
    moved = tensor.to(model.device)
    return (
        distribute_tensor(moved, model.device_mesh, model.placements) if isinstance(model, DTensor) else moved
    )


def is_sharded(model: nn.Module) -> bool:
    """Return whether the weights are sharded over processes."""
    return any(isinstance(tensor, DTensor) for tensor in model.state_dict().values())


def gather_weights(model: nn.Module, keep: bool = True) -> dict[str, Tensor] | None:
    """Return the state dict with full weights to the processes that keep it; None if nothing is sharded. A collective.

    Args:
        keep: whether this process writes them; the others hold one tensor at a time.
    """
    if not is_sharded(model):
        return None
    gathered = {name: gather_full(tensor, keep) for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in gathered.items() if tensor is not None} if keep else None


def tensors_digest(tensors: Iterable[Tensor]) -> str:
    """Return a short hash of these tensors; shards are left out, as they differ between processes."""
    hasher = hashlib.blake2b(digest_size=12)
    for tensor in tensors:
        if not isinstance(tensor, DTensor):
            hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


@torch.no_grad()
def load_full_state(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy full weights into a model, sharded or not."""
    own = model.state_dict()
    if own.keys() != weights.keys():
        raise ValueError(f"weights that do not fit: {sorted(own.keys() ^ weights.keys())[:3]} ...")
    for name, tensor in own.items():
        tensor.copy_(shard_like(weights[name], tensor))
