"""Provenance of a run: versions, hardware, and the names of its sources and checkpoints."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from textdae.core.names import is_local
from textdae.core.registry import is_embedded
from textdae.core.settings.paths import names_path


def versions() -> dict[str, Any]:
    """Return the versions of the packages of a run, and the git commit of textdae if it is a clone."""
    names = (
        "textdae",
        "torch",
        "transformers",
        "tokenizers",
        "datasets",
        "accelerate",
        "safetensors",
        "numpy",
    )
    numbers: dict[str, Any] = {name: importlib.metadata.version(name) for name in names}
    here = Path(__file__).resolve().parents[2]
    numbers["python"] = platform.python_version()
    numbers["git_commit"] = None
    if (here / ".git").exists():
        try:
            command = ["git", "-C", str(here), "rev-parse", "HEAD"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            numbers["git_commit"] = answer.stdout.strip() or None
        except (OSError, subprocess.SubprocessError):
            pass
    return numbers


def hardware(accelerator: Accelerator) -> str:
    """Describe the hardware of the run."""
    if accelerator.device.type == "cuda":
        return f"{accelerator.num_processes} x {torch.cuda.get_device_name(accelerator.device)}"
    return f"{accelerator.num_processes} x {accelerator.device.type}, {torch.get_num_threads()} threads each"


_OF_A_HOST = (
    "output_dir", "hub", "cache_dir", "num_proc", "dataloader_num_workers", "report_to", "run_name", "project",
)  # fmt: skip
"""Settings that may differ between hosts as they do not change the model; so may paths, whose content is compared."""


def comparable(settings: Any) -> dict[str, Any]:
    """Return the settings by name, without those that may differ between hosts."""
    values: dict[str, Any] = {}
    for name, value in _of_any_host(settings.model_dump(mode="json")).items():
        inner = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {}
        values |= inner or {name: value}
    return values


def _of_any_host(value: Any) -> Any:
    if isinstance(value, list):
        return [_of_any_host(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if not (key in _OF_A_HOST or names_path(key))}
    return {key: _of_any_host(each) for key, each in kept.items()}


def _absolute(name: str) -> str:
    """Return the absolute form of a path; a name on the Hub is unchanged."""
    return str(Path(name).expanduser().absolute()) if is_local(name) else name


def with_checkpoints(settings: Any, change: Callable[[str], str]) -> Any:
    """Return the settings with the names of their checkpoints changed."""
    update = {}
    for part in ("model", "tokenizer"):
        inner: Any = getattr(settings, part, None)
        if name := getattr(inner, "from_pretrained", None):
            update[part] = inner.model_copy(update={"from_pretrained": change(name)})
    return settings.model_copy(update=update)


def with_absolute_paths(settings: Any) -> Any:
    """Return the settings with absolute paths of checkpoints and sources."""
    changed = with_checkpoints(settings, _absolute)
    data: dict[str, Any] = {
        key: _absolute(value)
        for key, value in settings.data
        if names_path(key) and value and not is_embedded(value)
    }
    if several := getattr(settings.data, "sources", None):
        paths = [each.source if is_embedded(each.source) else _absolute(each.source) for each in several]
        data["sources"] = tuple(
            each.model_copy(update={"source": path, "name": each.label})
            for each, path in zip(several, paths, strict=True)
        )
        data.pop("source", None)  # their labels
    return changed.model_copy(update={"data": settings.data.model_copy(update=data)})
