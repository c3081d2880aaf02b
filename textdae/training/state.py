"""The tensors of a run beside its weights: what the optimizers know, and the average of the weights."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from textdae.core.denoiser import Denoiser
from textdae.core.errors import TextdaeError
from textdae.core.sharding import gather_full, shard_like
from textdae.training.average import WeightAverage

_AVERAGE = "average"
"""Begins the names of the averaged weights in the training state, as the number of an optimizer begins those of its own."""


def restore(
    path: Path, denoiser: Denoiser, optimizers: list[Optimizer], average: WeightAverage | None = None
) -> None:
    """Load the weights, their average and the optimizer state of a checkpoint.

    An average that the checkpoint does not have begins with its weights.

    Raises:
        TextdaeError: they do not fit this model.
    """
    denoiser.load_pretrained(path)
    if average:
        average.reset()
    names = dict(denoiser.named_parameters())
    for key, tensor in load_file(path / "training_state.safetensors").items():
        number, name, entry = [*key.split("/"), "", ""][:3]
        parameter = names.get(name)
        fits = parameter is not None and (not tensor.ndim or tensor.shape == parameter.shape)
        known = number == _AVERAGE or (number.isdecimal() and int(number) < len(optimizers))
        if parameter is None or not fits or not known:
            raise TextdaeError(
                f"{path}: training state of {name}, which this model or optimizer does not have"
            )
        if number == _AVERAGE:
            if average:
                average.weights[name].copy_(shard_like(tensor, parameter))
            continue
        optimizer = optimizers[int(number)]
        # A plain AdamW counts its steps on the CPU, a fused one on the device of the weights.
        on_device = tensor.ndim > 0 or optimizer.param_groups[0].get("fused")
        placed = shard_like(tensor, parameter) if tensor.ndim else tensor.to(parameter.device)
        optimizer.state[parameter][entry] = placed if on_device else tensor


def state_tensors(
    denoiser: Denoiser, optimizers: list[Optimizer], average: WeightAverage | None, keep: bool
) -> dict[str, Tensor]:
    """Gather the full tensors of the optimizers and the average for the process that keeps them. A collective."""
    names = {id(parameter): name for name, parameter in denoiser.named_parameters()}
    tensors = {
        f"{number}/{names[id(parameter)]}/{entry}": gather_full(value, keep)
        for number, optimizer in enumerate(optimizers)
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }
    averaged = average.weights if average else {}
    tensors |= {f"{_AVERAGE}/{name}": gather_full(value, keep) for name, value in averaged.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}
