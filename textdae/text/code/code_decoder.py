"""The decoder of a text's code: one Transformer layer that reads, at each position, the code of its document.

B batch, L positions, D width, K code width, V vocabulary.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from textdae.core.errors import SettingsError, first_line
from textdae.core.layout import DECODER
from textdae.hub.locate import locate
from textdae.text.model import document_positions


class CodeDecoder(nn.Module):
    """The code of a document -> an embedding at each of its positions, for the head of the masked language model.

    Args:
        sizes: D, K, the number of positions, and the width of the feed-forward layer.
        heads: of the attention.
        token_weights: weight of each token in the mean. *Shape:* (V,).
    """

    token_weights: Tensor

    def __init__(self, sizes: tuple[int, int, int, int], heads: int, token_weights: Tensor) -> None:
        super().__init__()
        width, code_size, positions, inner = sizes
        self.heads = heads
        self.register_buffer("token_weights", token_weights)
        self.to_code = nn.Linear(width, code_size)
        self.from_code = nn.Linear(code_size, width)
        for layer in (self.to_code, self.from_code):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Each position reads the code through a gate of its own: a sum of vectors has no order, one of products has.
        self.gate = nn.Parameter(torch.randn(positions, width))
        self.place = nn.Parameter(torch.randn(positions, width) * 0.5)
        self.token_norm, self.attention_norm, self.mlp_norm, self.final_norm = (
            nn.LayerNorm(width, bias=False) for _ in range(4)
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    @property
    def code_size(self) -> int:
        """K."""
        return self.to_code.out_features

    @property
    def positions(self) -> int:
        """Tokens of the longest document that it decodes."""
        return len(self.place)

    def forward(self, code: Tensor, tokens: Tensor, document: Tensor) -> Tensor:
        """Decode.

        Args:
            code: of the document at each position. *Shape:* (B, L, K).
            tokens: word embeddings of what is visible. *Shape:* (B, L, D).
            document: its number at each position. *Shape:* (B, L).

        Returns:
            *Shape:* (B, L, D).
        """
        positions = document_positions(document)
        x = self.from_code(code) * self.gate[positions] + self.place[positions] + self.token_norm(tokens)
        query, key, value = (
            side.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for side in self.qkv(self.attention_norm(x)).chunk(3, -1)
        )
        scores = query @ key.mT * query.shape[-1] ** -0.5
        apart = document[:, None, :, None] != document[:, None, None, :]
        weights = scores.masked_fill(apart, torch.finfo(scores.dtype).min).softmax(-1, dtype=torch.float32)
        x = x + self.out((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        gate, inner = self.up(self.mlp_norm(x)).chunk(2, -1)
        decoded: Tensor = self.final_norm(x + self.down(nn.functional.gelu(gate) * inner))
        return decoded

    def matrices(self) -> list[nn.Parameter]:
        """Return the hidden matrices of its layer."""
        return [layer.weight for layer in (self.qkv, self.out, self.up, self.down)]


def decoder_of(checkpoint: str | Path) -> CodeDecoder | None:
    """Load the decoder of a checkpoint, if it has a code.

    Raises:
        SettingsError: see `load_decoder`.
    """
    file = Path(locate(str(checkpoint))) / DECODER
    return load_decoder(file) if file.is_file() else None


def load_decoder(file: Path) -> CodeDecoder:
    """Load the decoder that lies beside a checkpoint; its sizes are those of the tensors in the file.

    Raises:
        SettingsError: the file holds no decoder.
    """
    try:
        with safe_open(file, "pt") as opened:
            heads = int((opened.metadata() or {})["heads"])
        weights = load_file(file)
        (code_size, width), inner = weights["to_code.weight"].shape, weights["down.weight"].shape[1]
        # Checked before a layer is allocated: all else in it is as large as a tensor of the file.
        if weights["qkv.weight"].shape != (3 * width, width) or width % heads:
            raise ValueError(f"its layer is not of width {width} with {heads} heads")
        decoder = CodeDecoder(
            (width, code_size, len(weights["place"]), inner), heads, weights["token_weights"]
        )
        decoder.load_state_dict(weights)
    except Exception as error:  # safetensors errors, KeyError, RuntimeError of a wrong shape ...
        raise SettingsError(f"{file}: no decoder of a text code: {first_line(error)}") from None
    return decoder.eval()
