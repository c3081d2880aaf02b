"""Read the rows of tables: JSON lines, CSV and Parquet; an error names the file and the line or column."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.errors import SettingsError, listed
from textdae.core.remote import RemoteFile


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
    setting = "label_column" if missing[0] == columns.all[-1] != columns.all[0] else "text_column"
    if missing[0] in columns.texts[1:]:
        setting = "text_pair_column"
    images = ", or modality=image" if {"image", "img"} & set(names) and setting == "text_column" else ""
    raise SettingsError(
        f"{where}: no column {missing[0]!r}; it has: {listed(names)}; set data.{setting}{images}"
    )


def jsonl_rows(path: SourceFile, lines: Iterable[str], columns: Columns) -> Iterator[Row]:
    """Yield one row a line that is not blank."""
    for number, line in enumerate(lines, 1):
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


def csv_rows(path: SourceFile, lines: Iterable[str], columns: Columns) -> Iterator[Row]:
    """Yield the rows below the header."""
    csv.field_size_limit(1 << 30)
    ended = (f"{line}\n" for line in lines)
    first = next(ended, "")
    rows = csv.reader(
        chain([first] if first else [], ended), delimiter=_delimiter(first, columns), strict=True
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


def parquet_rows(path: SourceFile, columns: Columns, begin: int = 0, end: int | None = None) -> Iterator[Row]:
    """Yield the rows of the row groups `begin` to `end`."""
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
