"""The settings of signals, and their noise."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from textdae.core.noise_kind import NoiseKind, noise_list
from textdae.core.settings.base import EvaluateSettings, Settings
from textdae.core.settings.downstream import FinetuneSettings, ProbeSettings
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, PretrainSettings


class SignalNoise(NoiseKind):
    """A noise of signals."""

    field: ClassVar[str] = "signal"


class WhiteNoise(SignalNoise):
    """Add normal noise of standard deviation `sigma` to every sample."""

    dial: ClassVar[str | None] = "sigma"
    kind: Literal["white"] = "white"
    sigma: Annotated[float, Field(gt=0)] = 0.5
    """Strength at the start of the run."""
    final_sigma: Annotated[float, Field(ge=0)] | None = None
    """Strength at the end of the run; default: `sigma` throughout."""
    schedule: Literal["linear", "cosine", "uniform"] = "linear"
    """How the noise goes from its start to its end."""

    def corrupt(self, inputs: Any, draw: Any, level: torch.Tensor, *context: Any) -> Any:
        """Signals (B, L) -> noisy signals (B, L), each scored as a whole (B,)."""
        u = draw.uniform("normal", inputs["signal"].shape[1])  # a multiple of 2^-24 in [0, 1)
        noise = torch.erfinv((u * 2 - 1) + 2.0**-24) * 2**0.5
        return {**inputs, "signal": inputs["signal"] + level * noise}, torch.ones(len(u), dtype=torch.bool)


Noises = Annotated[tuple[SignalNoise, ...], *noise_list(SignalNoise, "white")]


class SinesSettings(Settings):
    """Generated signals: two sines an octave, a fifth or a third apart, which is their class."""

    source: Literal["sines"] = "sines"
    """The one source that there is."""
    length: Annotated[int, Field(ge=8, le=4096)] = 64
    """Samples of a signal."""
    train: Annotated[int, Field(ge=2)] = 20_000
    """Signals to train on, or to embed."""
    held_out: Annotated[int, Field(ge=3)] = 1000
    """Signals that choices are made on."""
    test: Annotated[int, Field(ge=2)] = 1000
    """Signals that the figures of a task with labels are taken on."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides all signals."""


class SignalsModelSettings(Settings):
    """An MLP."""

    hidden_size: Annotated[int, Field(ge=1)] = 256
    """Width of its layers, and of the embedding."""


class QuestionSettings(EvaluateSettings):
    """How it is scored."""

    noise: Noises = (WhiteNoise(),)
    """The noise of the evaluation, also where the training has another."""


class _OfSignals(Settings):
    modality: Literal["signals"] = "signals"
    """What kind of examples."""
    data: SinesSettings = SinesSettings()


class SignalsPretrainSettings(_OfSignals, PretrainSettings):
    """`textdae pretrain`, of signals"""

    output_dir: Path = Path("runs/signals")
    """Everything the run writes lies here."""
    model: SignalsModelSettings = SignalsModelSettings()
    noise: Noises = (WhiteNoise(),)
    """One noise, or a list of noises applied one after the other."""
    evaluate: QuestionSettings = QuestionSettings()


class SignalsEvaluateSettings(_OfSignals, EvaluateRunSettings):
    """`textdae evaluate`, of signals"""

    evaluate: QuestionSettings = QuestionSettings()


class SignalsEmbedSettings(_OfSignals, EmbedSettings):
    """`textdae embed`, of signals"""

    pooling: Literal["mean"] = "mean"
    """A signal has one embedding."""
    layer: None = None
    """A signal has one embedding."""


class SignalsFinetuneSettings(_OfSignals, FinetuneSettings):
    """`textdae finetune`, of signals"""

    noise: Noises | None = None
    """Corrupt the inputs while fine-tuning; default: not."""


class SignalsProbeSettings(_OfSignals, ProbeSettings):
    """`textdae probe`, of signals"""
