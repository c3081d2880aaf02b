"""The commands that need labels: finetune, probe, label-curve."""

import os

import typer

from textdae.cli.app import (
    Checkpoint,
    Overwrite,
    Resume,
    Words,
    app,
    end,
    exclude_each_other,
    hush_transformers,
    split,
)
from textdae.core.errors import SettingsError


@app.command()
def finetune(
    checkpoint: Checkpoint, words: Words = None, resume: Resume = False, overwrite: Overwrite = False
) -> None:
    """Train all of an encoder on labels, into a stock classifier."""
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.downstream import FinetuneSettings

    exclude_each_other(resume, overwrite)
    settings = for_checkpoint(FinetuneSettings, checkpoint, *split(words), resume=resume)
    _need_downstream()
    from textdae.commands.finetune import finetune as run

    hush_transformers()
    result = run(checkpoint, settings, resume, overwrite)
    end(result, ["finetune", checkpoint, *(words or [])], "test")


@app.command()
def probe(checkpoint: Checkpoint, words: Words = None) -> None:
    """Measure what the frozen encoder's vectors know of the labels, beside its baselines."""
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.downstream import ProbeSettings

    _alone("probe")
    settings = for_checkpoint(ProbeSettings, checkpoint, *split(words))
    _need_downstream()
    from textdae.commands.probe import probe as run
    from textdae.report.scores import format_table

    hush_transformers()
    result = run(checkpoint, settings)
    for table in ("encoder", "baselines"):
        typer.echo(f"\n{format_table(getattr(result, table))}")
    typer.echo(f"\nwritten: {settings.output_dir / 'probe.json'}")


@app.command()
def label_curve(checkpoint: Checkpoint, words: Words = None) -> None:
    """Measure the accuracy against the number of labels, with and without pretraining."""
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.downstream import LabelCurveSettings

    _alone("label-curve")
    settings = for_checkpoint(LabelCurveSettings, checkpoint, *split(words))
    _need_downstream()
    from textdae.commands.label_curve import label_curve as run

    hush_transformers()
    run(checkpoint, settings)
    output = settings.output_dir
    typer.echo(f"written: {output / 'curve.png'}, {output / 'curve.csv'}")


def _alone(command: str) -> None:
    """Refuse several processes, because they would write the same files."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError(f"{command} runs in one process; start it without accelerate or torchrun")


def _need_downstream() -> None:
    """Refuse at the start if a library is missing."""
    from importlib.util import find_spec

    for module in ("sklearn", "evaluate"):
        if find_spec(module) is None:
            raise SettingsError(
                "tasks with labels need more libraries; run: pip install 'textdae[downstream]'"
            )
