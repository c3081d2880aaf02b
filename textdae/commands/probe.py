"""`textdae probe`: predict labels from the vectors of the frozen encoder, beside baselines that need no pretraining.

Layer, pooling and hyperparameters are chosen on the held-out examples; scores are on the test examples.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textdae.commands.keywords import for_checkpoint
from textdae.commands.run_folder import check_writable, writing
from textdae.core.logs import log_summary
from textdae.core.settings.downstream import ProbeSettings
from textdae.downstream.draws import stratified
from textdae.downstream.heads import Choice, choose_head, constant, fit
from textdae.downstream.labelled import Labelled
from textdae.downstream.metrics import Measures, measure
from textdae.downstream.task import LabelledTask, labelled_task
from textdae.downstream.vectors import Scaled

logger = logging.getLogger(__name__)


class ProbeResult(NamedTuple):
    """Tables, row -> measure -> value, on the test examples; they lie in `probe.json` of the output folder.

    Example:
        >>> result = textdae.probe("runs/mine", source="labelled.csv")
        >>> result.encoder
    """

    encoder: dict[str, Measures]
    baselines: dict[str, Measures]
    choices: dict[str, dict[str, Any]]
    """The choice of each row on the held-out examples, and its score there."""


def probe(
    checkpoint: str | Path,
    settings: ProbeSettings | Mapping[str, Any] | Path | str | None = None,
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> ProbeResult:
    """Probe a checkpoint: predict labels from the vectors of its frozen encoder, beside its baselines.

    Args:
        checkpoint: folder or Hub id of an encoder.
        settings: ready ones, a dictionary, or a YAML file.
        source, dataset: labelled examples, see `finetune`.
        output_dir: for `probe.json`.
        sections: any other settings (`textdae settings probe`).

    Raises:
        SettingsError: the checkpoint or the examples cannot be used.
        TextdaeError: the result could not be written.

    Example:
        >>> textdae.probe("runs/mine", source="labelled.csv").encoder["encoder, logistic"]["accuracy"]
    """
    checkpoint = str(checkpoint)
    settings = for_checkpoint(
        ProbeSettings, checkpoint, settings,
        source=source, dataset=dataset, output_dir=output_dir, **sections,
    )  # fmt: skip
    check_writable(settings.output_dir)
    values = _probe(checkpoint, settings)
    with writing(settings.output_dir):
        (settings.output_dir / "probe.json").write_text(json.dumps(values, indent=1))
    return ProbeResult(**values)


def _probe(checkpoint: str, settings: ProbeSettings) -> dict[str, Any]:
    work = labelled_task(settings.modality, checkpoint, settings.data)
    corpus = work.corpus
    log_summary(logger, corpus.summary)
    drawn = stratified(corpus.train.labels, settings.max_examples, settings.seed)
    judged = corpus.held_out.take(stratified(corpus.held_out.labels, settings.max_examples, settings.seed))
    if len(drawn) < len(corpus.train):
        logger.info(
            f"choices are made with {len(drawn):,} of the training examples, the figures with all of them"
        )
    result: dict[str, Any] = {"encoder": {}, "baselines": {}, "choices": {}}

    def measured(table: str, name: str, encoder: Scaled, learner: str, matrices: Mapping[Any, Any]) -> None:
        choice = _choose(work, matrices, drawn, judged, learner)
        row = f"{name}, {choice.head.kind}"
        result[table][row] = _figures(work, encoder, choice)
        result["choices"][row] = {
            "view": str(choice.name),
            "head": str(choice.head),
            "held_out": choice.score,
        }
        logger.info(f"{row}: {choice.name}; {choice.head}; held out {choice.score:.3f}")

    def all_views(encoder: Scaled) -> dict[Any, Any]:
        examples = [*(corpus.train.examples[row] for row in drawn), *judged.examples]
        return encoder.embed(examples, encoder.kinds())

    scaled = Scaled(work.encoder(settings.precision), corpus.train)
    matrices = all_views(scaled)
    for learner in ("logistic", "kNN"):
        measured("encoder", "encoder", scaled, learner, matrices)
    result["baselines"]["majority"] = measure(
        corpus.schema, constant(corpus.schema, corpus.train.labels, len(corpus.test)), corpus.test.labels
    )
    baselines = {**work.baselines(), "random encoder": work.encoder(settings.precision, False, settings.seed)}
    for name, baseline in baselines.items():
        scaled = Scaled(baseline, corpus.train)
        measured("baselines", name, scaled, "logistic", all_views(scaled))
    return result


def _choose(
    work: LabelledTask, matrices: Mapping[Any, Any], drawn: np.ndarray, judged: Labelled, learner: str
) -> Choice:
    """Choose the best view and hyperparameter on the held-out examples."""
    labels = np.concatenate([work.corpus.train.labels[drawn], judged.labels])
    rows = np.arange(len(labels))
    return choose_head(
        work.corpus.schema, matrices, labels, [(rows[: len(drawn)], rows[len(drawn) :])], learner
    )


def _figures(work: LabelledTask, encoder: Scaled, choice: Choice) -> Measures:
    """Return all measures on the test examples, after learning from all training examples."""
    corpus = work.corpus
    learnt, tested = (
        encoder.embed(side.examples, [choice.name])[choice.name] for side in (corpus.train, corpus.test)
    )
    learner = fit(corpus.schema, choice.head, learnt, corpus.train.labels)
    return measure(corpus.schema, learner.predict(tested), corpus.test.labels)
