"""Score a denoiser under frozen noise: every evaluation corrupts the same examples in the same way."""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from textdae.core.denoiser import Denoiser
from textdae.core.draw import Draw
from textdae.core.examples import Examples, Questions
from textdae.core.noise import Corrupted, Noise

FROZEN_SEED = 20_240_229
"""Seed of the noise of every evaluation; it does not depend on the seed of the run."""


def subsample(size: int, most: int) -> Tensor:
    """Return the indices of at most `most` of `size` examples, spread evenly. *Shape:* (n,), int64."""
    n = min(size, most)
    return torch.arange(n) * size // max(n, 1)


def corrupt_for_evaluation(examples: Examples, noise: Noise, indices: Tensor) -> Corrupted:
    """Corrupt the examples of these indices (B,) with the fixed seed of every evaluation."""
    return noise(examples.batch(indices), Draw(FROZEN_SEED, torch.zeros_like(indices), indices))


def split_batches(examples: Examples, indices: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Divide indices (n,) into batches; examples that differ in size (`ragged`) come one by one."""
    return indices.split(1 if getattr(examples, "ragged", False) else batch_size)


@torch.no_grad()
def evaluate(
    denoiser: Denoiser,
    examples: Examples,
    noise: Noise,
    indices: Tensor,
    batch_size: int,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Return the mean loss and measures over all scored positions of the given examples.

    Args:
        indices: of the examples (n,); with several processes each takes its share of the batches, and all of them make
            the same number of forward passes, in each of which sharded weights (FSDP) come together.

    Returns:
        `loss` (a global mean, not a mean of batch means), the denoiser's own measures, and `scored`, the number of
        positions behind them.
    """
    device = next(denoiser.parameters()).device
    world, rank = (accelerator.num_processes, accelerator.process_index) if accelerator else (1, 0)
    sums: dict[str, Tensor] = {}
    batches = split_batches(examples, indices, batch_size)
    for first in range(0, len(batches), world):
        # A process without a batch runs the first one with weight 0, as all must make the same number of passes.
        weight = int(first + rank < len(batches))
        corrupted = corrupt_for_evaluation(examples, noise, batches[first + rank if weight else 0]).to(device)
        output = denoiser(corrupted)
        target = corrupted.target[corrupted.loss_mask]
        batch_sums = {"loss": output.loss_sum, "scored": output.count} | denoiser.measures(
            output.reconstruction, target
        )
        for name, value in batch_sums.items():
            sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + weight * value.cpu().double()
    if accelerator and world > 1:
        sums = {name: accelerator.reduce(value.to(device), "sum").cpu() for name, value in sums.items()}
    scored = float(sums.pop("scored"))
    return {name: float(value) / max(scored, 1) for name, value in sums.items()} | {"scored": scored}


def evaluate_together(
    denoiser: Denoiser,
    parts: Mapping[str, Questions],
    batch_size: int,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Return the measures over all scored positions of several sets of questions, and the loss of each as `loss/NAME`."""
    scores = {
        name: evaluate(denoiser, *questions, batch_size, accelerator) for name, questions in parts.items()
    }
    scored = sum(row["scored"] for row in scores.values())
    measures = [measure for measure in next(iter(scores.values())) if measure != "scored"]
    means = {m: sum(row[m] * row["scored"] for row in scores.values()) / max(scored, 1) for m in measures}
    return means | {"scored": scored} | {f"loss/{name}": row["loss"] for name, row in scores.items()}
