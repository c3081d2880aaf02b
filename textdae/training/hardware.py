"""Hardware-dependent choices: device, process group, autocast dtype, whether `torch.compile` pays off."""

import atexit
import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import InitProcessGroupKwargs, parse_flag_from_env

from textdae.core.cores import available_cores
from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.logs import silence
from textdae.core.settings.train import TrainSettings
from textdae.training.processes import PATIENCE, leave_processes, set_patience

MEETING = timedelta(minutes=5)
"""How long a process waits for the others to start."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


class _Compiling(NamedTuple):
    """What `torch.compile` is worth."""

    faster: float
    """How many times as fast a step becomes."""
    seconds: float
    """How long compiling takes."""
    repaid_after: tuple[float, int]
    """The seconds and the steps of the shortest run that gains by it."""

    def of(self, matrices: int) -> "_Compiling":
        """Return it for a model of so many hidden matrices; measured: 50, 92 and 259 s for 16, 24 and 48 of them."""
        times = max(1.0, (matrices / _MATRICES) ** 1.5)
        return _Compiling(
            self.faster, self.seconds * times, (self.repaid_after[0] * times, self.repaid_after[1])
        )


# A model of four Transformer layers, of four matrices each, on one or two cores, compiled for the first time. With matrix units (AMX) products
# take little of a step, and compiling shortens the rest (benchmarks/ABLATIONS.md).
_MATRICES = 16
_COMPILING, _COMPILING_WITH_AMX = _Compiling(1.25, 60, (480, 2000)), _Compiling(1.6, 55, (210, 1700))


def choose_device() -> torch.device:
    """Return the accelerator (CUDA, MPS, XPU ...) that every command uses, or the CPU if there is none."""
    if parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available():
        return torch.device("cpu")
    # By default convolutions in fp32 are TF32 on a GPU, unlike products of matrices: a thousandth off.
    torch.backends.cudnn.allow_tf32 = False
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def join_processes() -> Accelerator:
    """Join the process group that this process was launched in.

    Only the first process logs anything from here on.

    On a CPU, accelerate has to be told to use it; otherwise each process would train alone.

    Raises:
        SettingsError: accelerate is configured for something that this training loop does not support.
        TextdaeError: the processes do not find each other within some minutes.
    """
    _check_environment()
    cpu = choose_device().type == "cpu"
    # More than two gradients are added in an order that depends on their position in the buffer, and DDP deals the positions
    # out anew after the first step of a sitting, unless it looks for unused parameters: a resume would differ by rounding.
    exact = cpu and int(os.environ.get("WORLD_SIZE", "1")) > 2
    # Gradients are sent from where they are, not from a copy.
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True, find_unused_parameters=exact)
    meeting = InitProcessGroupKwargs(timeout=MEETING)
    try:
        # "no": train.precision decides, whatever accelerate's own settings say.
        accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[ddp, meeting])
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise
        raise TextdaeError(f"the processes of this run could not join: {first_line(error)[:200]}") from error
    set_patience(PATIENCE)
    # An interpreter that ends while threads of the group still hold tensors aborts, now and then.
    atexit.unregister(leave_processes)
    atexit.register(leave_processes)
    if not accelerator.is_main_process:
        silence()
    return accelerator


_REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed; use FSDP (configs/accelerate-fsdp.yaml) or plain DDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM; use FSDP (configs/accelerate-fsdp.yaml) or plain DDP",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism; use FSDP (configs/accelerate-fsdp.yaml) or plain DDP",
    "ACCELERATE_DYNAMO_BACKEND": "a dynamo back end of accelerate; set train.compile=always instead",
}
"""Features of accelerate that are not supported -> what to use instead."""


def _check_environment() -> None:
    for name, what in _REFUSED.items():
        if os.environ.get(name, "").lower() not in ("", "no", "false", "0"):
            raise SettingsError(
                f"{name}={os.environ[name]}: no training with {what} (see `accelerate config`, or unset the variable)"
            )
    version = os.environ.get("FSDP_VERSION", "1")
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and version != "2":
        raise SettingsError(
            f"FSDP_VERSION={version}: no training with FSDP 1; set fsdp_version: 2 as in configs/accelerate-fsdp.yaml"
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core of the CPU, so that results do not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step.

    By default glibc returns large buffers to the system and gets them back page by page, filled with zeros, which takes a
    tenth of a step that is not compiled. With another C library this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        # In bytes; older ones take no more than the second.
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of matrix products, or None for plain fp32."""
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bf16(device) else None
    return torch.bfloat16 if precision == "bf16" else None


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()) or has_amx()
    return False


def should_compile(
    settings: TrainSettings, device: torch.device, max_steps: int | None, matrices: int = _MATRICES
) -> bool:
    """Return whether to use torch.compile; `auto` compiles runs that are long enough to pay for it.

    Args:
        matrices: hidden matrices of the model.
    """
    if settings.compile != "auto":
        return settings.compile == "always"
    if not has_compiler(device):
        return False
    seconds, steps = _compiling(settings, device).of(matrices).repaid_after
    long_clock = settings.time_budget is None or settings.time_budget >= seconds
    return long_clock and (max_steps is None or max_steps >= steps)


def has_compiler(device: torch.device) -> bool:
    """Return whether torch.compile can be used: it needs a compiler of C++ on a CPU, and Triton one of C beside a GPU."""
    compilers = {"cpu": ("g++", "clang++"), "cuda": ("cc", "gcc", "clang")}.get(device.type, ())
    return any(map(shutil.which, compilers))


def loader_workers(device: torch.device) -> int:
    """Return how many processes prepare batches: none on a CPU, where they would take cores from the training itself."""
    if device.type != "cuda":
        return 0
    return max(1, min(8, available_cores() // torch.cuda.device_count() - 1))


def _compiling(settings: TrainSettings, device: torch.device) -> _Compiling:
    in_bf16 = device.type == "cpu" and autocast_dtype(settings.precision, device) is not None
    return _COMPILING_WITH_AMX if in_bf16 and has_amx() else _COMPILING


def has_amx() -> bool:
    """Return whether this processor multiplies tiles of matrices in bf16."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def compile_gain(
    settings: TrainSettings, device: torch.device, matrices: int = _MATRICES
) -> tuple[float, float]:
    """Return how many times as fast a run of this time budget is expected to be compiled, and the seconds that compiling takes.

    The gain is that of a small model on two cores; where the run is not compiled, 1 and 0.

    Args:
        matrices: hidden matrices of the model.
    """
    if not should_compile(settings, device, None, matrices):
        return 1.0, 0.0
    return _compiling(settings, device).of(matrices)[:2]
