"""The model of signals: an MLP, and its encoder with a head for labels.

B signals, L samples, D width.
"""

from collections import namedtuple

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, PreTrainedConfig

from textdae.arrays.labelled_task import EncoderForClassification
from textdae.core.encoder_decoder import EncoderDecoder


class SignalsConfig(PreTrainedConfig):
    """Sizes of a `SignalsModel`."""

    model_type = "textdae_signals"

    def __init__(self, length: int = 64, hidden_size: int = 256, **kwargs) -> None:
        self.length, self.hidden_size = length, hidden_size
        super().__init__(**kwargs)


SignalsOutput = namedtuple("SignalsOutput", "reconstruction pooler_output")
"""Signals (B, L), and their embedding (B, D)."""


class SignalsModel(EncoderDecoder):
    """Signal -> embedding -> signal."""

    config_class, main_input_name = SignalsConfig, "signal"

    def __init__(self, config: SignalsConfig) -> None:
        super().__init__(config)
        length, width = config.length, config.hidden_size
        self.encoder = nn.Sequential(nn.Linear(length, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.decoder = nn.Linear(width, length)
        self.post_init()

    def encode(self, inputs: Tensor) -> Tensor:
        """Signals (B, L) -> embedding (B, D)."""
        return self.encoder(inputs)

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding (B, D) -> signals (B, L)."""
        return self.decoder(embedding)

    def forward(self, signal: Tensor, **kwargs) -> SignalsOutput:
        """Signals (B, L) -> signals (B, L)."""
        embedding = self.encode(signal)
        return SignalsOutput(self.decode(embedding), embedding)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrix between the first and the last layer."""
        return [self.encoder[2].weight]


class SignalsForClassification(EncoderForClassification):
    """Signal -> embedding -> scores of the classes."""

    config_class, main_input_name, body_class = SignalsConfig, "signal", SignalsModel


AutoConfig.register(SignalsConfig.model_type, SignalsConfig)
AutoModel.register(SignalsConfig, SignalsModel)
AutoModelForAudioClassification.register(SignalsConfig, SignalsForClassification)
