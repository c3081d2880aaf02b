"""What the commands share: the application, how their words are read, how a result is printed."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from textdae.errors import TextdaeError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Corrupt something, then learn to give back the original: pretrain small encoders.",
)  # fmt: skip

Words = Annotated[list[str] | None, typer.Argument(help="[FILE.yaml] [key=value ...]", show_default=False)]
Checkpoint = Annotated[str, typer.Argument(help="A checkpoint folder or Hub id.", show_default=False)]


def split(words: list[str] | None) -> tuple[Path | None, list[str]]:
    """The settings file, if the first word is one, and the overrides."""
    words = words or []
    if words and "=" not in words[0]:
        return Path(words[0]), words[1:]
    return None, words


def print_result(result: Any, table: str = "held_out") -> None:
    """Print a table of the metrics of a run, and its last words."""
    from textdae.report.scores import print_table

    typer.echo("")
    typer.echo(print_table(result.metrics[table]))
    typer.echo("")
    for line in result.closing:
        typer.echo(line)


def quiet() -> None:
    """Silence the progress bars that transformers draws over every file it reads or writes."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def main() -> None:
    """Entry point: an error that a person can mend is one line, not a traceback."""
    try:
        app()
    except TextdaeError as error:
        for line in str(error).splitlines():
            print(f"textdae: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
