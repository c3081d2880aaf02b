"""Text -> K numbers -> text: a masked language model whose pooled vector a weak decoder must give the text back from.

The encoder's mean over the tokens of a document, through one linear layer, is its code. The decoder is one Transformer layer:
at each position it has the code of its own document, and the tokens that a second, heavier noise leaves visible (RetroMAE,
Xiao et al. 2022). As it knows little else, what the text says must be in the code.

B batch, L positions, D width, K `code_size`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from textdae.core.building import build_seeded
from textdae.core.denoiser import DenoiserOutput
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.layout import DECODER
from textdae.core.noise import Corrupted, Example, Noise
from textdae.core.sharding import load_full_state
from textdae.hub.locate import locate
from textdae.text.masked_lm import load_masked_lm
from textdae.text.model import TextDenoiser, document_positions
from textdae.text.noise import Vocabulary
from textdae.text.noises.masking import TokenNoise
from textdae.text.settings import TextModelSettings

logger = logging.getLogger(__name__)
_PREFIX = "code_decoder."


class DecoderNoise(Noise):
    """Corrupt a batch twice, independently: for the encoder, and for the decoder, which is what the loss is scored on.

    Beside the encoder's inputs it gives `decoder_input_ids` and `decoder_document` (B, L), which lie over the target, and
    `encoder_loss_mask` (B, L) where the encoder's noise is `aligned`.

    Args:
        noise: of the encoder.
        rate: share of the ordinary tokens that the decoder does not see.
    """

    def __init__(self, noise: Noise, vocabulary: Vocabulary, rate: float) -> None:
        self.noise, self.field, self.aligned = noise, noise.field, noise.aligned
        self._second = TokenNoise(rate=rate, mask_share=1.0, random_share=0.0).build(vocabulary)

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        """The encoder's corrupted batch with the decoder's inputs; the decoder is scored at what it does not see."""
        inputs, target, loss_mask = self.noise(clean, draw, progress)
        hidden = self._second(clean, draw.child("decoder"), progress)
        inputs |= {"decoder_input_ids": hidden.inputs["input_ids"], "decoder_document": clean["document"]}
        if self.aligned:
            inputs["encoder_loss_mask"] = loss_mask
        return Corrupted(inputs, target, hidden.loss_mask)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Two noises have no level in common."""
        raise TypeError("a pair of noises is called; its parts corrupt")

    def __str__(self) -> str:
        return str(self.noise)


class CodeDecoder(nn.Module):
    """The code of a document -> an embedding at each of its positions, for the head of the masked language model.

    Args:
        sizes: D, K, the number of positions, and the width of the feed-forward layer.
        heads: of the attention.
    """

    def __init__(self, sizes: tuple[int, int, int, int], heads: int) -> None:
        super().__init__()
        width, code_size, positions, inner = sizes
        self.heads = heads
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
        """The hidden matrices of its layer."""
        return [layer.weight for layer in (self.qkv, self.out, self.up, self.down)]


class BottleneckDenoiser(TextDenoiser):
    """A masked language model with a code, and a decoder that gives a document back from it.

    The decoder is a part of the stock model in memory, so that it goes where the weights go (processes, shards); on disk it
    has a file of its own beside the stock checkpoint, `decoder.safetensors`.

    Args:
        model: any `AutoModelForMaskedLM`.
        decoder: for its width.
        masked_weight: what a token that the encoder must guess counts, beside one of the decoder's.
    """

    def __init__(self, model: PreTrainedModel, decoder: CodeDecoder, masked_weight: float = 0.0) -> None:
        super().__init__(model)
        model.add_module(_PREFIX.removesuffix("."), decoder)
        self.masked_weight = masked_weight
        self._compiled_decoder: Callable[..., Tensor] | None = None

    @property
    def decoder(self) -> CodeDecoder:
        """The part behind the code."""
        decoder = self.model.code_decoder
        assert isinstance(decoder, CodeDecoder)
        return decoder

    def pool(self, embedding: Tensor, document: Tensor, asked: Tensor | None = None) -> Tensor:
        """The codes of the documents, each at all positions of its document.

        Args:
            embedding: of the encoder. *Shape:* (B, L, D).
            document: the number of the document at each position, -1 on padding. *Shape:* (B, L).
            asked: the same of the positions where the codes are wanted; default: these. *Shape:* (B, L').

        Returns:
            *Shape:* (B, L', K).
        """
        asked = document if asked is None else asked
        same = (asked[:, :, None] == document[:, None, :]).to(embedding.dtype)
        mean = same @ embedding / same.sum(-1, keepdim=True).clamp(min=1)
        code: Tensor = self.decoder.to_code(mean)
        return code

    def decode_code(self, code: Tensor, input_ids: Tensor, document: Tensor) -> Tensor:
        """Codes (B, L, K) and what is visible, (B, L) -> embedding (B, L, D), which `decode` makes logits of."""
        decoded: Tensor = self.decoder(code, self.model.get_input_embeddings()(input_ids), document)
        return decoded

    def _reconstruct(self, embedding: Tensor, document: Tensor, input_ids: Tensor, asked: Tensor) -> Tensor:
        return self.decode_code(self.pool(embedding, document, asked), input_ids, asked)

    @torch.no_grad()
    def whiten(self, codes: Tensor) -> None:
        """Turn and scale the code to mean 0 and covariance 1, the largest direction first; the decoder takes it back exactly.

        Some directions of a mean of embeddings are the same for every text and drown the others in a cosine (Su et al. 2021,
        "Whitening sentence representations").

        Args:
            codes: of clean documents. *Shape:* (n, K); for n of at most 2 K nothing is done.
        """
        if len(codes) <= 2 * codes.shape[1]:
            logger.warning("the code stays as it is: %d documents are too few to whiten it", len(codes))
            return
        codes = codes.double().cpu()
        mean = codes.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(codes.T).reshape(len(mean), len(mean)))
        deviation = values.clamp(min=1e-6 * float(values.max())).sqrt().flip(0)
        vectors = vectors.flip(1)
        there, back = (vectors / deviation).T, vectors * deviation
        to_code, from_code = self.decoder.to_code, self.decoder.from_code
        weight, bias = to_code.weight.double().cpu(), to_code.bias.double().cpu()
        to_code.weight.copy_(there @ weight)
        to_code.bias.copy_(there @ (bias - mean))
        weight, bias = from_code.weight.double().cpu(), from_code.bias.double().cpu()
        from_code.bias.copy_(bias + weight @ mean)
        from_code.weight.copy_(weight @ back)

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Give the documents back through their codes; a batch without inputs for the decoder is a masked language model's."""
        inputs = corrupted.inputs
        if "decoder_input_ids" not in inputs:
            return super().forward(corrupted)
        compiled = self._compiled if self.training else None
        encode, score = compiled or (self.encode, self.score)
        reconstruct = self._compiled_decoder if compiled and self._compiled_decoder else self._reconstruct
        embedding = encode(self.arguments(inputs))
        document = inputs["document"]
        decoded = reconstruct(embedding, document, inputs["decoder_input_ids"], inputs["decoder_document"])
        loss_sum, reconstruction = score(*self.select(decoded, corrupted))
        encoder_mask = inputs.get("encoder_loss_mask")
        if encoder_mask is not None and self.masked_weight:
            # Rows that fill up a batch are scored nowhere.
            encoder_mask = encoder_mask & corrupted.loss_mask.any(1, keepdim=True)
            masked_sum, _ = score(*self.select(embedding, corrupted._replace(loss_mask=encoder_mask)))
            loss_sum = loss_sum + self.masked_weight * masked_sum
        return DenoiserOutput(loss_sum, corrupted.loss_mask.sum(), embedding, reconstruction)

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """As the base class does; the mean needs all positions of the last layer, so it computes them all."""
        super().optimize_for(device, compile, fast)
        if compile:
            self._compiled_decoder = torch.compile(self._reconstruct, dynamic=False)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The matrices of the Transformer layers, the decoder's among them."""
        return super().hidden_matrices() + self.decoder.matrices()

    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the stock checkpoint, and the decoder beside it."""
        whole = self.model.state_dict() if weights is None else weights
        stock = {name: value for name, value in whole.items() if not name.startswith(_PREFIX)}
        super().save_pretrained(folder, stock)
        decoder = {
            name.removeprefix(_PREFIX): value.contiguous()
            for name, value in whole.items()
            if name.startswith(_PREFIX)
        }
        save_file(decoder, folder / DECODER, {"heads": str(self.decoder.heads)})

    def load_pretrained(self, folder: Path) -> None:
        """Take the weights of a checkpoint that `save_pretrained` wrote."""
        decoder = {f"{_PREFIX}{name}": value for name, value in load_file(folder / DECODER).items()}
        load_full_state(self.model, {**load_masked_lm(str(folder))[0].state_dict(), **decoder})


def with_decoder(
    denoiser: TextDenoiser,
    settings: TextModelSettings,
    positions: int,
    seed: int,
    check: Callable[[int], None] | None = None,
) -> BottleneckDenoiser:
    """Put a decoder behind a masked language model: that of `model.from_pretrained`, or a fresh one, a pure function of the seed.

    Args:
        positions: tokens of the longest document.
        check: see `build_seeded`.

    Raises:
        SettingsError: the decoder of `model.from_pretrained` is not of these sizes.
    """
    assert settings.code_size is not None
    config, width = denoiser.model.config, denoiser.embeddings.shape[1]
    if settings.from_pretrained and (file := Path(locate(settings.from_pretrained)) / DECODER).is_file():
        decoder = load_decoder(file)
        if decoder.code_size != settings.code_size or decoder.positions < positions:
            raise SettingsError(
                f"model.code_size: {settings.from_pretrained} has a code of {decoder.code_size} numbers for documents of at "
                f"most {decoder.positions} tokens (data.block_size), got {settings.code_size} and {positions}"
            )
    else:
        inner = getattr(config, "intermediate_size", None) or 4 * width
        sizes = (width, settings.code_size, positions, inner)
        decoder = build_seeded(lambda: CodeDecoder(sizes, config.num_attention_heads), seed, check)
    found = BottleneckDenoiser(denoiser.model, decoder.train(), settings.masked_weight)
    found.fresh = denoiser.fresh
    return found


def load_decoder(file: Path) -> CodeDecoder:
    """Load the decoder that lies beside a checkpoint; its sizes are those of the tensors in the file.

    Raises:
        SettingsError: it is none.
    """
    try:
        with safe_open(file, "pt") as opened:
            heads = int((opened.metadata() or {})["heads"])
        weights = load_file(file)
        (code_size, width), inner = weights["to_code.weight"].shape, weights["down.weight"].shape[1]
        decoder = CodeDecoder((width, code_size, len(weights["place"]), inner), heads)
        decoder.load_state_dict(weights)
    except Exception as error:  # safetensors errors, KeyError, RuntimeError of a wrong shape ...
        raise SettingsError(f"{file}: no decoder of a text code: {error}") from None
    return decoder.eval()
