"""Pilots: short runs of a size, which say how fast it is here, and what it learns in so many seconds."""

import copy
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator

from textdae.commands.provenance import comparable, hardware, versions
from textdae.commands.training_run import count_parameters
from textdae.core.cache import cache_root, digest
from textdae.core.errors import Interrupted
from textdae.core.registry import modality
from textdae.core.settings.runs import PretrainSettings
from textdae.core.task import Pretraining
from textdae.training.hardware import autocast_dtype
from textdae.training.loop import Trainer
from textdae.training.memory import activation_bytes, model_bytes, model_check

logger = logging.getLogger(__name__)


class Pilot(NamedTuple):
    """A short run."""

    seconds: float
    examples: int
    """Seen in that time."""
    steps: int
    examples_per_second: float
    loss: float | None
    """On the held-out questions, in decibels with the sign turned where the modality has them; None: not asked."""
    asking: float
    """Seconds that all the held-out questions took."""


class PilotSize:
    """One size, on the corpus of a run: its model, and its pilots, which are kept in the cache.

    Args:
        settings: of a run of this size.

    Raises:
        SettingsError: the corpus cannot be used, or the model does not fit into memory.
    """

    def __init__(self, settings: PretrainSettings, accelerator: Accelerator) -> None:
        self.settings, self._accelerator = settings, accelerator
        prepare = modality(settings.modality).part("pretraining")
        parts: Pretraining = prepare(settings, model_check(accelerator))
        self._noise, self._evaluation = parts.noise, parts.evaluation
        self._fresh = parts.evaluation.denoiser
        self.corpus = parts.evaluation.corpus
        self.parameters = count_parameters(self._fresh)
        evaluated = settings.evaluate
        self._questions = self._evaluation.questions(evaluated.max_examples)
        asked = self._evaluation.questions_in_training(evaluated.max_examples_in_training)
        self.share_in_training = len(asked.indices) / max(len(self._questions.indices), 1)
        """Of the questions, those that an evaluation during training asks."""
        device = accelerator.device
        dtype = autocast_dtype(settings.train.precision, device)
        one = activation_bytes(
            copy.deepcopy(self._fresh).to(device).train(), self.corpus.train, self._noise, dtype
        )
        self.memory = model_bytes(self.parameters) + one * settings.train.per_device_train_batch_size
        """Bytes that a step takes."""

    def fly(self, seconds: float, ask: bool) -> Pilot:
        """Train a fresh model for so many seconds, its whole schedule in them; or take what was measured before.

        Args:
            ask: whether to score the model afterwards.

        Raises:
            Interrupted: a signal ended it.
        """
        file = cache_root(self.settings.data.cache_dir) / "pilots" / f"{self._key(seconds, ask)}.json"
        if file.is_file():
            try:
                return Pilot(**json.loads(file.read_text()))
            except (ValueError, TypeError):
                logger.warning(f"{file}: damaged; measuring again")
        pilot = self._fly(seconds, ask)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(pilot._asdict()))
        new.replace(file)
        return pilot

    def _key(self, seconds: float, ask: bool) -> str:
        settings = {k: v for k, v in comparable(self.settings).items() if not k.startswith("evaluate.probe")}
        numbers = {k: v for k, v in versions().items() if k != "git_commit"}
        return digest(settings, self.corpus.fingerprint, seconds, ask, hardware(self._accelerator), numbers)

    def _fly(self, seconds: float, ask: bool) -> Pilot:
        own = {
            "time_budget": seconds,
            "eval_steps": 0,
            "save_steps": 0,
            "logging_steps": 1,
            "compile": "never",
        }
        off = {"checkpoint_store": None, "milestones": (), "report_to": (), "dataloader_num_workers": 0}
        train = self.settings.train.model_copy(update=own | off)
        denoiser = copy.deepcopy(self._fresh)
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
        loss, began = None, time.monotonic()
        if ask:
            denoiser.eval()
            self._evaluation.denoiser = denoiser
            row, _ = self._evaluation.score(self._questions, self.settings.evaluate.batch_size)
            loss = -row["psnr"] if "psnr" in row else row["loss"]
        return Pilot(
            fit.cursor.seconds,
            fit.cursor.examples,
            fit.cursor.step,
            fit.examples_per_second or fit.cursor.examples / max(fit.cursor.seconds, 1e-9),
            loss,
            time.monotonic() - began,
        )
