"""Which examples are trained on, and which are kept for evaluation."""

import hashlib
from typing import TypeVar

from textdae.settings import DataSettings

D = TypeVar("D", bound=DataSettings)


def is_held_out(content: str | bytes, share: float) -> bool:
    """Whether an example is kept for evaluation: decided by its content, so that a copy falls on the same side.

    Blank space around a text does not matter.
    """
    content = content.strip().encode() if isinstance(content, str) else content
    name = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(name) < share * 2**64


def held_out_settings(data: D) -> D | None:
    """The settings of the other source that is evaluated on; None where a share of the one source is."""
    if data.held_out_source is None and data.held_out_split is None:
        return None
    other = {"source": data.held_out_source or data.source, "split": data.held_out_split or data.split}
    return data.model_copy(update=other)
