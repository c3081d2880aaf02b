"""The command push."""

from pathlib import Path
from typing import Annotated, Any

import typer

from textdae.cli.app import app, hush_transformers
from textdae.core.errors import SettingsError


@app.command()
def push(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A run's folder, one of its checkpoints, vectors as Parquet, or an exported page.",
            show_default=False,
        ),
    ],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub.", show_default=False)],
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; default: private.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", help="Branch to push to, e.g. step-1000; default: main.", show_default=False
        ),
    ] = None,
    training_state: Annotated[
        bool, typer.Option("--training-state", help="Send along what pretrain --resume needs.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Push over what somebody else put there.")] = False,
    milestones: Annotated[
        bool,
        typer.Option("--milestones", help="Send the milestones of a run too, each to a branch step-N."),
    ] = False,
    space: Annotated[
        bool,
        typer.Option(
            "--space", help="Send the page of `app --export` as a static Space; of a run it is made first."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be sent, and stop.")] = False,
) -> None:
    """Publish a checkpoint, a classifier, vectors or a page on the Hugging Face Hub, as one commit."""
    from textdae.hub.milestones import milestones_of, push_milestones, revision_of
    from textdae.hub.push import destination, existing
    from textdae.hub.push import push as run

    name, path = destination(repository, revision), existing(checkpoint)
    if milestones and (space or name.revision):
        raise SettingsError("--milestones: each has a branch of its own; leave out --revision and --space")
    kept = milestones_of(path) if milestones else {}
    if space:
        path = _page_of(path)
    if dry_run:
        from textdae.hub.upload import upload_of

        upload = upload_of(path, training_state, name)
        sizes = {
            where: len(content) if isinstance(content, bytes) else content.stat().st_size
            for where, content in upload.files.items()
        }
        for where, size in sizes.items():
            typer.echo(f"{size:>14,}  {where}")
        typer.echo(
            f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files, to {name} ({upload.kind}); nothing was sent"
        )
        if upload.left_out:
            typer.echo(f"stays here: {', '.join(upload.left_out)}")
        for folder, milestone in kept.items():
            typer.echo(f"{milestone}: {folder}, to {name}@{revision_of(folder)}")
        return
    _echo(run(path, name, public=public, force=force, training_state=training_state and not milestones))
    if milestones:
        options = {"public": public, "force": force, "training_state": training_state}
        for each in push_milestones(path, name, **options):
            _echo(each.pushed, f"{each.milestone}: ")


def _echo(pushed: Any, before: str = "") -> None:
    if pushed.files:
        sent = f"{pushed.files} files, {pushed.bytes:,} bytes, commit {pushed.name.revision}"
    else:
        sent = f"nothing has changed since commit {pushed.name.revision}; nothing was sent"
    typer.echo(f"{before}{pushed.url}: {sent}")


def _page_of(path: Path) -> Path:
    """Return the exported page that lies at a path, or the one that is made of the run there, in its folder `page`."""
    from textdae.core.layout import PAGE

    if (path / PAGE).is_file():
        return path
    from textdae.app.artifacts import open_run
    from textdae.app.export import export
    from textdae.app.feed import Feed

    for line in export(Feed([open_run(str(path), [])], None, False, hush_transformers), path / "page")[:1]:
        typer.echo(line)
    return path / "page"
