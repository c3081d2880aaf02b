"""What textdae logs, for tests of any scope."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Listener(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def heard(level: int = logging.INFO) -> Iterator[list[str]]:
    """Yield the messages logged from this level on; more come as they are logged."""
    logger, lines = logging.getLogger("textdae"), list[str]()
    listener, before = _Listener(lines), logger.level
    logger.addHandler(listener)
    logger.setLevel(level)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before)
