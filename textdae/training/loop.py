"""The training loop: corrupt, encode, decode, sum, step. Nothing in it knows what it trains on.

The loss of a step is the global sum of the losses over the global count of scored positions, whatever the number of
processes and micro-batches; a mean of means would weigh a micro-batch with few scored positions too heavily.
"""

import logging
import math
import signal
import statistics
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator, DistributedType

from textdae.core.denoiser import Denoiser
from textdae.core.errors import SettingsError, TextdaeError, memory_refused
from textdae.core.examples import Examples
from textdae.core.interrupts import SAME, ending
from textdae.core.noise import Corrupted, Noise
from textdae.core.settings.base import TrainSettings
from textdae.training import checkpoint
from textdae.training.batches import Batches, BatchSpec, load
from textdae.training.checkpoint import Cursor
from textdae.training.hardware import autocast_dtype, join_processes, keep_freed_memory, should_compile
from textdae.training.log import Log, summary_writer
from textdae.training.memory import (
    activation_bytes,
    available_memory,
    check_batch_fits,
    check_model_fits,
    sharing,
)
from textdae.training.optimizers import build_optimizers, set_learning_rate
from textdae.training.processes import (
    IN_TRAINING,
    PATIENCE,
    check_same,
    set_patience,
    spread_weights,
    together,
)
from textdae.training.schedule import Every, Schedule
from textdae.training.sharding import digest
from textdae.training.step_plan import StepPlan

logger = logging.getLogger(__name__)

_MOST_IN_A_ROW = 20
"""Steps that may be left out one after the other; more are no accident."""


class FitResult(NamedTuple):
    """How a training run ended."""

    cursor: Cursor
    """Where it stands."""
    stopped_by: int | None
    """The signal that ended it early, or None where it ran to its end."""
    examples_per_second: float
    """Median over the logged intervals of this sitting; 0 where there was none."""


class Trainer:
    """Train a denoiser to reconstruct clean examples from corrupted ones.

    Args:
        denoiser: trained in place.
        resume_from: a checkpoint of this run; training goes on from it exactly.
        fingerprint: stored in each checkpoint, for whoever resumes it.
        evaluate: called on every process when an evaluation is due; its figures go to the log.
        save_assets: adds files to a checkpoint, for instance the tokenizer.
        saved: told of each checkpoint on the main process, once it is proven whole.
        should_stop: called at the start and after each evaluation, with the same answer on every process; True ends the run.
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
    ) -> None:
        self.denoiser, self.settings, self.output_dir = denoiser, settings, output_dir
        self.accelerator = accelerator or join_processes()
        self.fingerprint, self.evaluate, self.save_assets = fingerprint or {}, evaluate, save_assets
        self.saved, self.should_stop = saved, should_stop
        self.device, self.world = self.accelerator.device, self.accelerator.num_processes
        before = checkpoint.read_state(resume_from)[0] if resume_from else Cursor()
        self.plan = StepPlan.of(settings, self.world, before)
        self._plan_note = self.plan.note(settings, before)
        self.start = before._replace(global_batch=self.plan.global_batch, first_batch=self.plan.first_batch)
        self.schedule = Schedule(settings, len(examples), self.plan.global_batch)
        self.batches = Batches(examples, noise, settings.seed, settings.target, self.plan.first_batch)

        shards, processes = sharing(self.accelerator)
        size = sum(parameter.numel() for parameter in denoiser.parameters()) // shards
        self.dtype = autocast_dtype(settings.precision, self.device)
        free = available_memory(self.device)
        together(lambda: check_model_fits(size, free, processes))
        denoiser.to(self.device).eval()
        compiled = should_compile(settings, self.device, self.schedule.max_steps)
        denoiser.optimize_for(self.device, compiled, settings.fast == "auto")
        each = activation_bytes(denoiser, examples, noise, self.dtype)
        batch = settings.per_device_train_batch_size
        together(lambda: check_batch_fits(size, each, batch, free, processes))
        denoiser.train()
        if self.accelerator.distributed_type == DistributedType.FSDP and settings.optimizer == "muon":
            raise SettingsError(
                "train.optimizer: muon needs whole matrices; under FSDP set train.optimizer=adamw"
            )
        if settings.tensorboard and self.accelerator.is_main_process:
            summary_writer()
        spread_weights(denoiser)
        optimizers = build_optimizers(denoiser, settings, self.dtype)
        self.model, *self.optimizers = self.accelerator.prepare(denoiser, *optimizers)
        if self.device.type == "cpu":
            keep_freed_memory()
        if resume_from:
            checkpoint.restore(resume_from, denoiser, self.optimizers)
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        tensors = [
            tensor for state in states for tensor in state.values() if isinstance(tensor, torch.Tensor)
        ]
        weights = digest([*denoiser.parameters(), *denoiser.buffers(), *tensors]) if self.world > 1 else ""
        state = {"the weights before the first step": weights, "the first step": self.start.step}
        check_same(state, "the disk, the memory or the versions of a host are at fault")
        self.last_saved, self._in_a_row = resume_from, 0
        self._eval_cost = 0.0
        self._began = time.monotonic()

    def fit(self) -> FitResult:
        """Train to the end of the run, or until a signal ends it; either way the last state is saved.

        Raises:
            TextdaeError: the loss is no longer finite, memory ran out, a checkpoint could not be written, or another
                process is gone.
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
        progress = self._progress(cursor)
        evaluation = Every(settings.eval_steps, cursor.step, progress)
        saving = Every(settings.save_steps, cursor.step, progress)
        on_gpu, workers = self.device.type == "cuda", settings.dataloader_num_workers
        # On the CPU they would take from the training what they give to it.
        workers = (2 if on_gpu else 0) if workers is None else workers
        batches = load(self.batches, self._batch_specs(), workers, on_gpu)
        speeds: list[float] = []
        totals, since, since_examples = self._zeros(2), time.monotonic(), cursor.examples
        figures: dict[str, float] = {}
        left_out = 0
        is_main = self.accelerator.is_main_process
        with (
            Log(self.output_dir, cursor.step, progress, settings.tensorboard, is_main) as log,
            _stop_signals() as stop,
        ):
            if self._plan_note:
                logger.info(self._plan_note)
            progress, stopped_by = self._agree(1.0 if self.should_stop() else progress, stop())
            while progress < 1 and not stopped_by:
                factor = self.schedule.factor(cursor.step, progress)
                learning_rate = set_learning_rate(self.optimizers, factor)
                micro_batches = [next(batches) for _ in range(self.plan.passes)]
                loss_sum, scored, norm = self._step(cursor.step, micro_batches)
                totals += torch.stack([loss_sum, scored])
                skipped = cursor.skipped + (not math.isfinite(norm))
                cursor = cursor._replace(
                    step=cursor.step + 1,
                    examples=self._examples(cursor.step + 1),
                    seconds=self._seconds(),
                    skipped=skipped,
                )
                # Decided here once for all processes; everything below follows from it.
                progress, stopped_by = self._agree(self._progress(cursor), stop())

                if cursor.step % settings.logging_steps == 0:
                    loss, total = self._mean(totals)
                    speeds.append((cursor.examples - since_examples) / (time.monotonic() - since))
                    entry = {
                        "step": cursor.step,
                        "epoch": round(cursor.examples / self.batches.order.size, 4),
                        **({"loss": loss} if total else {}),
                        "scored": int(total),
                        "learning_rate": learning_rate,
                        **({"grad_norm": norm} if math.isfinite(norm) else {}),
                        "examples_per_second": round(speeds[-1], 2),
                        "seconds": round(cursor.seconds, 2),
                    }
                    log.write(entry | ({"skipped": skipped} if skipped else {}))
                    figures = {**figures, "loss": float(f"{loss:.4g}"), "examples/s": round(speeds[-1])}
                    totals, since, since_examples = self._zeros(2), time.monotonic(), cursor.examples
                log.progress(progress, cursor.step, self.schedule.max_steps, **figures)

                pause = time.monotonic()
                last = progress >= 1 and settings.eval_steps > 0
                if evaluation.due(cursor.step, progress) or last:
                    if last or self._can_afford_evaluation(cursor, progress):
                        figures |= self._evaluate(log, cursor)
                        self._eval_cost, _ = self._agree(time.monotonic() - pause, 0)
                        cursor = cursor._replace(eval_seconds=cursor.eval_seconds + self._eval_cost)
                        progress, _ = self._agree(1.0 if self.should_stop() else progress, 0)
                    else:
                        left_out += 1
                if saving.due(cursor.step, progress) and progress < 1 and not stopped_by:
                    self._save(cursor)
                since += time.monotonic() - pause
            if cursor.step > self.start.step:
                self._save(cursor)
            if stopped_by:
                logger.info(
                    f"stopped by {signal.Signals(stopped_by).name} at step {cursor.step}; saved {self.last_saved}"
                )
            if left_out:
                logger.warning(
                    f"evaluations left out: {left_out}; those made took {cursor.eval_seconds:.0f} s of "
                    f"{settings.time_budget:.0f} s (train.eval_share={settings.eval_share:g})"
                )
            if cursor.skipped:
                logger.warning(f"steps left out, their loss or gradient not being finite: {cursor.skipped:,}")
        return FitResult(cursor, stopped_by or None, statistics.median(speeds) if speeds else 0.0)

    def _step(self, step: int, micro_batches: list[Corrupted]) -> tuple[torch.Tensor, torch.Tensor, float]:
        """One optimizer step; return this process's sum of losses and count, and the global gradient norm.

        Where the norm is not finite nothing has happened, and nothing counts.
        """
        skip = self.settings.on_nonfinite == "skip"
        # Running means, say, which a forward pass may spoil.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()] if skip else []
        # The generator is set anew, so that dropout too depends on the place in the run and on no history.
        torch.manual_seed(
            zlib.crc32(f"{self.settings.seed} {step} {self.accelerator.process_index}".encode())
        )
        on_device = [micro_batch.to(self.device) for micro_batch in micro_batches]
        scored = torch.stack([micro_batch.loss_mask.sum() for micro_batch in on_device]).sum()
        everywhere = self.accelerator.reduce(scored, "sum") if self.world > 1 else scored
        # DDP averages the gradients over the processes; times their number that is the sum.
        scale = self.world / everywhere.clamp(min=1)
        loss_sum = self._zeros(())
        for number, micro_batch in enumerate(on_device):
            last = number == len(on_device) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model), self._autocast():
                output = self.model(micro_batch)
            found = output.loss_sum.detach()
            # Times 1, or not a number where the loss is not finite: so it is in the gradient, and all processes know.
            (output.loss_sum * scale * (1 + 0 * found)).backward()
            loss_sum += found
        norm = float(
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm or math.inf)
        )
        good = math.isfinite(norm)
        self._in_a_row = 0 if good else self._in_a_row + 1
        if not good and (not skip or self._in_a_row == _MOST_IN_A_ROW):
            often = f"for the {_MOST_IN_A_ROW}th time in a row " if self._in_a_row == _MOST_IN_A_ROW else ""
            raise TextdaeError(
                f"step {step + 1}: the loss is {often}not finite (loss {float(loss_sum / scored.clamp(min=1)):g}, gradient "
                f"norm {norm:g}); last good checkpoint: {self.last_saved or 'none yet'}; try half of train.learning_rate "
                "and train.muon_learning_rate, more train.warmup_steps, or train.precision=fp32"
            )
        for buffer, before in () if good else buffers:
            buffer.copy_(before)
        for optimizer in self.optimizers:
            if good:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return (loss_sum, scored, norm) if good else (self._zeros(()), self._zeros(()), norm)

    def _batch_specs(self) -> Iterator[BatchSpec]:
        """Yield the batches that this process trains on, step after step, without end."""
        for step in count(self.start.step):
            first = self._examples(step)
            progress = min(1.0, self.schedule.progress(step, first, self._seconds()))
            rank, end = self.accelerator.process_index, self.schedule.last_example
            yield from self.plan.batch_specs(first, rank, end, progress)

    def _examples(self, step: int) -> int:
        """Return the position in the stream where step `step` begins."""
        examples = self.start.examples + (step - self.start.step) * self.plan.global_batch
        return examples if self.schedule.last_example is None else min(examples, self.schedule.last_example)

    def _progress(self, cursor: Cursor) -> float:
        return self.schedule.progress(cursor.step, cursor.examples, cursor.seconds)

    def _can_afford_evaluation(self, cursor: Cursor, progress: float) -> bool:
        """Whether one more like the last leaves the training its share of the time so far; the first tells what one costs."""
        share, budget = self.settings.eval_share, self.settings.time_budget
        if share is None or budget is None:
            return True
        return cursor.eval_seconds + self._eval_cost <= share * budget * progress

    def _evaluate(self, log: Log, cursor: Cursor) -> dict[str, float]:
        if self.evaluate is None:
            return {}
        self.denoiser.eval()
        with self._autocast():
            figures = self.evaluate()
        self.denoiser.train()
        log.write(
            {"step": cursor.step, "seconds": round(cursor.seconds, 2)}
            | {f"eval_{k}": v for k, v in figures.items()}
        )
        return {"held-out": float(f"{figures['loss']:.4g}")}

    def _save(self, cursor: Cursor) -> None:
        is_main = self.accelerator.is_main_process
        save = partial(
            checkpoint.save, self.output_dir / "checkpoints", self.denoiser, self.optimizers, cursor
        )
        limit = self.settings.save_total_limit
        self.last_saved = together(lambda: save(self.fingerprint, self.save_assets, limit, is_main))
        logger.debug(f"saved {self.last_saved}")
        if is_main and self.last_saved:
            self.saved(self.last_saved)

    def _seconds(self) -> float:
        return self.start.seconds + time.monotonic() - self._began

    def _agree(self, progress: float, stop: int) -> tuple[float, int]:
        """The furthest progress and the strongest stop signal of any process: clocks differ, decisions must not."""
        if self.world == 1:
            return progress, stop
        mine = torch.tensor([[progress, stop]], dtype=torch.float64, device=self.device)
        theirs = self.accelerator.gather(mine).amax(0).tolist()
        return theirs[0], int(theirs[1])

    def _mean(self, totals: torch.Tensor) -> tuple[float, float]:
        loss_sum, scored = (self.accelerator.reduce(totals, "sum") if self.world > 1 else totals).tolist()
        return loss_sum / max(scored, 1), scored

    def _zeros(self, shape: Any) -> torch.Tensor:
        return torch.zeros(shape, device=self.device)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Remember the signals that end a run instead of dying of them; a SIGINT a second later is the usual KeyboardInterrupt."""
    received, since = 0, 0.0

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal received, since
        if received != signal.SIGINT or number != signal.SIGINT:
            received, since = number, time.monotonic()
        elif time.monotonic() - since > SAME:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield lambda: received
        return
    before = {number: signal.signal(number, remember) for number in ending()}
    try:
        yield lambda: received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
