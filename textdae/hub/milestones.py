"""Push the milestones of a run, each to a revision of its own."""

from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.errors import SettingsError
from textdae.core.layout import checkpoints, step_of
from textdae.core.milestones import milestone_of
from textdae.core.names import HubName
from textdae.hub.push import Pushed, destination, push


class MilestonePush(NamedTuple):
    """A milestone on the Hub."""

    milestone: str
    """As the settings have it: `10M tokens`."""
    pushed: Pushed


def revision_of(checkpoint: Path) -> str:
    """Return the branch that a checkpoint is pushed to: `step-500` for `step-00000500`."""
    return f"step-{step_of(checkpoint.name)}"


def milestones_of(run: Path) -> dict[Path, str]:
    """Return the milestones of a run by their folders, the earliest first.

    Raises:
        SettingsError: it has none.
    """
    folders = checkpoints(run / "checkpoints")
    milestones = {folder: name for folder in folders if (name := milestone_of(folder))}
    if not milestones:
        raise SettingsError(f"--milestones: {run} has none; train.milestones=[10M tokens, ...] keeps them")
    return milestones


def push_milestones(run: Path | str, name: HubName | str, **options: Any) -> list[MilestonePush]:
    """Push every milestone of a run to a branch of its own, `step-N`, each in one commit.

    Args:
        run: its folder.
        name: OWNER/NAME.
        options: as `push` takes them.

    Raises:
        SettingsError: there is none, or a push is refused.
        TextdaeError: the Hub could not be reached; what was pushed before stays, and is not sent again.

    Example:
        >>> [each.milestone for each in push_milestones("runs/mine", "OWNER/NAME")]
        ['10M tokens']
    """
    repository = destination(name)
    if repository.revision:
        raise SettingsError(f"--milestones: each has a revision of its own; write {repository.id}")
    return [
        MilestonePush(milestone, push(folder, HubName(repository.id, revision_of(folder)), **options))
        for folder, milestone in milestones_of(Path(run).expanduser()).items()
    ]
