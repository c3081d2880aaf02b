"""Encoder and decoder of the stock `ViTMAEForPreTraining` (He et al. 2022), for patches that a noise of ours hides.

The stock `forward` draws by itself which patches it hides, the same number in each image.

B batch, C channels, H, W pixels, N patches, V the most visible patches of an image, D width of the encoder.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining


def build_mae(config: ViTMAEConfig) -> ViTMAEForPreTraining:
    """Build the model with fresh weights, with what the stock class leaves out: the positions, which are not trained, and a
    patch projection as large as they are."""
    model = ViTMAEForPreTraining(config)
    projection = model.vit.embeddings.patch_embeddings.projection
    torch.nn.init.xavier_uniform_(projection.weight.data.flatten(1))
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        init_positions(positions)
    return model


@torch.no_grad()
def init_positions(positions: Tensor) -> None:
    """Write sines and cosines of columns and rows into (1, N + 1, D); the position of the whole image stays zero."""
    side, quarter = math.isqrt(positions.shape[1] - 1), positions.shape[2] // 4
    frequency = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    waves = torch.cat([angle.sin(), angle.cos()], 1)
    columns, rows = waves.repeat(side, 1), waves.repeat_interleave(side, 0)
    positions[0, 1:] = torch.cat([columns, rows], 1).to(positions)


def encode_visible(model: Any, pixels: Tensor, hidden: Tensor | None) -> Tensor:
    """Encode the visible patches; a patch that the encoder has not seen has an embedding of zeros.

    Args:
        model: a `ViTMAEForPreTraining`.
        pixels: *Shape:* (B, C, H, W).
        hidden: None: no patch. *Shape:* (B, N), bool.

    Returns:
        The position of the whole image, then the patches. *Shape:* (B, N + 1, D).
    """
    vit = model.vit
    positions = vit.embeddings.position_embeddings
    patches = vit.embeddings.patch_embeddings(pixels) + positions[:, 1:]
    whole = (vit.embeddings.cls_token + positions[:, :1]).expand(len(patches), -1, -1)
    if hidden is None:
        hidden = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
    counts = (~hidden).sum(1)
    most = int(counts.max())
    # The visible ones in their order; where an image has fewer than V, hidden ones behind them that nothing attends to.
    order = hidden.byte().argsort(dim=1, stable=True)[:, :most, None].expand(-1, -1, patches.shape[2])
    seen = torch.arange(most + 1, device=patches.device) <= counts[:, None]
    states, mask = torch.cat([whole, patches.gather(1, order)], 1), None
    if not bool((counts == most).all()):
        mask = torch.zeros_like(seen, dtype=states.dtype).masked_fill(~seen, torch.finfo(states.dtype).min)
        mask = mask[:, None, None].expand(-1, -1, most + 1, -1)
    for layer in vit.layers:
        states = layer(states, mask)
    states = vit.layernorm(states) * seen[..., None]
    placed = states.new_zeros(patches.shape).scatter(1, order, states[:, 1:])
    return torch.cat([states[:, :1], placed], 1)


def decode_patches(model: Any, embedding: Tensor) -> Tensor:
    """Decode all patches, those of zeros as the learned mask. Embedding (B, N + 1, D) -> pixels (B, C, H, W)."""
    decoder, hidden = model.decoder, ~embedding.any(2, keepdim=True)
    states = decoder.decoder_embed(embedding)
    states = torch.where(hidden, decoder.mask_token.to(states.dtype), states) + decoder.decoder_pos_embed
    for layer in decoder.decoder_layers:
        states = layer(states)
    pixels: Tensor = model.unpatchify(decoder.decoder_pred(decoder.decoder_norm(states))[:, 1:])
    return pixels
