"""The commands that use what a denoiser has learnt: denoise, generate, sample."""

import logging
from enum import StrEnum
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from textdae.cli.app import Checkpoint, app, hush_transformers
from textdae.core.errors import SettingsError
from textdae.core.registry import modality
from textdae.hub.locate import modality_of

logger = logging.getLogger(__name__)


class Order(StrEnum):
    """Which masks `textdae generate` fills first."""

    confidence = "confidence"
    entropy = "entropy"
    random = "random"


@app.command()
def denoise(
    checkpoint: Checkpoint,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help='What is corrupted: texts with masks, e.g. "the [MASK] sat", or files or folders of the modality.',
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder to write, where it is no text.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="Text: fill the masks in so many rounds, the surest first; default: 1.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, help="Text: candidates shown for each mask; default: 5.", show_default=False
        ),
    ] = None,
    through_code: Annotated[
        bool | None,
        typer.Option("--through-code", help="Text: what comes back through the code.", show_default=False),
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option("--between", help="Two texts: decode the line between their codes.", show_default=False),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            help="Images: standard deviation of the noise (white is 1), for a model of model.condition=level; default: estimated. With --mask: the first level of the chain; default: the highest of the training.",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            help="Images: fill a hole, where this picture is white, with a model of model.condition=level.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws", min=1, help="Images: how often a hole is filled; default: 4.", show_default=False
        ),
    ] = None,
) -> None:
    """Give back the original behind something corrupted: what masks hide, what lies behind noise."""
    kind = modality_of(checkpoint)
    denoise_lines = modality(kind).part("denoise")
    options: dict[str, Any] = {
        "steps": steps,
        "top": top,
        "through_code": through_code,
        "between": between,
        "strength": strength,
        "mask": mask,
        "draws": draws,
    }
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in signature(denoise_lines).parameters:
            raise SettingsError(
                f"denoise: --{name.replace('_', '-')} means nothing for modality {kind}; leave it out"
            )
    if (not what) != ("between" in options):
        raise SettingsError(
            'denoise: name what to denoise, e.g. "the [MASK] sat"'
            if not what
            else f"denoise: --between has its two texts already; leave out {what[0]!r}"
        )
    hush_transformers()
    for line in denoise_lines(checkpoint, what or [], output, **options):
        typer.echo(line)


@app.command()
def generate(
    checkpoint: Checkpoint,
    prompt: Annotated[
        str, typer.Option("--prompt", help="What the text begins with; [MASK] in it is filled too.")
    ] = "",
    length: Annotated[int, typer.Option("--length", min=0, help="Tokens to write behind the prompt.")] = 64,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Forward passes; default: one a token.", show_default=False),
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="0: the most probable token.")
    ] = 1.0,
    top_p: Annotated[
        float,
        typer.Option("--top-p", min=0.01, max=1, help="Sample from the fewest tokens that have this share."),
    ] = 1.0,
    order: Annotated[Order, typer.Option("--order", help="Which masks are filled first.")] = Order.random,
    remask: Annotated[
        float,
        typer.Option("--remask", min=0, max=0.9, help="Share of the tokens that is taken back in each step."),
    ] = 0.0,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Texts to write.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", help="An .html file: the film of the first text.", show_default=False),
    ] = None,
) -> None:
    """Write text out of masks, with a denoiser that was trained to (train.loss_weight=elbo)."""
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.runs import EvaluateRunSettings
    from textdae.hub.run_settings import run_settings

    if replay and replay.suffix not in (".html", ".htm"):
        raise SettingsError(f"--replay {replay} must end in .html")
    write = modality(modality_of(checkpoint)).part("generate")
    settings = for_checkpoint(EvaluateRunSettings, checkpoint, None, [])
    trained = run_settings(checkpoint)
    if trained is None or trained.train.loss_weight != "elbo":
        logger.warning(
            "generate: nothing says that %s was trained with train.loss_weight=elbo; other models have seen few masks at a time, "
            "and write badly",
            checkpoint,
        )
    hush_transformers()
    lines = write(
        checkpoint,
        settings,
        prompt=prompt,
        length=length,
        steps=steps,
        temperature=temperature,
        top_p=top_p,
        order=order.value,
        remask=remask,
        samples=samples,
        seed=seed,
        replay=replay,
    )
    for line in lines:
        typer.echo(line)


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
            max=100.0,
            help="Level of the noise that the chain starts from; default: the highest of the training.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw new examples from a denoiser of all levels: from pure noise down a chain of levels."""
    sample_lines = modality(modality_of(checkpoint)).part("sample")
    if output is None:
        raise SettingsError("sample: name the file for the samples, e.g. -o samples.png")
    hush_transformers()
    options = {"count": count, "steps": steps, "seed": seed, "strength": strength}
    for line in sample_lines(checkpoint, output.expanduser(), **options):
        typer.echo(line)
