"""Read settings: a YAML file, then `key=value` overrides, then strict checks with errors that name the culprit."""

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from textdae.core.errors import SettingsError, first_line
from textdae.core.settings.base import Settings
from textdae.core.settings.hints import hint, key_hint
from textdae.core.untrusted import read_bytes

S = TypeVar("S", bound=BaseModel)
_SUFFIXES = (".yaml", ".yml", ".json", "")
_MOST_BYTES, _MOST_VALUES = 1_000_000, 100_000
_MOST_CHARACTERS = 1_000_000
"""In a settings file of somebody else's."""


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: `1e-3` is a number, `no` is a word, and a key given twice is an error."""

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


def _parse(text: str, where: str) -> Any:
    try:
        found = yaml.load(text, Loader=_Loader)
        _count(found, {})
        return found
    except Exception as error:  # PyYAML lets KeyError, IndexError, AttributeError ... of bad tags through
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or (str(error) or type(error).__name__).splitlines()[0]
        raise SettingsError(f"{where}{line}: not YAML: {what}") from None


def _count(value: Any, known: dict[int, int]) -> int:
    """Count the values within a value, as often as its aliases repeat them.

    Args:
        known: what has been counted, by identity; 0 while it is.

    Raises:
        ValueError: they are more than settings have, a value holds itself, or a whole number is beyond 64 bits.
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


def _read_file(path: Path) -> dict[str, Any]:
    if path.is_dir() or path.suffix.lower() not in _SUFFIXES:
        what = "a folder, not a settings file" if path.is_dir() else "not a settings file"
        raise SettingsError(f"{path}: {what} (.yaml); if it is what to read, say data.source={path}")
    if not path.exists():
        raise SettingsError(
            f"{path}: no such settings file; an override is written key=value, e.g. train.seed=1"
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
    settings = _parse(text, str(path))
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise SettingsError(f"{path}: settings are `key: value` lines, this is a {type(settings).__name__}")
    return settings


def _override(settings: dict[str, Any], override: str) -> tuple[str, ...]:
    """Put `a.b=value` into the nested settings; return the key's path."""
    key, equals, value = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise SettingsError(f"`{override}`: an override is written key=value, e.g. train.seed=1")
    node: Any = settings
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not (part.isdecimal() and int(part) < len(node)):
                raise SettingsError(
                    f"`{override}`: {'.'.join(parts[:depth])} is a list of {len(node)}; name an entry, e.g. "
                    f"{'.'.join(parts[:depth])}.0.{parts[-1]}=..."
                )
            index: Any = int(part)
        else:
            index = part
        if last:
            node[index] = _parse(value, f"`{override}`")
        else:
            if isinstance(node, dict) and node.get(index) is None:
                node[index] = {}
            if not isinstance(node[index], dict | list):
                raise SettingsError(
                    f"`{override}`: {'.'.join(parts[: depth + 1])} is a single value, it has no `{parts[depth + 1]}`"
                )
            node = node[index]
    return tuple(parts)


def over(base: Any, given: Any) -> Any:
    """`given` settings over those of `base`; of another kind or type nothing is taken over."""
    if not isinstance(base, dict) or not isinstance(given, dict):
        return given
    if any(tag in given and given[tag] != base.get(tag) for tag in ("kind", "type")):
        return given
    return {**base, **{key: over(base.get(key), value) for key, value in given.items()}}


def _given(path: Path | str | None, overrides: Sequence[str]) -> tuple[dict[str, Any], set[tuple[str, ...]]]:
    settings = _read_file(Path(path)) if path else {}
    return settings, {_override(settings, override) for override in overrides}


def given(path: Path | str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """What a settings file and its overrides say, unchecked.

    Raises:
        SettingsError: they cannot be read.
    """
    return _given(path, overrides)[0]


def load(
    cls: type[S],
    path: Path | str | None = None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> S:
    """Build `cls` from a YAML file and `key=value` overrides; the later setting wins.

    Args:
        base: settings to go by where neither says anything.

    Raises:
        SettingsError: one line per problem, each naming the key, where it was given, and what would work.
    """
    settings, typed = _given(path, overrides)
    settings = over(dict(base or {}), settings)
    cls = getattr(cls, "choose", lambda given: cls)(settings)
    try:
        return cls.model_validate(settings)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key, message = _explain_problem(cls, problem, settings)
            shared = [zip(key, given, strict=False) for given in typed]
            on_the_command_line = any(all(a == b for a, b in pairs) for pairs in shared)
            where = "" if on_the_command_line or path is None else f"{path}: "
            lines.append(f"{where}{'.'.join(key) or 'settings'}: {message}")
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes within an annotation, whatever it is wrapped in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.variants()) if issubclass(annotation, Settings) else [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models(inner)]


def _explain_problem(cls: type[BaseModel], problem: Any, given: Any) -> tuple[list[str], str]:
    """One pydantic problem with the `given` settings as (key path, plain sentence)."""
    key: list[str] = []
    choices: list[type[BaseModel]] = [cls]
    unknown = problem["type"] == "extra_forbidden"
    for depth, part in enumerate(problem["loc"]):
        if isinstance(part, int):
            if isinstance(given, list):  # else one entry, written without the list
                key.append(str(part))
                given = given[part]
            continue
        tagged = [c for c in choices if (tag := _tag_field(c)) and c.model_fields[tag].default == part]
        if tagged and part not in choices[0].model_fields:
            choices = tagged
            continue
        key.append(str(part))
        given = given.get(part) if isinstance(given, dict) else None
        if unknown and depth == len(problem["loc"]) - 1:
            break
        choices = [
            m for c in choices if part in c.model_fields for m in _models(c.model_fields[part].rebuild_annotation())
        ] or choices  # fmt: skip
    if unknown:
        siblings = list(dict.fromkeys(field for c in choices for field in c.model_fields))
        named = [part for part in key if not part.isdecimal()]
        return key, f"no such key; {key_hint(named, siblings, [path for path, *_ in explain(cls)])}"
    if problem["type"] == "union_tag_invalid":
        known = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        tag = problem["ctx"]["discriminator"].strip("'")
        return [*key, tag], f"no {tag} `{problem['ctx']['tag']}`; {hint(problem['ctx']['tag'], known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "model_type" or (
        problem["type"].startswith("model_attributes") and not isinstance(problem["input"], dict)
    ):
        names = list(dict.fromkeys(f for c in choices for f in c.model_fields))
        message = f"holds further keys: {', '.join(names)}"
    got = problem["input"]
    shown = "" if isinstance(got, dict | list | tuple | BaseModel) else f", got {got!r}"
    return key, f"{message[0].lower()}{message[1:]}{shown}"


def _tag_field(cls: type[BaseModel]) -> str | None:
    """The field that tells a class from its alternatives, where it has one."""
    return next((name for name in ("kind", "type") if name in cls.model_fields), None)


class _Dumper(yaml.SafeDumper):
    """Quotes a word that another YAML reader, or ours, would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *resolvers]
    for first, resolvers in {
        **dict.fromkeys(yaml.SafeDumper.yaml_implicit_resolvers, ()),
        **_Loader.yaml_implicit_resolvers,
    }.items()
}


def dump(settings: BaseModel) -> str:
    """Settings as the YAML that gives them back, without the values that nobody set."""
    return to_yaml(settings.model_dump(mode="json", exclude_none=True))


def to_yaml(values: dict[str, Any]) -> str:
    """YAML that is read here as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def from_anyone(text: str, where: str) -> dict[str, Any]:
    """The values of a settings file that somebody else wrote.

    Raises:
        SettingsError: it is none, or would be far larger once it is read.
    """
    if len(text) > _MOST_CHARACTERS:
        raise SettingsError(f"{where}: {len(text):,} characters, which are no settings")
    try:
        repeats = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(f"{where}: not YAML: {first_line(error)}") from None
    if repeats:
        raise SettingsError(f"{where}: refers to parts of itself, which no settings of a run do")
    found = _parse(text, where)
    if not isinstance(found, dict):
        raise SettingsError(f"{where}: settings are `key: value` lines, this is a {type(found).__name__}")
    return found


def _type_name(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        return " | ".join(str(choice) for choice in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type_name(a) for a in typing.get_args(annotation) if a is not type(None))
    if origin is dict:
        return "keys"
    return {"str": "text", "Path": "path"}.get(annotation.__name__, annotation.__name__)


def explain(cls: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, type, default, meaning) for every setting below `cls`."""
    for name, field in cls.model_fields.items():
        inner = _models(field.rebuild_annotation())
        if len(inner) == 1:
            yield from explain(inner[0], f"{prefix}{name}.")
        elif inner:
            seen: dict[str, tuple[str, str, str, str]] = {}
            tag = _tag_field(inner[0])
            for choice in inner:
                for key, kind_of, default, meaning in explain(choice, f"{prefix}{name}."):
                    first = seen.setdefault(key, (key, kind_of, default, meaning))
                    if tag and default != first[2] and not key.endswith(f".{tag}"):
                        own = f"{choice.model_fields[tag].default}: {default}"
                        seen[key] = (*seen[key][:3], f"{seen[key][3].rstrip('.')}; {own}.")
            tags = [choice.model_fields[tag].default for choice in inner] if tag else []
            for key, kind_of, default, meaning in seen.values():
                if key == f"{prefix}{name}.{tag}":
                    kind_of, meaning = " | ".join(tags), meaning or f"{', '.join(tags[:-1])} or {tags[-1]}."
                yield key, kind_of, default, meaning
        else:
            default = field.get_default(call_default_factory=True)
            text = (
                ""
                if default is None
                else yaml.safe_dump(default)
                if isinstance(default, dict)
                else str(default)
            )
            yield f"{prefix}{name}", _type_name(field.annotation), text.strip(), field.description or ""
