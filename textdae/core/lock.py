"""Locks that tell who holds them, over processes, containers, and hosts that share a disk.

The operating system holds a lock for a process, so none outlives its process, however that ends.
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
"""Seconds that a process which is about to end gets before its lock counts as taken."""


@contextmanager
def sole(name: str, file: Path, way_out: str) -> Iterator[None]:
    """Hold the lock `file` while a result is written that only one process at a time may write.

    Args:
        name: what is locked, e.g. `output_dir: runs/mine`.
        way_out: what else to do than to wait.

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
    """Hold the lock `file`, after whoever holds it now; yield whether it is held, which it is not on a disk without locks.

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
    """Whether nobody holds a lock; False where there is no telling."""
    try:
        with _held(file, 0):
            return True
    except (Timeout, OSError, NotImplementedError):
        return False


def holder(file: Path) -> str:
    """Who holds a lock, in words."""
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
            # Whoever opened it meanwhile sees that the file they locked is gone, and opens the new one.
            with suppress(OSError):
                file.unlink()
