"""Cut a source into shards: ranges of its files, which depend on the data alone and on nothing that runs.

A text file is cut where a document ends, a JSON Lines file at the end of a line, a Parquet file between row groups; other files
stay whole. Small files that follow each other make one shard together.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from textdae.core.errors import SettingsError
from textdae.core.source_files import size_of
from textdae.text.data.data_settings import TextReadingSettings

_WINDOW = 1 << 16
_BLANK_LINE, _LINE_END = re.compile(rb"\n\r?\n"), re.compile(rb"\n")
_ONE_BYTE_NEWLINES = ("utf-8", "utf8", "ascii", "latin-1", "latin1", "iso-8859-1", "cp1252", "utf-8-sig")


class Span(NamedTuple):
    """A part of a file of a source."""

    file: int
    """Number of the file."""
    begin: int = 0
    """First byte, or first row group of a Parquet file."""
    end: int | None = None
    """Behind the last; None: to the end of the file."""


def cut(files: Sequence[Any], settings: TextReadingSettings, shard_bytes: int) -> list[list[Span]]:
    """Return the spans of each shard, in the order of the source; together they are the source.

    Args:
        shard_bytes: a shard ends behind the first place from here on where it may end.
    """
    shards: list[list[Span]] = [[]]
    filled = 0
    for number, file in enumerate(files):
        for begin, end, size in _cuts(file, settings, shard_bytes):
            shards[-1].append(Span(number, begin, end))
            filled += size
            if filled >= shard_bytes:
                shards.append([])
                filled = 0
    return [shard for shard in shards if shard]


def _cuts(file: Any, settings: TextReadingSettings, most: int) -> Iterator[tuple[int, int | None, int]]:
    """Begin, end and size of the parts of one file."""
    name, size = file.name.lower(), size_of(file)
    if size is None:
        yield 0, None, most
    elif name.endswith(".parquet") and size > most:
        yield from _row_groups(file, most)
    elif size > most and (pattern := _boundary(name, settings)):
        begin = 0
        with file.open("rb") as stream:
            while size - begin > most and (end := _next(stream, begin + most, size, pattern)):
                yield begin, end, end - begin
                begin = end
        yield begin, None, size - begin
    else:
        yield 0, None, size


def _boundary(name: str, settings: TextReadingSettings) -> re.Pattern[bytes] | None:
    if settings.encoding.lower() not in _ONE_BYTE_NEWLINES:
        return None
    if name.endswith(".jsonl"):
        return _LINE_END
    if not name.endswith(".txt") or settings.document == "file":
        return None
    return _LINE_END if settings.document == "line" else _BLANK_LINE


def _next(stream: Any, begin: int, size: int, pattern: re.Pattern[bytes]) -> int | None:
    """Return the first boundary from a byte on; None where there is none before the end of the file."""
    stream.seek(begin)
    window = b""
    while chunk := stream.read(_WINDOW):
        window = window[-2:] + chunk
        if match := pattern.search(window):
            end = stream.tell() - len(window) + match.end()
            return end if end < size else None
    return None


def _row_groups(file: Any, most: int) -> Iterator[tuple[int, int, int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open("rb") as stream, pq.ParquetFile(stream) as table:
            groups = [_group_bytes(table.metadata.row_group(n)) for n in range(table.num_row_groups)]
    except pa.ArrowException as error:
        raise SettingsError(f"{file}: not a Parquet file: {str(error).splitlines()[0]}") from None
    begin = filled = 0
    for number, size in enumerate(groups, 1):
        filled += size
        if filled >= most or number == len(groups):
            yield begin, number, filled
            begin, filled = number, 0


def _group_bytes(group: Any) -> int:
    return sum(group.column(number).total_compressed_size for number in range(group.num_columns))
