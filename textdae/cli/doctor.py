"""The command doctor."""

from typing import Annotated

import typer

from textdae.cli.app import app, hush_transformers


@app.command()
def doctor(
    checkpoint: Annotated[
        str | None, typer.Argument(help="A checkpoint folder or Hub id to look at too.", show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip the short training run.")] = False,
) -> None:
    """Check this machine, and a checkpoint: one line for each check."""
    from textdae.checks.doctor import findings

    hush_transformers()
    good = True
    for finding in findings(checkpoint, quick):
        typer.echo(str(finding))
        good = good and finding.good
    if not good:
        raise typer.Exit(1)
