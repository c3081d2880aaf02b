"""Make untrusted text harmless where it is shown: on a terminal, in a cell of a table, in Markdown."""

import unicodedata
from typing import Any

_KEPT = "\n\t"


class _Visible(dict[int, str]):
    """Map characters to what is shown: control characters, bidirectional overrides and lone surrogates as escapes of
    Python."""

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
    """Escape control characters, so that text sets no colour, cursor, title or clipboard, and overwrites no line."""
    return text.translate(_VISIBLE)


class Screen:
    """A text stream that escapes control characters in what it writes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text."""
        return int(self._stream.write(for_terminal(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def for_csv(value: Any) -> Any:
    """Return a cell that a spreadsheet reads as text: an apostrophe goes before a formula."""
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def for_markdown(text: str) -> str:
    """Escape Markdown and HTML, in one line."""
    for character in "\\`*_{}[]()<>#|!&~$":
        text = text.replace(character, "\\" + character)
    return for_terminal(" ".join(text.split()))
