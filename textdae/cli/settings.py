"""The commands that tell what can be set: settings, show."""

from typing import Annotated

import typer

from textdae.cli.app import Words, app, split
from textdae.errors import SettingsError

KINDS = {
    "pretrain": "Pretrain",
    "evaluate": "EvaluateRun",
    "embed": "Embed",
    "finetune": "Finetune",
    "probe": "Probe",
    "label-curve": "LabelCurve",
}
"""What the classes of the settings of each command are called, between the modality and `Settings`."""
MODALITIES = ("text", "image")


@app.command()
def settings(
    command: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}")] = "pretrain",
    modality: Annotated[str, typer.Option("--modality", "-m", help="text or image.")] = "text",
) -> None:
    """Print every setting of a command with its type, default and meaning."""
    if command not in KINDS:
        raise SettingsError(f"no settings for `{command}`; known: {', '.join(KINDS)}")
    if modality not in MODALITIES:
        raise SettingsError(f"--modality: {' or '.join(MODALITIES)}, got {modality!r}")
    from textdae import settings

    rows = list(settings.explain(getattr(settings, f"{modality.title()}{KINDS[command]}Settings")))
    width = max(len(f"{key}={default}") for key, _, default, _ in rows if len(key) + len(default) < 60)
    for key, kind, default, meaning in rows:
        typer.echo(f"{f'{key}={default}':{width}}  {meaning} [{kind}]")


@app.command()
def show(words: Words = None) -> None:
    """Print the settings that a pretraining run would use, as YAML, and stop."""
    from textdae.settings import PretrainSettings, dump, load

    typer.echo(dump(load(PretrainSettings, *split(words))), nl=False)
