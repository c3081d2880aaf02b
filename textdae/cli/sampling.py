"""The command that draws new examples: sample."""

from pathlib import Path
from typing import Annotated

import typer

from textdae.cli.app import Checkpoint, app, hush_transformers
from textdae.core.errors import SettingsError
from textdae.core.registry import modality
from textdae.hub.locate import modality_of


@app.command()
def sample(
    checkpoint: Checkpoint,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The picture to write.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="How many samples.")] = 36,
    steps: Annotated[int, typer.Option("--steps", min=2, max=10_000, help="Levels of the chain.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides the samples.")] = 0,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            min=0.01,
            max=2.0,
            help="Level of the noise that the chain starts from; default: the highest of the training.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw new examples from a denoiser of all levels: from pure noise down a chain of levels."""
    sample_lines = modality(modality_of(checkpoint)).part("sample")
    if output is None:
        raise SettingsError("sample: say where to write the samples, e.g. -o samples.png")
    hush_transformers()
    highest = highest_level(checkpoint) if strength is None else strength
    for line in sample_lines(checkpoint, output.expanduser(), highest, count, steps, seed):
        typer.echo(line)


def highest_level(checkpoint: str) -> float | None:
    """The strongest noise that a checkpoint was trained on, where the settings of its run lie beside it."""
    from textdae.commands.keywords import run_settings

    settings = run_settings(checkpoint)
    levels = [noise.level for noise in settings.noise if noise.dial == "sigma"] if settings else []
    return max((max(level.start, level.end) for level in levels), default=None)
