"""Muon for the hidden matrices, AdamW for the rest; or AdamW for all."""

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from textdae.models import Denoiser
from textdae.settings import TrainSettings


def build_optimizers(denoiser: Denoiser, settings: TrainSettings) -> list[Optimizer]:
    """The optimizers; each group keeps its peak learning rate as `peak_lr`.

    Muon as in Jordan et al. 2024 (kellerjordan.github.io/posts/muon). Weight decay is decoupled and for matrices only
    (Loshchilov and Hutter 2019).
    """
    hidden = denoiser.hidden_matrices() if settings.optimizer == "muon" else []
    in_muon = {id(parameter) for parameter in hidden}
    rest = [p for p in denoiser.parameters() if p.requires_grad and id(p) not in in_muon]
    optimizers: list[Optimizer] = []
    if hidden:
        optimizers.append(Muon(hidden, lr=settings.muon_learning_rate, weight_decay=settings.weight_decay))
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        betas = (settings.adam_beta1, settings.adam_beta2)
        optimizers.append(AdamW(groups, lr=settings.learning_rate, betas=betas, fused=_can_fuse(rest)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _can_fuse(parameters: list[nn.Parameter]) -> bool:
    return all(p.device.type in ("cpu", "cuda") and torch.is_floating_point(p) for p in parameters)


def set_learning_rate(optimizers: list[Optimizer], factor: float) -> float:
    """Set every group to its peak times `factor`; return the learning rate of the first group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
    return float(optimizers[-1].param_groups[0]["lr"])
