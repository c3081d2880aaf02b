"""Log records: which levels they have, and the handler with which the command line shows them.

Every module has its `logger = logging.getLogger(__name__)`. INFO: progress. WARNING: inputs that were left out or changed,
or settings that may not be meant. A library user hears warnings on the standard error, as Python does by
itself, and the rest after `logging.basicConfig(level=logging.INFO)`. Progress bars are drawn where INFO is enabled.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from textdae.core.errors import SettingsError
from textdae.core.escape import for_terminal

LOGGER = logging.getLogger("textdae")
PROGRESS = "textdae.core.progress"
"""The logger of progress bars."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_SILENT = logging.CRITICAL + 1


class Caution(str):
    """A line of a summary that is logged as a warning."""

    __slots__ = ()


def cautions(counts: Mapping[str, int]) -> list[str]:
    """Turn counts of what was left out or changed into lines of a summary."""
    return [Caution(f"{what}: {count:,}") for what, count in counts.items()]


def log_summary(logger: logging.Logger, summary: Iterable[str]) -> None:
    """Log each line of a summary at its level."""
    for line in summary:
        logger.log(logging.WARNING if isinstance(line, Caution) else logging.INFO, "%s", line)


def silence() -> None:
    """Log nothing in this process: only the first process of a run logs."""
    LOGGER.setLevel(_SILENT)


@contextmanager
def only_warnings(name: str) -> Iterator[None]:
    """Drop the records of the logger `name`, e.g. those of a run inside a larger one."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(max(logging.WARNING, logger.getEffectiveLevel()))
    try:
        yield
    finally:
        logger.setLevel(before)


class TerminalHandler(logging.Handler):
    """Print INFO records as plain lines on the standard output; warnings and progress on the standard error.

    A progress bar is cleared before the line and drawn again after it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; a closed stream is ignored."""
        from tqdm import tqdm

        is_warning = record.levelno >= logging.WARNING
        stream = sys.stderr if is_warning or record.name == PROGRESS else sys.stdout
        text = for_terminal(f"{'textdae: ' if is_warning else ''}{record.getMessage()}\n")
        encoding = getattr(stream, "encoding", None) or "utf-8"
        with suppress(OSError, ValueError), tqdm.external_write_mode(file=stream):
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()


@contextmanager
def terminal_logging() -> Iterator[None]:
    """Show log records on the terminal, as `TEXTDAE_LOG_LEVEL` says; afterwards logging is as it was before.

    Raises:
        SettingsError: there is no such level.
    """
    level = os.environ.get("TEXTDAE_LOG_LEVEL", "").upper() or "INFO"
    if level not in LEVELS:
        raise SettingsError(f"TEXTDAE_LOG_LEVEL: one of {', '.join(LEVELS)}; got {level!r}")
    before, propagated, handler = LOGGER.level, LOGGER.propagate, TerminalHandler()
    LOGGER.addHandler(handler)
    LOGGER.propagate = False  # a handler of another library would print each line once more
    set_level(level)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = propagated
        LOGGER.setLevel(before)


def set_level(level: str) -> None:
    """Show records from this level on, in the first process of a run."""
    LOGGER.setLevel(level)
    if os.environ.get("RANK", "0") != "0":
        silence()
