"""`textdae pretrain`: from settings to a stock checkpoint with its report."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from textdae.commands.keywords import of_resumed_run, read_settings
from textdae.commands.run import Run
from textdae.commands.run_folder import writing
from textdae.commands.training_run import (
    Report,
    TrainingResult,
    TrainingTask,
    count_parameters,
    size_line,
    train,
)
from textdae.core.errors import SettingsError, first_line
from textdae.core.logs import Caution
from textdae.core.registry import modality
from textdae.core.settings.runs import PretrainSettings
from textdae.core.sharding import gather_weights
from textdae.core.task import Pretraining
from textdae.hub.locate import digests
from textdae.report.plots import loss_curve
from textdae.report.scores import is_in_decibels, score_table
from textdae.training.evaluation import evaluate, evaluate_together
from textdae.training.log import read_log
from textdae.training.memory import model_check
from textdae.training.phases import phases_fingerprint
from textdae.training.processes import together

if TYPE_CHECKING:
    from textdae.commands.training_probe import TrainingProbe

logger = logging.getLogger(__name__)
_LARGE, _FEW = 100_000_000, 1000
"""A model with more parameters and fewer training examples than these causes a warning."""


def pretrain(
    settings: PretrainSettings | Mapping[str, Any] | Path | str | None = None,
    resume: bool | str = False,
    overwrite: bool = False,
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> TrainingResult:
    """Pretrain a denoiser.

    Args:
        settings: ready ones, a dictionary, a YAML file, or the name of one that comes with textdae (`text-mini`); default:
            those of the quickstart.
        resume: go on from the last whole checkpoint in `output_dir`, or start where there is none and the data or all settings are given; or from one on the
            Hub, `hub:OWNER/NAME@REVISION`.
        overwrite: remove the run that `output_dir` holds, once the new one is known to be able to start.
        source: what to read: a file, folder, glob or Hub dataset (`data.source`).
        dataset: rows to read instead: a `datasets.Dataset`, an `IterableDataset` that has an end, or a `DatasetDict`, whose
            `validation` is held out. They are copied to the cache, under a name that their content decides.
        output_dir: everything the run writes lies here.
        sections: any other settings (`textdae settings pretrain`): `train={"time_budget": "10m"}`, `modality="image"`.

    Returns:
        The result; its `model`, `tokenizer` or `image_processor`, `metrics` and `output_dir` are what most want.

    Raises:
        SettingsError: the settings or the corpus cannot be used.
        TextdaeError: training could not go on.

    Example:
        >>> run = textdae.pretrain(source="texts/", output_dir="runs/mine", train={"time_budget": "10m"})
        >>> run.metrics["held_out"]["model"]["loss"]
        >>> run.model, run.tokenizer
    """
    told: dict[str, Any] = {"source": source, "dataset": dataset, "output_dir": output_dir, **sections}
    base = of_resumed_run(PretrainSettings, resume, settings, **told)
    settings = read_settings(PretrainSettings, settings, (), base, **told)
    with Run(settings, resume, overwrite) as run:
        fits = model_check(run.accelerator)
        prepare = modality(run.settings.modality).part("pretraining")
        return train(run, _Pretraining(run, run.prepared(lambda: prepare(run.settings, fits))))


class _Pretraining(TrainingTask):
    """Pretraining of a denoiser."""

    def __init__(self, run: Run, parts: Pretraining) -> None:
        self.run, self.run_settings, self.settings = run, run.settings, run.settings.train
        self.parts, self.evaluation, self.noise = parts, parts.evaluation, parts.noise
        self.denoiser, corpus = self.evaluation.denoiser, self.evaluation.corpus
        self.examples = corpus.train
        self.unit, self.units_per_example = corpus.unit, corpus.units_per_example
        self.summary = [*corpus.summary, size_line(self.denoiser)]
        parameters = count_parameters(self.denoiser)
        if parameters > _LARGE and len(self.examples) < _FEW:
            self.summary.append(
                Caution(
                    f"{len(self.examples):,} training examples are few for {parameters / 1e6:,.0f} M parameters; "
                    "a smaller model.hidden_size is the safer choice"
                )
            )

    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change on resume: corpus, noise, model, seed, optimizer, target."""
        settings, model = self.run_settings, self.parts.model.fingerprint()
        if start := model.pop("from_pretrained", None):
            model["started from"] = digests(start)
        return {
            **self.evaluation.corpus.fingerprint,
            "noise": [noise.model_dump(mode="json") for noise in settings.noise],
            "model": model,
            "train.seed": settings.train.seed,
            "train.optimizer": settings.train.optimizer,
            "train.target": settings.train.target,
            "train.phases": phases_fingerprint(settings.train),
            "train.loss_weight": [settings.train.loss_weight, settings.train.loss_weight_exponent],
        }

    def begin(self, resume_from: Path | None) -> None:
        """Choose the questions of the final evaluation, and a part of them for evaluations during training."""
        settings = self.run_settings.evaluate
        self.probe = self._open_probe(probed) if (probed := getattr(settings, "probe", None)) else None
        self.questions = self.evaluation.questions(settings.max_examples)
        self.in_training = self.evaluation.questions_in_training(settings.max_examples_in_training)
        self.batch_size = settings.batch_size

    def _open_probe(self, data: dict[str, Any]) -> "TrainingProbe":
        try:
            from textdae.commands.training_probe import TrainingProbe
        except ModuleNotFoundError:
            raise SettingsError(
                "evaluate.probe: needs more libraries; run: pip install 'textdae[downstream]'"
            ) from None
        name = self.run_settings.modality
        return TrainingProbe(name, data, self.denoiser, self.save_assets, self.run.is_main)

    def evaluate(self) -> dict[str, float]:
        """Score the denoiser on a part of the questions, and on those of each source where there are several; probe it."""
        if parts := self.evaluation.by_source(self.in_training):
            figures = evaluate_together(self.denoiser, parts, self.batch_size, self.run.accelerator)
        else:
            figures = evaluate(self.denoiser, *self.in_training, self.batch_size, self.run.accelerator)
        return figures | (self.probe.score() if self.probe else {})

    def save_assets(self, folder: Path) -> None:
        """Write a tokenizer or an image processor."""
        self.parts.save_assets(folder)

    def load(self, checkpoint: str) -> Any:
        """Load the stock model behind the denoiser."""
        return modality(self.run_settings.modality).part("load")(checkpoint).model

    def report(self, common: dict[str, Any]) -> Report:
        """Score the denoiser beside its baselines, and export it."""
        run, evaluation = self.run, self.evaluation
        evaluation.finish()
        try:
            measured = evaluation.measure()
        except Exception as error:  # the export of a long run must not depend on one more figure
            logger.warning("a figure of the report is left out: %s", first_line(error), exc_info=True)
            measured = evaluation.not_measured(first_line(error))
        row, scored = evaluation.score(self.questions, self.batch_size, run.accelerator)
        # The picture compares losses on the questions of the evaluations during training.
        figures = self.evaluate()
        losses, probed = (
            {"model": figures["loss"]},
            {k: v for k, v in figures.items() if k.startswith("probe_")},
        )
        baselines, drawn = evaluation.baselines(self.questions, self.in_training) if run.is_main else ({}, {})
        losses |= {name: baseline["loss"] for name, baseline in drawn.items()}
        metrics = {
            "held_out": score_table(row, baselines),
            **self._by_source(),
            "scored": scored,
            **probed,
            **evaluation.describe(self.questions),
            **common,
        }
        samples = evaluation.samples(self.questions)
        weights = gather_weights(self.denoiser.model, run.is_main)
        lines = together(lambda: self._export(weights, metrics, losses, samples), run.is_main) or []
        lines = [*measured, *lines]
        lines += [
            f"linear probe: {name.removeprefix('probe_')} {value:.3f}" for name, value in probed.items()
        ]
        return Report(metrics, samples, lines, "", f"curve: {run.folder} (loss.png, README.md)")

    def _by_source(self) -> dict[str, Any]:
        """Return the table of each source, where there are several."""
        parts = self.evaluation.by_source(self.questions)
        rows = [
            self.evaluation.score(part, self.batch_size, self.run.accelerator)[0] for part in parts.values()
        ]
        if not parts or not self.run.is_main:
            return {}
        baselines = self.evaluation.baselines(*parts.values())
        return {"by_source": dict(zip(parts, map(score_table, rows, baselines), strict=True))}

    def _export(
        self,
        weights: dict[str, torch.Tensor] | None,
        metrics: dict[str, Any],
        losses: dict[str, float],
        samples: Any,
    ) -> list[str]:
        """Write the stock checkpoint and its report into the output folder; `losses` are drawn at the end of the curve."""
        folder = self.run.folder
        with writing(folder):
            self.denoiser.save_pretrained(folder, weights)
            self.save_assets(folder)
            (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
            final, decibels = (metrics["steps"], losses.pop("model")), is_in_decibels(metrics["held_out"])
            entries = read_log(folder / "log.jsonl")
            probed = [k for k in metrics if k.startswith("probe_")]
            entries += (
                [{"step": metrics["steps"], **{f"eval_{k}": metrics[k] for k in probed}}] if probed else []
            )
            name = self.denoiser.training_name
            loss_curve(entries, final, losses, folder / "loss.png", decibels=decibels, training_name=name)
            lines = self.evaluation.report(folder, self.run_settings, metrics, samples)
            has_page = modality(self.run_settings.modality).explore is not None
            return [*lines, f"see it: textdae app {folder}"] if has_page else lines
