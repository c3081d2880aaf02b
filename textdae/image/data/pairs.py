"""Pairs of a clean and a noisy picture, matched by their names."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from textdae.core.errors import SettingsError
from textdae.image.data.pictures import UnusablePicture
from textdae.image.data.sources import ImageSource

Opener = Callable[[Any], Any]
"""Opens a picture; it is called with the `Counter` of changes."""


class Partners:
    """The noisy pictures of a source, each for one clean picture of the same name.

    Names are compared without their endings. Where noisy pictures of several folders share a name, the folders count too.

    Raises:
        SettingsError: two of them share a name.
    """

    def __init__(self, source: ImageSource) -> None:
        entries = [(name, opener) for name, opener, _ in source]
        names = [shared_name(name) for name, _ in entries]
        if len(set(names)) < len(names):
            names = _with_folders([name for name, _ in entries])
        self._openers: dict[str, Opener] = {}
        for shared, (name, opener) in zip(names, entries, strict=True):
            if self._openers.setdefault(shared, opener) is not opener:
                raise SettingsError(f"data.noisy_source: two pictures are called {shared}: {name} is one")
        self._taken: dict[str, str] = {}

    def of(self, name: str) -> Opener:
        """Return the opener of the noisy partner of a clean picture.

        Raises:
            UnusablePicture: it has none.
            SettingsError: another clean picture has the same one.
        """
        shared = next((tail for tail in _tails(name) if tail in self._openers), None)
        if shared is None:
            own = shared_name(name)
            several = sorted(each for each in self._openers if each.endswith(f"/{own}"))
            has = (
                f"several pictures called {own}: {', '.join(several[:2])}"
                if several
                else f"no picture called {own}"
            )
            raise UnusablePicture(f"{name}: data.noisy_source has {has}")
        if self._taken.setdefault(shared, name) != name:
            raise SettingsError(
                f"data.noisy_source: one picture is called {shared}, and two of data.source are: {self._taken[shared]}, {name}"
            )
        return self._openers[shared]

    def count_unused(self, notes: Counter[str]) -> None:
        """Note how many of them no clean picture had."""
        if unused := len(self._openers) - len(self._taken):
            notes["noisy pictures without a clean one"] += unused


def shared_name(name: str) -> str:
    """Return the name of a file without folder and ending, or the row of a table."""
    _, comma, row = name.rpartition(", row ")
    return f"row {row}" if comma else Path(name).stem


def _with_folders(names: list[str]) -> list[str]:
    """Return names of files without ending, from the folder down that holds all of them; of rows of tables that of the file too."""
    root = os.path.commonpath([str(PurePath(name).parent) for name in names])
    return [str(_without_ending(PurePath(name).relative_to(root))) for name in names]


def _without_ending(path: PurePath) -> PurePath:
    file, comma, row = path.name.rpartition(", row ")
    return path.with_name(f"{PurePath(file).stem}, row {row}" if comma else path.stem)


def _tails(name: str) -> list[str]:
    """Return possible names of a partner: with all folders, with fewer, alone, and the row of a table."""
    parts = _without_ending(PurePath(name)).parts
    return [*(str(PurePath(*parts[first:])) for first in range(len(parts))), shared_name(name)]


def check_sizes(clean: Any, noisy: Any, name: str) -> None:
    """Refuse a pair of pictures of different sizes.

    Raises:
        UnusablePicture: names both sizes.
    """
    if clean.size != noisy.size:
        sizes = [" x ".join(map(str, each.size)) for each in (clean, noisy)]
        raise UnusablePicture(f"{name}: {sizes[0]}, but its noisy partner has {sizes[1]}")
