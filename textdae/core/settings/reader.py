"""Read settings: a YAML file, then `key=value` overrides, then strict checks with errors that name the culprit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from textdae.core.errors import SettingsError
from textdae.core.settings.problems import explain_problem
from textdae.core.settings.shipped import settings_file
from textdae.core.settings.yaml_text import parse_yaml, read_file

S = TypeVar("S", bound=BaseModel)


def _override(settings: dict[str, Any], override: str) -> tuple[str, ...]:
    """Set `a.b=value` in the nested settings; return the path of the key."""
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
            node[index] = parse_yaml(value, f"`{override}`")
        else:
            if isinstance(node, dict) and node.get(index) is None:
                node[index] = {}
            if not isinstance(node[index], dict | list):
                raise SettingsError(
                    f"`{override}`: {'.'.join(parts[: depth + 1])} is a single value, it has no `{parts[depth + 1]}`"
                )
            node = node[index]
    return tuple(parts)


def over(base: Any, values: Any) -> Any:
    """Merge nested settings: `values` win over `base`. Where `kind` or `type` differs, nothing of `base` is kept."""
    if not isinstance(base, dict) or not isinstance(values, dict):
        return values
    if any(tag in values and values[tag] != base.get(tag) for tag in ("kind", "type")):
        return values
    return {**base, **{key: over(base.get(key), value) for key, value in values.items()}}


def _given(path: Path | str | None, overrides: Sequence[str]) -> tuple[dict[str, Any], set[tuple[str, ...]]]:
    settings = read_file(settings_file(path)) if path else {}
    return settings, {_override(settings, override) for override in overrides}


def given(path: Path | str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Read a settings file and its overrides without checking them.

    Raises:
        SettingsError: they cannot be read.
    """
    return _given(path, overrides)[0]


def load(
    cls: type[S],
    path: Path | str | None = None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    sections: Mapping[str, Any] | None = None,
) -> S:
    """Build `cls` from a YAML file, `key=value` overrides and nested sections; the later setting wins.

    Args:
        path: a settings file, or the name of one that comes with textdae, e.g. `text-mini`.
        base: settings for keys that none of them sets.

    Raises:
        SettingsError: one line per problem, each naming the key, where it was given, and what would work.

    Example:
        >>> settings = textdae.load_settings(textdae.PretrainSettings, None, ["data.source=digits", "noise.sigma=0.5"])
        >>> settings.modality, settings.noise[0].sigma
        ('image', 0.5)
    """
    settings, typed = _given(path, overrides)
    settings = over(over(dict(base or {}), settings), dict(sections or {}))
    cls = getattr(cls, "choose", lambda parts: cls)(settings)
    try:
        return cls.model_validate(settings)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key, message = explain_problem(cls, problem, settings)
            shared = [zip(key, parts, strict=False) for parts in typed]
            in_the_file = not any(all(a == b for a, b in pairs) for pairs in shared)
            where = f"{path}: " if path and in_the_file and not _holds(sections, key) else ""
            lines.append(f"{where}{'.'.join(key) or 'settings'}: {message}")
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def _holds(sections: Mapping[str, Any] | None, key: Sequence[str]) -> bool:
    """Return whether nested sections set this key, or a single value in the place of what holds it."""
    node: Any = sections or {}
    for part in key:
        if not isinstance(node, Mapping):
            return True
        if part not in node:
            return False
        node = node[part]
    return True
