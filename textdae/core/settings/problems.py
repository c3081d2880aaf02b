"""Explain a validation error of pydantic in one plain line: which key, what is wrong, what would work."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from textdae.core.settings.fields import explain, models_in, tag_field
from textdae.core.settings.hints import hint, key_hint


def explain_problem(cls: type[BaseModel], problem: Any, values: Any) -> tuple[list[str], str]:
    """Explain one problem that pydantic found. Returns the path of the key, and a plain sentence.

    Args:
        cls: the settings class.
        problem: one of `ValidationError.errors()`.
        values: that were validated.
    """
    key: list[str] = []
    choices: list[type[BaseModel]] = [cls]
    unknown = problem["type"] == "extra_forbidden"
    for depth, part in enumerate(problem["loc"]):
        if isinstance(part, int):
            if isinstance(values, list):  # else one entry, written without the list
                key.append(str(part))
                values = values[part]
            continue
        tagged = [c for c in choices if (tag := tag_field(c)) and c.model_fields[tag].default == part]
        if tagged and part not in choices[0].model_fields:
            choices = tagged
            continue
        key.append(str(part))
        values = values.get(part) if isinstance(values, dict) else None
        if unknown and depth == len(problem["loc"]) - 1:
            break
        choices = [
            m for c in choices if part in c.model_fields for m in models_in(c.model_fields[part].rebuild_annotation())
        ] or choices  # fmt: skip
    if unknown:
        siblings = list(dict.fromkeys(field for c in choices for field in c.model_fields))
        named = [part for part in key if not part.isdecimal()]
        return key, f"no such key; {key_hint(named, siblings, [path for path, *_ in explain(cls)])}"
    if problem["type"] == "union_tag_invalid":
        known = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        tag = problem["ctx"]["discriminator"].strip("'")
        advice = hint(problem["ctx"]["tag"], known)
        if tag == "kind" and "did you mean" not in advice:
            advice += "; one of your own is known once its module is imported (textdae --import MODULE)"
        return [*key, tag], f"no {tag} `{problem['ctx']['tag']}`; {advice}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "model_type" or (
        problem["type"].startswith("model_attributes") and not isinstance(problem["input"], dict)
    ):
        names = list(dict.fromkeys(f for c in choices for f in c.model_fields))
        message = f"holds further keys: {', '.join(names)}"
    got = problem["input"]
    shown = "" if isinstance(got, dict | list | tuple | BaseModel) else f", got {got!r}"
    return key, f"{message[0].lower()}{message[1:]}{shown}"


def explain_all(cls: type[BaseModel], error: ValidationError, values: Mapping[str, Any]) -> list[str]:
    """Explain every problem of the settings that were given to `cls`, in a line each."""
    explained = (explain_problem(cls, problem, values) for problem in error.errors())
    return [f"{'.'.join(key) or 'settings'}: {message}" for key, message in explained]
