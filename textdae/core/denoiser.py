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
from textdae.core.sharding import load_full_state
from textdae.core.weights import load_weights, save_weights


class DenoiserOutput(NamedTuple):
    """The output of a denoiser for a corrupted batch.

    Example:
        >>> output = denoiser(corrupted)
        >>> output.loss.backward()  # the mean over the scored positions of this batch
        >>> (output.loss_sum / count_of_all_batches).backward()  # of a larger batch, in parts
    """

    loss_sum: Tensor
    """Sum of the losses of the scored positions; the caller divides by the global count. ()"""
    count: Tensor
    """Number of scored positions, or the sum of their weights. ()"""
    embedding: Tensor
    """The encoder's output for the corrupted inputs. (B, ..., D); in training perhaps only of the scored positions."""
    reconstruction: Tensor
    """The decoder's output: of the scored positions (M, ...), or of whole examples (B, ...). It is detached: no gradient flows
    through it."""

    @property
    def loss(self) -> Tensor:
        """Mean loss over the scored positions of this batch; 0 where there are none. ()"""
        return self.loss_sum / self.count.clamp(min=1)


class Denoiser(nn.Module, ABC):
    """Encoder and decoder. A subclass defines the two, and the loss of a reconstruction against its target.

    By default each scored position is decoded by itself: position i of the embedding predicts position i of the target,
    which needs an `aligned` noise. Override `select` and `score` for a decoder that returns whole examples, or for a target
    of another length than the inputs. `loss_mask` always has the positions of the target.

    Attributes:
        model: the stock model; it is what a checkpoint holds.

    Example:
        >>> denoiser = textdae.load("runs/digits")
        >>> embedding = denoiser.encode({"pixel_values": pixels})
        >>> denoiser.decode(embedding).shape == pixels.shape
        True
    """

    model: nn.Module
    muon_block: int = 0
    """Size of the blocks into which Muon divides hidden matrices, see `Muon.block`; 0: whole matrices."""
    example_size: str | None = None
    """The setting of the size of an example, named where a batch does not fit into memory."""
    training_name: str = "its own noise"
    """Name of the examples of the training loss, in its curve."""
    weighs: bool = False
    """Whether `loss` takes a third argument: the weight of each scored position, (M,)."""
    _compiled: tuple[Callable[..., Tensor], Callable[..., tuple[Tensor, Tensor]]] | None = None

    @abstractmethod
    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Corrupted inputs -> embedding (B, ..., D)."""

    @abstractmethod
    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding at the scored positions (M, D) -> reconstruction (M, ...)."""

    @abstractmethod
    def loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Sum the loss of the reconstruction (M, ...) against the target (M, ...). ()"""

    def measures(self, reconstruction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return further sums over the scored positions; an evaluation reports their means."""
        return {}

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Encode all positions, decode the scored ones, compare them with the clean original."""
        encode, score = self._compiled if self._compiled and self.training else (self.encode, self.score)
        embedding = encode(corrupted.inputs)
        loss_sum, reconstruction = score(*self.select(embedding, corrupted))
        return DenoiserOutput(loss_sum, corrupted.loss_mask.sum(), embedding, reconstruction)

    def select(self, embedding: Tensor, corrupted: Corrupted) -> tuple[Tensor, ...]:
        """Return the arguments of `score`: embedding (M, D) and target (M, ...) at the scored positions.

        If the loss mask holds weights, they are the third argument, (M,).
        """
        # Indices rather than a mask: the backward pass of a mask would sort.
        scored = corrupted.loss_mask.flatten().nonzero().squeeze(1)
        last = corrupted.loss_mask.ndim - 1
        chosen = embedding.flatten(0, last)[scored], corrupted.target.flatten(0, last)[scored]
        if not corrupted.loss_mask.is_floating_point():
            return chosen
        return *chosen, corrupted.loss_mask.flatten()[scored]

    def score(self, embedding: Tensor, *target: Tensor) -> tuple[Tensor, Tensor]:
        """Decode; return the sum of the losses of the scored positions, and the reconstruction."""
        reconstruction = self.decode(embedding)
        # Detached: otherwise the backward pass would get a gradient of zeros for it.
        return self.loss(reconstruction, *target), reconstruction.detach()

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Prepare for training on a device; results stay the same to rounding.

        Args:
            compile: use `torch.compile`.
            fast: use faster forms of stock layers, if a subclass has some.
        """
        if compile:
            # Only for training: a second graph for evaluation would cost more than it saves.
            self._compiled = (
                torch.compile(self.encode, dynamic=False),
                torch.compile(self.score, dynamic=True),
            )

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the encoder's inner weight matrices, which Muon trains: neither embeddings nor the decoder. Default: none."""
        return []

    def parts_beside(self) -> dict[str, nn.Module]:
        """Return, by name, what is trained with the stock model and is no part of its checkpoint. Default: nothing."""
        return {}

    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the stock checkpoint, `config.json` and `model.safetensors`.

        Args:
            weights: full weights of `model`, if they are sharded (FSDP).
        """
        save_weights(self.model, folder, weights)

    def load_pretrained(self, folder: Path) -> None:
        """Load the weights of a checkpoint that `save_pretrained` wrote.

        Raises:
            ValueError: its weights are not those of this model.
        """
        model, missing = load_weights(type(self.model), folder)
        if missing:
            raise ValueError(f"{folder}: its weights lack {missing[0]}")
        load_full_state(self.model, model.state_dict())
