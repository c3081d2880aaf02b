"""A linear probe on labels while a denoiser is trained: what its frozen encoder is worth at each evaluation."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textdae.core.denoiser import Denoiser
from textdae.core.errors import SettingsError
from textdae.core.registry import modality
from textdae.core.settings.reader import load
from textdae.core.sharding import gather_weights
from textdae.downstream.draws import stratified
from textdae.downstream.heads import fit, heads
from textdae.downstream.labelled import Labelled
from textdae.downstream.metrics import main_measure, measures_of
from textdae.downstream.task import LabelledTask, labelled_task
from textdae.downstream.vectors import Scaled
from textdae.training.processes import from_process, together

logger = logging.getLogger(__name__)

_MOST = 1000
"""Labelled examples to learn from, and as many to score on."""


class TrainingProbe:
    """A linear probe on the vectors of the encoder as it is, by the default view and strength of `textdae probe`.

    It learns from at most 1,000 of the training examples, and is scored on the held-out ones; the test examples stay unseen.

    Args:
        data: `evaluate.probe`.
        save_assets: adds what belongs to the model beside its weights.
        is_main: whether this process reads the labels, and probes.

    Raises:
        SettingsError: the labelled examples cannot be used.
    """

    def __init__(
        self,
        name: str,
        data: dict[str, Any],
        denoiser: Denoiser,
        save_assets: Callable[[Path], None],
        is_main: bool,
    ) -> None:
        self._denoiser, self._save_assets, self._is_main = denoiser, save_assets, is_main
        self._work: LabelledTask | None = None
        together(lambda: self._open(name, data), is_main)

    def _open(self, name: str, data: dict[str, Any]) -> None:
        try:
            settings = load(modality(name).settings_class("probe"), base={"modality": name, "data": data})
            with tempfile.TemporaryDirectory() as folder:
                self._save(Path(folder), None)
                self._work = labelled_task(name, folder, settings.data)
        except SettingsError as error:
            raise SettingsError(str(error).replace("data.", "evaluate.probe.")) from None
        corpus = self._work.corpus
        self._learn, self._judge = (_few(side) for side in (corpus.train, corpus.held_out))
        if len(self._judge) < 2:
            raise SettingsError("evaluate.probe: fewer than two labelled examples are held out; give more")
        self.measure = measures_of(corpus.schema.kind)[0]
        logger.info(
            f"probe: {corpus.summary[0]}; {len(self._learn):,} to learn from, {len(self._judge):,} held out to score on"
        )

    def _save(self, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
        self._denoiser.save_pretrained(folder, weights)
        self._save_assets(folder)

    def score(self) -> dict[str, float]:
        """Return the main measure by its name, `probe_accuracy` for classes. A collective."""
        weights = gather_weights(self._denoiser.model, self._is_main)
        return from_process(lambda: self._score(weights))

    def _score(self, weights: dict[str, torch.Tensor] | None) -> dict[str, float]:
        assert self._work is not None
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            self._save(Path(folder), weights)
            self._work.checkpoint = folder
            encoder = self._work.encoder("auto")
        schema = self._work.corpus.schema
        scaled = Scaled(encoder, self._learn, [encoder.view])
        kind = scaled.kinds()[0]
        head = heads(schema, "logistic", False, len(self._learn))[0]
        learner = fit(schema, head, scaled.embed(self._learn.examples, [kind])[kind], self._learn.labels)
        guesses = learner.predict(scaled.embed(self._judge.examples, [kind])[kind])
        return {f"probe_{self.measure}": main_measure(schema, guesses, self._judge.labels)}


def _few(side: Labelled) -> Labelled:
    return side.take(np.asarray(stratified(side.labels, _MOST, seed=0)))
