"""Describe the fields of settings classes: their keys, types, defaults and meanings."""

import types
import typing
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from textdae.core.settings.base import Settings


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


def explain(cls: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, type, default, meaning) for every setting below `cls`."""
    for name, field in cls.model_fields.items():
        inner = models_in(field.rebuild_annotation())
        if len(inner) == 1:
            if field.default is None:  # a list that may be left out
                yield f"{prefix}{name}", "list", "", field.description or ""
            yield from explain(inner[0], f"{prefix}{name}.")
        elif inner:
            seen: dict[str, tuple[str, str, str, str]] = {}
            tag = tag_field(inner[0])
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
            value: Any = None if field.is_required() else field.get_default(call_default_factory=True)
            value = list(value) if isinstance(value, tuple) else value
            text = "" if value is None else yaml.safe_dump(value) if isinstance(value, dict) else str(value)
            yield f"{prefix}{name}", _type_name(field.annotation), text.strip(), field.description or ""
