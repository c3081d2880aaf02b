"""The commands that need labels: finetune, probe, label-curve."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from textdae.cli.app import Checkpoint, Words, app, print_result, quiet, split
from textdae.errors import SettingsError
from textdae.locate import modality_of
from textdae.settings import FinetuneSettings, LabelCurveSettings, ProbeSettings, load


@app.command()
def finetune(
    checkpoint: Checkpoint,
    words: Words = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole checkpoint in output_dir.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the run that output_dir holds.")
    ] = False,
) -> None:
    """Train all of an encoder on labels, into a stock classifier."""
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")
    path, overrides = split(words)
    settings = load(FinetuneSettings, path, overrides, {"modality": modality_of(checkpoint)})
    _need_downstream()
    from textdae.downstream.finetune import finetune as run

    quiet()
    result = run(checkpoint, settings, resume, overwrite, typer.echo)
    is_main = os.environ.get("RANK", "0") == "0"
    if result.fit.stopped_by:
        if is_main:
            typer.echo(f"go on with: textdae finetune {' '.join([checkpoint, *(words or [])])} --resume")
        raise typer.Exit(128 + result.fit.stopped_by)
    if is_main:
        print_result(result, "test")


@app.command()
def probe(checkpoint: Checkpoint, words: Words = None) -> None:
    """Measure what the frozen encoder's vectors know of the labels, beside its rivals."""
    path, overrides = split(words)
    _alone("probe")
    settings = load(ProbeSettings, path, overrides, {"modality": modality_of(checkpoint)})
    _need_downstream()
    _claim(settings.output_dir)
    from textdae.downstream.probe import probe as run
    from textdae.report.scores import print_table

    quiet()
    found = run(checkpoint, settings, typer.echo)
    for table in ("encoder", "rivals"):
        typer.echo(f"\n{print_table(found[table])}")
    output = settings.output_dir
    (output / "probe.json").write_text(json.dumps(found, indent=1))
    typer.echo(f"\nwritten: {output / 'probe.json'}")


@app.command()
def label_curve(checkpoint: Checkpoint, words: Words = None) -> None:
    """Measure how good a task gets with how many labels, with pretraining and without."""
    path, overrides = split(words)
    _alone("label-curve")
    settings = load(LabelCurveSettings, path, overrides, {"modality": modality_of(checkpoint)})
    _need_downstream()
    _claim(settings.output_dir)
    from textdae.downstream.label_curve import label_curve as run

    quiet()
    run(checkpoint, settings, typer.echo)
    output = settings.output_dir
    typer.echo(f"written: {output / 'curve.png'}, {output / 'curve.csv'}")


def _claim(folder: Path) -> None:
    """Make the output folder before the work, so that nothing is lost for want of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"output_dir: {folder} cannot be written: {error.strerror}") from None


def _alone(command: str) -> None:
    """Refuse several processes, which would write the same files."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError(f"{command} runs in one process; start it without accelerate or torchrun")


def _need_downstream() -> None:
    """Say at once, rather than at the end of a run, that a library is missing."""
    from importlib.util import find_spec

    for module in ("sklearn", "evaluate"):
        if find_spec(module) is None:
            raise SettingsError(
                "tasks with labels need more libraries; run: pip install 'textdae[downstream]'"
            )
