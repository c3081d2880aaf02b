"""Shared parts of the command line: the application, reading of words, printing of results."""

import logging
import os
import sys
import threading
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from textdae.core.errors import (
    Interrupted,
    SettingsError,
    TextdaeError,
    first_line,
    memory_refused,
    panics_refused,
)
from textdae.core.escape import Screen, for_terminal
from textdae.core.interrupts import interruptible
from textdae.core.logs import LOGGER, set_level, terminal_logging


class Commands(TyperGroup):
    """The application: every command shows log records, and ends with one line on a signal."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with interruptible(), terminal_logging():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Corrupt something, then learn to give back the original: pretrain small encoders.",
)  # fmt: skip

_imported: list[str] = []
"""The modules of `--import`."""


def _settings(file: str) -> Any:
    help = f"[FILE.yaml] [KEY=VALUE ...]: {file}, and settings that win over it; textdae settings COMMAND lists them."
    return typer.Argument(metavar="settings", help=help, show_default=False)


Words = Annotated[list[str] | None, _settings("a settings file")]
WordsOfPretraining = Annotated[
    list[str] | None, _settings("a settings file, or a shipped one by its name (text-mini)")
]
Checkpoint = Annotated[
    str, typer.Argument(help="A checkpoint folder, or OWNER/NAME[@REVISION] on the Hub.", show_default=False)
]

Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on from the last whole checkpoint in output_dir; pretrain: or from hub:OWNER/NAME@REVISION.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the run that output_dir holds.")]


def split(words: list[str] | None) -> tuple[Path | None, list[str]]:
    """Split words into a settings file, if the first one is, and overrides."""
    words = words or []
    if words and "=" not in words[0]:
        return Path(words[0]), words[1:]
    return None, words


def exclude_each_other(resume: bool, overwrite: bool) -> None:
    """Refuse `--resume` together with `--overwrite`."""
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")


def end(result: Any, command: list[str], table: str) -> None:
    """Print the metrics and closing lines of a run, or how to continue one that was stopped.

    Args:
        command: the words of the command.
    """
    from textdae.core.outbox import THREAD
    from textdae.report.scores import format_sources, format_table

    is_main = os.environ.get("RANK", "0") == "0"
    if result.fit.stopped_by:
        if is_main:
            for line in result.closing:
                typer.echo(line)
            modules = [f"--import {module}" for module in _imported]
            typer.echo(f"go on with: textdae {' '.join([*modules, *command])} --resume")
        if any(thread.name == THREAD for thread in threading.enumerate()):
            # Exit at once: the interpreter would wait for pending uploads.
            _leave(128 + result.fit.stopped_by)
        raise typer.Exit(128 + result.fit.stopped_by)
    if not is_main:
        return
    typer.echo("")
    if "asked" in result.metrics:
        typer.echo(result.metrics["asked"])
    typer.echo(format_table(result.metrics[table]) + format_sources(result.metrics))
    typer.echo("")
    for line in result.closing:
        typer.echo(line)


@app.callback()
def _switches(
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and warnings only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print details too.")] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import", metavar="MODULE", help="Import a module first, such as one with a noise of your own."
        ),
    ] = None,
) -> None:
    if quiet and verbose:
        raise SettingsError("--quiet and --verbose exclude each other")
    if quiet or verbose:
        set_level("WARNING" if quiet else "DEBUG")
    for module in modules or ():
        _import(module)


def _import(module: str) -> None:
    """Import a module of the working directory, or an installed one."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        import_module(module)
    except Exception as error:
        raise SettingsError(f"--import {module}: {type(error).__name__}: {first_line(error)}") from None
    _imported.append(module)


def hush_transformers() -> None:
    """Silence the progress bars that transformers draws over every file, and its warnings unless details are wanted."""
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    if not LOGGER.isEnabledFor(logging.DEBUG):
        of_transformers.set_verbosity_error()


def main() -> None:
    """Entry point; a `TextdaeError` is printed as one line, without a traceback."""
    try:
        screen = redirect_stdout(cast(IO[str], Screen(sys.stdout)))
        memory = memory_refused("set a smaller batch, model or example")
        with screen, panics_refused("a library"), memory:
            app()
    except TextdaeError as error:
        for line in () if error.is_told_elsewhere else for_terminal(str(error)).split("\n"):
            with suppress(OSError):  # the terminal is gone
                print(f"textdae: {line}", file=sys.stderr)
        if isinstance(error, Interrupted):
            _leave(error.exit_code)
        sys.exit(error.exit_code)


def _leave(code: int) -> NoReturn:
    """Exit at once, without waiting for threads and processes."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
