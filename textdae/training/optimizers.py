"""Muon for the hidden matrices, AdamW for the rest; or AdamW for all."""

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from textdae.core.denoiser import Denoiser
from textdae.core.settings.train import TrainSettings
from textdae.training.muon import Muon


def build_optimizers(
    denoiser: Denoiser, settings: TrainSettings, dtype: torch.dtype | None = None
) -> list[Optimizer]:
    """Build the optimizers; each parameter group keeps its peak learning rate as `peak_lr`.

    Weight decay is decoupled and for matrices only (Loshchilov and Hutter 2019).

    Args:
        dtype: that the run multiplies in; None is fp32.
    """
    hidden = denoiser.hidden_matrices() if settings.optimizer == "muon" else []
    in_muon = {id(parameter) for parameter in hidden}
    rest = [p for p in denoiser.parameters() if p.requires_grad and id(p) not in in_muon]
    optimizers: list[Optimizer] = []
    if hidden:
        peak, decay = settings.muon_learning_rate, settings.weight_decay
        optimizers.append(Muon(hidden, peak, decay, block=denoiser.muon_block, dtype=dtype or torch.float32))
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        betas, eps = (settings.adam_beta1, settings.adam_beta2), settings.adam_epsilon
        optimizers.append(AdamW(groups, settings.learning_rate, betas, eps, fused=_can_fuse(rest)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _can_fuse(parameters: list[nn.Parameter]) -> bool:
    return all(p.device.type in ("cpu", "cuda") and torch.is_floating_point(p) for p in parameters)


def set_learning_rates(optimizers: list[Optimizer], factor: float) -> dict[str, float]:
    """Set every group to its peak times `factor`; return the learning rates by the names of their settings."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
    rates = {}
    for optimizer in reversed(optimizers):
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate has its own around it
        name = "muon_learning_rate" if isinstance(inner, Muon) else "learning_rate"
        rates[name] = float(optimizer.param_groups[0]["lr"])
    return rates
