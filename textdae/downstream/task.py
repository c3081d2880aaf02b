"""What work with labels asks of a modality; everything else of it knows neither text nor images."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from textdae.core.errors import SettingsError, first_line
from textdae.core.examples import Examples
from textdae.core.noise import Noise
from textdae.core.registry import modality
from textdae.downstream.classifier import Classifier
from textdae.downstream.encoder import Encoder
from textdae.downstream.labelled import Labelled, LabelledCorpus
from textdae.hub.locate import locate
from textdae.report.card import Pipeline


class LabelledTask(ABC):
    """Labelled examples, and what can be made of a checkpoint for them.

    Attributes:
        checkpoint: folder or Hub id.
        corpus: task and examples; its summary also tells what the checkpoint will not see of them.
        classifier_class: what is fine-tuned.
        pipeline: how transformers uses such a classifier, for the model card.
    """

    classifier_class: type[Classifier]
    pipeline: Pipeline
    checkpoint: str
    corpus: LabelledCorpus

    @abstractmethod
    def encoder(self, precision: str, pretrained: bool = True, seed: int = 0) -> Encoder:
        """The frozen encoder, or one of its sizes with random weights."""

    @abstractmethod
    def baselines(self) -> dict[str, Encoder]:
        """What needs no pretraining, by name; fitted on the training examples without their labels."""

    @abstractmethod
    def batches(self, labelled: Labelled) -> Examples:
        """Examples as a classifier reads them, with their `labels`; of texts with their `lengths`."""

    @abstractmethod
    def noise(self, settings: Any) -> Noise | None:
        """What corrupts the inputs in fine-tuning."""

    @abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Write what belongs to the model beside its weights: a tokenizer, or an image processor."""

    def classifier(self, labels: np.ndarray, seed: int, from_scratch: bool = False) -> Classifier:
        """The encoder with a fresh head, all of it to be trained.

        Args:
            labels: those it will be trained on, see `LabelSchema.encode`; a regression is scaled by them.
        """
        schema = self.corpus.schema
        moments = (float(labels.mean()), float(labels.std()) or 1.0) if schema.is_regression else (0.0, 1.0)
        name = locate(self.checkpoint)
        return self.classifier_class.from_encoder(
            name, schema.kind, schema.classes, seed, from_scratch, moments
        )


def config_of(checkpoint: str) -> Any:
    """The config of a checkpoint.

    Raises:
        SettingsError: there is none, or it is of a family that transformers does not know.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(locate(checkpoint), trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError ...: one line each
        raise SettingsError(f"{checkpoint}: no config could be loaded: {first_line(error)}") from None


def labelled_task(modality_name: str, checkpoint: str, data: Any) -> LabelledTask:
    """The examples that `data` names, for a checkpoint of this modality.

    Raises:
        SettingsError: the checkpoint or the examples cannot be used.
    """
    found: LabelledTask = modality(modality_name).part("labelled_task")(checkpoint, data)
    return found
