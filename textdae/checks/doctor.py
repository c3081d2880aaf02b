"""`textdae doctor`: check this machine, and a checkpoint."""

from collections.abc import Iterator

from textdae.checks.checkpoint import check_checkpoint
from textdae.checks.golden import check_loss
from textdae.checks.machine import check_machine
from textdae.core.finding import Finding


def doctor(checkpoint: str | None = None, quick: bool = False) -> list[Finding]:
    """Check this machine, and a checkpoint.

    Args:
        checkpoint: a folder or Hub id to check too.
        quick: leave out the short training run.

    Returns:
        One finding for each check; `good` tells whether it passed.

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
