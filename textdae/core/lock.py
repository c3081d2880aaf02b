"""File locks that name their holder, across processes, containers, and hosts that share a disk.

The operating system releases a lock when its process ends, however it ends.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from textdae.core.errors import SettingsError, reason

logger = logging.getLogger(__name__)

_PATIENCE = 2.0
"""Seconds to wait for a process that is about to end."""


@contextmanager
def sole(name: str, file: Path, way_out: str) -> Iterator[None]:
    """Hold the lock `file` while writing a result, or refuse if another process holds it.

    Args:
        name: what is locked, e.g. `output_dir: runs/mine`.
        way_out: what to do instead of waiting.

    Raises:
        SettingsError: another process holds the lock; names it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_held(file, _PATIENCE))
        except Timeout:
            raise SettingsError(
                f"{name} is in use by {holder(file)}; wait until that has ended, stop it there, or {way_out}"
            ) from None
        except (OSError, NotImplementedError) as error:
            logger.warning(f"{name}: this disk has no locks ({reason(error)}); let no other run write there")
        yield


@contextmanager
def turn(file: Path, what: str) -> Iterator[bool]:
    """Wait for the lock `file`, and hold it; yield whether it is held, which is False on a disk without locks.

    Args:
        what: its holder does, e.g. `reads the source`; where it is held, that is logged.
    """
    with ExitStack() as stack:
        try:
            try:
                stack.enter_context(_held(file, 0))
            except Timeout:
                logger.warning(f"waiting for {holder(file)}, which {what}")
                stack.enter_context(_held(file, -1))
            alone = True
        except (OSError, NotImplementedError):
            alone = False
        yield alone


def is_free(file: Path) -> bool:
    """Return whether a lock is free; False if that is unknown."""
    try:
        with _held(file, 0):
            return True
    except (Timeout, OSError, NotImplementedError):
        return False


def holder(file: Path) -> str:
    """Describe the holder of a lock."""
    try:
        entry = json.loads(file.read_text())
        return f"process {int(entry['pid'])} on {str(entry['host'])[:80]} since {str(entry['since'])[:20]}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


@contextmanager
def _held(file: Path, timeout: float) -> Iterator[None]:
    lock = FileLock(file, timeout=timeout, poll_interval=0.1, thread_local=False, fallback_to_soft=False)
    with lock:
        entry = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        with suppress(OSError):
            file.write_text(json.dumps(entry))
        try:
            yield
        finally:
            # A process that opened it meanwhile notices that its file is gone, and opens the new one.
            with suppress(OSError):
                file.unlink()
