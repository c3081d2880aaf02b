"""The noise of signals, and the settings of each command."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from textdae.core.changing import Changing, SigmaDial, normal
from textdae.core.noise_kind import NoiseKind, noise_list
from textdae.core.settings.base import ModelSettings, Settings
from textdae.core.settings.classes import settings_classes


class SignalNoise(NoiseKind):
    """A noise of signals."""

    field: ClassVar[str] = "signal"


class WhiteNoise(Changing, SigmaDial, SignalNoise):
    """Add normal noise of standard deviation `sigma` to every sample."""

    kind: Literal["white"] = "white"

    def change(self, values: Any, draw: Any, level: Any) -> Any:
        """x + level n. (B, L)."""
        return values + level * normal(draw, "normal", values.shape)


class SinesSettings(Settings):
    """Generated signals: two sines an octave, a fifth or a third apart, which is their class."""

    source: Literal["sines"] = "sines"
    """The one source that there is."""
    length: Annotated[int, Field(ge=8, le=4096)] = 64
    """Samples of a signal."""
    train: Annotated[int, Field(ge=2)] = 20_000
    """Signals to train on, or to embed."""
    held_out: Annotated[int, Field(ge=3)] = 1000
    """Signals for choices: early stopping, evaluation of pretraining."""
    test: Annotated[int, Field(ge=2)] = 1000
    """Signals for the final figures of a task with labels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides all signals."""


class SignalsModelSettings(ModelSettings):
    """An MLP."""

    hidden_size: Annotated[int, Field(ge=1)] = 256
    """Width of its layers, and of the embedding."""


SETTINGS = settings_classes(
    "signals",
    data=SinesSettings(),
    model=SignalsModelSettings(),
    noise=(WhiteNoise(sigma=0.5),),
    noises=Annotated[tuple[SignalNoise, ...], *noise_list(SignalNoise, "white")],
)
