"""The commands that tell what can be set: settings, show."""

from typing import Annotated

import typer

from textdae.cli.app import Words, app, split
from textdae.errors import SettingsError
from textdae.settings import (
    ImageEmbedSettings,
    ImageEvaluateRunSettings,
    ImageFinetuneSettings,
    ImageLabelCurveSettings,
    ImagePretrainSettings,
    ImageProbeSettings,
    PretrainSettings,
    Settings,
    TextEmbedSettings,
    TextEvaluateRunSettings,
    TextFinetuneSettings,
    TextLabelCurveSettings,
    TextPretrainSettings,
    TextProbeSettings,
    dump,
    explain,
    load,
)

SETTINGS: dict[str, dict[str, type[Settings]]] = {
    "pretrain": {"text": TextPretrainSettings, "image": ImagePretrainSettings},
    "evaluate": {"text": TextEvaluateRunSettings, "image": ImageEvaluateRunSettings},
    "embed": {"text": TextEmbedSettings, "image": ImageEmbedSettings},
    "finetune": {"text": TextFinetuneSettings, "image": ImageFinetuneSettings},
    "probe": {"text": TextProbeSettings, "image": ImageProbeSettings},
    "label-curve": {"text": TextLabelCurveSettings, "image": ImageLabelCurveSettings},
}


@app.command()
def settings(
    command: Annotated[str, typer.Argument(help=f"One of: {', '.join(SETTINGS)}")] = "pretrain",
    modality: Annotated[str, typer.Option("--modality", "-m", help="text or image.")] = "text",
) -> None:
    """Print every setting of a command with its type, default and meaning."""
    if command not in SETTINGS:
        raise SettingsError(f"no settings for `{command}`; known: {', '.join(SETTINGS)}")
    if modality not in SETTINGS[command]:
        raise SettingsError(f"--modality: {' or '.join(SETTINGS[command])}, got {modality!r}")
    rows = list(explain(SETTINGS[command][modality]))
    width = max(len(f"{key}={default}") for key, _, default, _ in rows if len(key) + len(default) < 60)
    for key, kind, default, meaning in rows:
        typer.echo(f"{f'{key}={default}':{width}}  {meaning} [{kind}]")


@app.command()
def show(words: Words = None) -> None:
    """Print the settings that a pretraining run would use, as YAML, and stop."""
    typer.echo(dump(load(PretrainSettings, *split(words))), nl=False)
