"""Read text from files in chunks; every error names the file and the position in it.

Each reader is a generator of rows: rows of a table, paragraphs, lines, or whole files.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

from textdae.core.errors import SettingsError, reason
from textdae.text.data.data_settings import TextReadingSettings
from textdae.text.data.decode_bytes import (
    byte_range,
    checked_chunks,
    decode,
    has_lone_surrogate,
    lines,
    paragraphs,
    split_lines,
)
from textdae.text.data.tables import Columns, Row, SourceFile, csv_rows, jsonl_rows, parquet_rows

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".csv", ".parquet")
CONLL = (".txt", ".txt.gz", ".conll")
"""Endings of files with a word and its tag a line."""


def _whole(decoded: Iterable[str]) -> Iterator[str]:
    yield "".join(decoded)


_DOCUMENTS = {"line": lines, "file": _whole}


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
    suffix = next(suffix for suffix in (*SUFFIXES, *CONLL) if path.name.lower().endswith(suffix))
    if len(columns.all) > 1 and suffix in CONLL:
        raise SettingsError(
            f"{path}: a text file has no columns, so no {columns.all[1]!r}; give .jsonl, .csv or .parquet"
        )
    try:
        if suffix == ".parquet":
            rows = parquet_rows(path, columns, begin, end)
        else:
            with path.open("rb") as file, gzip.open(file) if suffix == ".txt.gz" else file as stream:
                chunks = checked_chunks(path, file, byte_range(cast(BinaryIO, stream), begin, end))
                decoded = decode(path, chunks, settings, begin)
                if suffix == ".jsonl":
                    rows = jsonl_rows(path, split_lines(decoded), columns)
                elif suffix == ".csv":
                    rows = csv_rows(path, split_lines(decoded), columns)
                else:
                    rows = ((text,) for text in _DOCUMENTS.get(settings.document, paragraphs)(decoded))
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
            if settings.errors == "strict":  # `decode` has handled bytes, so this came from an escape
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
