"""The training loop; it is the same for every modality."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from textdae.core.milestones import MilestoneField
from textdae.core.settings.base import Seconds, Settings, Share, StepsOrShare, as_list
from textdae.core.settings.phases import SCHEDULERS, PhaseSettings, starts_of

Tracker = Literal[
    "tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "aim", "clearml", "dvclive", "swanlab"
]


LIMITS = ("max_steps", "num_train_epochs", "time_budget")
"""Settings that end a run."""


def _names(value: Any) -> Any:
    """Read one name without the list; `none` is no name."""
    if value is None or value == "none":
        return ()
    return [value] if isinstance(value, str) else value


class TrainSettings(Settings):
    """The training loop; it is the same for every modality."""

    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many optimizer steps."""
    num_train_epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Stop after this many passes over the training examples."""
    time_budget: Seconds | None = None
    """Stop after this much training time, e.g. 10m; the schedule follows the clock. With none of the three: 215s."""
    phases: tuple[PhaseSettings, ...] | None = None
    """One run in phases, of steps or shares of train.max_steps: train.phases=[{share: 0.9}, {weights: {a: 1}, learning_rate_scale: 0.3}]."""
    per_device_train_batch_size: Annotated[int, Field(ge=1)] = 16
    """Examples per process per forward pass."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Forward passes per optimizer step; where global_batch_size is set, or kept, they follow from it."""
    global_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Examples per optimizer step, over all processes; default: what the two above made at the first start, kept by --resume."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the hidden matrices and AdamW for the rest; adamw: AdamW for all."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: Annotated[float, Field(gt=0)] = 0.02
    """Peak learning rate of Muon."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay, of matrices only."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's first-moment decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """AdamW's second-moment decay."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-6
    """AdamW's epsilon; much smaller, and the rounding of a vanishing gradient decides whole steps of rare tokens."""
    target: Literal["clean", "noisy"] = "clean"
    """What the reconstruction is compared with; noisy is the wrong target, there to see why the original is the right one."""
    loss_weight: Literal["none", "elbo"] = "none"
    """none: every hidden position counts the same; elbo: times 1 / (the hidden share of its example), which makes the loss a bound on the likelihood (text; masked diffusion)."""
    loss_weight_exponent: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of loss_weight=elbo: below 1 examples of which little is hidden weigh less, which bounds nothing and may learn faster."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average of the weights, e.g. 0.999, which evaluations, the best and the export use; default: none."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """A step whose loss or gradient is not finite: stop before it does harm, or leave it out and count it."""
    lr_scheduler_type: SCHEDULERS = "linear"
    """wsd: warm-up, plateau, linear decay to zero over the last `decay_share`; the others after warm-up as named."""
    warmup_steps: StepsOrShare = 20
    """Linear warm-up: steps, or a share of the run if below 1."""
    decay_share: Share = 0.5
    """Last share of the run, in which wsd lowers the rate to zero."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32. Weights are always kept in fp32."""
    compile: Literal["auto", "always", "never"] = "auto"
    """torch.compile; auto: where a compiler is found and the run is long enough to repay it."""
    fast: Literal["auto", "never"] = "auto"
    """auto: train with faster forms of ModernBERT's layers where they are known to equal the stock ones; never: with the stock layers."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that prepare batches ahead of the step; 0: the training process itself; default: beside a GPU its share of the cores less one, at most 8; else 0."""
    eval_steps: StepsOrShare = 0.1
    """Evaluate every so many steps, or every such share of the run if below 1; 0: never, but for the report at the end. Of a fine-tuning the last step is kept then, not the best."""
    eval_share: Share | None = 0.1
    """Evaluations take at most this share of a time_budget: those that would take more are left out; null: no limit."""
    save_steps: StepsOrShare = 0.25
    """Write a checkpoint every so many steps, or every such share of the run if below 1; 0: only at the end."""
    save_total_limit: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept; older ones go once a newer one is proven whole."""
    checkpoint_store: str | None = None
    """Folder or URL (s3://bucket/runs/mine) that every checkpoint is copied to as well; --resume on a machine that has an older one, or none, takes the newest from there."""
    milestones: Annotated[tuple[MilestoneField, ...], BeforeValidator(as_list)] = ()
    """Points of the run whose checkpoints are kept for good, beside the others: steps, or for instance [200k examples, 10M tokens]; tokens are positions of blocks."""
    logging_steps: Annotated[int, Field(ge=1)] = 10
    """Write a line of the log every so many steps."""
    report_to: Annotated[tuple[Tracker, ...], BeforeValidator(_names)] = ()
    """Trackers that get the log, the settings and the pictures of the run, e.g. tensorboard or [tensorboard,mlflow]; default: none."""
    run_name: str | None = None
    """What trackers call the run; default: the name of output_dir."""
    project: str = "textdae"
    """What trackers file the run under."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides weights, order and masks."""

    _unlimited: ClassVar[float | None] = 215.0

    @model_validator(mode="after")
    def _ends(self) -> "TrainSettings":
        if self._unlimited and all(getattr(self, limit) is None for limit in LIMITS):
            # Not as a value that is set: where another limit is told later, it takes this one's place.
            self.__dict__["time_budget"] = self._unlimited
        return self

    @model_validator(mode="after")
    def _phases_in_steps(self) -> "TrainSettings":
        if self.phases is None:
            return self
        if not self.phases:
            raise ValueError("phases: an empty list; leave it out")
        if not self.max_steps or self.num_train_epochs or self.time_budget:
            raise ValueError(
                "phases: they are counted in steps, so give train.max_steps, and neither num_train_epochs nor time_budget"
            )
        if self.loss_weight == "elbo" and any(phase.noise_level is not None for phase in self.phases):
            raise ValueError(
                "phases: train.loss_weight=elbo needs one noise throughout; leave noise_level out"
            )
        starts_of(self.phases, self.max_steps)
        return self
