"""Set a denoiser up for training: memory checks, compilation, optimizers, processes, the state of a checkpoint."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator, DistributedType

from textdae.core.denoiser import Denoiser
from textdae.core.errors import SettingsError
from textdae.core.examples import Examples
from textdae.core.noise import Noise
from textdae.core.settings.train import TrainSettings
from textdae.core.sharding import tensors_digest
from textdae.training.average import WeightAverage
from textdae.training.hardware import keep_freed_memory, should_compile
from textdae.training.memory import (
    activation_bytes,
    available_memory,
    check_batch_fits,
    check_model_fits,
    sharing,
)
from textdae.training.optimizers import build_optimizers
from textdae.training.processes import check_same, spread_weights, together
from textdae.training.state import restore

logger = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """What `accelerator.prepare` returned."""

    model: Any
    """The denoiser, wrapped where there are several processes."""
    optimizers: list[Any]
    average: WeightAverage | None
    """Of the weights, with train.ema."""


def prepare_model(
    denoiser: Denoiser,
    examples: Examples,
    noise: Noise,
    settings: TrainSettings,
    accelerator: Accelerator,
    *,
    dtype: torch.dtype | None,
    max_steps: int | None,
    first_step: int,
    resume_from: Path | None,
) -> Prepared:
    """Move a denoiser to its device and make it ready to train; every process calls it.

    Args:
        dtype: of the matrix products, see `autocast_dtype`.
        max_steps: of the run, None where only its time is known.
        first_step: the step that this sitting begins with.
        resume_from: a checkpoint; weights and optimizers continue from its state.

    Raises:
        SettingsError: the model or a batch does not fit into memory, or the optimizer cannot train sharded weights.
        TextdaeError: the processes would begin with different weights.
    """
    device = accelerator.device
    _fit_into_memory(denoiser, examples, noise, settings, accelerator, dtype, max_steps)
    denoiser.train()
    if accelerator.distributed_type == DistributedType.FSDP and settings.optimizer == "muon":
        raise SettingsError(
            "train.optimizer: muon needs whole matrices; under FSDP set train.optimizer=adamw"
        )
    spread_weights(denoiser)
    model, *optimizers = accelerator.prepare(denoiser, *build_optimizers(denoiser, settings, dtype))
    if device.type == "cpu":
        keep_freed_memory()
    average = WeightAverage(denoiser, settings.ema) if settings.ema else None
    if resume_from:
        restore(resume_from, denoiser, optimizers, average)
    _check_same_start(denoiser, optimizers, average, first_step, accelerator.num_processes)
    return Prepared(model, optimizers, average)


def _fit_into_memory(
    denoiser: Denoiser,
    examples: Examples,
    noise: Noise,
    settings: TrainSettings,
    accelerator: Accelerator,
    dtype: torch.dtype | None,
    max_steps: int | None,
) -> None:
    """Check the model, move it to its device, compile it, check a batch."""
    device = accelerator.device
    shards, processes = sharing(accelerator)
    parameters = sum(parameter.numel() for parameter in denoiser.parameters()) // shards
    free = available_memory(device)
    together(lambda: check_model_fits(parameters, free, processes))
    denoiser.to(device).eval()
    if compiled := should_compile(settings, device, max_steps, len(denoiser.hidden_matrices())):
        logger.info("the model is compiled in the first steps, which may take a minute or two the first time")
    denoiser.optimize_for(device, compiled, settings.fast == "auto")
    per_example = activation_bytes(denoiser, examples, noise, dtype)
    batch_size = settings.per_device_train_batch_size
    together(
        lambda: check_batch_fits(parameters, per_example, batch_size, free, processes, denoiser.example_size)
    )


def _check_same_start(
    denoiser: Denoiser, optimizers: list[Any], average: WeightAverage | None, first_step: int, world: int
) -> None:
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    tensors = [tensor for state in states for tensor in state.values() if isinstance(tensor, torch.Tensor)]
    tensors += average.weights.values() if average else ()
    weights = tensors_digest([*denoiser.parameters(), *denoiser.buffers(), *tensors]) if world > 1 else ""
    start = {"the weights before the first step": weights, "the first step": first_step}
    check_same(start, "the disk, the memory or the versions of a host are at fault")
