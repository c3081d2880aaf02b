"""Supervised tasks on arrays, and the classifier on an `EncoderDecoder`.

B batch, D width of the embedding.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from textdae.arrays.encoder import ArrayEncoder, RawArrays
from textdae.downstream.encoder import Encoder
from textdae.downstream.labelled import LabelledCorpus
from textdae.downstream.task import LabelledTask


class EncoderForClassification(PreTrainedModel):
    """The encoder of an `EncoderDecoder`, and one linear layer for labels.

    Its config has `hidden_size`, the width D of the embedding. The model's `base_model_prefix` is "body".
    """

    body_class: ClassVar[Any]
    base_model_prefix = "body"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.body = self.body_class(config)
        del self.body.decoder
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the head as torch does, where a checkpoint has none."""
        if module is self.classifier:
            self.classifier.reset_parameters()

    def forward(self, *inputs: Tensor, **keywords: Any) -> SequenceClassifierOutput:
        """Examples (B, ...) -> logits (B, number of classes)."""
        examples = inputs[0] if inputs else keywords[self.main_input_name]
        return SequenceClassifierOutput(logits=self.classifier(self.body.encode(examples)))


class LabelledArrayTask(LabelledTask):
    """The `LabelledTask` of arrays."""

    def __init__(self, checkpoint: str, corpus: LabelledCorpus) -> None:
        self.checkpoint, self.corpus = checkpoint, corpus

    def encoder(self, precision: str, pretrained: bool = True, seed: int = 0) -> ArrayEncoder:
        """Return the frozen encoder, or one of its sizes with random weights."""
        return ArrayEncoder(self.checkpoint, precision, pretrained, seed)

    def baselines(self) -> dict[str, Encoder]:
        """Return the values themselves."""
        return {"raw values": RawArrays()}

    def collate(self, examples: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Stack arrays, under the name of the model's argument. (B, ...)."""
        (name,) = self.classifier_class.arguments
        return {name: torch.from_numpy(np.stack(examples))}
