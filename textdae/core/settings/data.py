"""Where examples come from, of every modality."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from textdae.core.settings.base import Settings


class DataSettings(Settings):
    """Where the clean examples come from; a modality adds how they are read."""

    source: str
    """Where the clean examples come from."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the examples kept for evaluation, chosen by a hash of their content."""
    held_out_source: str | None = None
    """Evaluate on this source instead, and train on all of `source`."""
    subset: str | None = None
    """Configuration name of a Hub dataset, where it has several."""
    split: str = "train"
    """Split of a Hub dataset."""
    held_out_split: str | None = None
    """Evaluate on this split of the Hub dataset instead, and train on all of `split`."""
    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""
    streaming: bool = False
    """Read a Hub dataset as it arrives instead of downloading it first."""
    cache_dir: Path | None = None
    """Prepared data is kept here; default: $TEXTDAE_CACHE or ~/.cache/textdae."""
