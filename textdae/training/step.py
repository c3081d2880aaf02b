"""One optimizer step: forward and backward passes over micro-batches, gradient clipping, update.

The loss of a step is the global sum of the losses over the global count of scored positions, for any number of
processes and micro-batches; a mean of means would weigh a micro-batch with few scored positions too heavily.
"""

import math
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from textdae.core.noise import Corrupted
from textdae.core.settings.train import TrainSettings


class StepResult(NamedTuple):
    """The figures of one step."""

    loss_sum: torch.Tensor
    """Sum of the losses on this process. ()"""
    count: torch.Tensor
    """Number of scored positions on this process. ()"""
    grad_norm: float
    """Norm of the gradient over all processes, before clipping."""

    @property
    def is_finite(self) -> bool:
        """Whether the gradient is finite on every process; if not, the weights have not changed."""
        return math.isfinite(self.grad_norm)


class OptimizerStep:
    """Take optimizer steps of a prepared model.

    Args:
        model, optimizers: as `accelerator.prepare` returned them.
        autocast: returns the context of the forward pass.
    """

    def __init__(
        self,
        model: Any,
        optimizers: list[Any],
        accelerator: Accelerator,
        settings: TrainSettings,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.model, self.optimizers, self.accelerator = model, optimizers, accelerator
        self.settings, self.autocast = settings, autocast

    def __call__(self, step: int, micro_batches: list[Corrupted]) -> StepResult:
        """Take one step. Where the gradient is not finite, weights and buffers stay as they were."""
        # A forward pass may spoil buffers such as running means, so a step that may be skipped keeps a copy.
        can_skip = self.settings.on_nonfinite == "skip"
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()] if can_skip else []
        # Seeded anew at every step, so that dropout depends on the step alone, also after a resume.
        torch.manual_seed(
            zlib.crc32(f"{self.settings.seed} {step} {self.accelerator.process_index}".encode())
        )
        loss_sum, count = self._add_gradients(micro_batches)
        max_norm = self.settings.max_grad_norm or math.inf
        grad_norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), max_norm))
        result = StepResult(loss_sum, count, grad_norm)
        if not result.is_finite:
            for buffer, copy in buffers:
                buffer.copy_(copy)
        for optimizer in self.optimizers:
            if result.is_finite:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return result

    def _add_gradients(self, micro_batches: list[Corrupted]) -> tuple[torch.Tensor, torch.Tensor]:
        """Add up the gradients of the micro-batches; return this process's sum of losses and count of scored positions."""
        world = self.accelerator.num_processes
        on_device = [micro_batch.to(self.accelerator.device) for micro_batch in micro_batches]
        count = torch.stack([micro_batch.loss_mask.sum() for micro_batch in on_device]).sum()
        global_count = self.accelerator.reduce(count, "sum") if world > 1 else count
        # DDP averages the gradients over the processes; times their number that is the sum.
        scale = world / global_count.clamp(min=1)
        loss_sum = torch.zeros((), device=self.accelerator.device)
        for number, micro_batch in enumerate(on_device):
            is_last = number == len(on_device) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.model), self.autocast():
                output = self.model(micro_batch)
            loss = output.loss_sum.detach()
            # The factor is 1, or NaN where the loss is not finite: then the gradient is NaN on every process.
            (output.loss_sum * scale * (1 + 0 * loss)).backward()
            loss_sum += loss
        return loss_sum, count
