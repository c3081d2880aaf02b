"""The denoiser of text: any stock `AutoModelForMaskedLM`, split into its encoder and its decoder.

B batch, L positions, M scored positions, D width, V vocabulary.
"""

import copy
import inspect
import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from textdae.core.building import build_seeded
from textdae.core.denoiser import Denoiser, DenoiserOutput
from textdae.core.errors import SettingsError, first_line
from textdae.core.noise import Corrupted
from textdae.text import fast as fast_path
from textdae.text.fast.cross_entropy import cross_entropy
from textdae.text.masked_lm import load_masked_lm
from textdae.text.model_settings import positions_of

logger = logging.getLogger(__name__)
FIRST_LOGITS = 1.6
"""Target standard deviation of the initial logits when tied embeddings start from co-occurrence counts. It is 0.1 an entry at
a width of 256, which was the best; at the usual 0.02 a few steps of Adam would overwrite the counts."""
_MULTIPLE = 32
"""Training decodes a multiple of so many positions: oneDNN makes its kernels anew for every size that it has not seen, which took a
tenth of each step with matrix units."""


class _PassEmbedding(nn.Module):
    """Stands in for the encoder, and returns the embedding that it is given."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.__dict__["base"] = base  # not a submodule: its weights belong to the model

    def __getattr__(self, name: str) -> Any:  # some decoders borrow the encoder's word embeddings
        return getattr(self.__dict__["base"], name)

    def forward(self, *args: Any, inputs_embeds: Tensor, **kwargs: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class TextDenoiser(Denoiser):
    """Encoder and decoder of a stock masked language model; `decode(encode(x))` equals its logits.

    Args:
        model: any `AutoModelForMaskedLM`.

    Example:
        >>> denoiser = textdae.TextDenoiser.from_pretrained("runs/mine")
        >>> batch = tokenizer(["a text", "another one"], padding=True, return_tensors="pt")
        >>> corrupted = textdae.WordNoise(0.3)(batch, tokenizer=tokenizer, seed=0)
        >>> denoiser(corrupted).loss.ndim  # nats a hidden token
        0
    """

    muon_block, example_size, weighs = 64, "data.block_size", True
    fresh: tuple[str, ...] = ()
    """Names of the weights of the head that the checkpoint lacked, which start at random."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.encoder: nn.Module = getattr(model, model.base_model_prefix)
        # The decoder is the stock forward with the embedding put in the encoder's place. A shallow copy shares every
        # weight with the model; it is kept out of the module tree so that nothing is counted or saved twice.
        head = copy.copy(model)
        # A `forward` that accelerate set on the instance would run the model instead of its copy.
        head.__dict__.pop("forward", None)
        head._modules = {**model._modules, model.base_model_prefix: _PassEmbedding(self.encoder)}
        self.__dict__["head"] = head
        parameters = inspect.signature(self.encoder.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._layers: Any = None  # FastLayers, imported where they are used: they lean on private names
        self._position_offset = next(
            (
                m.padding_idx + 1
                for m in self.encoder.modules()
                if hasattr(m, "create_position_ids_from_input_ids")
            ),
            0,
        )

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path) -> "TextDenoiser":
        """Load any masked language model from a folder or the Hub, in evaluation mode.

        `load_text` gives its tokenizer too, and the code of a checkpoint that has one (`model.code_size`), which is left out here.

        Raises:
            SettingsError: there is none.
        """
        return cls(load_masked_lm(str(checkpoint))[0]).eval()

    @classmethod
    def from_config(cls, config: PreTrainedConfig, seed: int = 0) -> "TextDenoiser":
        """Build a model of a stock config with fresh weights, a pure function of the seed, in training mode.

        Raises:
            SettingsError: no masked language model can be built of it.
        """
        try:
            return cls(build_seeded(lambda: AutoModelForMaskedLM.from_config(config), seed))
        except (ValueError, TypeError, RuntimeError, AssertionError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"{type(config).__name__}: no masked language model can be built of it: {first_line(error)}"
            ) from None

    @property
    def embeddings(self) -> nn.Parameter:
        """The word embeddings. *Shape:* (V, D)."""
        table = self.model.get_input_embeddings().weight
        assert isinstance(table, nn.Parameter)
        return table

    @torch.no_grad()
    def init_embeddings(self, embedding: Tensor) -> None:
        """Replace the word embeddings.

        Args:
            embedding: rows of mean square 1; a row of zeros keeps the present embedding. *Shape:* (V, D).
        """
        known = embedding.any(1)
        self.embeddings[known] = embedding[known] * (FIRST_LOGITS / embedding.shape[1] ** 0.5)

    @property
    def longest(self) -> int:
        """The number of positions that the encoder takes."""
        return positions_of(self.model.config)

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Encode, decode the scored positions, compare them with the original.

        In training the last layer may compute the scored positions only, see `textdae.text.fast`.
        """
        # Here rather than in `encode`: compiled code would compute masks and positions once for each use.
        inputs = self.arguments(corrupted.inputs)
        if self.training and self._layers and self._layers.selects:
            from textdae.text.fast.modernbert import select_positions

            selected = select_positions(corrupted.loss_mask, compiled=self._compiled is not None)
            inputs |= {} if selected is None else {"selected": selected}
        return super().forward(corrupted._replace(inputs=inputs))

    def select(self, embedding: Tensor, corrupted: Corrupted) -> tuple[Tensor, ...]:
        """Return the embedding and the target at the scored positions, (M, D) and (M,)."""
        selected = corrupted.inputs.get("selected")
        if selected is not None:
            inputs, target, loss_mask = corrupted
            corrupted = Corrupted(
                inputs, target.take_along_dim(selected, 1), loss_mask.take_along_dim(selected, 1)
            )
        return super().select(embedding, corrupted)

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Token ids -> embedding (B, L, D).

        Args:
            inputs: `input_ids` (B, L), and either `document` (B, L), the number of the document that each position
                belongs to (-1 on padding): documents do not see each other; or `attention_mask` (B, L); or neither.
                With `selected` (B, M), which `forward` adds, the embedding is that of these positions, (B, M, D).
        """
        embedding = self.encoder(**self.arguments(inputs))[0]
        assert isinstance(embedding, Tensor)
        return embedding

    def encode_at(self, input_ids: Tensor, position: Tensor) -> Tensor:
        """Token ids (B, L) of whole texts without padding -> embedding at one position of each (B,), (B, D).

        After `optimize_for` the last layer computes these positions only.
        """
        inputs = {"input_ids": input_ids}
        if self._layers and self._layers.selects:
            inputs |= {"document": torch.zeros_like(input_ids), "selected": position[:, None]}
            return self.encode(inputs)[:, 0]
        return self.encode(inputs)[torch.arange(len(position), device=position.device), position]

    def arguments(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the encoder's arguments: `document` is replaced by an attention mask and positions."""
        known = ("input_ids", "attention_mask", "position_ids", "selected")
        arguments = {name: inputs[name] for name in known if name in inputs}
        if "document" in inputs:
            arguments["attention_mask"] = self._attention_mask(inputs["document"])
            if self._takes_positions:
                arguments["position_ids"] = document_positions(inputs["document"]) + self._position_offset
        return arguments

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding (..., D) -> logits (..., V)."""
        flat = embedding.reshape(1, -1, embedding.shape[-1])
        logits = self.__dict__["head"](inputs_embeds=flat).logits
        return logits.reshape(*embedding.shape[:-1], logits.shape[-1])

    def score(self, embedding: Tensor, *target: Tensor) -> tuple[Tensor, Tensor]:
        """Decode; return the sum of the losses of the scored positions, and the reconstruction, (M, V)."""
        count = len(embedding)
        if self.training:  # the rest has a target that no loss counts, and no weight
            rest = -count % _MULTIPLE
            embedding = F.pad(embedding, (0, 0, 0, rest))
            target = tuple(
                F.pad(each, (0, rest), value=-100 * (not each.is_floating_point())) for each in target
            )
        loss_sum, reconstruction = super().score(embedding, *target)
        return loss_sum, reconstruction[:count]

    def loss(self, reconstruction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the cross entropy, in nats, summed; each scored position times its weight (M,) if there are weights.

        In training rows with the target -100 fill M up to a multiple of 32; they count for nothing.
        """
        if reconstruction.device.type == "cpu" and torch.compiler.is_compiling():
            nats = cross_entropy(reconstruction, target)
        else:
            nats = F.cross_entropy(reconstruction.float(), target, reduction="none")
        return (nats if weight is None else nats * weight).sum()

    def measures(self, reconstruction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Count the scored tokens whose most probable guess is right."""
        return {"accuracy": (reconstruction.argmax(-1) == target).sum()}

    def _attention_mask(self, document: Tensor) -> Any:
        """Return the attention mask as the model family takes it: same document, and within the window of local layers.

        Bidirectional stock models ignore `position_ids` and `cu_seqlens`, so the mask is explicit. Padding sees padding,
        because a row of the softmax must not be empty.
        """
        config, layers = self.model.config, self._layers
        if layers and (boundaries := layers.boundaries(document)) is not None:
            return boundaries
        same = document[:, :, None] == document[:, None, :]
        full = self._as_mask(same[:, None])
        if "sliding_attention" not in (getattr(config, "layer_types", None) or []):
            return full
        if layers and (within := layers.window_mask(document)) is not None:
            return {"full_attention": full, "sliding_attention": self._as_mask(within)}
        positions = torch.arange(document.shape[1], device=document.device)
        near = (positions[:, None] - positions[None, :]).abs() <= config.sliding_window
        return {"full_attention": full, "sliding_attention": self._as_mask((same & near)[:, None])}

    def _as_mask(self, allowed: Tensor) -> Tensor:
        """Return the mask as booleans for sdpa, else as numbers that are added to the scores."""
        if self.model.config._attn_implementation == "sdpa":
            return allowed
        dtype = (
            torch.get_autocast_dtype(allowed.device.type)
            if torch.is_autocast_enabled(allowed.device.type)
            else self.dtype
        )
        return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.model.parameters()).dtype

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Use the fast layers if they equal the stock ones with the installed versions."""
        why = fast_path.unsupported() if fast else "train.fast=never"
        if why is None:
            from textdae.text.fast.layers import use_fast_layers

            self._layers = use_fast_layers(self.model, self.encoder, device)
        elif fast:
            logger.warning("training with the stock layers, which is slower: %s", why)
        super().optimize_for(device, compile)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices of the Transformer layers."""
        tables = {id(module.weight) for module in self.model.modules() if isinstance(module, nn.Embedding)}
        return [p for p in self.encoder.parameters() if p.ndim == 2 and id(p) not in tables]


def document_positions(document: Tensor) -> Tensor:
    """Return positions counted from the start of each document. *Shape:* (B, L)."""
    positions = torch.arange(document.shape[1], device=document.device).expand(document.shape)
    starts = torch.ones_like(document, dtype=torch.bool)
    starts[:, 1:] = document[:, 1:] != document[:, :-1]
    return positions - torch.where(starts, positions, 0).cummax(1).values
