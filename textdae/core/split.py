"""Split examples into training and held-out sides by a hash of their content."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from textdae.core.errors import SettingsError
from textdae.core.settings.data import DataSettings

D = TypeVar("D", bound=DataSettings)


def is_held_out(content: str | bytes, share: float) -> bool:
    """Return whether an example is held out, by a hash of its content: a copy falls on the same side.

    White space around a text is ignored.
    """
    return split_point(content) < share * 2**64


def split_point(content: str | bytes) -> int:
    """Hash an example's content to a number below 2^64; the lowest are held out."""
    content = content.strip().encode() if isinstance(content, str) else content
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def share_for_both_sides(contents: Iterable[str | bytes], share: float) -> float:
    """Return the share, or the nearest one that leaves an example on either side, where there are two that differ.

    Args:
        contents: read until both sides have one, which takes some 1 / share.
    """
    lowest, highest = 2**64, -1
    for number in map(split_point, contents) if share else ():
        lowest, highest = min(lowest, number), max(highest, number)
        if lowest < share * 2**64 <= highest:
            return share
    if lowest >= highest:
        return share
    if lowest >= share * 2**64:
        return math.nextafter(lowest / 2**64, 1)
    return math.nextafter(highest / 2**64, 0)


def other_source(data: D, side: str = "held_out") -> D | None:
    """Return the settings of a side (`held_out`, `test`) that has a source of its own, else None."""
    source, split = getattr(data, f"{side}_source"), getattr(data, f"{side}_split")
    if source is None and split is None:
        return None
    other: dict[str, Any] = {"split": split or data.split}
    if source not in (None, data.source):  # these settings belong to the first source
        other |= {"source": source, "subset": None, "revision": None}
    return data.model_copy(update=other)


def check_apart(data: DataSettings, fingerprints: Mapping[str, str]) -> None:
    """Refuse to learn from, choose on and take figures on the same examples.

    Args:
        fingerprints: of the source of each side (`train`, `held_out`, `test`) that has one of its own.

    Raises:
        SettingsError: two are one, for instance where files are given a `held_out_split`, which only the Hub has.
    """
    seen: dict[str, str] = {}
    for side, fingerprint in fingerprints.items():
        if fingerprint in seen:
            key = f"{side}_source" if getattr(data, f"{side}_source") else f"{side}_split"
            other = f"data.source {data.source}" if seen[fingerprint] == "train" else "the held-out side"
            raise SettingsError(
                f"data.{key}: the same examples as those of {other}; name another source with data.{side}_source, "
                f"or set data.{key}=null"
            )
        seen[fingerprint] = side


@contextmanager
def named_as(side: str) -> Iterator[None]:
    """Let an error about the source of a side name the setting that it was given by."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(str(error).replace("data.source", f"data.{side}_source")) from None
