"""The command plan."""

from pathlib import Path
from typing import Annotated

import typer

from textdae.cli.app import WordsOfPretraining, app, hush_transformers, split
from textdae.core.errors import SettingsError, reason


@app.command()
def plan(
    words: WordsOfPretraining = None,
    budget: Annotated[str, typer.Option("--budget", help="Time of the training, e.g. 10m or 1h.")] = "1h",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The settings file to write, and the name of its picture.")
    ] = Path("plan.yaml"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what was measured before.")] = False,
) -> None:
    """Find the size that learns most in a time budget on this machine: measure, make pilot runs, write the settings."""
    from textdae.commands.keywords import read_settings
    from textdae.core.settings.runs import PretrainSettings

    path, overrides = split(words)
    read_settings(PretrainSettings, path, overrides)  # a typo is refused before anything slow is loaded
    from textdae.commands.plan import MARK
    from textdae.commands.plan import plan as make

    picture = output.with_suffix(".png")
    if output.suffix not in (".yaml", ".yml"):
        raise SettingsError(f"--output: the name of a settings file ends with .yaml, got {output}")
    elsewhere = "choose another with --output"
    try:
        if output.exists() and not output.read_text(encoding="utf-8", errors="replace").startswith(MARK):
            raise SettingsError(f"{output}: it is no plan, and would be replaced; {elsewhere}")
        if picture.exists() and not output.exists():
            raise SettingsError(f"{picture}: it would be replaced by the picture of the plan; {elsewhere}")
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{output}: {reason(error)}; {elsewhere}") from None
    hush_transformers()
    made = make(budget, path, overrides, fresh=fresh)
    typer.echo(made.text)
    try:
        output.write_text(made.yaml, encoding="utf-8")
        made.draw(picture)
    except OSError as error:
        raise SettingsError(f"{output}: {reason(error)}; {elsewhere}") from None
    typer.echo(f"settings: {output}; curves: {picture}; go on with: textdae pretrain {output}")
