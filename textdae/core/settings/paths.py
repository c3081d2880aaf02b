"""Settings that name a path: a source of data or a checkpoint, which may also be a URL or a name on the Hub.

By rule their names are `source` or `from_pretrained`, or end in `_source`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from textdae.core.names import public


def names_path(setting: str) -> bool:
    """Return whether a setting of this name may name a path.

    Example:
        >>> [names_path(name) for name in ("source", "held_out_source", "source_weight")]
        [True, True, False]
    """
    return setting in ("source", "from_pretrained") or setting.endswith("_source")


def paths_in(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths that settings name, at any depth."""
    for name, value in settings.items():
        if names_path(name) and isinstance(value, str):
            yield value
        for inner in value if isinstance(value, list | tuple) else [value]:
            if isinstance(inner, Mapping):
                yield from paths_in(inner)


def without_folders(line: str, settings: Mapping[str, Any]) -> str:
    """Return a line that may be published: of the local paths that settings name, only the last part."""
    for path in sorted(set(paths_in(settings)), key=len, reverse=True):
        if "/" in path or path.startswith("~"):
            line = line.replace(path, public(path))
    return line
