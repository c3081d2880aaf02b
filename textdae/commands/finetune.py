"""`textdae finetune`: all of an encoder, with a head, trained on labels by the loop that pretrained it.

What is kept is the model of the evaluation that was best on the held-out examples; the final figures are those of the
test examples, which nothing was chosen on.
"""

import csv
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textdae.commands.run import Run, hardware, writing
from textdae.core.errors import SettingsError
from textdae.core.escape import for_csv
from textdae.core.logs import log_summary
from textdae.core.names import public
from textdae.core.settings.downstream import FinetuneSettings, FinetuneTrainSettings
from textdae.downstream.best import SCORE, Best
from textdae.downstream.exported import ASKED, check_answers, load_exported
from textdae.downstream.heads import constant
from textdae.downstream.label_noise import LabelNoise
from textdae.downstream.labelled import LabelledCorpus
from textdae.downstream.labels import LabelSchema
from textdae.downstream.metrics import is_better, measure, measures_of, per_class
from textdae.downstream.predict import outputs, predict
from textdae.downstream.task import labelled_task
from textdae.hub.locate import digests
from textdae.report.card import classifier_card
from textdae.report.card_data import save_eval_results
from textdae.report.confusion import confusion_picture
from textdae.report.plots import loss_curve
from textdae.report.scores import score_table
from textdae.training import checkpoint as checkpoints
from textdae.training.evaluation import subsample
from textdae.training.log import read_log
from textdae.training.loop import FitResult, Trainer
from textdae.training.processes import from_process, together
from textdae.training.resuming import share
from textdae.training.sharding import gather_weights
from textdae.training.step_plan import StepPlan

logger = logging.getLogger(__name__)

_LEAST_STEPS, _EPOCHS = 200, 5


class FinetuneResult(NamedTuple):
    """How a run ended."""

    output_dir: Path
    fit: FitResult
    metrics: dict[str, Any]
    """What `metrics.json` holds; empty where the run was stopped early."""
    closing: list[str]
    """What to tell people at the end."""


def with_length(train: FinetuneTrainSettings, examples: int, first_batch: int) -> FinetuneTrainSettings:
    """The settings with an end to the run: five epochs, or 200 steps where those are fewer, unless told otherwise.

    A handful of labels needs many epochs (Mosbach et al. 2021, section 6).

    Args:
        examples: to train on.
        first_batch: examples of a step at the first start of the run; a resumed run ends where it would have ended.
    """
    if train.max_steps or train.num_train_epochs or train.time_budget:
        return train
    if _EPOCHS * examples < _LEAST_STEPS * first_batch:
        return train.model_copy(update={"max_steps": _LEAST_STEPS})
    return train.model_copy(update={"num_train_epochs": float(_EPOCHS)})


def finetune(
    checkpoint: str,
    settings: FinetuneSettings,
    resume: bool = False,
    overwrite: bool = False,
) -> FinetuneResult:
    """Fine-tune a checkpoint into a stock classifier.

    Args:
        checkpoint: folder or Hub id of a pretrained encoder.
        resume: go on from the last whole checkpoint in `output_dir`, or start where there is none.
        overwrite: remove the run that `output_dir` holds, once the new one is known to be able to start.

    Raises:
        SettingsError: the settings, the checkpoint or the examples cannot be used.
        TextdaeError: training could not go on.
    """
    with Run(settings, resume, overwrite) as run:
        return _finetune(run, run.pin(checkpoint))


def _finetune(run: Run, checkpoint: str) -> FinetuneResult:
    settings: FinetuneSettings = run.settings
    accelerator, folder, is_main = run.accelerator, run.folder, run.is_main
    work = run.prepared(lambda: labelled_task(settings.modality, checkpoint, settings.data))
    schema, corpus = work.corpus.schema, work.corpus
    main = settings.metric_for_best_model
    main = measures_of(schema.kind)[0] if main == "auto" else main
    if main not in ("loss", *measures_of(schema.kind)):
        known = ", ".join(("auto", "loss", *measures_of(schema.kind)))
        raise SettingsError(f"metric_for_best_model: a {schema.kind} task has {known}; got {main!r}")
    classifier = work.classifier(corpus.train.labels, settings.train.seed, settings.from_scratch)
    examples = {side: work.batches(getattr(corpus, side)) for side in ("train", "held_out", "test")}
    log_summary(logger, corpus.summary)
    if not classifier.can_shift:
        logger.warning(
            f"the head of {type(classifier.model).__name__} has no bias: labels are scaled, but keep their mean of "
            f"{corpus.train.labels.mean():.3g}; where that is far from 0, subtracting it first is learnt better"
        )
    architecture = type(classifier.model).__name__
    parameters = sum(parameter.numel() for parameter in classifier.parameters())
    logger.info(
        f"{architecture}: {parameters / 1e6:.2f} M parameters"
        + (", from scratch" if settings.from_scratch else "")
    )

    fingerprint = _fingerprint(checkpoint, settings, corpus.fingerprint, main)
    start = run.resume_from(fingerprint)
    cursor = checkpoints.read_state(start)[0] if start else checkpoints.Cursor()
    plan = StepPlan.of(settings.train, accelerator.num_processes, cursor)
    train = with_length(settings.train, len(corpus.train), plan.first_batch)
    best = Best(folder, main, train.early_stopping_patience, cursor.step)
    best.values = from_process(lambda: best.values)  # the log lies with the first process

    def evaluate() -> dict[str, float]:
        predictions, loss = predict(classifier, examples["held_out"], schema)
        found = {"loss": loss, **measure(schema, predictions, corpus.held_out.labels)}
        figures = from_process(lambda: found)  # or rounding parts the processes
        record = best.add(figures[main])
        weights = gather_weights(classifier.model, is_main) if record else None

        def write(place: Path) -> None:
            classifier.save_pretrained(place, weights)
            (place / SCORE).write_text(json.dumps({main: figures[main]}))

        together(lambda: checkpoints.write_whole(best.folder, write), record and is_main)
        return figures

    trainer = Trainer(
        classifier,
        examples["train"],
        LabelNoise(work.noise(settings.noise)),
        train,
        folder,
        accelerator=accelerator,
        resume_from=start,
        fingerprint=run.fingerprint,
        evaluate=evaluate,
        save_assets=work.save_assets,
        saved=run.saved,
        should_stop=best.should_stop,
    )
    run.begin()
    fit = trainer.fit()
    if fit.stopped_by:
        return FinetuneResult(folder, fit, {}, run.end(stopped=True))

    classifier.eval()
    kept = from_process(best.is_there)
    if kept:
        share(best.folder, accelerator.is_local_main_process, accelerator.device)
        classifier.load_pretrained(best.folder)
    asked = work.batches(corpus.test.take(subsample(len(corpus.test), ASKED).numpy()))
    answers, weights = outputs(classifier, asked)[0], gather_weights(classifier.model, is_main)

    def export() -> dict[str, Any]:
        with writing(folder):
            classifier.export(folder, weights)
            work.save_assets(folder)
        # From here on only what others will load is asked.
        exported = load_exported(folder, classifier, weights)
        unit = classifier.unit if schema.is_regression else None
        check_answers(folder, answers, outputs(exported, asked)[0], unit)
        tables, predictions = {}, np.empty(0)
        for side in ("held_out", "test"):  # last the test, whose predictions are drawn
            predictions, loss = predict(exported, examples[side], schema)
            tables[side] = {"loss": loss, **measure(schema, predictions, getattr(corpus, side).labels)}
        always = constant(schema, corpus.train.labels, len(corpus.test))
        baseline = measure(schema, always, corpus.test.labels)
        metrics: dict[str, Any] = {
            "test": score_table(tables["test"], {"majority": baseline}),
            "held_out": tables["held_out"],
            "best_of": len(best.values),
            "steps": fit.cursor.step,
            "global_batch": trainer.plan.global_batch,
            "seconds": round(fit.cursor.seconds, 1),
            "examples_per_second": round(fit.examples_per_second),
            "architecture": architecture,
            "parameters": parameters,
            "hardware": hardware(accelerator),
            "encoder": public(checkpoint),
            "task": schema.kind,
            "classes": list(schema.classes),
        }
        with writing(folder):
            package = type(classifier.model).__module__.split(".")[0]
            card = classifier_card(checkpoint, settings, metrics, corpus.summary, work.pipeline, package)
            (folder / "README.md").write_text(card, encoding="utf-8")
            _report(folder, settings, schema, corpus, predictions, metrics)
        return metrics

    metrics = together(export, is_main) or {}
    which = (
        f"the best of {len(best.values)} evaluations by held-out {main} is kept"
        if kept
        else "the last weights are kept"
    )
    pictures = ["loss.png", "README.md"]
    if not schema.is_regression:
        pictures.append("classes.csv")
    if schema.kind == "single_label_classification":
        pictures.append("confusion.png")
    speed = round(fit.examples_per_second)
    _warn_if_no_better(schema, metrics)
    closing = [
        f"{fit.cursor.step:,} steps in {fit.cursor.seconds / 60:.1f} min"
        + (f", {speed:,} examples/s; {which}" if speed else f"; {which}"),
        f"model, card and pictures: {folder} ({', '.join(pictures)})",
        *run.end(stopped=False),
    ]
    return FinetuneResult(folder, fit, metrics, closing)


def _warn_if_no_better(schema: LabelSchema, metrics: dict[str, Any]) -> None:
    """Warn where one and the same answer to everything does as well."""
    if not metrics:
        return
    name = measures_of(schema.kind)[0]
    ours, constant_one = (metrics["test"][row][name] for row in ("model", "baseline: majority"))
    if not is_better(name, ours, constant_one):
        logger.warning(
            f"warning: on the test examples it does no better than one and the same answer to all of them ({name} {ours:.3f}, "
            f"the baseline {constant_one:.3f}); train longer, at another train.learning_rate, or on more labels"
        )


def _report(
    folder: Path,
    settings: FinetuneSettings,
    schema: LabelSchema,
    corpus: LabelledCorpus,
    predictions: np.ndarray,
    metrics: dict[str, Any],
) -> None:
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    table = metrics["test"]
    final = (metrics["steps"], table["model"]["loss"])
    loss_curve(read_log(folder / "log.jsonl"), final, {}, folder / "loss.png", "test")
    if not schema.is_regression:
        rows = per_class(schema, predictions, corpus.test.labels)
        with open(folder / "classes.csv", "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows({key: for_csv(value) for key, value in row.items()} for row in rows)
    if schema.kind == "single_label_classification":
        confusion_picture(predictions, corpus.test.labels, schema.classes, folder / "confusion.png")
    save_eval_results(folder, settings, table["model"])


def _fingerprint(checkpoint: str, settings: FinetuneSettings, corpus: str, main: str) -> dict[str, Any]:
    """What must be the same when a run is resumed, for otherwise it would be another run."""
    noise, train = settings.noise, settings.train
    return {
        "data": corpus,
        "data.max_length": getattr(settings.data, "max_length", None),
        "checkpoint": digests(checkpoint),
        "from_scratch": settings.from_scratch,
        "metric_for_best_model": main,
        "noise": None if noise is None else [each.model_dump(mode="json") for each in noise],
        "train.seed": train.seed,
        "train.optimizer": train.optimizer,
    }
