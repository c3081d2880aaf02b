"""Settings of supervised tasks: fine-tuning, probing, label curves."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from textdae.core.settings.base import Folder, Seconds, Settings, as_list
from textdae.core.settings.hub import HubSettings
from textdae.core.settings.runs import RunSettings
from textdae.core.settings.train import TrainSettings

Precision = Literal["auto", "fp32", "bf16"]


class LabelledDataSettings(Settings):
    """Settings of every source of labelled examples."""

    label_column: str = "label"
    """Column of a table that holds the label."""
    task: Literal["auto", "single_label", "multi_label", "regression"] = "auto"
    """auto: by the labels, where a list of them is multi_label; regression must be set."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training examples that every choice is made on, chosen by a hash of their content."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the examples kept for the final figures, where there is no source or split of its own for them."""
    test_source: str | None = None
    """Take the final figures on this source instead."""
    test_split: str | None = None
    """Take the final figures on this split of the Hub dataset instead."""
    max_classes: Annotated[int, Field(ge=2)] = 1000
    """More classes than this are taken for a mistake: a column of names or numbers rather than of classes."""


class FinetuneTrainSettings(TrainSettings):
    """The training loop, with what suits fine-tuning."""

    _unlimited: ClassVar[float | None] = None
    time_budget: Seconds | None = None
    """Stop after this much training time, e.g. 10m. With none of the three: five epochs, or 200 steps where those are fewer."""
    per_device_train_batch_size: Annotated[int, Field(ge=1)] = 32
    """Examples per process per forward pass."""
    optimizer: Literal["muon", "adamw"] = "adamw"
    """muon: Muon for the hidden matrices and AdamW for the rest; adamw: AdamW for all."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    """Peak learning rate of AdamW."""
    muon_learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    """Peak learning rate of Muon."""
    warmup_steps: Annotated[float, Field(ge=0)] = 0.1
    """Linear warm-up: steps, or a share of the run if below 1."""
    early_stopping_patience: Annotated[int, Field(ge=0)] = 3
    """Stop after so many evaluations in a row that found nothing better; 0: never. The best one is what is kept."""

    @model_validator(mode="after")
    def _clean(self) -> "FinetuneTrainSettings":
        if self.target != "clean":
            raise ValueError("target: with labels the target is the label; leave it out")
        if self.phases:
            raise ValueError("phases: they are for pretraining; leave them out")
        if self.checkpoint_store:
            raise ValueError("checkpoint_store: it is for pretraining; leave it out")
        return self


class FinetuneSettings(RunSettings):
    """`textdae finetune`"""

    command = "finetune"

    modality: str
    """What kind of examples: that of the checkpoint."""
    output_dir: Folder = Path("runs/finetuned")
    """Everything the run writes lies here."""
    data: Any
    noise: Any = None
    from_scratch: bool = False
    """Take the checkpoint's sizes and leave its weights: what pretraining is measured against."""
    metric_for_best_model: str = "auto"
    """The measure, on the held-out examples, that decides when to stop and what to keep; auto: accuracy, micro_f1 or mse."""
    train: FinetuneTrainSettings = FinetuneTrainSettings()
    hub: HubSettings = HubSettings()


class ProbeSettings(RunSettings):
    """`textdae probe`"""

    command = "probe"

    modality: str
    """What kind of examples: that of the checkpoint."""
    output_dir: Folder = Path("runs/probe")
    """Everything the run writes lies here."""
    data: Any
    max_examples: Annotated[int, Field(ge=2)] = 5000
    """Choices are made with a probe on at most this many training examples, drawn evenly over the classes' shares."""
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides what is drawn, and the weights of the random encoder."""


CurveLine = Literal["finetuned", "probe", "scratch", "random", "baselines"]


class LabelCurveSettings(RunSettings):
    """`textdae label-curve`"""

    command = "label-curve"

    modality: str
    """What kind of examples: that of the checkpoint."""
    output_dir: Folder = Path("runs/label-curve")
    """Everything the run writes lies here, each point as soon as it is measured."""
    data: Any
    labels: (
        Annotated[tuple[Annotated[int, Field(ge=2)] | Literal["all"], ...], BeforeValidator(as_list)] | None
    ) = None
    """Numbers of labels, e.g. [100,1000,all]; default: 10, 30, 100, 300 ... and all."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 5
    """Sets of labels drawn at each number; every line is given the same ones. All labels are drawn once."""
    lines: Annotated[tuple[CurveLine, ...], BeforeValidator(as_list)] = (
        "finetuned",
        "probe",
        "scratch",
        "random",
        "baselines",
    )
    """What is measured: fine-tuned, the frozen probe, fine-tuned from scratch, a random encoder's probe, the baselines."""
    max_test_examples: Annotated[int, Field(ge=2)] = 10_000
    """Figures are taken on at most this many test examples, spread evenly."""
    train: FinetuneTrainSettings = FinetuneTrainSettings()
    precision: Precision = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides what is drawn."""
