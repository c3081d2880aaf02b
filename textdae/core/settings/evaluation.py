"""How a denoiser is scored, of every modality."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from textdae.core.settings.base import Settings


class EvaluateSettings(Settings):
    """How the denoiser is scored; the noise is frozen, so every evaluation scores the same positions."""

    max_examples: Annotated[int, Field(ge=1)] = 1024
    """Evaluate on at most this many held-out examples, spread evenly."""
    max_examples_in_training: Annotated[int, Field(ge=1)] = 128
    """The same for the evaluations during training, which should not hold it up."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Examples per forward pass."""


def _labelled(value: Any) -> Any:
    """Read the name of a source as the settings of a source."""
    return {"source": value} if isinstance(value, str) else value


class PretrainEvaluateSettings(EvaluateSettings):
    """How the denoiser is scored by `textdae pretrain`."""

    probe: Annotated[dict[str, Any] | None, BeforeValidator(_labelled)] = None
    """At every evaluation also fit a linear probe on labels: a labelled source, or keys of `data` of `textdae probe`, e.g. `evaluate.probe.label_column=kind`; default: none."""
