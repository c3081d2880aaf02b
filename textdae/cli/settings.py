"""The commands settings and show."""

from typing import Annotated

import typer

from textdae.cli.app import WordsOfPretraining, app, split
from textdae.core.errors import SettingsError
from textdae.core.registry import modalities
from textdae.core.registry import modality as named

COMMANDS = ("pretrain", "prepare", "evaluate", "embed", "finetune", "probe", "label-curve")


@app.command()
def settings(
    command: Annotated[str, typer.Argument(help=f"One of: {', '.join(COMMANDS)}")] = "pretrain",
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality",
            "-m",
            help="An installed modality; default: text. An unknown name lists them.",
            show_default=False,
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--list", help="Print the settings that come with textdae instead.")
    ] = False,
) -> None:
    """Print every setting of a command with its type, default and meaning."""
    if names:
        from textdae.core.settings.shipped import about, shipped

        for name, file in shipped().items():
            typer.echo(f"{name:20}{about(file)}")
        return
    if command not in COMMANDS:
        raise SettingsError(f"no settings for `{command}`; known: {', '.join(COMMANDS)}")
    from textdae.core.settings.fields import explain

    chosen = named(modality or next(iter(modalities())), "--modality")
    rows = list(explain(chosen.settings_class(command)))
    width = max(len(f"{key}={default}") for key, _, default, _ in rows if len(key) + len(default) < 60)
    for key, kind, default, meaning in rows:
        typer.echo(f"{f'{key}={default}':{width}}  {meaning} [{kind}]")


@app.command()
def show(words: WordsOfPretraining = None) -> None:
    """Print the settings that a pretraining run would use, as YAML, and stop."""
    from textdae.core.settings.reader import load
    from textdae.core.settings.runs import PretrainSettings
    from textdae.core.settings.yaml_text import dump

    typer.echo(dump(load(PretrainSettings, *split(words))), nl=False)
