"""A model of one's own with an encoder and a decoder, and the denoiser around it.

B batch, D width of the embedding, ... the shape of one example.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from textdae.core.denoiser import Denoiser
from textdae.core.noise import Corrupted


class EncoderDecoder(PreTrainedModel):
    """Base of such a model: a subclass has `encode`, `decode` and `forward`.

    Weights start as torch initialises them.
    """

    base_model_prefix = "body"

    def encode(self, inputs: Tensor) -> Tensor:
        """Example (B, ...) -> embedding (B, D, ...)."""
        raise NotImplementedError

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding (B, D, ...) -> example (B, ...)."""
        raise NotImplementedError

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices that Muon trains; AdamW trains the rest."""
        return []

    def _init_weights(self, module: nn.Module) -> None:
        """Keep the initialisation of torch."""


class EncoderDecoderDenoiser(Denoiser):
    """A model with `encode` and `decode` as a denoiser, trained with the squared error.

    It decodes whole examples and applies the loss mask afterwards.

    Args:
        model: an `EncoderDecoder`, or another model with its methods.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Encode the model's main input, (B, ...) -> embedding."""
        embedding: Tensor = self.model.encode(inputs[self.model.main_input_name])
        return embedding

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding -> examples (B, ...)."""
        examples: Tensor = self.model.decode(embedding)
        return examples

    def loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Sum the squared errors."""
        return F.mse_loss(reconstruction.float(), target, reduction="sum")

    def select(self, embedding: Tensor, corrupted: Corrupted) -> tuple[Tensor, ...]:
        """Select everything: whole examples are decoded, and the loss mask is applied afterwards."""
        return embedding, corrupted.target, corrupted.loss_mask

    def score(self, embedding: Tensor, *target: Tensor) -> tuple[Tensor, Tensor]:
        """Decode whole examples (B, ...), and compare them where the loss mask is True."""
        clean, loss_mask = target
        reconstruction = self.decode(embedding)
        return self.loss(reconstruction * loss_mask, clean * loss_mask), reconstruction.detach()

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices that the model names."""
        matrices: list[nn.Parameter] = self.model.hidden_matrices()
        return matrices
