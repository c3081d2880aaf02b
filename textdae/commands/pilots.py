"""Pilot runs: short runs of one size, which say how fast it is here and what it learns in so many seconds."""

import copy
import json
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from textdae.commands.provenance import comparable, hardware, versions
from textdae.commands.training_run import count_parameters
from textdae.core.cache import cache_root, digest
from textdae.core.errors import Interrupted, reason
from textdae.core.registry import modality
from textdae.core.settings.runs import PretrainSettings
from textdae.core.task import Pretraining
from textdae.hub.locate import digests
from textdae.training.evaluation import evaluate
from textdae.training.hardware import autocast_dtype
from textdae.training.loop import Trainer
from textdae.training.memory import activation_bytes, model_bytes, model_check

logger = logging.getLogger(__name__)


class Pilot(NamedTuple):
    """What a pilot run measured."""

    seconds: float
    """Of training."""
    examples: int
    """Seen in that time."""
    steps: int
    batch: int
    """Examples in a forward pass."""
    examples_per_second: float
    evaluation_seconds: float
    """Of one evaluation during training."""
    loss: float | None
    """On all held-out questions; in decibels with the sign turned. None: not scored."""


class PilotSize:
    """One size on the corpus of a run. What its pilot runs measure is kept in the cache.

    Args:
        settings: of a run of this size.
        decibels: whether the loss is the PSNR, with its sign turned.

    Raises:
        SettingsError: the corpus cannot be used, or the model does not fit into memory.
    """

    def __init__(self, settings: PretrainSettings, accelerator: Accelerator, decibels: bool) -> None:
        # Nothing is saved, sent or evaluated on the way, and a plan of another budget takes the same measurements.
        own = {
            "time_budget": 1.0, "eval_steps": 0, "save_steps": 0, "logging_steps": 1, "compile": "never", "milestones": (),
            "report_to": (), "checkpoint_store": None,
        }  # fmt: skip
        self.settings, self._accelerator, self._decibels = settings, accelerator, decibels
        self._train = settings.train.model_copy(update=own)
        prepare = modality(settings.modality).part("pretraining")
        parts: Pretraining = prepare(settings, model_check(accelerator))
        self._noise, self._evaluation, self._fresh = parts.noise, parts.evaluation, parts.evaluation.denoiser
        self.corpus = parts.evaluation.corpus
        self.parameters, self.matrices = count_parameters(self._fresh), len(self._fresh.hidden_matrices())
        evaluated = settings.evaluate
        self._questions = self._evaluation.questions(evaluated.max_examples)
        self._in_training = self._evaluation.questions_in_training(evaluated.max_examples_in_training)
        self._per_example = self._activations()

    def memory(self, batch: int) -> float:
        """Return the bytes that a step takes."""
        return model_bytes(self.parameters) + self._per_example * batch

    def _activations(self) -> int:
        """Return the bytes of one example, measured as `Trainer` does."""
        denoiser, device = copy.deepcopy(self._fresh), self._accelerator.device
        denoiser.to(device).eval()
        denoiser.optimize_for(device, False, self._train.fast == "auto")
        dtype = autocast_dtype(self._train.precision, device)
        return activation_bytes(denoiser, self.corpus.train, self._noise, dtype)

    def run(
        self,
        seconds: float,
        score: bool,
        batch: int,
        fresh: bool = False,
        rates: Mapping[str, float] | None = None,
    ) -> Pilot:
        """Train a fresh model for so many seconds, its whole schedule in them; or take what was measured before.

        Args:
            score: whether to score the model afterwards.
            batch: examples in a forward pass.
            fresh: measure again.
            rates: learning rates, where they are not those of the settings.

        Raises:
            Interrupted: a signal ended it.
            TextdaeError: it could not be trained, for instance because memory ran out.
        """
        what = f"{self.parameters / 1e6:.2f} M parameters, {seconds:.3g} s, batch {batch}"
        kind, key = "a pilot run" if score else "the speed", self._key(seconds, score, batch, rates)

        def measure() -> dict[str, Any]:
            return self._run(seconds, score, batch, rates or {})._asdict()

        kept = self._kept(key, f"{kind} of {what}", fresh, measure)
        return Pilot(**kept)

    def baselines(self, fresh: bool = False) -> dict[str, float]:
        """Return the loss of each baseline on the questions of the pilot runs; or take what was measured before."""

        def measure() -> dict[str, float]:
            (rows,) = self._evaluation.baselines(self._questions)
            return {name: row["loss"] for name, row in rows.items()}

        return self._kept(self._key("baselines"), "the loss of the baselines", fresh, measure)

    def _kept(
        self, key: str, what: str, fresh: bool, measure: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return what lies in the cache under a key, or measure it and keep it there."""
        file = cache_root(self.settings.data.cache_dir) / "pilots" / f"{key}.json"
        if file.is_file() and not fresh:
            try:
                kept = json.loads(file.read_text())
            except ValueError:
                kept = None
            if isinstance(kept, dict) and kept:
                logger.info(f"measured before: {what}")
                return kept
            logger.warning(f"{file}: damaged; measuring again")
        logger.info(what)
        measured = measure()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_suffix(".new")
            new.write_text(json.dumps(measured))
            new.replace(file)
        except OSError as error:
            logger.warning(f"{file}: not kept, so that it is measured again next time: {reason(error)}")
        return measured

    def _key(self, *which: Any) -> str:
        settings = comparable(self.settings.model_copy(update={"train": self._train}))
        start = getattr(self.settings.model, "from_pretrained", None)
        model = [self.parameters, digests(start) if start else None, self._train.dataloader_num_workers]
        machine = [hardware(self._accelerator), platform.node(), platform.machine(), versions()]
        return digest(settings, self.corpus.fingerprint, model, *which, machine)

    def _run(self, seconds: float, score: bool, batch: int, rates: Mapping[str, float]) -> Pilot:
        denoiser = copy.deepcopy(self._fresh)
        own = {"time_budget": seconds, "per_device_train_batch_size": batch, **rates}
        train = self._train.model_copy(update=own)
        folder = Path(tempfile.mkdtemp(prefix="textdae-pilot-"))
        try:
            trainer = Trainer(
                denoiser, self.corpus.train, self._noise, train, folder, accelerator=self._accelerator
            )
            fit = trainer.fit()
        finally:
            self._accelerator.free_memory()  # it holds on to every model that it prepared
            shutil.rmtree(folder, ignore_errors=True)
        if fit.stopped_by:
            raise Interrupted(fit.stopped_by)
        denoiser.eval()
        began, device = time.monotonic(), self._accelerator.device
        dtype = autocast_dtype(train.precision, device)
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            evaluate(denoiser, *self._in_training, self.settings.evaluate.batch_size)
        evaluation_seconds, loss = time.monotonic() - began, None
        if score:
            self._evaluation.denoiser = denoiser
            row, _ = self._evaluation.score(self._questions, self.settings.evaluate.batch_size)
            self._evaluation.denoiser = self._fresh
            loss = -row["psnr"] if self._decibels else row["loss"]
        cursor = fit.cursor
        speed = fit.examples_per_second or cursor.examples / max(cursor.seconds, 1e-9)
        return Pilot(cursor.seconds, cursor.examples, cursor.step, batch, speed, evaluation_seconds, loss)
