"""`textdae probe`: what the frozen encoder's vectors know of the labels, beside baselines that need no pretraining.

Layer, pooling and the dial of each learner are chosen on the held-out examples; the figures are of the test examples.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from textdae.core.logs import log_summary
from textdae.core.settings.downstream import ProbeSettings
from textdae.downstream.draws import stratified
from textdae.downstream.heads import Choice, choose, constant, fit
from textdae.downstream.labelled import Labelled
from textdae.downstream.metrics import Measures, measure
from textdae.downstream.task import LabelledTask, labelled_task
from textdae.downstream.vectors import Scaled

logger = logging.getLogger(__name__)


def probe(checkpoint: str, settings: ProbeSettings) -> dict[str, Any]:
    """Probe a checkpoint.

    Returns:
        `encoder` and `baselines`: tables, row -> measure -> value, on the test examples; `choices`: what was chosen for each
        row on the held-out examples, and its score there.

    Raises:
        SettingsError: the checkpoint or the examples cannot be used.
    """
    work = labelled_task(settings.modality, checkpoint, settings.data)
    corpus = work.corpus
    log_summary(logger, corpus.summary)
    drawn = stratified(corpus.train.labels, settings.max_examples, settings.seed)
    judged = corpus.held_out.take(stratified(corpus.held_out.labels, settings.max_examples, settings.seed))
    if len(drawn) < len(corpus.train):
        logger.info(
            f"choices are made with {len(drawn):,} of the training examples, the figures with all of them"
        )
    found: dict[str, Any] = {"encoder": {}, "baselines": {}, "choices": {}}

    def measured(table: str, name: str, encoder: Scaled, learner: str, matrices: Mapping[Any, Any]) -> None:
        choice = _choose(work, matrices, drawn, judged, learner)
        row = f"{name}, {choice.head.kind}"
        found[table][row] = _figures(work, encoder, choice)
        found["choices"][row] = {"view": str(choice.name), "head": str(choice.head), "held_out": choice.score}
        logger.info(f"{row}: {choice.name}; {choice.head}; held out {choice.score:.3f}")

    def all_views(encoder: Scaled) -> dict[Any, Any]:
        examples = [*(corpus.train.examples[row] for row in drawn), *judged.examples]
        return encoder.embed(examples, encoder.kinds())

    scaled = Scaled(work.encoder(settings.precision), corpus.train)
    matrices = all_views(scaled)
    for learner in ("logistic", "kNN"):
        measured("encoder", "encoder", scaled, learner, matrices)
    found["baselines"]["majority"] = measure(
        corpus.schema, constant(corpus.schema, corpus.train.labels, len(corpus.test)), corpus.test.labels
    )
    baselines = {**work.baselines(), "random encoder": work.encoder(settings.precision, False, settings.seed)}
    for name, baseline in baselines.items():
        scaled = Scaled(baseline, corpus.train)
        measured("baselines", name, scaled, "logistic", all_views(scaled))
    return found


def _choose(
    work: LabelledTask, matrices: Mapping[Any, Any], drawn: np.ndarray, judged: Labelled, learner: str
) -> Choice:
    """The view and the dial that do best on the held-out examples, which lie behind those drawn from the training."""
    labels = np.concatenate([work.corpus.train.labels[drawn], judged.labels])
    rows = np.arange(len(labels))
    return choose(work.corpus.schema, matrices, labels, [(rows[: len(drawn)], rows[len(drawn) :])], learner)


def _figures(work: LabelledTask, encoder: Scaled, choice: Choice) -> Measures:
    """All the measures on the test examples, learnt from all the training examples."""
    corpus = work.corpus
    learnt, asked = (
        encoder.embed(side.examples, [choice.name])[choice.name] for side in (corpus.train, corpus.test)
    )
    learner = fit(corpus.schema, choice.head, learnt, corpus.train.labels)
    return measure(corpus.schema, learner.predict(asked), corpus.test.labels)
