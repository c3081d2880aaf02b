"""What this machine does well: its processes, its multiplication format, and whether compiling will be repaid."""

import ctypes
import shutil
import sys

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import parse_flag_from_env

from textdae.settings import TrainSettings

# Compiling a small model takes about a minute on two cores and makes a step about a fifth shorter.
_REPAID_AFTER_SECONDS = 480
_REPAID_AFTER_STEPS = 2000
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def choose_device() -> torch.device:
    """The accelerator (CUDA, MPS, XPU ...) that every command computes on, or the CPU where there is none."""
    if parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def join_processes() -> Accelerator:
    """This process among the others that it was launched with.

    On a CPU accelerate joins them only where it is told that it is one; otherwise each would train all by itself.
    """
    cpu = choose_device().type == "cpu"
    # Gradients are sent from where they are, not from a copy.
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(cpu=cpu, kwargs_handlers=[ddp])


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, for the next step to use.

    By itself it returns large buffers to the system and gets them back page by page, each filled with zeros: a tenth of
    a step that is not compiled. Elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        # In bytes; older ones take no more than the second.
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The format that products are computed in, or None for plain fp32."""
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bf16(device) else None
    return torch.bfloat16 if precision == "bf16" else None


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, name, bool)()) for name in names)
    return False


def should_compile(settings: TrainSettings, device: torch.device, max_steps: int | None) -> bool:
    """Whether to use torch.compile, as `train.compile` says."""
    if settings.compile != "auto":
        return settings.compile == "always"
    if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        return False
    if device.type not in ("cpu", "cuda"):
        return False
    long_clock = settings.time_budget is None or settings.time_budget >= _REPAID_AFTER_SECONDS
    return long_clock and (max_steps is None or max_steps >= _REPAID_AFTER_STEPS)
