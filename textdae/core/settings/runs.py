"""Settings of a whole run that all modalities share; each modality adds its own classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from textdae.core.registry import modality_of_settings
from textdae.core.settings.base import Bytes, Folder, Settings
from textdae.core.settings.data import DataSettings
from textdae.core.settings.evaluation import EvaluateSettings
from textdae.core.settings.hub import HubSettings
from textdae.core.settings.train import TrainSettings


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
    """`textdae pretrain`

    Example:
        >>> settings = textdae.load_settings(textdae.PretrainSettings, overrides=["data.source=texts/", "train.max_steps=100"])
        >>> settings.train.max_steps
        100
    """

    command = "pretrain"

    modality: str
    """What kind of examples; default: what the source, the noise or the model is known to be of."""
    output_dir: Folder = Path("runs/quickstart")
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
        training_only = {"probe"}
        return {
            key: value.model_dump(mode="json", exclude_none=True, exclude=training_only)
            for key, value in values.items()
        }


class EvaluateRunSettings(RunSettings):
    """`textdae evaluate`

    Example:
        >>> settings = textdae.load_settings(textdae.EvaluateRunSettings, overrides=["data.source=texts/"])
        >>> settings.precision
        'auto'
    """

    command = "evaluate"

    modality: str
    """What kind of examples: that of the checkpoint."""
    data: DataSettings
    evaluate: EvaluateSettings
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class SlurmSettings(Settings):
    """Jobs of `--executor slurm`."""

    partition: str | None = None
    """Partition to submit to; default: that of the cluster."""
    time: str = "24:00:00"
    """Longest time of a job, as Slurm writes it."""
    mem_per_cpu_gb: Annotated[int, Field(ge=1)] = 3
    """Memory of a worker, which has one core."""
    qos: str | None = None
    """Quality of service."""
    options: dict[str, str] = {}
    """Further options of sbatch, e.g. `slurm.options.account=mine`."""
    setup: str = ""
    """Shell command before each job, e.g. `module load python`; the Python of whoever submits is used anyway."""


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
    shard_bytes: Bytes = 16_000_000
    """Bytes of the source that make a shard of vectors, with --executor."""
    slurm: SlurmSettings = SlurmSettings()


class PrepareSettings(RunSettings):
    """`textdae prepare`"""

    command = "prepare"

    modality: str
    """What kind of examples."""
    output_dir: str = "prepared"
    """Folder to write to, here or in an object store (s3://...)."""
    data: DataSettings
    slurm: SlurmSettings = SlurmSettings()
