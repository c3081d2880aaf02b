"""Check what this machine and its libraries can do."""

import importlib.metadata
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from packaging.requirements import Requirement

from textdae.commands.provenance import versions
from textdae.core.cache import cache_root
from textdae.core.cores import available_cores
from textdae.core.finding import Finding
from textdae.training.hardware import autocast_dtype, choose_device, has_compiler

_OF_CONTRIBUTORS = ("test", "docs")
"""Extras that no user needs."""
_LEAST_FREE = 2e9


def check_machine(cache_dir: Path | None = None) -> Iterator[Finding]:
    """Check versions, extras, devices, number format, compiler and disk."""
    yield _check_versions()
    yield _check_extras()
    yield _check_device()
    yield _check_threads()
    yield _check_precision()
    yield _check_compiler()
    yield _check_disk(cache_root(cache_dir))


def _check_versions() -> Finding:
    installed = {name: version for name, version in versions().items() if name != "git_commit"}
    wrong = []
    for needed in _requirements(""):
        there = _installed(needed)
        if there is None:
            wrong.append(f"{needed.name} is not installed: pip install '{needed}'")
        elif not needed.specifier.contains(there, prereleases=True):
            wrong.append(f"{needed.name} {there} is not {needed.specifier}: pip install '{needed}'")
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    return Finding(not wrong, "versions", "; ".join(wrong) or listed)


def _requirements(extra: str) -> list[Requirement]:
    """Return what an extra adds to the core; of the extra "" what the core needs."""
    every = [Requirement(line) for line in importlib.metadata.requires("textdae") or []]
    if not extra:
        return [each for each in every if not each.marker or each.marker.evaluate({"extra": ""})]
    return [
        each
        for each in every
        if each.marker and each.marker.evaluate({"extra": extra}) and not each.marker.evaluate({"extra": ""})
    ]


def _installed(needed: Requirement) -> str | None:
    """Return the version that is there of what a requirement names, or None."""
    try:
        return importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_extras() -> Finding:
    extras = [
        name
        for name in importlib.metadata.metadata("textdae").get_all("Provides-Extra") or []
        if name not in _OF_CONTRIBUTORS
    ]
    lacking = [name for name in extras if not all(map(_installed, _requirements(name)))]
    there = ", ".join(name for name in extras if name not in lacking) or "none"
    hint = f"; for the others: pip install 'textdae[{','.join(lacking)}]'" if lacking else ""
    return Finding(True, "extras", f"{there}{hint}")


def _check_device() -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Finding(
            True, "device", ", ".join(f"{p.name} ({p.total_memory / 2**30:.0f} GiB)" for p in names)
        )
    # A driver without a device that torch can use: the usual sign of a build of torch for the CPU.
    if shutil.which("nvidia-smi"):
        return Finding(
            False,
            "device",
            f"this machine has a GPU that torch {torch.__version__} cannot use; see pytorch.org for the build",
        )
    return Finding(True, "device", f"CPU, {available_cores()} cores")


def _check_threads() -> Finding:
    threads, cores = torch.get_num_threads(), available_cores()
    if threads > cores:
        return Finding(
            False,
            "threads",
            f"{threads} on {cores} cores are slower than one a core; set OMP_NUM_THREADS={cores}",
        )
    few = f" on {cores} cores; more with OMP_NUM_THREADS={cores}" if threads < cores else ""
    return Finding(True, "threads", f"{threads}{few}")


def _check_precision() -> Finding:
    device = choose_device()
    chosen = autocast_dtype("auto", device)
    if chosen is None:
        return Finding(True, "precision", "fp32, for bf16 is not multiplied natively here")
    return Finding(True, "precision", "bf16, which is multiplied natively here")


def _check_compiler() -> Finding:
    device = choose_device()
    if has_compiler(device):
        return Finding(True, "compiler", "there is one, so long runs are compiled")
    which = "gcc or clang" if device.type == "cuda" else "g++ or clang++"
    return Finding(
        True,
        "compiler",
        f"none ({which}), so nothing is compiled; runs of some minutes would be a fifth faster or more",
    )


def _check_disk(folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    message = f"{free / 1e9:.1f} GB free at {there}; the cache there holds {size / 1e9:.1f} GB"
    if free < _LEAST_FREE:
        return Finding(False, "disk", f"{message}; remove what is not needed, or set TEXTDAE_CACHE")
    return Finding(True, "disk", re.sub(r"\s+", " ", message))
