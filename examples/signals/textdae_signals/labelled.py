"""What comes after pretraining: embeddings, and work with the classes of the signals.

n signals, L samples, D width.
"""

from collections import Counter

import numpy as np
import torch

from textdae.core.cache import digest
from textdae.core.noise_kind import build_noise
from textdae.downstream.encoder import Encoder, Rows, StockEncoder
from textdae.downstream.labelled import Labelled, LabelledCorpus
from textdae.downstream.labels import LabelSchema
from textdae.downstream.task import LabelledTask, config_of
from textdae.report.card import Pipeline
from textdae_signals.data import CLASSES, Sines
from textdae_signals.model import SignalsClassifier


class RawSignals(Encoder):
    """The samples themselves: a baseline."""

    def embed(self, examples, views):
        """(L,) each -> (n, L)."""
        return {self.view: np.stack(examples)}


class SignalsEncoder(StockEncoder, RawSignals):
    """The encoder of a checkpoint, frozen."""

    @torch.inference_mode()
    def embed(self, examples, views):
        """(L,) each -> (n, D)."""
        with self._autocast():
            output = self.model(torch.from_numpy(np.stack(examples)).to(self.device))
        return {self.view: output.pooler_output.float().cpu().numpy()}


def open_signals(checkpoint, settings):
    """The encoder of a checkpoint, and the signals to embed."""
    encoder = SignalsEncoder(checkpoint, settings.precision, True, 0)
    data = settings.data.model_copy(update={"length": encoder.model.config.length})
    signals = labelled(Sines(data, "train")).examples
    return encoder, Rows(digest(data.model_dump()), lambda: enumerate(signals), Counter)


def labelled(sines: Sines) -> Labelled:
    """All signals of a side with their classes."""
    batch = sines.batch(torch.arange(len(sines)))
    return Labelled(list(batch["signal"].numpy()), batch["labels"].numpy())


class LabelledSignalsTask(LabelledTask):
    """Signals, and which interval their two sines make."""

    classifier_class = SignalsClassifier
    pipeline = Pipeline(
        "audio-classification", "signal=signals", "a signal",
        'from transformers import AutoModelForAudioClassification\n\n'
        'classify = AutoModelForAudioClassification.from_pretrained("{folder}")\n'
        "print(classify({example_input}).logits)  # of signals (n, L)",
    )  # fmt: skip

    def __init__(self, checkpoint, data) -> None:
        self.checkpoint = checkpoint
        data = data.model_copy(update={"length": config_of(checkpoint).length})
        sides = [labelled(Sines(data, side)) for side in ("train", "held_out", "test")]
        schema = LabelSchema("single_label_classification", tuple(CLASSES))
        summary = [f"sines: {len(CLASSES)} classes; {', '.join(f'{len(side):,}' for side in sides)} signals"]
        self.corpus = LabelledCorpus(schema, *sides, digest(data.model_dump()), summary)

    def encoder(self, precision, pretrained=True, seed=0):
        """The frozen encoder, or one with random weights."""
        return SignalsEncoder(self.checkpoint, precision, pretrained, seed)

    def baselines(self):
        """The samples themselves."""
        return {"raw signals": RawSignals()}

    def collate(self, examples):
        """`signal` (B, L)."""
        return {"signal": torch.from_numpy(np.stack(examples))}

    def noise(self, settings):
        """White noise."""
        return build_noise(settings) if settings else None
