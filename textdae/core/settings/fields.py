"""Describe the fields of settings classes: their keys, types, defaults and meanings."""

import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from textdae.core.settings.base import Settings

Row = tuple[str, str, str, str]
"""Key, type, default and meaning of a setting."""


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes in an annotation such as `Noises | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.variants()) if issubclass(annotation, Settings) else [annotation]
    return [model for inner in typing.get_args(annotation) for model in models_in(inner)]


def tag_field(cls: type[BaseModel]) -> str | None:
    """Return the field that distinguishes a class from its alternatives, if it has one."""
    return next((name for name in ("kind", "type") if name in cls.model_fields), None)


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


def _default_first(field: FieldInfo, choices: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return the classes that a field may hold, that of its default first."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None:
        with suppress(ValidationError):
            value = TypeAdapter(field.rebuild_annotation()).validate_python({})
    value = value[0] if isinstance(value, tuple) and value else value
    return sorted(choices, key=lambda choice: choice is not type(value))


def explain(cls: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    """Yield every setting below `cls`."""
    for name, field in cls.model_fields.items():
        inner = models_in(field.rebuild_annotation())
        if len(inner) == 1:
            if field.default is None:  # a list that may be left out
                yield f"{prefix}{name}", "list", "", field.description or ""
            yield from explain(inner[0], f"{prefix}{name}.")
        elif inner:
            yield from _of_choices(_default_first(field, inner), f"{prefix}{name}.")
        else:
            value: Any = None if field.is_required() else field.get_default(call_default_factory=True)
            value = list(value) if isinstance(value, tuple) else value
            text = "" if value is None else yaml.safe_dump(value) if isinstance(value, dict) else str(value)
            yield f"{prefix}{name}", _type_name(field.annotation), text.strip(), field.description or ""


def _of_choices(choices: list[type[BaseModel]], prefix: str) -> Iterator[Row]:
    """Yield the settings of alternatives, each once: its types together, and whose default is which where they differ."""
    tag = tag_field(choices[0])
    tags = [choice.model_fields[tag].default for choice in choices] if tag else [""] * len(choices)
    rows: dict[str, dict[str, Row]] = {}
    for own, choice in zip(tags, choices, strict=True):
        for row in explain(choice, prefix):
            rows.setdefault(row[0], {})[own] = row
    for key, by_tag in rows.items():
        _, _, default, meaning = next(iter(by_tag.values()))
        if key == f"{prefix}{tag}":
            yield key, " | ".join(tags), default, meaning or f"{', '.join(tags[:-1])} or {tags[-1]}."
            continue
        differing = {own: row[2] for own, row in by_tag.items() if row[2] != default}
        if tag and differing and tags[0] not in by_tag:
            differing = {next(iter(by_tag)): default, **differing}
        meaning = (
            "; ".join([meaning.rstrip("."), *(f"{own}: {value}" for own, value in differing.items())]) + "."
        )
        kinds = dict.fromkeys(kind for row in by_tag.values() for kind in row[1].split(" | "))
        yield key, " | ".join(kinds), default, meaning
