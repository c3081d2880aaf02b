"""The denoiser of signals: an MLP, and its encoder with a head for labels.

B signals, L samples, D width.
"""

from collections import namedtuple
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from textdae.core.denoiser import Denoiser
from textdae.downstream.classifier import Classifier
from textdae.hub.locate import load_pretrained
from textdae.training.sharding import load_full_state


class SignalsConfig(PreTrainedConfig):
    """Sizes of a `SignalsModel`."""

    model_type = "textdae_signals"

    def __init__(self, length: int = 64, hidden_size: int = 256, **kwargs) -> None:
        self.length, self.hidden_size = length, hidden_size
        super().__init__(**kwargs)


SignalsOutput = namedtuple("SignalsOutput", "reconstruction pooler_output")
"""Signals (B, L), and their embedding (B, D)."""


class SignalsModel(PreTrainedModel):
    """Signal -> embedding -> signal."""

    config_class, base_model_prefix, main_input_name = SignalsConfig, "body", "signal"

    def __init__(self, config: SignalsConfig) -> None:
        super().__init__(config)
        length, width = config.length, config.hidden_size
        self.encoder = nn.Sequential(nn.Linear(length, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.decoder = nn.Linear(width, length)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights begin as torch begins them."""

    def forward(self, signal: Tensor, **kwargs) -> SignalsOutput:
        """(B, L) -> (B, L)."""
        embedding = self.encoder(signal)
        return SignalsOutput(self.decoder(embedding), embedding)


class SignalsForClassification(PreTrainedModel):
    """Signal -> embedding -> scores of the classes."""

    config_class, base_model_prefix, main_input_name = SignalsConfig, "body", "signal"

    def __init__(self, config: SignalsConfig) -> None:
        super().__init__(config)
        self.body = SignalsModel(config)
        del self.body.decoder  # nothing is rebuilt
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """A head that a checkpoint does not have begins as torch begins it."""
        if module is self.classifier:
            self.classifier.reset_parameters()

    def forward(self, signal: Tensor, **kwargs) -> SequenceClassifierOutput:
        """(B, L) -> logits (B, number of classes)."""
        return SequenceClassifierOutput(logits=self.classifier(self.body.encoder(signal)))


AutoConfig.register(SignalsConfig.model_type, SignalsConfig)
AutoModel.register(SignalsConfig, SignalsModel)
AutoModelForAudioClassification.register(SignalsConfig, SignalsForClassification)


class SignalsClassifier(Classifier):
    """The encoder with a head, as textdae fine-tunes it."""

    auto, arguments = AutoModelForAudioClassification, ("signal",)


class SignalsDenoiser(Denoiser):
    """The MLP as textdae trains it; a signal is scored as a whole."""

    def __init__(self, model: SignalsModel) -> None:
        super().__init__()
        self.model = model

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """`signal` (B, L) -> embedding (B, D)."""
        return self.model.encoder(inputs["signal"])

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding (B, D) -> signal (B, L)."""
        return self.model.decoder(embedding)

    def loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Mean square error of each signal, summed."""
        return F.mse_loss(reconstruction.float(), target, reduction="sum") / target.shape[1]

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The matrix between the first and the last layer."""
        return [self.model.encoder[2].weight]

    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write `config.json` and `model.safetensors`."""
        self.model.save_pretrained(str(folder), state_dict=weights)

    def load_pretrained(self, folder: Path) -> None:
        """Take the weights of a checkpoint that `save_pretrained` wrote."""
        load_full_state(self.model, load_signals(folder).model.state_dict())


def load_signals(checkpoint: str | Path) -> SignalsDenoiser:
    """Load a denoiser from a folder or the Hub."""
    return SignalsDenoiser(load_pretrained(SignalsModel, checkpoint, "model of signals")).eval()
