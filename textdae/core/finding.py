"""The result of a check."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line."""

    good: bool
    what: str
    """What was looked at."""
    message: str
    """How it is; where it is not good, what to do."""

    def __str__(self) -> str:
        return f"{'ok' if self.good else 'LOOK':4} {self.what}: {self.message}"
