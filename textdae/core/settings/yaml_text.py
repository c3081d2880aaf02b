"""Read YAML as people mean it (`1e-3` is a number), with limits on size; write YAML that reads back the same."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from textdae.core.errors import SettingsError, first_line
from textdae.core.settings.shipped import shipped
from textdae.core.untrusted import read_bytes

_SUFFIXES = (".yaml", ".yml", ".json", "")
_MOST_BYTES, _MOST_VALUES = 1_000_000, 100_000
_MOST_CHARACTERS = 1_000_000
"""In a settings file from an untrusted source."""


class _Loader(yaml.SafeLoader):
    """Loader that reads `1e-3` as a number and `no` as a word, and refuses a key that occurs twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            kind = key.tag.rpartition(":")[2]
            if kind == "merge":  # `<<: *other`, whose keys give way to those written here
                continue
            if kind != "str" or not isinstance(key, yaml.ScalarNode):
                shown = key.value if isinstance(key, yaml.ScalarNode) else f"({kind})"
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {shown} is not a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{key.value}` is given twice", key.start_mark
                )
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+.0123456789"),
]:  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML into plain values.

    Args:
        where: the text comes from, for the error.

    Raises:
        SettingsError: it is not YAML, or holds more values than settings have.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
        _count(value, {})
        return value
    except Exception as error:  # PyYAML lets KeyError, IndexError, AttributeError ... of bad tags through
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or (str(error) or type(error).__name__).splitlines()[0]
        raise SettingsError(f"{where}{line}: not YAML: {what}") from None


def _count(value: Any, known: dict[int, int]) -> int:
    """Count the values within a value; an alias counts each time it is used.

    Args:
        known: counts so far, by identity; 0 while the value itself is being counted.

    Raises:
        ValueError: there are too many, a value holds itself, or a whole number is beyond 64 bits.
    """
    if isinstance(value, int) and abs(value) >= 2**64:
        raise ValueError("a whole number is beyond 64 bits")
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = 0
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(each, known) for each in inner)
    if not known[id(value)]:
        raise ValueError("a value holds itself")
    if known[id(value)] > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES:,} values once its aliases are followed")
    return known[id(value)]


def read_file(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Raises:
        SettingsError: it cannot be read, or holds no settings.
    """
    if path.is_dir() or path.suffix.lower() not in _SUFFIXES:
        what = "a folder, not a settings file" if path.is_dir() else "not a settings file"
        raise SettingsError(f"{path}: {what} (.yaml); to read it as data, set data.source={path}")
    if not path.exists():
        raise SettingsError(
            f"{path}: no such settings file; an override is written key=value, e.g. train.seed=1; shipped: {', '.join(shipped())}"
        )
    try:
        content = read_bytes(path, _MOST_BYTES)
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # no file, or too large
        raise SettingsError(
            f"{path}: {error}; a settings file is at most {_MOST_BYTES / 1e6:.0f} MB"
        ) from None
    settings = parse_yaml(text, str(path))
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise SettingsError(f"{path}: settings are `key: value` lines, this is a {type(settings).__name__}")
    return settings


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes each word that this or another YAML reader would not read as a word."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *resolvers]
    for first, resolvers in {
        **dict.fromkeys(yaml.SafeDumper.yaml_implicit_resolvers, ()),
        **_Loader.yaml_implicit_resolvers,
    }.items()
}


def dump(settings: BaseModel) -> str:
    """Write settings as YAML that reads back the same; None is written only where it is not the default."""
    return to_yaml(_without_default_none(settings, settings.model_dump(mode="json")))


def _without_default_none(settings: Any, written: Any) -> Any:
    """Return what `settings` are written as, without the keys whose value and default are both None."""
    if isinstance(settings, tuple) and not isinstance(written, list):
        (settings,) = settings  # one noise is written without its list
    if isinstance(settings, list | tuple):
        return [_without_default_none(*both) for both in zip(settings, written, strict=True)]
    if not isinstance(settings, BaseModel):
        return written
    fields = type(settings).model_fields
    return {
        key: _without_default_none(getattr(settings, key), value)
        for key, value in written.items()
        if value is not None or fields[key].default is not None
    }


def to_yaml(values: dict[str, Any]) -> str:
    """Write values as YAML that reads back the same."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def from_anyone(text: str, where: str) -> dict[str, Any]:
    """Parse a settings file from an untrusted source; it may have no aliases.

    Raises:
        SettingsError: it is too large, not YAML, uses aliases, or holds no settings.
    """
    if len(text) > _MOST_CHARACTERS:
        raise SettingsError(f"{where}: {len(text):,} characters; settings have at most {_MOST_CHARACTERS:,}")
    try:
        repeats = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(f"{where}: not YAML: {first_line(error)}") from None
    if repeats:
        raise SettingsError(f"{where}: uses YAML aliases, which settings of a run never do")
    values = parse_yaml(text, where)
    if not isinstance(values, dict):
        raise SettingsError(f"{where}: settings are `key: value` lines, this is a {type(values).__name__}")
    return values
