"""Settings that name a place of a machine: a source of data or a checkpoint. By rule, they end in `source` or `from_pretrained`."""

from collections.abc import Iterator, Mapping
from typing import Any

from textdae.core.names import public


def names_place(setting: str) -> bool:
    """Return whether a setting of this name may name a place.

    Example:
        >>> [names_place(name) for name in ("source", "held_out_source", "source_weight")]
        [True, True, False]
    """
    return setting in ("source", "from_pretrained") or setting.endswith("_source")


def places(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places that settings name, at any depth."""
    for name, value in settings.items():
        if names_place(name) and isinstance(value, str):
            yield value
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, Mapping):
                yield from places(inner)


def without_folders(line: str, settings: Mapping[str, Any]) -> str:
    """Return a line that may be published: of the local places that settings name, only the last part."""
    for place in sorted(set(places(settings)), key=len, reverse=True):
        if "/" in place or place.startswith("~"):
            line = line.replace(place, public(place))
    return line
