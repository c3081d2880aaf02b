"""The command export."""

from pathlib import Path
from typing import Annotated

import typer

from textdae.cli.app import Checkpoint, app, hush_transformers
from textdae.core.errors import SettingsError


@app.command()
def export(
    checkpoint: Checkpoint,
    onnx: Annotated[bool, typer.Option("--onnx", help="As ONNX, which needs no torch to run.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="With weights of 8 bits too.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Compare on these examples; default: those of the run, else drawn at random.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder; default: onnx beside the checkpoint.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a checkpoint in another format, compared with torch: its outputs, and its speed on this machine."""
    if not onnx:
        raise SettingsError("export: say the format: --onnx")
    from textdae.commands.export import export as run
    from textdae.report.scores import format_table

    hush_transformers()
    result = run(checkpoint, int8=int8, source=source, output=output)
    typer.echo(f"compared on {result.examples}\n{format_table(result.table)}")
    typer.echo(f"\nwritten: {', '.join(map(str, result.files))}")
