"""The skeleton of a run that trains: prepare, resume, train, export, report. `pretrain` and `finetune` fill it in."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from textdae.commands.provenance import hardware
from textdae.commands.run import Run
from textdae.core.denoiser import Denoiser
from textdae.core.errors import TextdaeError
from textdae.core.examples import Examples
from textdae.core.logs import log_summary
from textdae.core.noise import Noise
from textdae.core.registry import report_files
from textdae.core.settings.train import TrainSettings
from textdae.training.checkpoint import last_whole, read_state
from textdae.training.log import read_log
from textdae.training.loop import FitResult, Trainer
from textdae.training.memory import peak_memory
from textdae.training.processes import together
from textdae.training.trackers import Trackers, check_trackers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run: how it ended, metrics, model, tokenizer or image processor, log, folder.

    Example:
        >>> run = textdae.pretrain(source="texts/", output_dir="runs/mine")
        >>> run.model, run.metrics
    """

    output_dir: Path
    fit: FitResult
    metrics: dict[str, Any]
    """The content of `metrics.json`; empty if the run was stopped early."""
    samples: Any
    """Held-out examples with their reconstructions, if the run has some."""
    closing: list[str]
    """Lines to print at the end."""
    load: Callable[[str], Any] = field(repr=False, compare=False)
    """Checkpoint folder -> model."""

    @property
    def checkpoint(self) -> Path:
        """The folder that `from_pretrained` takes: `output_dir`, or the last checkpoint of a run that was stopped early.

        Raises:
            TextdaeError: nothing has been saved yet.
        """
        if not self.fit.stopped_by:
            return self.output_dir
        if newest := last_whole(self.output_dir / "checkpoints"):
            return newest
        raise TextdaeError(f"{self.output_dir}: stopped before its first checkpoint")

    @cached_property
    def model(self) -> Any:
        """The trained model, of its stock class, on the CPU and in evaluation mode; loaded on first use."""
        model = self.load(str(self.checkpoint))
        return model.eval()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model; TextdaeError where it has none."""
        return self._processor("AutoTokenizer", "tokenizer_config.json", {})

    @cached_property
    def image_processor(self) -> Any:
        """The image processor of the model; TextdaeError where it has none."""
        return self._processor("AutoImageProcessor", "preprocessor_config.json", {"backend": "pil"})

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of `log.jsonl`: `step`, `loss`, `eval_loss`, `learning_rate`, `seconds` ..."""
        return read_log(self.output_dir / "log.jsonl")

    def _processor(self, name: str, file: str, options: dict[str, Any]) -> Any:
        import transformers

        folder = self.checkpoint
        if not (folder / file).is_file():
            raise TextdaeError(f"{folder}: it has no {file}, which its model does not need")
        return getattr(transformers, name).from_pretrained(folder, trust_remote_code=False, **options)


class Report(NamedTuple):
    """The report of a finished run."""

    metrics: dict[str, Any]
    samples: Any
    lines: list[str]
    """Lines printed before the duration."""
    kept: str
    """Which weights are kept, if that needs saying."""
    files: str
    """A description of the files in the folder."""


class TrainingTask(ABC):
    """What a run trains, on which examples, and how it is evaluated and reported.

    Attributes:
        summary: what was read, and what was left out.
        unit, units_per_example: the unit of the training speed.
        settings: of the loop.
    """

    denoiser: Denoiser
    examples: Examples
    noise: Noise
    settings: TrainSettings
    summary: list[str]
    unit: str = "examples"
    units_per_example: int = 1

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change when the run is resumed."""

    @abstractmethod
    def begin(self, resume_from: Path | None) -> None:
        """Set up the task before the first step: its evaluation, and what the checkpoint that a run resumes from knows of it."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Score the denoiser while it is trained; called on every process."""

    def should_stop(self) -> bool:
        """Return whether to end the run early."""
        return False

    @abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Write the files that belong to the model beside its weights."""

    @abstractmethod
    def load(self, checkpoint: str) -> Any:
        """Load the model of a checkpoint of this task, of its stock class."""

    @abstractmethod
    def report(self, common: dict[str, Any]) -> Report:
        """Score the trained model, export it, and write its report; called on every process.

        Args:
            common: metrics of every run: steps, time, speed, size.
        """


def train(run: Run, task: TrainingTask) -> TrainingResult:
    """Train, evaluate and report.

    Raises:
        SettingsError: the run cannot be started or resumed with these settings.
        TextdaeError: training could not go on.
    """
    log_summary(logger, task.summary)
    start = run.resume_from(task.fingerprint())
    task.begin(start)
    together(lambda: check_trackers(task.settings.report_to), run.is_main)
    config, step = run.settings.model_dump(mode="json"), read_state(start)[0].step if start else 0
    trackers = Trackers(task.settings, config, run.folder, run.fingerprint["run"], step, run.is_main)
    trainer = Trainer(
        task.denoiser,
        task.examples,
        task.noise,
        task.settings,
        run.folder,
        accelerator=run.accelerator,
        resume_from=start,
        fingerprint=run.fingerprint,
        evaluate=task.evaluate,
        save_assets=task.save_assets,
        saved=run.saved,
        should_stop=task.should_stop,
        report=trackers.log,
        unit=task.unit,
        units_per_example=task.units_per_example,
    )
    run.begin(is_over=bool(trainer.plan.used_up(trainer.start)))
    with trackers:
        fit = trainer.fit()
        if fit.stopped_by:
            return TrainingResult(run.folder, fit, {}, None, run.end(stopped=True), task.load)
        report = _report(run, task, fit, trainer.plan.step_plan(fit.cursor.step - 1).global_batch)
        trackers.finish(
            report.metrics, [run.folder / name for name in report_files() if name.endswith(".png")]
        )
    return TrainingResult(
        run.folder, fit, report.metrics, report.samples, [*report.lines, *run.end(stopped=False)], task.load
    )


def _report(run: Run, task: TrainingTask, fit: FitResult, global_batch: int) -> Report:
    """Let the task report; its lines are all that is printed at the end."""
    task.denoiser.eval()
    speed = round(fit.examples_per_second * task.units_per_example)
    common = {
        "steps": fit.cursor.step,
        "global_batch": global_batch,
        "seconds": round(fit.cursor.seconds, 1),
        **({"ended_early": True} if fit.ended_early else {}),
        **({f"{task.unit}_per_second": speed} if speed else {}),  # 0 where this sitting was too short to say
        "architecture": type(task.denoiser.model).__name__,
        **_parameters(task.denoiser),
        "hardware": hardware(run.accelerator),
    }
    if peak := peak_memory(run.accelerator.device):
        common["peak_memory_gb"] = round(peak / 1e9, 2)
    report = task.report(common)
    took = f"{fit.cursor.step:,} steps in {fit.cursor.seconds / 60:.1f} min"
    took += f", {speed:,} {task.unit}/s" if speed else ""
    if peak := peak_memory(run.accelerator.device):  # the report's own included
        took += f", at most {peak / 1e9:.1f} GB of memory"
    lines = [
        *report.lines,
        took + (f"; {report.kept}" if report.kept else ""),
        f"model, card and {report.files}",
    ]
    return report._replace(lines=lines)


def count_parameters(denoiser: Denoiser) -> int:
    """Count the parameters of a denoiser."""
    return sum(parameter.numel() for parameter in denoiser.parameters())


def size_line(denoiser: Denoiser) -> str:
    """Describe a denoiser by its class and size, and the size of what lies beside its stock model."""
    sizes = _parameters(denoiser)
    line = f"{type(denoiser.model).__name__}: {sizes.pop('parameters') / 1e6:.2f} M parameters"
    beside = (f"{size / 1e6:.2f} M of the {name.removesuffix('_parameters')}" for name, size in sizes.items())
    return ", and ".join([line, *beside])


def _parameters(denoiser: Denoiser) -> dict[str, int]:
    """Return the parameters of the stock model, and of each part beside it, as entries of the metrics."""
    beside = {
        f"{name}_parameters": sum(each.numel() for each in part.parameters())
        for name, part in denoiser.parts_beside().items()
    }
    return {"parameters": count_parameters(denoiser) - sum(beside.values()), **beside}
