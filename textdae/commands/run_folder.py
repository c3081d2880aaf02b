"""The folder of a run: who may write into it, and what a run leaves there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from textdae.core.errors import SettingsError, TextdaeError, reason
from textdae.core.layout import MODEL, follow_umask
from textdae.core.lock import sole
from textdae.core.registry import report_files


def check_writable(folder: Path) -> None:
    """Make a folder before the work, so that nothing is lost for want of it.

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
    """Let no other run write into a folder for a while; the folder is made where it is not there.

    Raises:
        SettingsError: another run does, which is named; or it cannot be written.
    """
    check_writable(folder)
    with sole(f"output_dir: {folder}", folder / ".lock", "set output_dir=OTHER"):
        yield


def check_output_dir(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds another run.

    Raises:
        SettingsError: says what to do.
    """
    holds_run = any((folder / name).exists() for name in ("settings.yaml", "config.json", "checkpoints"))
    if holds_run and not resume:
        raise SettingsError(
            f"output_dir: {folder} already holds a run; --resume goes on with it, output_dir=OTHER keeps it, "
            "--overwrite removes it"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while the files of a run are written, other than its checkpoints, into one line.

    Raises:
        TextdaeError: it could not be written.
    """
    try:
        yield
        follow_umask(folder)
    except (OSError, SafetensorError) as error:
        raise TextdaeError(
            f"{folder}: cannot be written: {reason(error)}; the checkpoints are whole"
        ) from error


def remove_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else that may lie there."""
    for name in ("checkpoints", "tensorboard", "best"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in (*MODEL, *report_files(), "log.jsonl"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)  # hosts that share a disk remove it together
