"""`textdae doctor`: look whether this machine, and a checkpoint, are as they should be."""

from collections.abc import Iterator

from textdae.checks.checkpoint import check_checkpoint
from textdae.checks.golden import check_loss
from textdae.checks.machine import check_machine
from textdae.core.finding import Finding


def doctor(checkpoint: str | None = None, quick: bool = False) -> list[Finding]:
    """Look whether this machine, and a checkpoint, are as they should be.

    Args:
        checkpoint: a folder or Hub id to look at too.
        quick: leave out the short training run.

    Returns:
        One finding for each thing that was looked at; `good` says whether all is well with it.

    Example:
        >>> [str(finding) for finding in textdae.doctor("runs/mine", quick=True) if not finding.good]
    """
    return list(findings(checkpoint, quick))


def findings(checkpoint: str | None, quick: bool) -> Iterator[Finding]:
    """Yield the findings of `doctor` as they come."""
    yield from check_machine()
    if checkpoint:
        yield from check_checkpoint(checkpoint)
    if not quick:
        yield check_loss()
