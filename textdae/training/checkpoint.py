"""Checkpoints: a stock Hugging Face folder and the training state, written atomically.

    checkpoints/step-00000500/
        config.json, model.safetensors, tokenizer ...   what any Hugging Face program loads
        training_state.safetensors                      the optimizers' tensors, and the average of the weights (train.ema)
        training_state.json                             where the run is
        manifest.json                                   size and SHA-256 of every other file

Order and masks are pure functions, so one number gives the position in the data.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.optim import Optimizer

from textdae.core.denoiser import Denoiser
from textdae.core.errors import TextdaeError, first_line, reason
from textdae.core.layout import MANIFEST, checkpoint_name, checkpoints, follow_umask
from textdae.core.milestones import milestone_of
from textdae.core.sharding import gather_weights
from textdae.core.untrusted import sha256
from textdae.training.average import WeightAverage
from textdae.training.cursor import Cursor
from textdae.training.state import state_tensors


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder atomically: `write(temporary folder)` fills it, then it is renamed.

    Raises:
        TextdaeError: it could not be written (disk full, no permission); existing files are kept.
    """
    temporary = folder.with_name(f".{folder.name}.writing")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        follow_umask(temporary)
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        manifest = {
            path.relative_to(temporary).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in files
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in [*files, temporary / MANIFEST, temporary]:
            _sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TextdaeError(
            f"{folder}: could not be written: {reason(error)}; earlier checkpoints are untouched"
        ) from error


def fault(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint according to its manifest, or None if it is whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, entry in manifest.items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()) or path.is_symlink():
                return f"{name} lies outside the folder"
            if wrong := difference(path, entry):
                return f"{name} {wrong}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{MANIFEST}: {error}"
    return None


def difference(path: Path, entry: dict[str, Any]) -> str | None:
    """Return how a file differs from its entry in the manifest, or None."""
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != entry["bytes"]:
        return f"has {path.stat().st_size} bytes, not {entry['bytes']}"
    return None if sha256(path) == entry["sha256"] else "has changed"


def copy_whole(source: Path, folder: Path, allowed: Sequence[str]) -> None:
    """Copy a checkpoint to `folder`, and verify the copy against the manifest.

    Args:
        source: its files may be links.
        allowed: patterns of the names that a manifest may have.

    Raises:
        TextdaeError: the manifest is wrong, or a file does not match it; nothing was written.
    """
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        for name in ("config.json", "training_state.json", "training_state.safetensors"):
            if name not in manifest:
                raise ValueError(f"it lacks {name}")
        for name, entry in manifest.items():
            if ".." in name or not any(fnmatchcase(name, pattern) for pattern in allowed):
                raise ValueError(f"it names {name!r}, which belongs to no checkpoint")
            if wrong := difference(source / name, entry):
                raise ValueError(f"{name} {wrong}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TextdaeError(f"{source}: not whole: {MANIFEST}: {first_line(error)}") from None

    def copy(temporary: Path) -> None:
        for name in manifest:
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, temporary / name)

    write_whole(folder, copy)


def identity(folder: Path) -> str | None:
    """Return a short hash of a checkpoint's content from its manifest, or None if it has no manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def last_whole(folder: Path, passed_over: list[str] | None = None) -> Path | None:
    """Find the newest checkpoint that matches its manifest.

    Args:
        passed_over: a line is added for each one that does not.
    """
    for path in reversed(checkpoints(folder)):
        wrong = fault(path)
        if wrong is None:
            return path
        if passed_over is not None:
            passed_over.append(f"{path}: passed over, not whole: {wrong}")
    return None


def save(
    folder: Path,
    denoiser: Denoiser,
    optimizers: list[Optimizer],
    cursor: Cursor,
    fingerprint: dict[str, Any],
    save_assets: Callable[[Path], None],
    limit: int,
    is_main: bool = True,
    milestone: str | None = None,
    average: WeightAverage | None = None,
) -> Path:
    """Write a checkpoint into `folder` and verify it; then keep it and the newest others, `limit` in all.

    Every process calls it, because sharded weights are gathered; the main one writes.

    Args:
        milestone: that the run has reached with it; then it is kept for good.
        average: of the weights; the folder's model has the weights themselves.
    """

    weights = gather_weights(denoiser.model, is_main)
    tensors = state_tensors(denoiser, optimizers, average, is_main)

    def write(temporary: Path) -> None:
        denoiser.save_pretrained(temporary, weights)
        save_assets(temporary)
        save_file(tensors, temporary / "training_state.safetensors")
        state = {"cursor": cursor._asdict(), "facts": fingerprint} | (
            {"milestone": milestone} if milestone else {}
        )
        (temporary / "training_state.json").write_text(json.dumps(state, indent=1))

    path = folder / checkpoint_name(cursor.step)
    if not is_main:
        return path
    write_whole(path, write)
    wrong = fault(path)
    if wrong:
        raise TextdaeError(f"{path}: not whole after writing: {wrong}; earlier checkpoints are untouched")
    remove_old(path, limit)
    return path


def remove_old(written: Path, limit: int) -> None:
    """Keep the checkpoint that was just written and the newest whole others, `limit` in all; damaged ones go first.

    Milestones are kept beside them.
    """
    others = [path for path in checkpoints(written.parent) if path != written and not milestone_of(path)]
    kept = 0 if milestone_of(written) else 1
    if len(others) + kept <= limit:
        return
    # By time rather than by step: a resume that passed over damaged checkpoints writes lower steps later.
    newest_first = sorted(others, key=lambda path: (_written_at(path), path.name), reverse=True)
    for path in newest_first:
        if kept < limit and fault(path) is None:
            kept += 1
        else:
            shutil.rmtree(path, ignore_errors=True)


def _written_at(checkpoint: Path) -> int:
    """Return when a checkpoint was written, in nanoseconds; 0 if it has no manifest."""
    try:
        return (checkpoint / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def read_state(path: Path) -> tuple[Cursor, dict[str, Any]]:
    """Return the cursor and the fingerprint of a checkpoint.

    Raises:
        TextdaeError: they are missing or malformed.
    """
    try:
        state = json.loads((path / "training_state.json").read_text())
        cursor = Cursor(**state["cursor"])
        for name, value in cursor._asdict().items():
            kinds = (int, float) if name.endswith("seconds") else (int,)
            if type(value) not in kinds or not 0 <= value < 2**53:  # NaN too
                raise ValueError(f"{name} = {value!r}")
        return cursor, dict(state["facts"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TextdaeError(f"{path}: training_state.json cannot be used: {first_line(error)}") from None
