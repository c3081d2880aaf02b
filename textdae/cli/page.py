"""The command that opens the page: app."""

from pathlib import Path
from typing import Annotated

import typer

from textdae.cli.app import app, hush_transformers
from textdae.core.errors import SettingsError

_TARGET = Path("runs/demo-target")


@app.command(name="app")
def page(
    words: Annotated[
        list[str],
        typer.Argument(
            help="One or two runs (folders, or OWNER/NAME on the Hub), then key=value for `evaluate`.",
            show_default=False,
        ),
    ],
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write the page as a folder of files instead, which needs no server."),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0: one that is free.")
    ] = 8765,
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", help="Folder of `label-curve`, one for each run; default: RUN/label-curve."),
    ] = None,
    target: Annotated[Path, typer.Option("--target", help="Folder of `demo target`.")] = _TARGET,
) -> None:
    """Play with a run in the browser: turn the noise, watch the model give back the original."""
    names = [word for word in words if "=" not in word or Path(word).is_dir()]
    overrides = [word for word in words if word not in names]
    if not 1 <= len(names) <= 2:
        raise SettingsError(f"app: one run or two, got {len(names)}")
    if overrides and len(names) > 1:
        raise SettingsError(f"app: {overrides[0]} is for one run; open the two by themselves")
    folders = labels or []
    if len(folders) > len(names):
        raise SettingsError("--labels: at most one folder for each run")
    from textdae.app.artifacts import open_run
    from textdae.app.feed import Feed

    runs = [
        open_run(name, overrides, labels=folders[i] if i < len(folders) else None)
        for i, name in enumerate(names)
    ]
    if export is not None:
        from textdae.app.export import export as write

        for line in write(Feed(runs, target, False, hush_transformers), export):
            typer.echo(line)
        return
    from textdae.app.server import require_app_extra, serve

    require_app_extra()
    serve(
        Feed(runs, target, True, hush_transformers),
        port,
        lambda address: typer.echo(f"{address}  (Ctrl-C ends it)"),
    )
