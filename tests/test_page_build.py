"""The built front end is that of its sources, small, and asks for nothing outside."""

import gzip
import hashlib
import re
from pathlib import Path

from textdae.app.server import STATIC

SOURCES = Path(__file__).parents[1] / "page"


def sources_digest() -> str:
    """The same as `page/digest.mjs`."""
    files = ["package-lock.json", "vite.config.ts"]
    for folder in ("src", "public"):
        files += [
            path.relative_to(SOURCES).as_posix() for path in (SOURCES / folder).rglob("*") if path.is_file()
        ]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file}\0".encode() + (SOURCES / file).read_bytes() + b"\0")
    return digest.hexdigest()


def test_the_built_files_are_those_of_the_sources():
    built = (STATIC / "sources.txt").read_text().strip()
    assert built == sources_digest(), "the sources of the page have changed; run scripts/app"


def test_the_built_page_is_small():
    assert sum(len(gzip.compress(path.read_bytes())) for path in STATIC.iterdir()) < 150_000


def test_the_built_page_names_nothing_outside():
    for path in STATIC.iterdir():
        places = set(re.findall(r"https?://[\w./-]+", path.read_text()))
        assert places <= {"http://www.w3.org/2000/svg"}, path.name
