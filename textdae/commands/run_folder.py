"""The folder of a run: its lock, checks before writing, and removal of a run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from textdae.core.errors import SettingsError, TextdaeError, reason
from textdae.core.layout import EXPORTED, MODEL, follow_umask
from textdae.core.lock import sole
from textdae.core.registry import report_files


def check_writable(folder: Path) -> None:
    """Create a folder before the work, and check that it can be written.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"output_dir: {folder} cannot be written: {error.strerror}") from None


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is created if missing.

    Raises:
        SettingsError: another run holds it, which is named; or it cannot be written.
    """
    check_writable(folder)
    with sole(f"output_dir: {folder}", folder / ".lock", "set output_dir=OTHER"):
        yield


_OF_A_RUN = (
    "settings.yaml", "config.json", "checkpoints", "best", "log.jsonl", "metrics.json", "model.safetensors", "README.md",
)  # fmt: skip
"""Files and folders that a run writes, and would write over."""


def check_output_dir(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds another run.

    Raises:
        SettingsError: says what to do.
    """
    there = next((name for name in _OF_A_RUN if (folder / name).exists()), None)
    if there and not resume:
        raise SettingsError(
            f"output_dir: {folder} already holds a run ({there}); --resume goes on with it, output_dir=OTHER keeps it, "
            "--overwrite removes it"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of writing the files of a run, other than checkpoints, into one line.

    Raises:
        TextdaeError: a file could not be written.
    """
    try:
        yield
        follow_umask(folder)
    except (OSError, SafetensorError) as error:
        raise TextdaeError(
            f"{folder}: cannot be written: {reason(error)}; the checkpoints are whole"
        ) from error


def remove_run(folder: Path) -> None:
    """Remove the files that a run writes, and no others."""
    for name in ("checkpoints", "tensorboard", "best"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in (*MODEL, *EXPORTED, *report_files(), "log.jsonl"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)  # hosts that share a disk remove it together
