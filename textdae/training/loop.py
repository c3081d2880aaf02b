"""The training loop: steps, log, evaluations, checkpoints, and when it ends. It knows no modality."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from textdae.core.denoiser import Denoiser
from textdae.core.errors import TextdaeError, memory_refused
from textdae.core.examples import Examples
from textdae.core.interrupts import remember_signals
from textdae.core.noise import Corrupted, Noise
from textdae.core.settings.train import TrainSettings
from textdae.training import checkpoint
from textdae.training.batches import load_batches
from textdae.training.cursor import Cursor
from textdae.training.hardware import autocast_dtype, join_processes, loader_workers
from textdae.training.log import Log
from textdae.training.meter import Meter, Reading
from textdae.training.milestones import check_milestones, reached
from textdae.training.optimizers import set_learning_rates
from textdae.training.processes import IN_TRAINING, PATIENCE, set_patience, together
from textdae.training.run_plan import RunPlan
from textdae.training.schedule import EvaluationSchedule, Every
from textdae.training.setup import prepare_model
from textdae.training.step import OptimizerStep, StepResult

logger = logging.getLogger(__name__)

_MOST_SKIPPED_IN_A_ROW = 20
"""After so many skipped steps in a row the run stops: the weights are at fault, not the batch."""


class FitResult(NamedTuple):
    """How a training run ended."""

    cursor: Cursor
    """The position in the run that training reached."""
    stopped_by: int | None
    """The signal that ended the run early, or None."""
    examples_per_second: float
    """Median over the logged intervals of this sitting; 0 where there was none."""
    ended_early: bool = False
    """Whether `should_stop` ended it."""


class Trainer:
    """Train a denoiser to reconstruct clean examples from corrupted ones.

    Args:
        denoiser: trained in place; with train.ema it has the averaged weights in the end.
        resume_from: a checkpoint of this run; training continues from it exactly.
        fingerprint: stored in each checkpoint; a resume compares it.
        evaluate: called on every process when an evaluation is due; its metrics go to the log.
        save_assets: adds files to a checkpoint, for instance the tokenizer.
        saved: called on the main process with the folder of each complete checkpoint.
        unit, units_per_example: what milestones may be counted in, beside steps and examples.
        report: called on the main process with each entry of the log.
        should_stop: called at the start and after each evaluation, with the same answer on every process; True ends the run.

    Example:
        >>> from textdae.core.settings.train import TrainSettings
        >>> noise, settings = textdae.GaussianNoise(0.25).build(), TrainSettings(max_steps=2)
        >>> trainer = textdae.Trainer(denoiser, examples, noise, settings, Path("runs/own"))
        >>> trainer.fit()
    """

    def __init__(
        self,
        denoiser: Denoiser,
        examples: Examples,
        noise: Noise,
        settings: TrainSettings,
        output_dir: Path,
        *,
        accelerator: Accelerator | None = None,
        resume_from: Path | None = None,
        fingerprint: dict[str, Any] | None = None,
        evaluate: Callable[[], dict[str, float]] | None = None,
        save_assets: Callable[[Path], None] = lambda folder: None,
        saved: Callable[[Path], None] = lambda checkpoint: None,
        should_stop: Callable[[], bool] = lambda: False,
        report: Callable[[dict[str, Any]], None] = lambda entry: None,
        unit: str = "examples",
        units_per_example: int = 1,
    ) -> None:
        self.denoiser, self.settings, self.output_dir = denoiser, settings, output_dir
        self.accelerator = accelerator or join_processes()
        self.fingerprint, self.evaluate, self.save_assets = fingerprint or {}, evaluate, save_assets
        self.saved, self.should_stop, self.report = saved, should_stop, report
        self.device, self.world = self.accelerator.device, self.accelerator.num_processes
        self._units = {"examples": 1, unit: units_per_example}
        check_milestones(settings.milestones, self._units)
        cursor = checkpoint.read_state(resume_from)[0] if resume_from else Cursor()
        process, weighs = self.accelerator.process_index, denoiser.weighs
        self.plan = RunPlan(examples, noise, settings, self.world, process, cursor, weighs)
        self._before = cursor
        self.start, self.batches, self.schedule = self.plan.start, self.plan.batches, self.plan.schedule

        self.dtype = autocast_dtype(settings.precision, self.device)
        self.model, self.optimizers, self.average = prepare_model(
            denoiser,
            examples,
            noise,
            settings,
            self.accelerator,
            dtype=self.dtype,
            max_steps=self.schedule.max_steps,
            first_step=self.start.step,
            resume_from=resume_from,
        )
        self.take_step = OptimizerStep(
            self.model, self.optimizers, self.accelerator, settings, self._autocast
        )
        self.last_saved, self._skipped_in_a_row = resume_from, 0
        self._began = time.monotonic()

    def fit(self) -> FitResult:
        """Train to the end of the run, or until a signal ends it; the last state is saved in both cases.

        Raises:
            TextdaeError: the loss is no longer finite, memory ran out, a checkpoint could not be written, or another
                process ended.
        """
        set_patience(IN_TRAINING)
        smaller = "set a smaller train.per_device_train_batch_size and more train.gradient_accumulation_steps"
        with memory_refused(smaller):
            result = self._fit()
        set_patience(PATIENCE)
        return result

    def _fit(self) -> FitResult:
        cursor, settings = self.start, self.settings
        self._began = time.monotonic()
        progress = self.plan.progress(cursor)
        if over := self.plan.used_up(cursor):
            done = f"{cursor.step:,} steps in {cursor.seconds:,.0f} s"
            logger.info(f"{', '.join(over)}: the run has done {done}, so nothing more is trained")
        evaluation = EvaluationSchedule(settings, cursor, progress)
        saving = Every(settings.save_steps, cursor.step, progress)
        batches, meter = self._load_batches(), Meter(cursor.examples, self.accelerator)
        figures: dict[str, float] = {}
        milestone = None
        is_main = self.accelerator.is_main_process
        with (
            Log(self.output_dir, cursor.step, progress, is_main, self.report) as log,
            remember_signals() as stop,
        ):
            ended_early = progress < 1 and self.should_stop()
            progress, stopped_by = self._agree(1.0 if ended_early else progress, stop())
            while progress < 1 and not stopped_by:
                factor = self.schedule.factor(cursor.step, progress)
                learning_rates = set_learning_rates(self.optimizers, factor)
                if note := self.plan.note(cursor.step, self._before):
                    logger.info(note)
                micro_batches = [next(batches) for _ in range(self.plan.step_plan(cursor.step).passes)]
                result = self._step(cursor.step, micro_batches)
                meter.add(result)
                skipped, before = cursor.skipped + (not result.is_finite), cursor
                cursor = cursor._replace(
                    step=cursor.step + 1,
                    examples=self.plan.examples(cursor.step + 1),
                    seconds=self._seconds(),
                    skipped=skipped,
                )
                if self.average and result.is_finite:
                    self.average.update(cursor.step)
                # All processes agree here; every decision below follows from it.
                progress, stopped_by = self._agree(self.plan.progress(cursor), stop())

                is_logged = cursor.step % settings.logging_steps == 0
                reading = meter.read(cursor.examples) if is_logged else None
                pause = time.monotonic()  # after the reading, which may wait for the device: that is training
                if reading:
                    log.write(self._log_entry(cursor, reading, result, learning_rates))
                    figures["loss"] = float(f"{reading.loss:.4g}")
                    figures["examples/s"] = round(reading.examples_per_second)
                log.progress(progress, cursor.step, self.schedule.max_steps, **figures)

                if evaluation.due(cursor, progress):
                    began = time.monotonic()
                    figures |= self._evaluate(log, cursor)
                    evaluation.seconds, _ = self._agree(time.monotonic() - began)
                    cursor = cursor._replace(eval_seconds=cursor.eval_seconds + evaluation.seconds)
                    ended_early = progress < 1 and self.should_stop()
                    progress, _ = self._agree(1.0 if ended_early else progress)
                milestone = reached(settings.milestones, before, cursor, self._units)
                due = saving.due(cursor.step, progress) or milestone
                if due and progress < 1 and not stopped_by:
                    self._save(cursor, milestone)
                meter.pause(time.monotonic() - pause)
            if cursor.step > self.start.step:
                self._save(cursor, milestone)
            if self.average and not stopped_by:
                self.average.swap()  # what is reported and exported
            self._log_end(cursor, evaluation, stopped_by)
        return FitResult(cursor, stopped_by or None, meter.examples_per_second(), ended_early)

    def _load_batches(self) -> Iterator[Corrupted]:
        workers = self.settings.dataloader_num_workers
        workers = loader_workers(self.device) if workers is None else workers
        specs = self.plan.batch_specs(self._seconds)
        return load_batches(self.batches, specs, workers, pin_memory=self.device.type == "cuda")

    def _log_entry(
        self, cursor: Cursor, reading: Reading, result: StepResult, learning_rates: dict[str, float]
    ) -> dict[str, Any]:
        """Return the line of the log after a step."""
        return {
            "step": cursor.step,
            "epoch": round(cursor.examples / self.batches.order.size, 4),
            **({"loss": reading.loss} if reading.scored else {}),
            "scored": reading.scored,
            **learning_rates,
            **({"grad_norm": result.grad_norm} if result.is_finite else {}),
            **self.plan.phases.log(cursor.step - 1),
            "examples_per_second": round(reading.examples_per_second, 2),
            "seconds": round(cursor.seconds, 2),
            **({"skipped": cursor.skipped} if cursor.skipped else {}),
        }

    def _log_end(self, cursor: Cursor, evaluation: EvaluationSchedule, stopped_by: int) -> None:
        """Tell what ended the run early, and what was left out."""
        settings = self.settings
        if stopped_by:
            name = signal.Signals(stopped_by).name
            logger.info(f"stopped by {name} at step {cursor.step}; saved {self.last_saved}")
        if evaluation.left_out:
            logger.warning(
                f"evaluations left out: {evaluation.left_out}; those made took {cursor.eval_seconds:.0f} s of "
                f"{settings.time_budget:.0f} s (train.eval_share={settings.eval_share:g})"
            )
        if cursor.skipped:
            logger.warning(f"steps left out, their loss or gradient not being finite: {cursor.skipped:,}")

    def _step(self, step: int, micro_batches: list[Corrupted]) -> StepResult:
        """Take one optimizer step, or raise where the loss is not finite and that is not allowed."""
        result = self.take_step(step, micro_batches)
        self._skipped_in_a_row = 0 if result.is_finite else self._skipped_in_a_row + 1
        too_often = self._skipped_in_a_row == _MOST_SKIPPED_IN_A_ROW
        if not result.is_finite and (self.settings.on_nonfinite == "stop" or too_often):
            often = f"for the {_MOST_SKIPPED_IN_A_ROW}th time in a row " if too_often else ""
            loss = float(result.loss_sum / result.count.clamp(min=1))
            raise TextdaeError(
                f"step {step + 1}: the loss is {often}not finite (loss {loss:g}, gradient norm {result.grad_norm:g}); "
                f"last good checkpoint: {self.last_saved or 'none yet'}; try half of train.learning_rate "
                "and train.muon_learning_rate, more train.warmup_steps, or train.precision=fp32"
            )
        return result

    def _evaluate(self, log: Log, cursor: Cursor) -> dict[str, float]:
        if self.evaluate is None:
            return {}
        self.denoiser.eval()
        with self._autocast(), self.average.applied() if self.average else nullcontext():
            figures = self.evaluate()
        self.denoiser.train()
        log.write(
            {"step": cursor.step, "seconds": round(cursor.seconds, 2)}
            | {f"eval_{k}": v for k, v in figures.items()}
        )
        return {"held-out": float(f"{figures['loss']:.4g}")}

    def _save(self, cursor: Cursor, milestone: str | None = None) -> None:
        is_main = self.accelerator.is_main_process
        save = partial(
            checkpoint.save, self.output_dir / "checkpoints", self.denoiser, self.optimizers, cursor
        )
        limit = self.settings.save_total_limit
        self.last_saved = together(
            lambda: save(self.fingerprint, self.save_assets, limit, is_main, milestone, self.average)
        )
        logger.debug(f"saved {self.last_saved}")
        if is_main and self.last_saved:
            self.saved(self.last_saved)

    def _seconds(self) -> float:
        return self.start.seconds + time.monotonic() - self._began

    def _agree(self, progress: float, stop: int = 0) -> tuple[float, int]:
        """Return the largest progress and stop signal of all processes, so that they decide alike though their clocks differ."""
        if self.world == 1:
            return progress, stop
        mine = torch.tensor([[progress, stop]], dtype=torch.float64, device=self.device)
        theirs = self.accelerator.gather(mine).amax(0).tolist()
        return theirs[0], int(theirs[1])

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
