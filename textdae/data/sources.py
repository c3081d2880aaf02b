"""Where documents come from: docstrings, files, or a Hub dataset, all as one stream of texts."""

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from textdae.data.cache import digest, file_digest
from textdae.data.docstrings import docstrings_parquet
from textdae.data.files import SUFFIXES, has_lone_surrogate, no_column, read_texts
from textdae.errors import SettingsError
from textdae.settings import DataSettings, TextDataSettings

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*(?:\n\s*)+")


class Source:
    """A stream of documents that can be read as often as one likes.

    Attributes:
        name: what a reader should call it.
        fingerprint: the same for the same content and reading settings.
        size: bytes to read, or None where nobody knows.
        notes: what the last full reading left out, by reason.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        size: int | None,
        settings: TextDataSettings,
        rows: Callable[[Counter[str]], Iterator[str]],
        are_rows: bool,
    ) -> None:
        self.name, self.fingerprint, self.size = name, fingerprint, size
        self.settings, self._rows = settings, rows
        self._split = settings.document == "paragraph" and are_rows
        self.notes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Yield the documents; blank ones are counted and left out."""
        blank = 0
        for text in self.rows():
            if text and not text.isspace():
                yield text
            else:
                blank += 1
        if blank:
            self.notes["blank documents left out"] = blank

    def rows(self) -> Iterator[str]:
        """Yield the documents, blank ones too."""
        self.notes = notes = Counter[str]()
        read = 0
        for row in self._rows(notes):
            for text in _PARAGRAPH_END.split(row) if self._split else (row,):
                if self.settings.max_bytes and read >= self.settings.max_bytes and not text.isspace():
                    notes[f"stopped at data.max_bytes = {self.settings.max_bytes:,} bytes"] = 1
                    return
                read += len(text) if text.isascii() else len(text.encode())
                yield text


def open_source(settings: TextDataSettings, cache: Path) -> Source:
    """Find what `data.source` names, without reading it yet.

    Raises:
        SettingsError: it is not there, is empty, or is of no kind that we read.
    """
    if settings.source == "docstrings":
        # The cap is met while the docstrings are gathered, by leaving out a little of every package.
        gathered = docstrings_parquet(cache, settings.max_bytes)
        inner = settings.model_copy(update={"text_column": "text", "max_bytes": None})
        return _file_source("docstrings of the installed packages", [gathered], inner)
    files = _find(settings.source)
    if files:
        return _file_source(settings.source, files, settings)
    return _hub_source(settings)


def _find(source: str) -> list[Path]:
    """The files that `source` names; empty where it can only be a Hub id."""
    known = ", ".join(SUFFIXES)
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.name.lower().endswith(SUFFIXES) and f.is_file())
        if not files:
            raise SettingsError(f"data.source: no {known} file in the folder {source}")
    elif path.exists():
        files = [path]
        if not path.name.lower().endswith(SUFFIXES):
            raise SettingsError(f"data.source: {source} is none of {known}; rename it, or convert it")
    elif any(c in source for c in "*?["):
        files = sorted(Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file())
        other = [f for f in files if not f.name.lower().endswith(SUFFIXES)]
        if not files or other:
            found = f"matches {other[0]}, which is none of {known}" if other else "matches no file"
            raise SettingsError(f"data.source: {source} {found}")
    elif source.lower().endswith(SUFFIXES) or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise SettingsError(f"data.source: no such file or folder: {source}")
    else:
        return []
    if not any(file.stat().st_size for file in files):
        raise SettingsError(f"data.source: {source} is empty (0 bytes)")
    return files


def _file_source(name: str, files: list[Path], settings: TextDataSettings) -> Source:
    try:
        contents = [(file.name, file_digest(file)) for file in files]
    except OSError as error:
        raise SettingsError(f"data.source: {error.filename}: {error.strerror}") from None
    reading = settings.model_dump(include={"document", "text_column", "encoding", "errors", "max_bytes"})
    size = sum(file.stat().st_size for file in files)

    def rows(notes: Counter[str]) -> Iterator[str]:
        for file in files:
            yield from read_texts(file, settings, notes)

    are_rows = not all(file.name.lower().endswith((".txt", ".txt.gz")) for file in files)
    return Source(name, digest("files", contents, reading), size, settings, rows, are_rows)


def open_hub(settings: DataSettings) -> tuple[str, str, Any, Callable[[Callable[[], Any]], Any]]:
    """A Hub dataset: its name, the commit that it is pinned to, its rows, and what turns its errors into one line.

    Raises:
        SettingsError: there is none, or it could not be had.
    """
    name = settings.source
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise SettingsError(f"data.source: {name!r} is no file, folder, glob, or Hub dataset id (OWNER/NAME)")
    import datasets
    from huggingface_hub import HfApi

    def explained(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except Exception as error:  # the client raises dozens of kinds; the first line says what happened
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SettingsError(
                f"data.source: no file or folder {name!r} here, and no such dataset could be had from the Hub: {why}"
            ) from None

    commit = explained(lambda: HfApi().dataset_info(name, revision=settings.revision).sha)
    rows_of = explained(
        lambda: datasets.load_dataset(
            name, settings.subset, split=settings.split, revision=commit, streaming=settings.streaming
        )
    )
    return name, commit, rows_of, explained


def _hub_source(settings: TextDataSettings) -> Source:
    name, commit, rows_of, explained = open_hub(settings)
    columns = rows_of.column_names or list(next(iter(rows_of), {}))
    if settings.text_column not in columns:
        raise no_column(f"data.source: {name}", settings, columns)

    def rows(notes: Counter[str]) -> Iterator[str]:
        for row in explained(lambda: rows_of.select_columns([settings.text_column])):
            text = row[settings.text_column] or ""
            if not isinstance(text, str):
                raise SettingsError(
                    f"{name}: column {settings.text_column!r} holds a {type(text).__name__}, not text"
                )
            yield text.encode("utf-8", "replace").decode() if has_lone_surrogate(text) else text

    reading = settings.model_dump(include={"document", "text_column", "max_bytes", "subset", "split"})
    return Source(f"{name}@{commit[:12]}", digest("hub", name, commit, reading), None, settings, rows, True)
