"""Pairs of a clean and a noisy picture, matched by their names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textdae.core.errors import SettingsError
from textdae.image.pictures import UnusablePicture
from textdae.image.sources import ImageSource

Opener = Callable[[Any], Any]
"""Opens a picture; it is called with the `Counter` of changes."""


def noisy_partners(source: ImageSource) -> dict[str, Opener]:
    """Return the opener of each noisy picture, by the name that it shares with the clean one.

    Raises:
        SettingsError: two of them share a name.
    """
    openers: dict[str, Opener] = {}
    for name, opener, _ in source:
        if openers.setdefault(shared_name(name), opener) is not opener:
            raise SettingsError(
                f"data.noisy_source: two pictures are called {shared_name(name)}: {name} is one"
            )
    return openers


def shared_name(name: str) -> str:
    """Return the name of a file without folder and ending, or the row of a table."""
    _, comma, row = name.rpartition(", row ")
    return f"row {row}" if comma else Path(name).stem


def noisy_partner(name: str, partners: Mapping[str, Opener]) -> Opener:
    """Return the opener of the noisy partner of a clean picture.

    Raises:
        UnusablePicture: it has none.
    """
    if (shared := shared_name(name)) not in partners:
        raise UnusablePicture(f"{name}: data.noisy_source has no picture called {shared}")
    return partners[shared]


def joined(clean: np.ndarray, noisy: np.ndarray, name: str) -> np.ndarray:
    """Join both into one, the noisy channels behind the clean ones. (C, H, W) twice -> (2 C, H, W).

    Raises:
        UnusablePicture: they differ in size.
    """
    if clean.shape != noisy.shape:
        sizes = [" x ".join(map(str, each.shape[:0:-1])) for each in (clean, noisy)]
        raise UnusablePicture(f"{name}: {sizes[0]}, but its noisy partner has {sizes[1]}")
    return np.concatenate([clean, noisy])
