"""Read text from files in chunks; every error names the file and the position in it.

Each reader is a generator of rows: rows of a table, paragraphs, or whole files.
"""

import codecs
import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from textdae.core.errors import SettingsError, listed, reason
from textdae.core.remote import RemoteFile
from textdae.text.data_settings import TextReadingSettings

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".csv", ".parquet")
_CHUNK = 1 << 20
_TRUSTED, _MOST_EXPANSION = 100_000_000, 200
"""Decompressed bytes that any file may have, and the largest expansion beyond them; text expands some ten times."""
_UNDECODABLE = "\udcff"  # a lone surrogate, which no decoder returns for valid bytes


class Columns(NamedTuple):
    """The columns that are read, in this order."""

    texts: tuple[str, ...]
    """Columns that hold text."""
    others: tuple[str, ...] = ()
    """Columns that hold anything."""

    @property
    def all(self) -> tuple[str, ...]:
        """Return text columns and label column together."""
        return self.texts + self.others


SourceFile = Path | RemoteFile
"""A file of a source, on a disk or behind a URL."""
Row = tuple[Any, ...]
"""The values of the selected columns."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _UNDECODABLE, error.end


codecs.register_error("textdae.mark", _mark)


def has_lone_surrogate(text: str) -> bool:
    """Return whether a text holds code points that UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def read_rows(
    path: SourceFile,
    settings: TextReadingSettings,
    notes: Counter[str],
    columns: Columns | None = None,
    begin: int = 0,
    end: int | None = None,
) -> Iterator[Row]:
    """Yield the rows of one file; skipped ones are counted in `notes`.

    Args:
        columns: what to read of each row; default: the text alone.
        begin, end: only this range of bytes, or of row groups of a Parquet file.

    Raises:
        SettingsError: the content does not match the name, or a column is missing; names the position.
    """
    columns = columns or Columns((settings.text_column,))
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    if len(columns.all) > 1 and suffix.startswith(".txt"):
        raise SettingsError(
            f"{path}: a text file has no columns, so no {columns.all[1]!r}; give .jsonl, .csv or .parquet"
        )
    try:
        if suffix == ".parquet":
            rows = _parquet(path, columns, begin, end)
        else:
            with path.open("rb") as file, gzip.open(file) if suffix == ".txt.gz" else file as stream:
                chunks = _no_bomb(path, file, _range(cast(BinaryIO, stream), begin, end))
                decoded = _decode(path, chunks, settings, begin)
                if suffix == ".jsonl":
                    rows = _jsonl(path, decoded, columns)
                elif suffix == ".csv":
                    rows = _csv(path, decoded, columns)
                else:
                    texts = iter(["".join(decoded)]) if settings.document == "file" else _paragraphs(decoded)
                    rows = ((text,) for text in texts)
                yield from _clean(path, rows, len(columns.texts), settings, notes)
            return
        yield from _clean(path, rows, len(columns.texts), settings, notes)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SettingsError(f"{path}: not a whole gzip file: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {reason(error)}") from None


def _clean(
    path: SourceFile, rows: Iterable[Row], texts: int, settings: TextReadingSettings, notes: Counter[str]
) -> Iterator[Row]:
    """Apply `data.errors` to undecodable characters in the first `texts` values of each row."""
    for row in rows:
        if any(not text.isascii() and has_lone_surrogate(text) for text in row[:texts]):
            if settings.errors == "strict":  # _decode has handled bytes, so this came from an escape
                raise SettingsError(
                    f"{path}: a text holds half a surrogate pair (\\ud800..\\udfff); data.errors=replace or skip goes on"
                )
            if settings.errors == "skip":
                notes["documents skipped, not decodable"] += 1
                continue
            mended = (
                text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for text in row[:texts]
            )
            row = (*mended, *row[texts:])
        yield row


class _Range(NamedTuple):
    """The bytes of a stream up to a place."""

    stream: BinaryIO
    end: int

    def read(self, size: int) -> bytes:
        return self.stream.read(max(0, min(size, self.end - self.stream.tell())))


def _range(stream: BinaryIO, begin: int, end: int | None) -> Any:
    """A stream from one byte to another."""
    if begin:
        stream.seek(begin)
    return stream if end is None else _Range(stream, end)


def _no_bomb(path: SourceFile, file: BinaryIO, stream: Any) -> Iterator[bytes]:
    """Yield the chunks of a stream, an empty one at the end; refuse a decompression bomb."""
    count = 0
    while True:
        chunk = stream.read(_CHUNK)
        count += len(chunk)
        if count > _TRUSTED and count > _MOST_EXPANSION * file.tell():
            raise SettingsError(
                f"{path}: unpacks to more than {_MOST_EXPANSION} times its size, {count:,} bytes and counting, which no text "
                "does; unpack it yourself if you trust it"
            )
        yield chunk
        if not chunk:
            return


def _decode(
    path: SourceFile, chunks: Iterable[bytes], settings: TextReadingSettings, begin: int = 0
) -> Iterator[str]:
    errors = {"strict": "strict", "replace": "replace", "skip": "textdae.mark"}[settings.errors]
    try:
        "".encode(settings.encoding)  # fails for codecs that are not of text, such as base64
        decoder = codecs.getincrementaldecoder(settings.encoding)(errors)
    except (LookupError, ValueError):
        raise SettingsError(
            f"data.encoding: Python knows no encoding {settings.encoding!r}, e.g. utf-8"
        ) from None
    position, first = begin, begin == 0
    for chunk in chunks:
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"{path}: not {settings.encoding} at byte {position - pending + error.start}; "
                "set data.encoding, or data.errors=replace or skip"
            ) from None
        position += len(chunk)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text


def _lines(decoded: Iterable[str]) -> Iterator[str]:
    """Yield lines without their ends; a line may span chunks."""
    parts: list[str] = []
    for chunk in decoded:
        head, newline, tail = chunk.rpartition("\n")
        if not newline:
            parts.append(chunk)
            continue
        yield from "".join([*parts, head]).split("\n")
        parts = [tail]
    if last := "".join(parts):
        yield last


def _paragraphs(decoded: Iterable[str]) -> Iterator[str]:
    lines: list[str] = []
    for line in _lines(decoded):
        if line and not line.isspace():
            lines.append(line.removesuffix("\r"))
        elif lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def as_row(values: Iterable[Any], columns: Columns, where: str) -> Row:
    """Return values as a row: a missing text is empty, and text columns must hold text."""
    row = list(values)
    for number, column in enumerate(columns.texts):
        if row[number] is None:
            row[number] = ""
        elif not isinstance(row[number], str):
            raise SettingsError(f"{where}: column {column!r} holds a {type(row[number]).__name__}, not text")
    return tuple(row)


def check_columns(where: object, columns: Columns, there: Iterable[object]) -> None:
    """Check that all columns exist.

    Raises:
        SettingsError: names the missing one, and the existing ones.
    """
    names = [str(column) for column in there]
    missing = [column for column in columns.all if column not in names]
    if not missing:
        return
    setting = "text_column" if missing[0] == columns.texts[0] else "label_column"
    if missing[0] in columns.texts[1:]:
        setting = "text_pair_column"
    images = ", or modality=image" if {"image", "img"} & set(names) and setting == "text_column" else ""
    raise SettingsError(
        f"{where}: no column {missing[0]!r}; it has: {listed(names)}; set data.{setting}{images}"
    )


def _jsonl(path: SourceFile, decoded: Iterable[str], columns: Columns) -> Iterator[Row]:
    for number, line in enumerate(_lines(decoded), 1):
        if not line or line.isspace():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{where}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise SettingsError(f"{where}: a {type(row).__name__}, not a JSON object")
        check_columns(where, columns, row)
        yield as_row((row[column] for column in columns.all), columns, where)


def _csv(path: SourceFile, decoded: Iterable[str], columns: Columns) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    lines = (f"{line}\n" for line in _lines(decoded))
    first = next(lines, "")
    rows = csv.reader(
        chain([first] if first else [], lines), delimiter=_delimiter(first, columns), strict=True
    )
    try:
        header = next(rows, None)
        if header is None:
            raise SettingsError(f"{path}: empty; a CSV file begins with a line of column names")
        check_columns(path, columns, header)
        indices = [header.index(column) for column in columns.all]
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise SettingsError(
                    f"{path}, line {rows.line_num}: {len(row)} fields, the header names {len(header)}"
                )
            yield tuple(row[column] for column in indices)
    except csv.Error as error:
        raise SettingsError(f"{path}, line {rows.line_num}: not CSV: {error}") from None


def _delimiter(header: str, columns: Columns) -> str:
    """Return the delimiter: a comma, unless all columns exist only with another one."""
    for delimiter in ",;\t":
        with suppress(csv.Error):
            if set(columns.all) <= set(next(csv.reader([header], delimiter=delimiter, strict=True), [])):
                return delimiter
    return max(",;\t", key=header.count)


def _parquet(path: SourceFile, columns: Columns, begin: int = 0, end: int | None = None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            check_columns(path, columns, file.schema_arrow.names)
            for column in columns.texts:
                kind = file.schema_arrow.field(column).type
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
                    raise SettingsError(f"{path}: column {column!r} holds {kind}, not text")
            groups = list(range(begin, file.num_row_groups if end is None else end))
            for batch in file.iter_batches(batch_size=1024, columns=list(columns.all), row_groups=groups):
                values = (batch.column(column).to_pylist() for column in columns.all)
                for row in zip(*values, strict=True):
                    yield as_row(row, columns, str(path))
    except pa.ArrowException as error:
        raise SettingsError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: column {columns.texts[0]!r} is not UTF-8") from None
