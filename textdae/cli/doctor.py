"""The command that looks whether all is well: doctor."""

from typing import Annotated

import typer

from textdae.cli.app import app, quiet


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

    quiet()
    bad = 0
    loss = () if quick else (check_loss() for _ in range(1))
    for finding in chain(check_machine(), check_checkpoint(checkpoint) if checkpoint else (), loss):
        typer.echo(str(finding))
        bad += not finding.good
    if bad:
        raise typer.Exit(1)
