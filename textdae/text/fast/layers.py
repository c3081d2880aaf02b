"""The fast path of one masked language model: attention chosen by the device, and layers that skip what no loss needs."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from textdae.text.fast import local_attention, packed_attention
from textdae.text.fast.modernbert import prepare_for_training


class FastLayers(NamedTuple):
    """The fast parts of a denoiser, made by `use_fast_layers`."""

    config: PretrainedConfig
    """Of the model."""
    selects: bool
    """Whether the encoder takes `selected`, see `select_positions`."""

    def boundaries(self, document: Tensor) -> dict[str, Any] | None:
        """Return the masks of all kinds of layers for flash attention; None where it is not used, as outside autocast.

        Args:
            document: the number of the document at each position. *Shape:* (B, L).
        """
        if self.config._attn_implementation != packed_attention.NAME:
            return None
        if not torch.is_autocast_enabled(document.device.type):  # flash attention takes 16 bits only
            return None
        kinds = ("full_attention", "sliding_attention")
        return dict.fromkeys(kinds, packed_attention.boundaries(document))

    def window_mask(self, document: Tensor) -> Tensor | None:
        """Return the mask of the local layers in chunks, see `local_attention.window_mask`; None where it is not used."""
        if self.config._attn_implementation != local_attention.NAME:
            return None
        return local_attention.window_mask(document, self.config.sliding_window)


def use_fast_layers(model: PreTrainedModel, encoder: nn.Module, device: torch.device) -> FastLayers:
    """Switch a stock model to the fast path, in place; its weights and their names stay as they are.

    On the CPU plain attention is faster than sdpa's backward pass, compiled or not; GPUs have flash attention over packed
    documents.
    """
    has_windows = "sliding_attention" in (getattr(model.config, "layer_types", None) or [])
    if device.type == "cpu":
        model.set_attn_implementation(local_attention.NAME if has_windows else "eager")
    elif device.type == "cuda" and has_windows and packed_attention.is_supported(model.config, device):
        model.set_attn_implementation(packed_attention.NAME)
    return FastLayers(model.config, prepare_for_training(encoder))
