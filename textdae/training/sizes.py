"""The sizes of a model that `textdae plan` chooses from, and what is known of them beforehand."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from textdae.training.scaling_law import Prior


class Sizes(NamedTuple):
    """What a modality offers to choose from.

    Example:
        >>> sizes = textdae.core.registry.modality("text").part("sizes")(textdae.load_settings(textdae.PretrainSettings))
        >>> sizes.smallest_first[0]["model"]["hidden_size"]
        128
    """

    smallest_first: list[dict[str, Any]]
    """Settings of each; `{}` leaves them as they are."""
    columns: Mapping[str, str]
    """Heading of the table -> the setting below it: {"width": "model.hidden_size"}."""
    prior: Prior
    batch: Callable[[Any, float], int] | None = None
    """Settings of a run, and the units of data that it will see -> examples in a batch; default: as the settings say."""
    rates: Callable[[Any, float], dict[str, float]] | None = None
    """Settings of a run, and its steps -> learning rates below `train`; default: as the settings say."""
