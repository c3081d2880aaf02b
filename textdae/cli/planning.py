"""The command plan."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from textdae.cli.app import Words, app, hush_transformers, split
from textdae.core.errors import SettingsError, reason

logger = logging.getLogger(__name__)


@app.command()
def plan(
    words: Words = None,
    budget: Annotated[str, typer.Option("--budget", help="Time of the training, e.g. 10m or 1h.")] = "1h",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The settings file that is written, and its picture beside it."),
    ] = Path("plan.yaml"),
) -> None:
    """Find the size that learns most in a time budget on this machine: measure, fly short pilots, and write the settings."""
    from textdae.commands.keywords import read_settings
    from textdae.core.settings.runs import PretrainSettings

    path, overrides = split(words)
    read_settings(PretrainSettings, path, overrides)  # a typo is refused before anything slow is loaded
    from textdae.commands.plan import MARK
    from textdae.commands.plan import plan as make

    try:
        mine = not output.exists() or output.read_text(encoding="utf-8", errors="replace").startswith(MARK)
    except OSError as error:
        raise SettingsError(
            f"{output}: cannot be read: {reason(error)}; choose another with --output"
        ) from None
    if not mine:
        raise SettingsError(f"{output}: it is no plan, and would be replaced; choose another with --output")
    hush_transformers()
    made = make(budget, path, overrides)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(made.yaml)
        made.draw(output.with_suffix(".png"))
    except OSError as error:
        raise SettingsError(
            f"{output}: cannot be written: {reason(error)}; choose another with --output"
        ) from None
    typer.echo(made.text)
    typer.echo(
        f"settings and curves: {output}, {output.with_suffix('.png')}; go on with: textdae pretrain {output}"
    )
