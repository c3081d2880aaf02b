"""The result of a check."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line."""

    good: bool
    what: str
    """What was checked."""
    message: str
    """The result; where it is bad, what to do."""

    def __str__(self) -> str:
        return f"{'ok' if self.good else 'LOOK':4} {self.what}: {self.message}"
