"""Sources of text: docstrings, files or a Hub dataset, as streams of documents."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from textdae.core.cache import digest
from textdae.core.class_names import class_names_of
from textdae.core.errors import SettingsError
from textdae.core.source_files import Kinds, SourceFiles, digests_of, find_files, size_of
from textdae.core.source_hub import HubRows
from textdae.text.data.byte_ranges import Span
from textdae.text.data.data_settings import TextReadingSettings
from textdae.text.data.decode_bytes import has_lone_surrogate
from textdae.text.data.docstrings import DEFAULT_MAX_BYTES, docstrings_parquet
from textdae.text.data.reading import CONLL, SUFFIXES, read_rows
from textdae.text.data.tables import Columns, Row, SourceFile, as_row, check_columns
from textdae.text.tokens.tokenizer import pieces

TEXT_FILES = Kinds("text file", (SUFFIXES,), True, "text", from_url=True)
TAGGED_FILES = Kinds("file of words and tags", (tuple({*CONLL, *SUFFIXES}),), True, "text", from_url=True)
_MOST_CHARACTERS = 1 << 20
CUT = f"documents of more than {_MOST_CHARACTERS:,} characters, cut into several at white space"
_ENDS = {"paragraph": re.compile(r"\n[^\S\n]*(?:\n\s*)+"), "line": re.compile(r"\r?\n")}
"""`data.document` -> what parts such documents within a row."""


class Source:
    """A stream of documents that can be iterated repeatedly.

    Attributes:
        name: to print.
        fingerprint: equal for equal content and reading settings.
        size: upper limit of the bytes of text, or None if unknown.
        is_plain: whether `size` is exact.
        class_names: class names, if the last column holds their numbers and the table names them.
        left_out: counts of files that were not opened, by kind.
        files: that it reads, where it reads files.
        notes: counts of what the last full reading left out, by reason.
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
        left_out: Counter[str] | None = None,
        is_plain: bool = False,
    ) -> None:
        self.name, self.fingerprint, self.size, self.class_names = name, fingerprint, size, class_names
        self.is_plain = is_plain
        self.left_out: Counter[str] = left_out or Counter()
        self.files: list[SourceFile] = []
        self.are_rows = are_rows
        self.settings, self._rows = settings, rows
        self._ends = _ENDS.get(settings.document) if are_rows else None
        self.notes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Yield the documents; blank ones are counted and left out, very long ones cut."""
        blank = 0
        for text in self.texts():
            if not text or text.isspace():
                blank += 1
            elif len(text) <= _MOST_CHARACTERS:
                yield text
            else:
                self.notes[CUT] += 1
                yield from (part for part in pieces(text, _MOST_CHARACTERS) if not part.isspace())
        if blank:
            self.notes["blank documents left out"] = blank

    def texts(self) -> Iterator[str]:
        """Yield the documents, including blank ones."""
        self.notes = notes = Counter[str]()
        pieces = (
            (piece,)
            for text, *_ in self._rows(notes)
            for piece in (self._ends.split(text) if self._ends else (text,))
        )
        for (text,) in self._capped(pieces):
            yield text

    def rows(self) -> Iterator[Row]:
        """Yield the selected columns, row by row."""
        self.notes = notes = Counter[str]()
        yield from self._capped(self._rows(notes))

    def _capped(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Stop at `data.max_bytes` of the rows' first text."""
        cap, read = self.settings.max_bytes, 0
        for row in rows:
            text = row[0] if isinstance(row[0], str) else " ".join(map(str, row[0] or ()))  # words
            if cap and read >= cap and not text.isspace():
                self.notes[f"sources read in part, up to data.max_bytes = {cap:,}"] = 1
                return
            read += len(text) if text.isascii() else len(text.encode())
            yield row


def open_source(
    settings: TextReadingSettings,
    cache: Path,
    columns: Columns | None = None,
    is_hashed: bool = True,
    files: Kinds = TEXT_FILES,
) -> Source:
    """Open the source of `data.source`, without reading it yet.

    Args:
        columns: what to read of each row; default: the text alone.
        is_hashed: whether to read the files for the fingerprint; without it the fingerprint is that of no content.
        files: which files may be read.

    Raises:
        SettingsError: it does not exist, is empty, or is of an unknown kind.
    """
    columns = columns or Columns((settings.text_column,))
    if settings.source == "docstrings":
        # `docstrings_parquet` applies the limit, by leaving out some of every package.
        file = docstrings_parquet(cache, settings.max_bytes)
        inner = settings.model_copy(update={"max_bytes": None})
        columns = Columns(("text", *columns.texts[1:]), columns.others)
        only = SourceFiles([file], None, Counter())
        source = _file_source("docstrings of the installed packages", only, inner, columns, cache, is_hashed)
        source.size = settings.max_bytes or DEFAULT_MAX_BYTES
        return source
    if found := find_files(settings.source, files):
        if all(size_of(file) == 0 for file in found.files):
            raise SettingsError(f"data.source: {settings.source} is empty (0 bytes)")
        return _file_source(settings.source, found, settings, columns, cache, is_hashed)
    return _hub_source(settings, columns)


def _file_source(
    name: str,
    found: SourceFiles,
    settings: TextReadingSettings,
    columns: Columns,
    cache: Path,
    is_hashed: bool,
) -> Source:
    files = found.files
    digests = digests_of(files, cache) if is_hashed else [""] * len(files)
    contents = list(zip((file.name for file in files), digests, strict=True))
    reading = settings.model_dump(include={"document", "encoding", "errors", "max_bytes"})
    packed = any(file.name.lower().endswith((".gz", ".parquet")) for file in files)
    sizes = [size_of(file) for file in files]
    packed = packed or None in sizes
    size = None if packed else sum(map(int, sizes))  # type: ignore[arg-type]

    def rows(notes: Counter[str]) -> Iterator[Row]:
        for file in files:
            yield from read_rows(file, settings, notes, columns)

    are_rows = not all(file.name.lower().endswith((".txt", ".txt.gz")) for file in files)
    names = class_names_of(files[0], columns.others[-1]) if columns.others else None
    fingerprint = digest("files", contents, reading, columns)
    is_plain = not packed and not are_rows
    source = Source(name, fingerprint, size, settings, rows, are_rows, names, found.left_out, is_plain)
    source.files = files
    return source


def part_of(source: Source, spans: Sequence[Span]) -> Source:
    """Return a source that reads only these parts of the files of another."""
    columns = Columns((source.settings.text_column,))

    def rows(notes: Counter[str]) -> Iterator[Row]:
        for number, begin, end in spans:
            yield from read_rows(source.files[number], source.settings, notes, columns, begin, end)

    return Source(source.name, "", None, source.settings, rows, source.are_rows)


def _hub_source(settings: TextReadingSettings, columns: Columns) -> Source:
    dataset = HubRows(settings)
    name, commit = dataset.name, dataset.commit
    check_columns(f"data.source: {name}", columns, dataset.columns)

    def rows(notes: Counter[str]) -> Iterator[Row]:
        for entry in dataset.rows(columns.all):
            row = as_row((entry[column] for column in columns.all), columns, name)
            if any(has_lone_surrogate(text) for text in row[: len(columns.texts)]):
                mended = (text.encode("utf-8", "replace").decode() for text in row[: len(columns.texts)])
                row = (*mended, *row[len(columns.texts) :])
            yield row

    reading = settings.model_dump(include={"document", "max_bytes", "subset", "split"})
    label = dataset.features.get(columns.others[-1]) if columns.others else None
    fingerprint = digest("hub", name, commit, reading, columns)
    names = getattr(getattr(label, "feature", label), "names", None)
    return Source(f"{name}@{commit[:12]}", fingerprint, None, settings, rows, True, names)
