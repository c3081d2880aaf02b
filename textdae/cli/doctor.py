"""The command that looks whether all is well: doctor."""

from typing import TYPE_CHECKING, Annotated

import typer

from textdae.cli.app import app, hush_transformers

if TYPE_CHECKING:
    from textdae.core.finding import Finding


@app.command()
def doctor(
    checkpoint: Annotated[
        str | None, typer.Argument(help="A checkpoint folder or Hub id to look at too.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the short training run.")] = False,
) -> None:
    """Look whether this machine, and a checkpoint, are as they should be: one line each."""
    from itertools import chain

    from textdae.doctor.checkpoint import check_checkpoint
    from textdae.doctor.golden import check_loss
    from textdae.doctor.machine import check_machine

    hush_transformers()
    findings = chain(check_machine(), check_checkpoint(checkpoint) if checkpoint else ())
    good = [_told(finding) for finding in findings]
    if not quick:
        good.append(_told(check_loss()))
    if not all(good):
        raise typer.Exit(1)


def _told(finding: "Finding") -> bool:
    typer.echo(str(finding))
    return finding.good
