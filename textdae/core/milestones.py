"""Milestones: points of a run whose checkpoints are kept for good."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_FORM = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kKmMbBtT]?)\s*([a-z]*)\s*")


@dataclass(frozen=True)
class Milestone:
    """A point of a run, in a unit of its own.

    Example:
        >>> Milestone.parse("10M tokens")
        Milestone(amount=10000000, unit='tokens', text='10M tokens')
    """

    amount: int
    unit: str
    """steps, examples, or what the corpus counts in: tokens."""
    text: str
    """As it is written down."""

    @classmethod
    def parse(cls, value: Any) -> "Milestone":
        """Read `500` (steps), `500 steps`, `200k examples` or `10M tokens`.

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        match = _FORM.fullmatch(str(value)) if isinstance(value, str | int | float) else None
        if match is None or isinstance(value, bool):
            raise ValueError("write a number of steps, or for instance 200k examples or 10M tokens")
        amount = round(float(match[1].replace(",", "").replace("_", "")) * _FACTORS[match[2].lower()])
        if not 1 <= amount < 2**53:
            raise ValueError("a milestone comes after the first step")
        unit = match[3] or "steps"
        return cls(amount, unit, f"{match[1]}{match[2]} {unit}")


MilestoneField = Annotated[
    Milestone, PlainValidator(Milestone.parse), PlainSerializer(lambda milestone: milestone.text)
]
"""A milestone in settings: read from what `parse` takes, and written as text."""


def milestone_of(checkpoint: Path) -> str | None:
    """Return the milestone that a checkpoint was written for, or None."""
    try:
        name = json.loads((checkpoint / "training_state.json").read_text(encoding="utf-8"))["milestone"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return str(name) if name else None
