"""`textdae finetune`: train a whole encoder with a head on labels, with the loop of pretraining.

The model of the best evaluation on the held-out examples is kept. The final scores are on the test examples, on which
nothing was chosen.
"""

import csv
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textdae.commands.keywords import for_checkpoint
from textdae.commands.run import Run
from textdae.commands.run_folder import writing
from textdae.commands.training_run import Report, TrainingResult, TrainingTask, size_line, train
from textdae.core.errors import SettingsError
from textdae.core.escape import for_csv
from textdae.core.logs import Caution
from textdae.core.names import public
from textdae.core.settings.downstream import FinetuneSettings, FinetuneTrainSettings
from textdae.core.sharding import gather_weights
from textdae.downstream.best import SCORE, Best
from textdae.downstream.classifier import Classifier
from textdae.downstream.label_noise import LabelNoise
from textdae.downstream.labelled import SIDES
from textdae.downstream.labels import LabelSchema
from textdae.downstream.metrics import is_better, measure, measures_of, per_class
from textdae.downstream.predict import outputs, predict
from textdae.downstream.task import LabelledTask, labelled_task
from textdae.downstream.verify_export import COMPARED_EXAMPLES, check_answers, load_exported
from textdae.hub.locate import digests
from textdae.report.card import classifier_card
from textdae.report.card_data import save_eval_results
from textdae.report.confusion import confusion_picture
from textdae.report.plots import loss_curve
from textdae.report.scores import score_table
from textdae.training import checkpoint as checkpoints
from textdae.training.cursor import Cursor
from textdae.training.evaluation import subsample
from textdae.training.log import read_log
from textdae.training.processes import from_process, together
from textdae.training.resuming import copy_to_hosts
from textdae.training.step_plan import StepPlan

logger = logging.getLogger(__name__)

_LEAST_STEPS, _EPOCHS = 200, 5


def with_length(train: FinetuneTrainSettings, examples: int, first_batch: int) -> FinetuneTrainSettings:
    """Return the settings with a length of the run: by default five epochs, or 200 steps if five epochs are fewer.

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
    checkpoint: str | Path,
    settings: FinetuneSettings | Mapping[str, Any] | Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> TrainingResult:
    """Fine-tune a checkpoint into a stock classifier.

    Args:
        checkpoint: folder or Hub id of a pretrained encoder.
        settings: ready ones, a dictionary, or a YAML file.
        resume: go on from the last whole checkpoint in `output_dir`, or start where there is none and the data or all
            settings are given.
        overwrite: remove the run that `output_dir` holds, once the new one is known to be able to start.
        source: labelled examples: a table, folder or Hub dataset (`data.source`).
        dataset: rows to read instead, see `pretrain`; of a `DatasetDict` choices are made on `validation`, and the figures
            taken on `test`.
        output_dir: everything the run writes lies here.
        sections: any other settings (`textdae settings finetune`): `data={"label_column": "genre"}`.

    Returns:
        The result; its `model` is the classifier.

    Raises:
        SettingsError: the settings, the checkpoint or the examples cannot be used.
        TextdaeError: training could not go on.

    Example:
        >>> run = textdae.finetune("runs/quickstart", source="labelled.csv", output_dir="runs/classifier")
        >>> run.metrics["test"]["model"]["accuracy"]
    """
    checkpoint = str(checkpoint)
    settings = for_checkpoint(
        FinetuneSettings, checkpoint, settings, resume=resume,
        source=source, dataset=dataset, output_dir=output_dir, **sections,
    )  # fmt: skip
    with Run(settings, resume, overwrite) as run:
        pinned = run.pin(checkpoint)
        work = run.prepared(lambda: labelled_task(settings.modality, pinned, settings.data))
        return train(run, _Finetuning(run, pinned, work))


class _Finetuning(TrainingTask):
    """Fine-tuning of a classifier; the best one on the held-out examples is kept."""

    def __init__(self, run: Run, checkpoint: str, work: LabelledTask) -> None:
        settings: FinetuneSettings = run.settings
        self.run, self.run_settings, self.settings = run, settings, settings.train
        self.checkpoint, self.work, self.corpus = checkpoint, work, work.corpus
        self.schema = self.corpus.schema
        measures = measures_of(self.schema.kind)
        self.metric = settings.metric_for_best_model
        if self.metric == "auto":
            self.metric = measures[0]
        if self.metric not in ("loss", *measures):
            known = ", ".join(("auto", "loss", *measures))
            raise SettingsError(
                f"metric_for_best_model: a {self.schema.kind} task has {known}; got {self.metric!r}"
            )
        labels = self.corpus.train.labels
        self.denoiser = self.classifier = work.classifier(labels, settings.train.seed, settings.from_scratch)
        self.sides = {side: work.batches(getattr(self.corpus, side)) for side in SIDES}
        self.examples, self.noise = self.sides["train"], LabelNoise(work.noise(settings.noise))
        self.summary = list(self.corpus.summary)
        if not self.classifier.can_shift:
            note = (
                f"the head of {type(self.classifier.model).__name__} has no bias: labels are scaled, but keep their mean of "
                f"{labels.mean():.3g}; where that is far from 0, subtracting it first is learnt better"
            )
            self.summary.append(Caution(note))
        self.summary.append(size_line(self.classifier) + (", from scratch" if settings.from_scratch else ""))

    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change on resume: examples, checkpoint, noise, seed, optimizer."""
        settings = self.run_settings
        noise, train = settings.noise, settings.train
        return {
            **self.work.fingerprint(),
            **self.classifier.fingerprint(),
            "checkpoint": digests(self.checkpoint),
            "from_scratch": settings.from_scratch,
            "metric_for_best_model": self.metric,
            "noise": None if noise is None else [each.model_dump(mode="json") for each in noise],
            "train.seed": train.seed,
            "train.optimizer": train.optimizer,
        }

    def begin(self, resume_from: Path | None) -> None:
        """Set the length of the run, and restore its best evaluation so far."""
        run = self.run
        cursor = checkpoints.read_state(resume_from)[0] if resume_from else Cursor()
        plan = StepPlan.of(self.settings, run.accelerator.num_processes, cursor)
        self.settings = with_length(self.run_settings.train, len(self.corpus.train), plan.first_batch)
        self.best = Best(run.folder, self.metric, self.settings.early_stopping_patience, cursor.step)
        self.best.values = from_process(lambda: self.best.values)  # the log lies with the first process

    def should_stop(self) -> bool:
        """Return whether too many evaluations in a row were no better."""
        return self.best.should_stop()

    def save_assets(self, folder: Path) -> None:
        """Write a tokenizer or an image processor."""
        self.work.save_assets(folder)

    def evaluate(self) -> dict[str, float]:
        """Score the classifier on the held-out examples, and keep it if it is the best so far."""
        run, classifier = self.run, self.classifier
        predictions, loss = predict(classifier, self.sides["held_out"], self.schema)
        scores = {"loss": loss, **measure(self.schema, predictions, self.corpus.held_out.labels)}
        figures = from_process(lambda: scores)  # by rounding, processes may differ
        record = self.best.add(figures[self.metric])
        weights = gather_weights(classifier.model, run.is_main) if record else None

        def write(folder: Path) -> None:
            classifier.save_pretrained(folder, weights)
            (folder / SCORE).write_text(json.dumps({self.metric: figures[self.metric]}))

        together(lambda: checkpoints.write_whole(self.best.folder, write), record and run.is_main)
        return figures

    def load(self, checkpoint: str) -> Any:
        """Load the stock classifier."""
        return type(self.classifier).load_stock(checkpoint)

    def report(self, common: dict[str, Any]) -> Report:
        """Export the best classifier, and score what was exported on the test examples."""
        run, classifier, test = self.run, self.classifier, self.corpus.test
        kept = from_process(self.best.is_there)
        if kept:
            copy_to_hosts(self.best.folder, run.accelerator.is_local_main_process, run.accelerator.device)
            classifier.load_pretrained(self.best.folder)
        some = self.work.batches(test.take(subsample(len(test), COMPARED_EXAMPLES).numpy()))
        answers, weights = outputs(classifier, some)[0], gather_weights(classifier.model, run.is_main)

        def export() -> dict[str, Any]:
            with writing(run.folder):
                classifier.export(run.folder, weights)
                self.work.save_assets(run.folder)
            # From here on only the exported model is used.
            exported = load_exported(run.folder, classifier, weights)
            unit = classifier.unit if self.schema.is_regression else None
            check_answers(run.folder, answers, outputs(exported, some)[0], unit)
            metrics, predictions = self._figures(exported, common)
            with writing(run.folder):
                self._write_report(metrics, predictions)
            return metrics

        metrics = together(export, run.is_main) or {}
        which = (
            f"the best of {len(self.best.values)} evaluations by held-out {self.metric} is kept"
            if kept
            else "the last weights are kept"
        )
        if ended_early := common.get("ended_early", False):
            which += f"; training ended as {self.best.patience} in a row were no better (train.early_stopping_patience)"
        pictures = ["loss.png", "README.md"]
        if not self.schema.is_regression:
            pictures.append("classes.csv")
        if self.schema.kind == "single_label_classification":
            pictures.append("confusion.png")
        files = f"pictures: {run.folder} ({', '.join(pictures)})"
        if metrics:
            _warn_if_no_better(self.schema, metrics, ended_early)
        return Report(metrics, None, [], which, files)

    def _figures(self, exported: Classifier, common: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
        """Return the metrics of the exported classifier, and its predictions for the test examples."""
        tables, predictions = {}, np.empty(0)
        for side in SIDES[1:]:  # last the test, whose predictions are drawn
            predictions, loss = predict(exported, self.sides[side], self.schema)
            labels = getattr(self.corpus, side).labels
            tables[side] = {"loss": loss, **measure(self.schema, predictions, labels)}
        baselines = {
            name: measure(self.schema, answers, self.corpus.test.labels)
            for name, answers in self.work.predictable().items()
        }
        metrics: dict[str, Any] = {
            "test": score_table(tables["test"], baselines),
            "held_out": tables["held_out"],
            "best_of": len(self.best.values),
            **common,
            "encoder": public(self.checkpoint),
            "task": self.schema.kind,
            "classes": list(self.schema.classes),
        }
        return metrics, predictions

    def _write_report(self, metrics: dict[str, Any], predictions: np.ndarray) -> None:
        folder, schema, labels = self.run.folder, self.schema, self.corpus.test.labels
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
        table = metrics["test"]
        final = (metrics["steps"], table["model"]["loss"])
        loss_curve(read_log(folder / "log.jsonl"), final, {}, folder / "loss.png", "test")
        if not schema.is_regression:
            rows = per_class(schema, predictions, labels)
            with open(folder / "classes.csv", "w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, ["class", "precision", "recall", "f1", "examples"])
                writer.writeheader()
                writer.writerows({key: for_csv(value) for key, value in row.items()} for row in rows)
        if schema.kind == "single_label_classification":
            confusion_picture(predictions, labels, schema.classes, folder / "confusion.png")
        package = type(self.classifier.model).__module__.split(".")[0]
        card = classifier_card(
            self.checkpoint, self.run_settings, metrics, self.corpus.summary, self.work.pipeline, package
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        save_eval_results(folder, self.run_settings, table["model"])


def _warn_if_no_better(schema: LabelSchema, metrics: dict[str, Any], ended_early: bool) -> None:
    """Warn if a baseline is as good."""
    name = measures_of(schema.kind)[0]
    values = {row: table[name] for row, table in metrics["test"].items()}
    ours, best = values.pop("model"), next(iter(values))
    for row, value in values.items():
        best = row if is_better(name, value, values[best]) else best
    if not is_better(name, ours, values[best]):
        what = "one constant answer" if best == "baseline: majority" else best.removeprefix("baseline: ")
        longer = "with more train.early_stopping_patience" if ended_early else "longer"
        logger.warning(
            f"on the test examples the model is no better than {what} ({name} {ours:.3f}, "
            f"the baseline {values[best]:.3f}); train {longer}, at another train.learning_rate, or on more labels"
        )
