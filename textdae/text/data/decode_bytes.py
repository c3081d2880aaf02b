"""Decode the bytes of a file into text, chunk by chunk; an error names the byte."""

import codecs
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from textdae.core.errors import SettingsError
from textdae.text.data.data_settings import TextReadingSettings
from textdae.text.data.tables import SourceFile

_CHUNK = 1 << 20
_TRUSTED, _MOST_EXPANSION = 100_000_000, 200
"""Decompressed bytes that any file may have, and the largest expansion beyond them; text expands some ten times."""
_UNDECODABLE = "\udcff"  # a lone surrogate, which no decoder returns for valid bytes


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


class _Range(NamedTuple):
    """The bytes of a stream up to a place."""

    stream: BinaryIO
    end: int

    def read(self, size: int) -> bytes:
        return self.stream.read(max(0, min(size, self.end - self.stream.tell())))


def byte_range(stream: BinaryIO, begin: int, end: int | None) -> Any:
    """Return the stream from one byte to another."""
    if begin:
        stream.seek(begin)
    return stream if end is None else _Range(stream, end)


def checked_chunks(path: SourceFile, file: BinaryIO, stream: Any) -> Iterator[bytes]:
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


def decode(
    path: SourceFile, chunks: Iterable[bytes], settings: TextReadingSettings, begin: int = 0
) -> Iterator[str]:
    """Yield the text of chunks of bytes, by `data.encoding` and `data.errors`; a byte order mark is left out.

    Args:
        chunks: the last of them is empty.
        begin: position of the first byte in its file.
    """
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


def split_lines(decoded: Iterable[str]) -> Iterator[str]:
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


def lines(decoded: Iterable[str]) -> Iterator[str]:
    """Yield the lines that are not blank."""
    for line in split_lines(decoded):
        if line and not line.isspace():
            yield line.removesuffix("\r")


def paragraphs(decoded: Iterable[str]) -> Iterator[str]:
    """Yield the stretches of text between blank lines."""
    lines: list[str] = []
    for line in split_lines(decoded):
        if line and not line.isspace():
            lines.append(line.removesuffix("\r"))
        elif lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)
