"""Which step of a run reaches a milestone: a pure function of where the run stands before and after it."""

from collections.abc import Mapping, Sequence

from textdae.core.errors import SettingsError
from textdae.core.milestones import Milestone
from textdae.training.cursor import Cursor


def check_milestones(milestones: Sequence[Milestone], units: Mapping[str, int]) -> None:
    """Refuse a milestone in a unit that this run does not count.

    Args:
        units: of an example, by their names.

    Raises:
        SettingsError: names the milestone.
    """
    for milestone in milestones:
        if milestone.unit not in ("steps", *units):
            raise SettingsError(
                f"train.milestones: {milestone.text}: this run counts {', '.join(('steps', *units))}"
            )


def reached(
    milestones: Sequence[Milestone], before: Cursor, after: Cursor, units: Mapping[str, int]
) -> str | None:
    """Return the milestones that lie between two positions of a run, or None."""

    def count(cursor: Cursor, unit: str) -> int:
        return cursor.step if unit == "steps" else cursor.examples * units[unit]

    texts = [
        each.text for each in milestones if count(before, each.unit) < each.amount <= count(after, each.unit)
    ]
    return ", ".join(texts) or None
