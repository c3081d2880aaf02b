"""The commands around a denoiser: pretrain, evaluate, denoise, embed, demo."""

import json
import logging
import math
from enum import StrEnum
from inspect import signature
from pathlib import Path
from typing import Annotated

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
from textdae.cli.sampling import highest_level
from textdae.core.errors import SettingsError
from textdae.core.names import PREFIX
from textdae.core.registry import modality
from textdae.hub.locate import modality_of

logger = logging.getLogger(__name__)


@app.command()
def pretrain(words: Words = None, resume: Resume = False, overwrite: Overwrite = False) -> None:
    """Pretrain a denoiser; without arguments, a masked encoder on the docstrings of the installed packages."""
    from textdae.commands.keywords import of_resumed_run, read_settings
    from textdae.core.settings.runs import PretrainSettings

    exclude_each_other(resume, overwrite)
    from_hub = [word for word in words or [] if word.startswith(PREFIX)]
    local = [word for word in words or [] if word not in from_hub]
    if (from_hub and not resume) or len(from_hub) > 1:
        raise SettingsError(
            f"{from_hub[-1]}: one checkpoint on the Hub, behind --resume; its weights alone: model.from_pretrained="
        )
    base = of_resumed_run(from_hub[0] if from_hub else resume)
    if base:
        logger.info(
            f"the settings are those of {from_hub[0]}; where its data was a file, say data.source=..."
        )
    settings = read_settings(PretrainSettings, *split(local), base)
    from textdae.commands.pretrain import pretrain as run

    hush_transformers()
    result = run(settings, from_hub[0] if from_hub else resume, overwrite)
    words = [str(settings.output_dir / "settings.yaml")] if from_hub else local
    end(result, ["pretrain", *words], "held_out")


@app.command()
def prepare(
    words: Words = None,
    executor: Annotated[str, typer.Option("--executor", help="local, slurm or ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="How many work at a time.", show_default=False)
    ] = None,
) -> None:
    """Tokenize a corpus into shards, in a folder or an object store, for runs on any number of machines."""
    from textdae.core.settings.reader import load
    from textdae.core.settings.runs import PrepareSettings

    settings = load(PrepareSettings, *split(words))
    from textdae.commands.prepare import prepare as run

    hush_transformers()
    for line in run(settings, executor, workers):
        typer.echo(line)


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    words: Words = None,
    levels: Annotated[
        str, typer.Option("--levels", help="Levels of the noise to score at, e.g. 0.05,0.15,0.3.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json and levels.png.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="Ask public questions instead: blimp, sts, or a file or folder of minimal pairs or of pairs with a score.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", help="With --suite: another checkpoint for the table.", show_default=False),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            "--most", min=1, help="With --suite: so many pairs of each paradigm at most.", show_default=False
        ),
    ] = None,
) -> None:
    """Score a checkpoint on held-out examples with frozen noise, or on public questions, beside its baselines."""
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.runs import EvaluateRunSettings

    turned = _levels(levels)
    if suite and turned:
        raise SettingsError("--suite and --levels exclude each other: a suite has no noise")
    if not suite and (beside or most):
        raise SettingsError("--beside and --most belong to --suite")
    settings = for_checkpoint(EvaluateRunSettings, checkpoint, *split(words))
    if suite:
        ask = modality(settings.modality).part("suite")
        hush_transformers()
        result = ask(checkpoint, suite, settings, beside or [], most)
        for line in result.lines:
            typer.echo(line)
        if output:
            output.mkdir(parents=True, exist_ok=True)
            (output / "evaluation.json").write_text(json.dumps(result.results, indent=1))
            typer.echo(f"\nwritten: {output / 'evaluation.json'}")
        return

    from textdae.commands.evaluate import evaluate as run
    from textdae.report.plots import level_sweep
    from textdae.report.scores import is_in_decibels, print_sources, print_table

    hush_transformers()
    results = run(checkpoint, settings, turned)
    for level, result in results.levels.items():
        at = "noise as set" if level == "as set" else f"level {level}"
        typer.echo(f"\n{at}, {result['scored']:,} positions scored")
        if "asked" in result:
            typer.echo(result["asked"])
        typer.echo(print_table(result["held_out"]) + print_sources(result))
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "evaluation.json").write_text(json.dumps(results._asdict(), indent=1))
        written = [output / "evaluation.json"]
        if turned:
            points = sorted((float(level), result["held_out"]) for level, result in results.levels.items())
            names = [name for name in points[0][1] if all(name in table for _, table in points)]
            losses = {name: [table[name]["loss"] for _, table in points] for name in names}
            in_decibels = is_in_decibels(points[0][1])
            level_sweep([level for level, _ in points], losses, output / "levels.png", in_decibels)
            written.append(output / "levels.png")
        typer.echo(f"\nwritten: {', '.join(map(str, written))}")


def _levels(words: str) -> list[float]:
    try:
        levels = [float(word) for word in words.split(",") if word.strip()]
    except ValueError:
        levels = [0.0]
    if not all(level > 0 and math.isfinite(level) for level in levels):
        raise SettingsError(
            f"--levels: numbers above 0 with commas between, e.g. 0.05,0.15,0.3; got {words!r}"
        )
    return list(dict.fromkeys(levels))


class Order(StrEnum):
    """Which masks `textdae generate` fills first."""

    confidence = "confidence"
    entropy = "entropy"
    random = "random"


@app.command()
def denoise(
    checkpoint: Checkpoint,
    what: Annotated[
        str | None,
        typer.Argument(
            help='What is corrupted: text with masks, e.g. "the [MASK] sat", or a file or folder of the modality.',
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
            help="Images: standard deviation of the noise, where white is 1, for a model of model.condition=level; default: estimated.",
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
    given = {
        "steps": steps,
        "top": top,
        "through_code": through_code,
        "between": between,
        "strength": strength,
        "mask": mask,
        "draws": draws,
    }
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in signature(denoise_lines).parameters:
            raise SettingsError(
                f"denoise: --{name.replace('_', '-')} means nothing for modality {kind}; leave it out"
            )
    if (what is None) != ("between" in options):
        raise SettingsError(
            'denoise: say what to denoise, e.g. "the [MASK] sat"'
            if what is None
            else f"denoise: --between has its two texts already; leave out {what!r}"
        )
    hush_transformers()
    if mask and strength is None and (highest := highest_level(checkpoint)) is not None:
        options["strength"] = highest
    for line in denoise_lines(checkpoint, what, output, **options):
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
    seed: Annotated[int, typer.Option("--seed", min=0, help="The texts are a pure function of it.")] = 0,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", help="An .html file: the film of the first text.", show_default=False),
    ] = None,
) -> None:
    """Write text out of masks, with a denoiser that was trained to (train.loss_weight=elbo)."""
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.runs import EvaluateRunSettings

    if replay and replay.suffix not in (".html", ".htm"):
        raise SettingsError(f"--replay {replay} must end in .html")
    write = modality(modality_of(checkpoint)).part("generate")
    settings = for_checkpoint(EvaluateRunSettings, checkpoint, None, [])
    hush_transformers()
    options = (prompt, length, steps, temperature, top_p, order.value, remask, samples, seed, replay)
    for line in write(checkpoint, settings, *options):
        typer.echo(line)


@app.command()
def embed(
    checkpoint: Checkpoint,
    source: Annotated[
        str,
        typer.Argument(help="What data.source takes: files, a folder, a Hub dataset ...", show_default=False),
    ],
    words: Words = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .npy or .parquet file.")] = None,
) -> None:
    """Write one vector for every example of a source."""
    if output is None:
        raise SettingsError(
            "embed: say where to write the vectors, e.g. -o vectors.npy or -o vectors.parquet"
        )
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.runs import EmbedSettings

    path, overrides = split(words)
    settings = for_checkpoint(EmbedSettings, checkpoint, path, [f"data.source={source}", *overrides])

    from textdae.commands.embed import embed as run

    hush_transformers()
    result = run(checkpoint, settings, output)
    typer.echo(f"{output}: {result.count:,} vectors of {result.width} numbers")


DEMOS = {
    "bottleneck": "how wide the code must be: the 3x3 patterns",
    "target": "why the target is the clean image",
    "noise-matrix": "trained on one noise, asked under another",
    "linear": "the linear autoencoder is PCA",
    "score": "a denoiser points up the density",
    "chain": "from noise down a chain of levels to digits",
}


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="; ".join(f"{k}: {v}" for k, v in DEMOS.items()))],
    words: Words = None,
) -> None:
    """Show what a denoising autoencoder is: one command, one picture."""
    if name not in DEMOS:
        raise SettingsError(f"demo: no demo `{name}`; known: {', '.join(DEMOS)}")
    path, overrides = split(words)
    from importlib import import_module

    from textdae.core.settings.reader import load

    chosen = import_module(f"textdae.demos.{name.replace('-', '_')}")
    settings = load(chosen.SETTINGS, path, overrides, chosen.BASE)
    hush_transformers()
    typer.echo("")
    for line in chosen.run(settings):
        typer.echo(line)
