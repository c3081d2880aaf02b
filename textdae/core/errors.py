"""Errors that a user can fix: one line that says what is wrong, where, and what would work."""

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class TextdaeError(Exception):
    """An error that the user can fix; the command line prints it without a traceback.

    Example:
        >>> try:
        ...     textdae.load("./nowhere")
        ... except textdae.TextdaeError as error:
        ...     print(error)
        ./nowhere: no such folder
    """

    exit_code = 1
    is_told_elsewhere = False
    """Whether another process of the same run prints it."""


class SettingsError(TextdaeError):
    """A setting or an input that cannot be used.

    Example:
        >>> try:
        ...     textdae.GaussianNoise(-1)
        ... except textdae.SettingsError as error:
        ...     print(error)
        GaussianNoise: sigma: input should be greater than 0, got -1
    """

    exit_code = 2


@contextmanager
def panics_refused(what: str) -> Iterator[None]:
    """Turn a panic of a library written in Rust, which `except Exception` does not catch, into one line.

    Args:
        what: whose, or where, for the error.

    Raises:
        SettingsError: there was one.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise SettingsError(f"{what} failed: {first_line(error)}") from None


_INTERRUPTED = (
    "interrupted; what was finished is kept, what was half prepared is removed; start the same command again"
)


class Interrupted(TextdaeError):
    """A signal such as Ctrl-C ended the command; the exit code is 128 + its number, as in a shell."""

    def __init__(self, number: int, message: str = _INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@contextmanager
def memory_refused(way_out: str) -> Iterator[None]:
    """Turn the out-of-memory errors of torch and NumPy into one line.

    Args:
        way_out: what takes less.

    Raises:
        TextdaeError: it ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        ran_out = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not ran_out and not re.search("allocate memory|out of memory", str(error)):
            raise
        raise TextdaeError(f"out of memory: {first_line(error)}; {way_out}") from None


def first_line(error: BaseException) -> str:
    """Return the message of a foreign error in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def listed(names: Iterable[str], most: int = 20) -> str:
    """Return names from an untrusted file as part of one line."""
    shown = [" ".join(name.split())[:80] for name in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")


def reason(error: BaseException) -> str:
    """Return the message of an error of the operating system, without its number and path."""
    return getattr(error, "strerror", None) or first_line(error)


def space_hint(error: BaseException) -> str:
    """Return `free some space, or ` if a disk or a quota is full, else nothing."""
    number = getattr(error, "errno", None)
    if number is None and (match := re.search(r"os error (\d+)", str(error))):  # what safetensors says
        number = int(match[1])
    return "free some space, or " if number in (errno.ENOSPC, errno.EDQUOT) else ""
