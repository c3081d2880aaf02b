"""Settings of a whole run that all modalities share; each modality adds its own classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from textdae.core.registry import modality_of_settings
from textdae.core.settings.base import DataSettings, EvaluateSettings, HubSettings, Settings, TrainSettings


class RunSettings(Settings):
    """Base of the settings that each modality has a class for."""

    command: ClassVar[str]
    """Name of the command."""

    @classmethod
    def choose(cls, values: Mapping[str, Any]) -> type[Settings]:
        """Return the class of the modality that the settings mean; a class of a modality returns itself."""
        if isinstance(cls.model_fields["modality"].default, str):
            return cls
        chosen: type[Settings] = modality_of_settings(values).settings_class(cls.command)
        return chosen


class PretrainSettings(RunSettings):
    """`textdae pretrain`"""

    command = "pretrain"

    modality: str
    """What kind of examples; default: what the source, the noise or the model is known to be of."""
    output_dir: Path = Path("runs/quickstart")
    """Everything the run writes lies here."""
    data: DataSettings
    model: Any
    noise: Any
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings
    hub: HubSettings = HubSettings()

    def evaluation(self) -> dict[str, Any]:
        """Return the defaults of `textdae evaluate` for this run: its data and its evaluation."""
        values = {"data": self.data, "evaluate": self.evaluate}
        return {key: value.model_dump(mode="json", exclude_none=True) for key, value in values.items()}


class EvaluateRunSettings(RunSettings):
    """`textdae evaluate`"""

    command = "evaluate"

    modality: str
    """What kind of examples: that of the checkpoint."""
    data: DataSettings
    evaluate: EvaluateSettings
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class EmbedSettings(RunSettings):
    """`textdae embed`"""

    command = "embed"

    modality: str
    """What kind of examples: that of the checkpoint."""
    data: DataSettings
    normalize: bool = False
    """Scale every vector to length 1."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""
