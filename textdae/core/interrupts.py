"""Signals that end a command: each raises an exception, so that unfinished files are removed, and prints one line."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from textdae.core.errors import Interrupted

SAME = 1.0
"""Signals within so many seconds count as one: launchers forward a Ctrl-C that the terminal has already sent."""


def ending() -> list[int]:
    """Return the signals that end a command: Ctrl-C, and those that are not ignored (nohup).

    SIGHUP is a connection that was closed, SIGUSR1 is Slurm's warning.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has the first two
    return [n for n in numbers if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]


@contextmanager
def interruptible() -> Iterator[None]:
    """Let any of these signals act like Ctrl-C; another one, a second later, ends the process at once.

    A note on the KeyboardInterrupt becomes the message.

    Raises:
        Interrupted: there was one.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    process, received, since = os.getpid(), 0, 0.0

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal received, since
        if os.getpid() != process:  # a child, which ends with its parent
            if number != signal.SIGINT:
                os._exit(128 + number)
        elif not received:
            received, since = number, time.monotonic()
            raise KeyboardInterrupt
        elif time.monotonic() - since > SAME:
            os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in ending()}
    try:
        yield
    except KeyboardInterrupt as error:
        interrupted = Interrupted(received or signal.SIGINT, *getattr(error, "__notes__", [])[:1])
        interrupted.is_told_elsewhere = os.environ.get("RANK", "0") != "0"
        raise interrupted from None
    finally:
        if not received:  # else the process is about to end
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def remember_signals() -> Iterator[Callable[[], int]]:
    """Remember the last signal instead of ending at once; a second SIGINT, a second later, is a KeyboardInterrupt.

    Yields:
        A function that returns the number of the signal, 0 where there was none.
    """
    received, since = 0, 0.0

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal received, since
        if received != signal.SIGINT or number != signal.SIGINT:
            received, since = number, time.monotonic()
        elif time.monotonic() - since > SAME:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: received
        return
    before = {number: signal.signal(number, remember) for number in ending()}
    try:
        yield lambda: received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
