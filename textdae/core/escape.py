"""Text from anyone, made harmless where it is shown: on a terminal, in a cell of a table, in Markdown."""

import unicodedata
from typing import Any

_KEPT = "\n\t"


class _Visible(dict[int, str]):
    """Character -> what is shown for it: control characters, those that turn the direction of writing and half surrogates
    as Python writes them in a string, all others as they are."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        turns = unicodedata.bidirectional(character) in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
        shown = ascii(character)[1:-1] if (hidden or turns) and character not in _KEPT else character
        self[code] = shown
        return shown


_VISIBLE = _Visible()


def for_terminal(text: str) -> str:
    """Text without what a terminal obeys: no colour, cursor, title or clipboard is set, no line is written over or reversed."""
    return text.translate(_VISIBLE)


class Screen:
    """A stream whose text is made harmless for a terminal on its way; the rest is that of the stream itself."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text."""
        return int(self._stream.write(for_terminal(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def for_csv(value: Any) -> Any:
    """A cell that a spreadsheet takes for text: one that would be a formula gets an apostrophe before it."""
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def for_markdown(text: str) -> str:
    """Text that Markdown and HTML leave as it is, in one line."""
    for character in "\\`*_{}[]()<>#|!&~$":
        text = text.replace(character, "\\" + character)
    return for_terminal(" ".join(text.split()))
