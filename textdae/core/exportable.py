"""What a modality gives to `textdae export`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor


class Exportable(NamedTuple):
    """A stock model, and inputs for it."""

    model: Any
    """In evaluation mode, on the CPU."""
    collate: Callable[[Sequence[Any]], dict[str, Tensor]]
    """Examples, as `textdae embed` reads them -> inputs by the names of the model's arguments; and `labels` (B, L) where the
    true token of some positions is known, -100 elsewhere."""
    draw: Callable[[int], Sequence[Any]]
    """n -> n examples drawn at random, for a checkpoint whose data is not at hand."""
    free_axes: dict[str, tuple[int, ...]]
    """Axes of each input that may have any length, beside the first, which is the batch."""
    unit: str
    """Examples in words, e.g. texts."""
