"""The interface of a modality for supervised tasks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError, first_line
from textdae.core.examples import Examples
from textdae.core.noise import Noise
from textdae.core.noise_kind import build_noise
from textdae.core.registry import modality
from textdae.downstream.classifier import Classifier
from textdae.downstream.encoder import Encoder
from textdae.downstream.heads import constant
from textdae.downstream.labelled import Labelled, LabelledCorpus
from textdae.hub.locate import locate
from textdae.report.card import Pipeline


class LabelledTask(ABC):
    """Labelled examples, and the encoders and classifiers of a checkpoint for them.

    Attributes:
        checkpoint: folder or Hub id.
        corpus: schema and examples; its summary also counts examples cut off for the checkpoint.
        classifier_class: of the fine-tuned model.
        pipeline: how transformers uses such a classifier, for the model card.
    """

    classifier_class: type[Classifier]
    pipeline: Pipeline
    checkpoint: str
    corpus: LabelledCorpus

    @abstractmethod
    def encoder(self, precision: str, pretrained: bool = True, seed: int = 0) -> Encoder:
        """Return the frozen encoder, or one of its sizes with random weights."""

    @abstractmethod
    def baselines(self) -> dict[str, Encoder]:
        """Return the baseline encoders by name; they are fitted on the training examples without labels."""

    def predictable(self) -> dict[str, np.ndarray]:
        """Return, by name, what can be predicted for the test examples without a model, in the form of labels."""
        corpus = self.corpus
        return {"majority": constant(corpus.schema, corpus.train.labels, len(corpus.test))}

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Make a batch of examples, named as the model's arguments. A subclass with its own `batches` needs none."""
        raise NotImplementedError

    def batches(self, labelled: Labelled) -> Examples:
        """Return the examples as a classifier reads them, with `labels`; those of texts also have `lengths`."""
        return LabelledExamples(labelled, self.collate)

    def noise(self, settings: Any) -> Noise | None:
        """Return the noise that corrupts the inputs in fine-tuning, or None."""
        return build_noise(settings) if settings else None

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the examples as the model reads them; it must not change on resume."""
        return {"data": self.corpus.fingerprint}

    def save_assets(self, folder: Path) -> None:  # noqa: B027  (a model may have none)
        """Write the files that belong to the model beside its weights, e.g. a tokenizer."""

    def classifier(self, labels: np.ndarray, seed: int, from_scratch: bool = False) -> Classifier:
        """Return the encoder with a fresh head; all its weights are trained.

        Args:
            labels: of the training examples, see `LabelSchema.encode`; a regression is scaled by them.
        """
        schema = self.corpus.schema
        moments = (float(labels.mean()), float(labels.std()) or 1.0) if schema.is_regression else (0.0, 1.0)
        name = locate(self.checkpoint)
        return self.class_for(from_scratch).from_encoder(
            name, schema.kind, schema.classes, seed, from_scratch, moments
        )

    def class_for(self, from_scratch: bool) -> type[Classifier]:
        """Return the class of a classifier of this checkpoint."""
        return self.classifier_class


class LabelledExamples:
    """Labelled examples, numbered from 0, as a classifier reads them."""

    def __init__(self, labelled: Labelled, collate: Callable[[Sequence[Any]], dict[str, Tensor]]) -> None:
        self._examples, self._labels = labelled.examples, torch.from_numpy(labelled.labels)
        self._collate = collate

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """Return the examples of these indices (B,), with their `labels`. *Shapes:* (B, ...)."""
        indices = torch.as_tensor(indices)
        batch = self._collate([self._examples[index] for index in indices.tolist()])
        return {**batch, "labels": self._labels[indices]}


def config_of(checkpoint: str) -> Any:
    """Load the config of a checkpoint.

    Raises:
        SettingsError: there is none, or it is of a family that transformers does not know.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(locate(checkpoint), trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError ...: one line each
        raise SettingsError(f"{checkpoint}: no config could be loaded: {first_line(error)}") from None


def labelled_task(modality_name: str, checkpoint: str, data: Any) -> LabelledTask:
    """Open the examples that `data` names, for a checkpoint of this modality.

    Raises:
        SettingsError: the checkpoint or the examples cannot be used.
    """
    task: LabelledTask = modality(modality_name).part("labelled_task")(checkpoint, data)
    return task
