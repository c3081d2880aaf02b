"""The page as a folder of files: every answer of the server is computed before."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from textdae.app.feed import Feed
from textdae.app.server import STATIC
from textdae.core.errors import SettingsError, TextdaeError, first_line, reason
from textdae.core.explorer import Dial, Json
from textdae.core.layout import PAGE
from textdae.core.names import public
from textdae.core.progress import Progress
from textdae.core.settings.paths import paths_in

logger = logging.getLogger(__name__)

_KINDS = 3
_EVERY = 2
"""Of the levels of the dial, every second is computed, the one it starts at among them."""


def export(feed: Feed, folder: Path) -> list[str]:
    """Write the page with everything that it shows; return lines to print.

    Raises:
        SettingsError: the folder holds something else, or a run cannot be used.
        TextdaeError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / PAGE).is_file())):
        raise SettingsError(f"--export: {folder} holds something else; name a new folder")
    try:
        return _export(feed, folder)
    except OSError as error:
        raise TextdaeError(f"--export: {folder} cannot be written: {reason(error)}") from error


def _export(feed: Feed, folder: Path) -> list[str]:
    paths = list(_paths(feed))
    files: dict[str, Json] = {}
    with Progress("computing the page", len(paths)) as bar:
        for path in paths:
            try:
                answer = json.loads(feed.get(path))
            except SettingsError as error:
                logger.info(f"{path}: left out: {first_line(error)}")
            else:
                if path.endswith("/about") and path.startswith("run/"):
                    answer |= _offered(answer)
                elif path.endswith("/training"):
                    answer["running"] = False
                files.setdefault("-".join(path.split("/")[:4]), {})[path] = answer
            bar.update(1)
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(STATIC, folder)
    page = (folder / "index.html").read_text(encoding="utf-8")
    script = '<script defer src="page.js">'
    (folder / "index.html").write_text(
        page.replace(script, f'<script src="static.js"></script>\n    {script}')
    )
    (folder / "static.js").write_text("window.textdaeStatic = true;\n")
    (folder / PAGE).write_text(json.dumps({"runs": [run.name for run in feed.runs]}))
    (folder / "data").mkdir()
    public_paths = _public_paths(feed)
    for name, answers in files.items():
        content = json.dumps(answers, separators=(",", ":"), ensure_ascii=True)
        for path, shown in public_paths.items():
            # As a whole only: pictures are packed as base64, in which a short path may occur.
            pattern = rf"(?<![A-Za-z0-9+/=]){re.escape(path)}(?![A-Za-z0-9+=_-])"
            content = re.sub(pattern, shown.replace("\\", r"\\"), content)
        (folder / "data" / f"{name}.js").write_text(f"textdaeData({content});\n")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return [
        f"{folder}/index.html: {len(paths):,} answers, {size / 1e6:.1f} MB; open it in a browser, or put it on any web server",
        f"as a static Space: textdae push {folder} OWNER/NAME --space",
    ]


def _public_paths(feed: Feed) -> dict[str, str]:
    """Map paths of this machine, as they stand in JSON, to what an exported page has instead; the longest first."""
    of_settings = (path for run in feed.runs for path in paths_in(run.settings.model_dump(mode="json")))
    names = {str(name) for run in feed.runs for name in (run.folder, run.shown)}.union(of_settings)
    local = sorted((name for name in names if public(name) != name and "/" in name), key=len, reverse=True)
    return {json.dumps(name)[1:-1]: json.dumps(public(name))[1:-1] for name in local}


def _offered(about: Json) -> Json:
    """Return the part of the dials that an exported page has: fewer kinds and levels, one seed."""
    dials = [{**dial, "levels": _levels(Dial(**dial))} for dial in about["dials"][:_KINDS]]
    levels = sorted({level for dial in dials for level in dial["levels"]})
    return {"dials": dials, "most_seed": 0, "steps_levels": levels}


def _levels(dial: Dial) -> list[float]:
    first = dial.levels.index(dial.start) % _EVERY
    return dial.levels[first::_EVERY]


def _paths(feed: Feed) -> Iterator[str]:
    """Yield the paths of all that the page requests."""
    yield "about"
    for index in range(len(feed.runs)):
        explorer = feed.explorer(index)
        run = f"run/{index}"
        yield f"{run}/about"
        for dial in explorer.dials[:_KINDS]:
            for level in _levels(dial):
                at = f"{dial.kind}/{level:g}"
                yield f"{run}/baseline/{at}/0"
                yield f"{run}/curve/{at}"
                for example in range(explorer.count):
                    yield f"{run}/shot/{at}/0/{example}"
                    yield f"{run}/steps/{at}/0/{example}"
        yield f"{run}/map"
        yield f"{run}/labels"
        yield f"{run}/training"
        for step in json.loads(feed.get(f"{run}/training"))["checkpoints"]:
            yield f"{run}/replay/{step}"
    if json.loads(feed.get("about"))["target"]:
        yield "target"
