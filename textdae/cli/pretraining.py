"""The commands around a denoiser: pretrain, prepare, evaluate, embed."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textdae.cli.app import (
    Checkpoint,
    Overwrite,
    Resume,
    Words,
    WordsOfPretraining,
    app,
    end,
    exclude_each_other,
    hush_transformers,
    split,
)
from textdae.core.errors import SettingsError, reason
from textdae.core.names import PREFIX
from textdae.core.registry import modality

if TYPE_CHECKING:
    from textdae.commands.evaluate import EvaluationResult


@app.command()
def pretrain(
    words: WordsOfPretraining = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="Plan for so much time first (textdae plan), e.g. 1h, and run that.",
            show_default=False,
        ),
    ] = None,
) -> None:
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
    base = of_resumed_run(PretrainSettings, from_hub[0] if from_hub else resume, *split(local))
    settings = read_settings(PretrainSettings, *split(local), base)
    hush_transformers()
    if budget is not None:
        if from_hub:
            raise SettingsError("--budget: a run on the Hub has its settings; leave it out")
        settings = _planned(settings, budget, split(local), resume, overwrite)
    from textdae.commands.pretrain import pretrain as run

    result = run(settings, from_hub[0] if from_hub else resume, overwrite)
    words = [str(settings.output_dir / "settings.yaml")] if from_hub or budget is not None else local
    end(result, ["pretrain", *words], "held_out")


def _planned(
    settings: Any, budget: str, words: tuple[Path | None, list[str]], resume: bool, overwrite: bool
) -> Any:
    """Return the settings of a plan, which is printed; where a run is resumed, those that it began with."""
    from textdae.commands.plan import budget_seconds, plan
    from textdae.commands.run_folder import check_output_dir

    seconds, began_with = budget_seconds(budget), settings.output_dir / "settings.yaml"
    if resume and began_with.is_file():
        from textdae.core.settings.reader import load

        began = load(type(settings), began_with, words[1])
        if began.train.time_budget != seconds:
            raise SettingsError(
                f"--budget: the run in {settings.output_dir} did not begin with this one; "
                f"go on with: textdae pretrain {began_with} --resume"
            )
        return began
    check_output_dir(settings.output_dir, resume or overwrite)
    made = plan(budget, *words)
    typer.echo(made.text + "\n")
    return made.settings


@app.command()
def prepare(
    words: WordsOfPretraining = None,
    executor: Annotated[str, typer.Option("--executor", help="local, slurm or ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="How many work at a time.", show_default=False)
    ] = None,
) -> None:
    """Tokenize a corpus into shards, in a folder or an object store, for runs on any number of machines."""
    from textdae.commands.prepare import prepare as run
    from textdae.commands.prepare import read_prepare_settings

    settings = read_prepare_settings(*split(words))
    hush_transformers()
    for line in run(settings, executor=executor, workers=workers).lines:
        typer.echo(line)


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    words: Words = None,
    levels: Annotated[
        str, typer.Option("--levels", help="Levels of the noise to score at, e.g. 0.05,0.15,0.3.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json and a picture.")
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
    from textdae.commands.keywords import for_checkpoint, names_source
    from textdae.core.settings.runs import EvaluateRunSettings

    turned = _levels(levels)
    if suite and turned:
        raise SettingsError("--suite and --levels exclude each other: a suite has no noise")
    if not suite and (beside or most):
        raise SettingsError("--beside and --most belong to --suite")
    settings = for_checkpoint(EvaluateRunSettings, checkpoint, *split(words))
    if output:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"evaluate: -o {output}: {reason(error)}; name a folder") from None
    if suite:
        ask = modality(settings.modality).part("suite")
        hush_transformers()
        own = not names_source(*split(words))
        result = ask(checkpoint, suite, settings, beside or [], most, own)
        for line in result.lines:
            typer.echo(line)
        if output:
            _write_suite(result.results, output)
        return

    from textdae.commands.evaluate import evaluate as run
    from textdae.report.scores import format_sources, format_table

    hush_transformers()
    results = run(checkpoint, settings, turned)
    for level, result in results.levels.items():
        at = "noise as set" if level == "as set" else f"level {level}"
        typer.echo(f"\n{at}, {result['scored']:,} positions scored")
        if "asked" in result:
            typer.echo(result["asked"])
        typer.echo(format_table(result["held_out"]) + format_sources(result))
    if output:
        _write_levels(results, output, with_picture=bool(turned))


def _write_suite(results: dict[str, Any], output: Path) -> None:
    """Write the figures of a suite, and a picture of a code's where they are of several lengths."""
    written = [_write_json(results, output)]
    if by_size := results.get("by_size"):
        from textdae.report.plots import size_curve

        rows = results["overall"].items()
        baselines = {name: row["spearman"] for name, row in rows if name.startswith("baseline")}
        written.append(output / "sizes.png")
        size_curve(by_size, baselines, "Spearman's correlation", written[-1])
    typer.echo(f"\nwritten: {', '.join(map(str, written))}")


def _write_levels(results: "EvaluationResult", output: Path, with_picture: bool) -> None:
    """Write the figures at each level of the noise, and a picture of the losses against the level."""
    written = [_write_json(results._asdict(), output)]
    if with_picture:
        from textdae.report.plots import level_sweep
        from textdae.report.scores import is_in_decibels

        points = sorted((float(level), result["held_out"]) for level, result in results.levels.items())
        names = [name for name in points[0][1] if all(name in table for _, table in points)]
        losses = {name: [table[name]["loss"] for _, table in points] for name in names}
        written.append(output / "levels.png")
        level_sweep([level for level, _ in points], losses, written[-1], is_in_decibels(points[0][1]))
    typer.echo(f"\nwritten: {', '.join(map(str, written))}")


def _write_json(figures: dict[str, Any], output: Path) -> Path:
    file = output / "evaluation.json"
    file.write_text(json.dumps(figures, indent=1))
    return file


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


@app.command()
def embed(
    checkpoint: Checkpoint,
    source: Annotated[
        str,
        typer.Argument(help="What data.source takes: files, a folder, a Hub dataset ...", show_default=False),
    ],
    words: Words = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="A .npy or .parquet file; with --executor a folder.", show_default=False
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor", help="Write shards, in local processes, or by slurm or ray.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="With --executor: how many work at a time.", show_default=False
        ),
    ] = None,
) -> None:
    """Write one vector for every example of a source."""
    if output is None:
        raise SettingsError("embed: name the file for the vectors, e.g. -o vectors.npy or -o vectors.parquet")
    from textdae.commands.keywords import for_checkpoint
    from textdae.core.settings.runs import EmbedSettings

    path, overrides = split(words)
    settings = for_checkpoint(EmbedSettings, checkpoint, path, overrides, source=source)

    hush_transformers()
    if executor:
        from textdae.commands.embed_shards import embed_shards

        for line in embed_shards(checkpoint, settings, output, executor, workers):
            typer.echo(line)
        return
    if workers:
        raise SettingsError("--workers belongs to --executor")
    from textdae.commands.embed import embed as run

    result = run(checkpoint, settings, output)
    typer.echo(f"{output}: {result.count:,} vectors of {result.width} numbers")
