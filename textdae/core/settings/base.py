"""The base of all settings, and the units that they are written in."""

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and a value never changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def variants(cls) -> list[type["Settings"]]:
        """Return the classes that a field of this type may hold: itself, unless it is the base of a registry."""
        return [cls]


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _quantity(units: dict[str, int], example: str) -> BeforeValidator:
    """Return a validator that reads a number with a unit into the base unit."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*(-?[0-9.]+)\s*([A-Za-z]*)\s*", value)
        known = {name.lower(): factor for name, factor in units.items()}
        if not match or match[2].lower() not in known or match[1].count(".") > 1 or match[1] in (".", "-."):
            raise ValueError(f"not a quantity with a unit; write for instance {example}")
        return float(match[1]) * known[match[2].lower()]

    return BeforeValidator(read)


Seconds = Annotated[float, Field(gt=0), _quantity(_SECONDS, "90s, 10m or 1.5h")]
Bytes = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(lambda value: int(value) if isinstance(value, float) and math.isfinite(value) else value),
    _quantity(_BYTES, "800KB, 40MB or 2GB"),
]
Folder = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]  # noqa: PTH111  # pathlib raises where there is no such user
Share = Annotated[float, Field(gt=0, le=1)]
StepsOrShare = Annotated[float, Field(ge=0)]


class ModelSettings(Settings):
    """Base of the settings of a model."""

    def fingerprint(self) -> dict[str, Any]:
        """Return the values that must not change on resume."""
        return self.model_dump(mode="json")


def as_list(value: Any) -> Any:
    """Read one entry without the list."""
    return [value] if isinstance(value, int | float | str) else value
