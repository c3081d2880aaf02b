"""Check before the first step whether a run fits into memory."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from textdae.core.denoiser import Denoiser
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.examples import Examples
from textdae.core.noise import Noise

_BYTES_PER_PARAMETER = 16
"""A weight, its gradient and AdamW's two moments, in fp32."""
_TAKEN_PER_KEPT = 2
"""With the gradients of the activations and the gaps in freed memory; measured on a CPU: 1.85 to 2.1, for text and images. Not measured on a
GPU, where it is taken to be the same."""
_SMALLER = "set a smaller model.hidden_size, or smaller examples"


def available_memory(device: torch.device) -> int | None:
    """Return the bytes that this process may still allocate on a device, or None if that is unknown."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
            device
        )  # by torch, to be used again
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type not in ("cpu", "mps"):
        return None
    free: list[int] = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:  # not Linux: all memory, as the free part is unknown
        if "SC_PHYS_PAGES" in os.sysconf_names:
            free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for most, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):  # fmt: skip
        try:  # the limit of a container
            limit, taken = (int(Path("/sys/fs/cgroup", name).read_text()) for name in (most, used))
            free.append(limit - taken + _file_cache(Path("/sys/fs/cgroup", most).parent))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(free) if free else None


def _file_cache(group: Path) -> int:
    """Return the bytes of files that a group of processes has read and the kernel gives back when memory is short."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    found = dict(line.rsplit(" ", 1) for line in lines if " " in line)
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that this process has taken so far, of a GPU or of the host; None if that is unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def model_bytes(parameters: int) -> int:
    """Return the bytes of so many weights, their gradients and the state of their optimizer."""
    return parameters * _BYTES_PER_PARAMETER


def check_model_fits(parameters: int, free: int | None, processes: int = 1) -> None:
    """Refuse a model whose weights, gradients and optimizer state exceed the memory.

    Args:
        parameters: their number, in each process.
        free: bytes; None if unknown, and nothing is refused.
        processes: that share this memory.

    Raises:
        SettingsError: it does not fit.
    """
    needed = model_bytes(parameters) * processes
    if free is not None and needed > free:
        raise SettingsError(
            f"model: {parameters / 1e6:,.0f} M parameters need {needed / 1e9:,.1f} GB with their gradients and optimizer, "
            f"{free / 1e9:,.1f} GB are free; {_SMALLER}"
        )


def sharing(accelerator: Accelerator) -> tuple[int, int]:
    """Return the number of processes that shard the weights, and of those that share the memory of this one's device."""
    shards = accelerator.num_processes if accelerator.distributed_type == DistributedType.FSDP else 1
    # On a CPU the processes of a host share its memory.
    on_cpu = accelerator.device.type == "cpu"
    return shards, int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if on_cpu else 1


def model_check(accelerator: Accelerator) -> Callable[[int], None]:
    """Return a check of a number of parameters, see `check_model_fits`, to call before a model is built."""

    def check(parameters: int) -> None:
        shards, processes = sharing(accelerator)
        check_model_fits(parameters // shards, available_memory(accelerator.device), processes)

    return check


def check_batch_fits(
    parameters: int,
    per_example: int,
    batch_size: int,
    free: int | None,
    processes: int = 1,
    example_size: str | None = None,
) -> None:
    """Refuse a batch whose activations exceed the memory that the model leaves.

    Args:
        parameters: of the model, in each process.
        per_example: bytes of the activations of one example, see `activation_bytes`.
        batch_size: examples in one forward pass.
        free: bytes; None if unknown, and nothing is refused.
        processes: that share this memory.
        example_size: the setting of the size of an example, for the message.

    Raises:
        SettingsError: it does not fit; the message says what would.
    """
    fixed = model_bytes(parameters)
    needed = (fixed + per_example * batch_size) * processes
    if free is None or needed <= free:
        return
    fits = (free // processes - fixed) // max(per_example, 1)
    smaller = _SMALLER + (f" ({example_size})" if example_size else "")
    way_out = (
        f"set train.per_device_train_batch_size={fits} or less (train.gradient_accumulation_steps makes up for it), "
        f"or {smaller.removeprefix('set ')}"
        if fits > 0
        else smaller
    )
    raise SettingsError(
        f"train.per_device_train_batch_size: {batch_size} examples at once need {needed / 1e9:,.1f} GB "
        f"({per_example / 1e9:,.2f} GB each), {free / 1e9:,.1f} GB are free; {way_out}"
    )


def activation_bytes(denoiser: Denoiser, examples: Examples, noise: Noise, dtype: torch.dtype | None) -> int:
    """Return the bytes that a training step needs for one more example.

    What is kept until the backward pass is measured by forward passes of one example and of two: what a step keeps
    however large its batch is drops out.
    """
    once, twice = (_kept(denoiser, examples, noise, dtype, count) for count in (1, 2))
    return max(twice - once, 0) * _TAKEN_PER_KEPT


def _kept(denoiser: Denoiser, examples: Examples, noise: Noise, dtype: torch.dtype | None, count: int) -> int:
    device = next(denoiser.parameters()).device
    own = {parameter.untyped_storage().data_ptr() for parameter in denoiser.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    indices = torch.zeros(count, dtype=torch.long)
    corrupted = noise(examples.batch(indices), Draw(0, indices, indices)).to(device)
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None), hooks:
        output = denoiser(corrupted)  # holds the graph, so that no storage is used twice
    del output
    return sum(kept.values())
