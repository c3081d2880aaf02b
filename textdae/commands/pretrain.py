"""One pretraining run, from settings to a stock checkpoint with its report."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from textdae.commands.run import Run, hardware, writing
from textdae.core.logs import log_summary
from textdae.core.registry import modality
from textdae.core.settings.runs import PretrainSettings
from textdae.core.task import Task
from textdae.hub.locate import digests
from textdae.report.plots import loss_curve
from textdae.report.scores import is_in_decibels, score_table
from textdae.training.evaluation import evaluate
from textdae.training.log import read_log
from textdae.training.loop import FitResult, Trainer
from textdae.training.memory import model_check
from textdae.training.processes import together
from textdae.training.sharding import gather_weights

logger = logging.getLogger(__name__)

_LARGE, _FEW = 100_000_000, 1000
"""Parameters of a model, and examples to train it on: beyond the one and below the other it is told of."""


class PretrainResult(NamedTuple):
    """How a run ended and what it learned."""

    output_dir: Path
    fit: FitResult
    metrics: dict[str, Any]
    """What `metrics.json` holds; empty where the run was stopped early."""
    samples: Any
    """Held-out examples with what the model makes of them: passages, or images."""
    closing: list[str]
    """What to tell people at the end."""


def pretrain(
    settings: PretrainSettings,
    resume: bool | str = False,
    overwrite: bool = False,
) -> PretrainResult:
    """Pretrain a denoiser.

    Args:
        resume: go on from the last whole checkpoint in `output_dir`, or start where there is none; or from one on the
            Hub, `hub:OWNER/NAME@REVISION`.
        overwrite: remove the run that `output_dir` holds, once the new one is known to be able to start.

    Raises:
        SettingsError: the settings or the corpus cannot be used.
        TextdaeError: training could not go on.
    """
    with Run(settings, resume, overwrite) as run:
        return _pretrain(run)


def _pretrain(run: Run) -> PretrainResult:
    settings, accelerator, folder, is_main = run.settings, run.accelerator, run.folder, run.is_main
    fits = model_check(accelerator)
    task = run.prepared(lambda: modality(settings.modality).part("task").of_settings(settings, fits))
    log_summary(logger, task.summary)
    denoiser = task.denoiser
    architecture = type(denoiser.model).__name__
    parameters = sum(parameter.numel() for parameter in denoiser.parameters())
    logger.info(f"{architecture}: {parameters / 1e6:.2f} M parameters")
    if parameters > _LARGE and len(task.train) < _FEW:
        logger.warning(
            f"{len(task.train):,} training examples are few for {parameters / 1e6:,.0f} M parameters; "
            "a smaller model.hidden_size is the safer choice"
        )

    start = run.resume_from(_fingerprint(settings, task))
    questions = task.questions(settings.evaluate.max_examples)
    in_training = task.questions(settings.evaluate.max_examples_in_training)
    size = settings.evaluate.batch_size

    trainer = Trainer(
        denoiser,
        task.train,
        task.noise,
        settings.train,
        folder,
        accelerator=accelerator,
        resume_from=start,
        fingerprint=run.fingerprint,
        evaluate=lambda: evaluate(denoiser, *in_training, size, accelerator),
        save_assets=task.save_assets,
        saved=run.saved,
    )
    run.begin()
    fit = trainer.fit()
    if fit.stopped_by:
        return PretrainResult(folder, fit, {}, None, run.end(stopped=True))

    denoiser.eval()
    row, scored = task.score(questions, size, accelerator)
    # The picture shows the questions of the training, from its first dot to its end.
    end = evaluate(denoiser, *in_training, size, accelerator)["loss"]
    baselines, drawn = task.baselines(questions, in_training) if is_main else ({}, {})
    losses = {"model": end} | {name: row["loss"] for name, row in drawn.items()}
    speed = round(fit.examples_per_second * task.units_per_example)
    metrics: dict[str, Any] = {
        "held_out": score_table(row, baselines),
        "scored": scored,
        **task.describe(questions),
        "steps": fit.cursor.step,
        "global_batch": trainer.plan.global_batch,
        "seconds": round(fit.cursor.seconds, 1),
        f"{task.unit}_per_second": speed,
        "architecture": architecture,
        "parameters": parameters,
        "hardware": hardware(accelerator),
    }
    samples = task.samples(questions)
    weights = gather_weights(denoiser.model, is_main)
    export = partial(_export, settings, task, weights, metrics, losses, samples)
    lines = together(export, is_main) or []
    closing = [
        *lines,
        f"{metrics['steps']:,} steps in {metrics['seconds'] / 60:.1f} min"
        + (f", {speed:,} {task.unit}/s" if speed else ""),
        f"model, card and curve: {folder} (loss.png, README.md)",
        *run.end(stopped=False),
    ]
    return PretrainResult(folder, fit, metrics, samples, closing)


def _fingerprint(settings: PretrainSettings, task: Task) -> dict[str, Any]:
    """What must be the same when a run is resumed, for otherwise it would be another run."""
    model = task.model.model_dump(mode="json")
    if start := model.pop("from_pretrained", None):
        model["started from"] = digests(start)
    if start or model.get("embeddings") == "random":  # the only way there was, before there were two
        model.pop("embeddings", None)
    return {
        **task.fingerprint,
        "noise": [noise.model_dump(mode="json") for noise in settings.noise],
        "model": model,
        "train.seed": settings.train.seed,
        "train.optimizer": settings.train.optimizer,
        "train.target": settings.train.target,
    }


def _export(
    settings: PretrainSettings,
    task: Task,
    weights: dict[str, torch.Tensor] | None,
    metrics: dict[str, Any],
    losses: dict[str, float],
    samples: Any,
) -> list[str]:
    """Put the stock checkpoint and its report at the top of the output folder; the picture ends in `losses`."""
    folder = settings.output_dir
    with writing(folder):
        task.denoiser.save_pretrained(folder, weights)
        task.save_assets(folder)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
        final, decibels = (metrics["steps"], losses.pop("model")), is_in_decibels(metrics["held_out"])
        loss_curve(read_log(folder / "log.jsonl"), final, losses, folder / "loss.png", decibels=decibels)
        return task.report(folder, settings, metrics, samples)
