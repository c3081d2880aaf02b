"""The command line. Settings are read and refused here, before anything slow is imported."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from textdae.errors import SettingsError, TextdaeError
from textdae.settings import EvaluateRunSettings, PretrainSettings, Settings, dump, explain, load

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Corrupt something, then learn to give back the original: pretrain small encoders.",
)  # fmt: skip

Words = Annotated[list[str] | None, typer.Argument(help="[FILE.yaml] [key=value ...]", show_default=False)]
SETTINGS: dict[str, type[Settings]] = {"pretrain": PretrainSettings, "evaluate": EvaluateRunSettings}


def _split(words: list[str] | None) -> tuple[Path | None, list[str]]:
    """The settings file, if the first word is one, and the overrides."""
    words = words or []
    if words and "=" not in words[0]:
        return Path(words[0]), words[1:]
    return None, words


@app.command()
def pretrain(
    words: Words = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole checkpoint in output_dir.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the run that output_dir holds.")
    ] = False,
) -> None:
    """Pretrain a masked encoder; without arguments, on the docstrings of the installed packages."""
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")
    settings = load(PretrainSettings, *_split(words))
    is_main = os.environ.get("RANK", "0") == "0"
    from textdae.pretrain import check_output_dir
    from textdae.pretrain import pretrain as run

    _quiet()
    if is_main:
        check_output_dir(settings, resume or overwrite)
    result = run(settings, resume, overwrite, typer.echo)
    if result.fit.stopped_by:
        if is_main:
            typer.echo(f"go on with: textdae pretrain {' '.join(words or [])} --resume")
        raise typer.Exit(128 + result.fit.stopped_by)
    if is_main:
        _print_result(result)


def _print_result(result: Any) -> None:
    from textdae.report.scores import print_table

    metrics, folder = result.metrics, result.output_dir
    typer.echo("\nheld-out text, [right guess] and [wrong guess|right word]:")
    for sample in result.samples:
        typer.echo(f"  {sample}")
    typer.echo("")
    typer.echo(print_table(metrics["held_out"]))
    speed = f", {metrics['tokens_per_second']:,} tokens/s" if metrics["tokens_per_second"] else ""
    typer.echo(
        f"\n{metrics['steps']:,} steps in {metrics['seconds'] / 60:.1f} min{speed}"
        f"\nmodel, card and curve: {folder} (loss.png, README.md)"
        f'\ntry it: textdae denoise {folder} "the [MASK] of the list"'
    )


Checkpoint = Annotated[str, typer.Argument(help="A checkpoint folder or Hub id.", show_default=False)]


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    words: Words = None,
    rates: Annotated[str, typer.Option("--rates", help="Further shares to hide, e.g. 0.05,0.3,0.5.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json and rates.png.")
    ] = None,
) -> None:
    """Score a checkpoint on held-out text with frozen masks, beside its floors."""
    settings = load(EvaluateRunSettings, *_split(words))
    try:
        shares = [float(rate) for rate in rates.split(",") if rate.strip()]
    except ValueError:
        raise SettingsError(
            f"--rates: numbers with commas between, e.g. 0.05,0.3,0.5; got {rates!r}"
        ) from None
    if not all(0 < share <= 1 for share in shares):
        raise SettingsError(f"--rates: each share lies above 0 and is at most 1; got {rates!r}")

    from textdae.evaluate import evaluate_checkpoint
    from textdae.report.plots import rate_sweep
    from textdae.report.scores import print_table

    _quiet()
    results = evaluate_checkpoint(checkpoint, settings, shares, typer.echo)
    for rate, result in results["rates"].items():
        typer.echo(f"\n{float(rate):.0%} hidden, {result['scored']:,} tokens scored")
        typer.echo(print_table(result["held_out"]))
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "evaluation.json").write_text(json.dumps(results, indent=1))
        points = sorted((float(rate), result["held_out"]) for rate, result in results["rates"].items())
        losses = {name: [table[name]["loss"] for _, table in points] for name in points[0][1]}
        rate_sweep([rate for rate, _ in points], losses, output / "rates.png")
        typer.echo(f"\nwritten: {output}/evaluation.json, {output}/rates.png")


@app.command()
def denoise(
    checkpoint: Checkpoint,
    text: Annotated[str, typer.Argument(help='Text with masks, e.g. "the [MASK] sat".', show_default=False)],
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Fill the masks in so many rounds, the surest first.")
    ] = 1,
    top: Annotated[int, typer.Option("--top", min=1, help="Candidates shown for each mask.")] = 5,
) -> None:
    """Give back what the masks of a text hide."""
    from textdae.checkpoints import load_text
    from textdae.denoise import denoise_text

    _quiet()
    result = denoise_text(load_text(checkpoint), text, steps, top)
    for number, candidates in enumerate(result.candidates, 1):
        shown = "  ".join(f"{token} {probability:.1%}" for token, probability in candidates)
        typer.echo(f"mask {number}:  {shown}")
    if steps > 1:
        for number, filled in enumerate(result.order, 1):
            typer.echo(f"round {number}: {', '.join(filled)}")
    typer.echo(result.text)


def _quiet() -> None:
    """Silence the progress bars that transformers draws over every file it reads or writes."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


@app.command()
def settings(
    command: Annotated[str, typer.Argument(help=f"One of: {', '.join(SETTINGS)}")] = "pretrain",
) -> None:
    """Print every setting of a command with its type, default and meaning."""
    if command not in SETTINGS:
        raise SettingsError(f"no settings for `{command}`; known: {', '.join(SETTINGS)}")
    rows = list(explain(SETTINGS[command]))
    width = max(len(f"{key}={default}") for key, _, default, _ in rows if len(key) + len(default) < 60)
    for key, kind, default, meaning in rows:
        typer.echo(f"{f'{key}={default}':{width}}  {meaning} [{kind}]")


@app.command()
def show(words: Words = None) -> None:
    """Print the settings that a pretraining run would use, as YAML, and stop."""
    typer.echo(dump(load(PretrainSettings, *_split(words))), nl=False)


def main() -> None:
    """Entry point: an error that a person can mend is one line, not a traceback."""
    try:
        app()
    except TextdaeError as error:
        for line in str(error).splitlines():
            print(f"textdae: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
