"""Where documents come from: docstrings, files, or a Hub dataset, all as one stream of texts."""

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from textdae.data.cache import digest, file_digest
from textdae.data.class_names import class_names_of
from textdae.data.docstrings import docstrings_parquet
from textdae.data.files import SUFFIXES, Columns, Row, as_row, check_columns, has_lone_surrogate, read_rows
from textdae.errors import SettingsError, first_line
from textdae.settings import DataSettings, TextReadingSettings

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*(?:\n\s*)+")


class Source:
    """A stream of documents that can be read as often as one likes.

    Attributes:
        name: what a reader should call it.
        fingerprint: the same for the same content and reading settings.
        size: bytes to read, or None where nobody knows.
        class_names: names of the classes where the last column asked for holds their numbers and the table says so.
        notes: what the last full reading left out, by reason.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        size: int | None,
        settings: TextReadingSettings,
        rows: Callable[[Counter[str]], Iterator[Row]],
        are_rows: bool,
        class_names: list[str] | None = None,
    ) -> None:
        self.name, self.fingerprint, self.size, self.class_names = name, fingerprint, size, class_names
        self.settings, self._rows = settings, rows
        self._split = settings.document == "paragraph" and are_rows
        self.notes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Yield the documents; blank ones are counted and left out."""
        blank = 0
        for text in self.texts():
            if text and not text.isspace():
                yield text
            else:
                blank += 1
        if blank:
            self.notes["blank documents left out"] = blank

    def texts(self) -> Iterator[str]:
        """Yield the documents, blank ones too."""
        self.notes = notes = Counter[str]()
        pieces = (
            (piece,)
            for text, *_ in self._rows(notes)
            for piece in (_PARAGRAPH_END.split(text) if self._split else (text,))
        )
        for (text,) in self._capped(pieces):
            yield text

    def rows(self) -> Iterator[Row]:
        """Yield what was asked for, row by row, undivided."""
        self.notes = notes = Counter[str]()
        yield from self._capped(self._rows(notes))

    def _capped(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Stop at `data.max_bytes` of the rows' first text."""
        cap, read = self.settings.max_bytes, 0
        for row in rows:
            text = row[0]
            if cap and read >= cap and not text.isspace():
                self.notes[f"stopped at data.max_bytes = {cap:,} bytes"] = 1
                return
            read += len(text) if text.isascii() else len(text.encode())
            yield row


def open_source(settings: TextReadingSettings, cache: Path, columns: Columns | None = None) -> Source:
    """Find what `data.source` names, without reading it yet.

    Args:
        columns: what to read of each row; default: the text alone.

    Raises:
        SettingsError: it is not there, is empty, or is of no kind that we read.
    """
    columns = columns or Columns((settings.text_column,))
    if settings.source == "docstrings":
        # The cap is met while the docstrings are gathered, by leaving out a little of every package.
        gathered = docstrings_parquet(cache, settings.max_bytes)
        inner = settings.model_copy(update={"max_bytes": None})
        columns = Columns(("text", *columns.texts[1:]), columns.others)
        return _file_source("docstrings of the installed packages", [gathered], inner, columns)
    files = _find(settings.source)
    if files:
        return _file_source(settings.source, files, settings, columns)
    return _hub_source(settings, columns)


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


def _file_source(name: str, files: list[Path], settings: TextReadingSettings, columns: Columns) -> Source:
    try:
        contents = [(file.name, file_digest(file)) for file in files]
    except OSError as error:
        raise SettingsError(f"data.source: {error.filename}: {error.strerror}") from None
    reading = settings.model_dump(include={"document", "encoding", "errors", "max_bytes"})
    size = sum(file.stat().st_size for file in files)

    def rows(notes: Counter[str]) -> Iterator[Row]:
        for file in files:
            yield from read_rows(file, settings, notes, columns)

    are_rows = not all(file.name.lower().endswith((".txt", ".txt.gz")) for file in files)
    names = class_names_of(files[0], columns.others[-1]) if columns.others else None
    fingerprint = digest("files", contents, reading, columns)
    return Source(name, fingerprint, size, settings, rows, are_rows, names)


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
            raise SettingsError(
                f"data.source: no file or folder {name!r} here, and no such dataset could be had from the Hub: {first_line(error)}"
            ) from None

    commit = explained(lambda: HfApi().dataset_info(name, revision=settings.revision).sha)
    rows_of = explained(
        lambda: datasets.load_dataset(
            name, settings.subset, split=settings.split, revision=commit, streaming=settings.streaming
        )
    )
    return name, commit, rows_of, explained


def _hub_source(settings: TextReadingSettings, columns: Columns) -> Source:
    name, commit, rows_of, explained = open_hub(settings)
    there = rows_of.column_names or list(next(iter(rows_of), {}))
    check_columns(f"data.source: {name}", columns, there)

    def rows(notes: Counter[str]) -> Iterator[Row]:
        for found in explained(lambda: rows_of.select_columns(list(columns.all))):
            row = as_row((found[column] for column in columns.all), columns, name)
            if any(has_lone_surrogate(text) for text in row[: len(columns.texts)]):
                mended = (text.encode("utf-8", "replace").decode() for text in row[: len(columns.texts)])
                row = (*mended, *row[len(columns.texts) :])
            yield row

    reading = settings.model_dump(include={"document", "max_bytes", "subset", "split"})
    label = (rows_of.features or {}).get(columns.others[-1]) if columns.others else None
    fingerprint = digest("hub", name, commit, reading, columns)
    names = getattr(getattr(label, "feature", label), "names", None)
    return Source(f"{name}@{commit[:12]}", fingerprint, None, settings, rows, True, names)
