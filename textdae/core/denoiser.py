"""The interface of a denoiser, in any modality.

B batch, M scored positions, D width of the embedding, ... the shape of one example.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from textdae.core.noise import Corrupted


class DenoiserOutput(NamedTuple):
    """The output of a denoiser for a corrupted batch.

    Example:
        >>> output = denoiser(corrupted)
        >>> output.loss.backward()  # the mean over the scored positions of this batch
        >>> (output.loss_sum / count_of_all_batches).backward()  # of a larger batch, in parts
    """

    loss_sum: Tensor
    """Sum of the losses of the scored positions; not their mean, for only the caller knows the global count. ()"""
    count: Tensor
    """Number of scored positions. ()"""
    embedding: Tensor
    """What the encoder makes of the corrupted inputs. (B, ..., D); in training perhaps only where it is scored"""
    reconstruction: Tensor
    """What the decoder makes of the embedding: at the scored positions only (M, ...), or of the whole example (B, ...). It is
    detached: no gradient flows through it."""

    @property
    def loss(self) -> Tensor:
        """Mean loss over the scored positions of this batch; 0 where there are none. ()"""
        return self.loss_sum / self.count.clamp(min=1)


class Denoiser(nn.Module, ABC):
    """Encoder and decoder. A subclass says what the two are and how a reconstruction is compared with its target.

    By default each position is decoded by itself, and only where it is scored: position i of the embedding answers for
    position i of the target, so that only an `aligned` noise will do. A decoder that gives whole examples, or a target whose
    length is not that of the inputs, overrides `select` and `score`; `loss_mask` always lies over the target.

    Attributes:
        model: the stock model; it is what a checkpoint holds.
    """

    model: nn.Module
    muon_block: int = 0
    """Rows or columns of a hidden matrix that Muon takes by themselves, see its `block`."""
    _compiled: tuple[Callable[..., Tensor], Callable[..., tuple[Tensor, Tensor]]] | None = None

    @abstractmethod
    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Corrupted inputs -> embedding (B, ..., D)."""

    @abstractmethod
    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding at the scored positions (M, D) -> reconstruction (M, ...)."""

    @abstractmethod
    def loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Sum over the scored positions of the loss of (M, ...) against (M, ...). ()"""

    def measures(self, reconstruction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Further sums over the scored positions that an evaluation reports as means."""
        return {}

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Encode everything, decode where it is scored, compare with the clean original."""
        encode, score = self._compiled if self._compiled and self.training else (self.encode, self.score)
        embedding = encode(corrupted.inputs)
        loss_sum, reconstruction = score(*self.select(embedding, corrupted))
        return DenoiserOutput(loss_sum, corrupted.loss_mask.sum(), embedding, reconstruction)

    def select(self, embedding: Tensor, corrupted: Corrupted) -> tuple[Tensor, ...]:
        """What `score` is handed: the embedding and the target at the scored positions, (M, D) and (M, ...)."""
        # Indices rather than a mask: the backward pass of a mask sorts, that of indices adds.
        scored = corrupted.loss_mask.flatten().nonzero().squeeze(1)
        last = corrupted.loss_mask.ndim - 1
        return embedding.flatten(0, last)[scored], corrupted.target.flatten(0, last)[scored]

    def score(self, embedding: Tensor, *target: Tensor) -> tuple[Tensor, Tensor]:
        """Decode; return the sum of the losses of the scored positions, and the reconstruction."""
        reconstruction = self.decode(embedding)
        # Detached, or the backward pass would be handed a gradient of zeros for it.
        return self.loss(reconstruction, *target), reconstruction.detach()

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Prepare for training on a device; results stay the same to rounding.

        Args:
            compile: use `torch.compile`.
            fast: use forms of stock layers that are faster, where a subclass has some.
        """
        if compile:
            # Evaluation stays plain: a second graph would cost more than it saves.
            self._compiled = (
                torch.compile(self.encode, dynamic=False),
                torch.compile(self.score, dynamic=True),
            )

    @abstractmethod
    def hidden_matrices(self) -> list[nn.Parameter]:
        """The encoder's inner weight matrices, which Muon trains: neither embeddings nor the decoder."""

    @abstractmethod
    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the stock checkpoint; `weights` of `model`, where they are not in one place (FSDP)."""

    @abstractmethod
    def load_pretrained(self, folder: Path) -> None:
        """Take the weights of a stock checkpoint of the same shape."""
