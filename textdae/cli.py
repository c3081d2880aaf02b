"""The command line. Settings are read and refused here, before anything slow is imported."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from textdae.errors import SettingsError, TextdaeError
from textdae.settings import PretrainSettings, dump, explain, load

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Corrupt something, then learn to give back the original: pretrain small encoders.",
)  # fmt: skip

Words = Annotated[list[str] | None, typer.Argument(help="[FILE.yaml] [key=value ...]", show_default=False)]
SETTINGS = {"pretrain": PretrainSettings}


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
    if overwrite and is_main:
        _remove_run(settings.output_dir)

    from textdae.pretrain import check_output_dir
    from textdae.pretrain import pretrain as run

    if is_main:
        check_output_dir(settings, resume)
    result = run(settings, resume, typer.echo)
    if result.fit.stopped_by:
        if is_main:
            typer.echo(f"go on with: textdae pretrain {' '.join(words or [])} --resume")
        raise typer.Exit(128 + result.fit.stopped_by)
    if is_main:
        _print_result(result)


def _remove_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else that may lie there."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "settings.yaml",
        "versions.json",
        "config.json",
        "model.safetensors",
        "metrics.json",
        "log.jsonl",
    ):
        (folder / name).unlink(missing_ok=True)


def print_scores(rows: dict[str, dict[str, float]]) -> None:
    """A table of model and floors."""
    typer.echo(f"{'':22}{'loss':>8}{'accuracy':>10}{'bits/byte':>11}")
    for name, row in rows.items():
        typer.echo(f"{name:22}{row['loss']:8.3f}{row['accuracy']:10.1%}{row['bits_per_byte']:11.3f}")


def _print_result(result: Any) -> None:
    metrics, folder = result.metrics, result.output_dir
    typer.echo("\nheld-out text, [right guess] and [wrong guess|right word]:")
    for sample in result.samples:
        typer.echo(f"  {sample}")
    typer.echo("")
    print_scores(metrics["held_out"])
    speed = f", {metrics['tokens_per_second']:,} tokens/s" if metrics["tokens_per_second"] else ""
    typer.echo(
        f"\n{metrics['steps']:,} steps in {metrics['seconds'] / 60:.1f} min{speed}"
        f"\nmodel, card and curve: {folder} (loss.png, README.md)"
        f'\ntry it: textdae denoise {folder} "the [MASK] of the list"'
    )


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
