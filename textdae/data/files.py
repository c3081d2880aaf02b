"""Read the text out of files, a little at a time; every fault names the file and the place in it.

Each reader is a generator of texts: one a row, a paragraph or a whole file.
"""

import codecs
import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from textdae.errors import SettingsError
from textdae.settings import TextDataSettings

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".csv", ".parquet")
_CHUNK = 1 << 20
_UNDECODABLE = "\udcff"  # a lone surrogate: no decoder gives it for good bytes


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _UNDECODABLE, error.end


codecs.register_error("textdae.mark", _mark)


def has_lone_surrogate(text: str) -> bool:
    """Whether a text holds code points that no UTF-8 can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def read_texts(path: Path, settings: TextDataSettings, notes: Counter[str]) -> Iterator[str]:
    """Yield the texts of one file; what is skipped is counted in `notes`.

    Raises:
        SettingsError: the file is not what its name says, or lacks the column; one line with the place.
    """
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    try:
        if suffix == ".parquet":
            texts = _parquet(path, settings)
        else:
            with gzip.open(path) if suffix == ".txt.gz" else open(path, "rb") as stream:
                decoded = _decode(path, cast(BinaryIO, stream), settings)
                if suffix == ".jsonl":
                    texts = _jsonl(path, decoded, settings)
                elif suffix == ".csv":
                    texts = _csv(path, decoded, settings)
                else:
                    texts = iter(["".join(decoded)]) if settings.document == "file" else _paragraphs(decoded)
                yield from _clean(path, texts, settings, notes)
            return
        yield from _clean(path, texts, settings, notes)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SettingsError(f"{path}: not a whole gzip file: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from None


def _clean(
    path: Path, texts: Iterable[str], settings: TextDataSettings, notes: Counter[str]
) -> Iterator[str]:
    """Settle what does not decode, as `data.errors` says."""
    for text in texts:
        if not text.isascii() and has_lone_surrogate(text):
            if settings.errors == "strict":  # bytes were caught in _decode, so this came from an escape
                raise SettingsError(
                    f"{path}: a text holds half a surrogate pair (\\ud800..\\udfff); data.errors=replace or skip goes on"
                )
            if settings.errors == "skip":
                notes["documents skipped, not decodable"] += 1
                continue
            text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        yield text


def _decode(path: Path, stream: BinaryIO, settings: TextDataSettings) -> Iterator[str]:
    errors = {"strict": "strict", "replace": "replace", "skip": "textdae.mark"}[settings.errors]
    try:
        "".encode(settings.encoding)  # fails for the codecs that are not of text, as base64
        decoder = codecs.getincrementaldecoder(settings.encoding)(errors)
    except (LookupError, ValueError):
        raise SettingsError(
            f"data.encoding: Python knows no encoding {settings.encoding!r}, e.g. utf-8"
        ) from None
    done, first = 0, True
    while True:
        chunk = stream.read(_CHUNK)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"{path}: not {settings.encoding} at byte {done - pending + error.start}; "
                "set data.encoding, or data.errors=replace or skip"
            ) from None
        done += len(chunk)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text
        if not chunk:
            return


def _lines(decoded: Iterable[str]) -> Iterator[str]:
    """Lines without their ends, whatever the chunks; a line may be of any length."""
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


def _row_text(value: Any, path: Path, where: str, settings: TextDataSettings) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SettingsError(
            f"{path}{where}: column {settings.text_column!r} holds a {type(value).__name__}, not text"
        )
    return value


def no_column(path: object, settings: TextDataSettings, columns: Iterable[object]) -> SettingsError:
    """The error for a text column that is not there; names those that are."""
    names = [str(column) for column in columns]
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    images = ", or modality=image" if {"image", "img"} & set(names) else ""
    return SettingsError(
        f"{path}: no column {settings.text_column!r}; it has: {shown}; set data.text_column{images}"
    )


def _jsonl(path: Path, decoded: Iterable[str], settings: TextDataSettings) -> Iterator[str]:
    for number, line in enumerate(_lines(decoded), 1):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise SettingsError(f"{path}, line {number}: a {type(row).__name__}, not a JSON object")
        if settings.text_column not in row:
            raise no_column(f"{path}, line {number}", settings, row)
        yield _row_text(row[settings.text_column], path, f", line {number}", settings)


def _csv(path: Path, decoded: Iterable[str], settings: TextDataSettings) -> Iterator[str]:
    csv.field_size_limit(1 << 30)
    rows = csv.reader((f"{line}\n" for line in _lines(decoded)), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            raise SettingsError(f"{path}: empty; a CSV file begins with a line of column names")
        if settings.text_column not in header:
            raise no_column(path, settings, header)
        column = header.index(settings.text_column)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise SettingsError(
                    f"{path}, line {rows.line_num}: {len(row)} fields, the header names {len(header)}"
                )
            yield row[column]
    except csv.Error as error:
        raise SettingsError(f"{path}, line {rows.line_num}: not CSV: {error}") from None


def _parquet(path: Path, settings: TextDataSettings) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if settings.text_column not in file.schema_arrow.names:
                raise no_column(path, settings, file.schema_arrow.names)
            kind = file.schema_arrow.field(settings.text_column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
                raise SettingsError(f"{path}: column {settings.text_column!r} holds {kind}, not text")
            for batch in file.iter_batches(batch_size=1024, columns=[settings.text_column]):
                for value in batch.column(0).to_pylist():
                    yield _row_text(value, path, "", settings)
    except pa.ArrowException as error:
        raise SettingsError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: column {settings.text_column!r} is not UTF-8") from None
