"""Text -> K numbers -> text: a masked language model with a weak decoder that rebuilds the text from one pooled vector.

The encoder's mean over the tokens of a document, through one linear layer, is its code. The decoder is one Transformer layer:
at each position it has the code of its own document, and the tokens that a second, heavier noise leaves visible (RetroMAE,
Xiao et al. 2022). The decoder knows little else, so the code must hold what the text is about.

B batch, L positions, D width, K `code_size`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from textdae.core.building import build_seeded
from textdae.core.denoiser import DenoiserOutput
from textdae.core.errors import SettingsError
from textdae.core.layout import DECODER
from textdae.core.noise import Corrupted
from textdae.core.sharding import load_full_state
from textdae.text.code.code_decoder import CodeDecoder, decoder_of
from textdae.text.masked_lm import load_masked_lm
from textdae.text.model import TextDenoiser
from textdae.text.model_settings import TextModelSettings

logger = logging.getLogger(__name__)
_TEMPERATURE = 0.05
_PREFIX = "code_decoder."


class BottleneckDenoiser(TextDenoiser):
    """A masked language model with a code, and a decoder that rebuilds a document from it.

    The decoder is a part of the stock model in memory, so that it goes where the weights go (processes, shards); on disk it
    has a file of its own beside the stock checkpoint, `decoder.safetensors`.

    Args:
        model: any `AutoModelForMaskedLM`.
        decoder: of the width of the model.
        masked_weight: weight of the loss of a token that the encoder must guess; one of the decoder counts 1.
        contrast_weight: weight of `contrast`, the loss of telling a document from the others of its block.
    """

    fresh_decoder = False
    """Whether the decoder begins at random."""

    def __init__(
        self,
        model: PreTrainedModel,
        decoder: CodeDecoder,
        masked_weight: float = 0.0,
        contrast_weight: float = 0.0,
    ) -> None:
        super().__init__(model)
        self.contrast_weight = contrast_weight
        model.add_module(_PREFIX.removesuffix("."), decoder)
        self.masked_weight = masked_weight
        self._compiled_decoder: Callable[..., Tensor] | None = None

    @property
    def decoder(self) -> CodeDecoder:
        """The part behind the code."""
        decoder = self.model.code_decoder
        assert isinstance(decoder, CodeDecoder)
        return decoder

    def pool(
        self, embedding: Tensor, input_ids: Tensor, document: Tensor, at: Tensor | None = None
    ) -> Tensor:
        """Return the codes of the documents, each at all positions of its document.

        Args:
            embedding: of the encoder. *Shape:* (B, L, D).
            input_ids: the inputs of the encoder. *Shape:* (B, L).
            document: the number of the document at each position, -1 on padding. *Shape:* (B, L).
            at: the number of the document at each position of the result; default: `document`. *Shape:* (B, L').

        Returns:
            *Shape:* (B, L', K).
        """
        at = document if at is None else at
        weight = (at[:, :, None] == document[:, None, :]) * self.decoder.token_weights[input_ids][:, None]
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-9)
        # Not in bf16: whitening scales up small differences, and rounding with them.
        with torch.autocast(embedding.device.type, enabled=False):
            mean = weight.float() @ embedding.float()
            code: Tensor = self.decoder.to_code(mean.to(self.decoder.to_code.weight.dtype))
        return code

    def decode_code(self, code: Tensor, input_ids: Tensor, document: Tensor) -> Tensor:
        """Codes (B, L, K) and what is visible, (B, L) -> embedding (B, L, D), which `decode` makes logits of."""
        decoded: Tensor = self.decoder(code, self.model.get_input_embeddings()(input_ids), document)
        return decoded

    def _reconstruct(
        self,
        embedding: Tensor,
        input_ids: Tensor,
        document: Tensor,
        visible: Tensor,
        decoder_document: Tensor,
    ) -> Tensor:
        return self.decode_code(
            self.pool(embedding, input_ids, document, decoder_document), visible, decoder_document
        )

    @torch.no_grad()
    def whiten(self, codes: Tensor, in_decoder: bool = True) -> None:
        """Turn and scale the code to mean 0 and covariance 1, the largest direction first.

        Some directions of a mean of embeddings are the same for every text and drown the others in a cosine (Su et al. 2021,
        "Whitening sentence representations").

        Args:
            codes: of clean documents. *Shape:* (n, K); at most 2 K of them are too few, and nothing is done.
            in_decoder: invert the change in the decoder, so that its output stays the same; a fresh decoder needs no such care.
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
        if not in_decoder:
            return
        weight, bias = from_code.weight.double().cpu(), from_code.bias.double().cpu()
        from_code.bias.copy_(bias + weight @ mean)
        from_code.weight.copy_(weight @ back)

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Rebuild the documents from their codes; without inputs for the decoder, predict as a masked language model."""
        inputs = corrupted.inputs
        if "decoder_input_ids" not in inputs:
            return super().forward(corrupted)
        compiled = self._compiled if self.training else None
        encode, score = compiled or (self.encode, self.score)
        reconstruct = self._compiled_decoder if compiled and self._compiled_decoder else self._reconstruct
        embedding = encode(self.arguments(inputs))
        visible, document = inputs["decoder_input_ids"], inputs["decoder_document"]
        decoded = reconstruct(embedding, inputs["input_ids"], inputs["document"], visible, document)
        loss_sum, reconstruction = score(*self.select(decoded, corrupted))
        encoder_mask = inputs.get("encoder_loss_mask")
        if encoder_mask is not None and self.masked_weight:
            # Rows that fill up a batch are scored nowhere.
            encoder_mask = encoder_mask & corrupted.loss_mask.any(1, keepdim=True)
            masked_sum, _ = score(*self.select(embedding, corrupted._replace(loss_mask=encoder_mask)))
            loss_sum = loss_sum + self.masked_weight * masked_sum
        if self.contrast_weight:
            clean = {"input_ids": corrupted.target, "document": document}
            forms = (inputs, embedding), (clean, encode(self.arguments(clean)))
            loss_sum = loss_sum + self.contrast_weight * self.contrast(*forms, corrupted.loss_mask.any(1))
        return DenoiserOutput(loss_sum, corrupted.loss_mask.sum(), embedding, reconstruction)

    def contrast(
        self, noisy: tuple[dict[str, Tensor], Tensor], clean: tuple[dict[str, Tensor], Tensor], scored: Tensor
    ) -> Tensor:
        """Return the cross entropy of finding a document, among the clean ones of its block, by the code of its corrupted form.

        Two forms of one text are a pair (SimCSE, Gao et al. 2021). It is told from the others of its block, not of the batch,
        so that the loss is a sum over blocks that does not depend on the batch.

        Args:
            noisy, clean: inputs with `input_ids` and `document` (B, L), and their embedding (B, L, D).
            scored: whether a block counts. *Shape:* (B,).

        Returns:
            The sum over the documents, in nats. ()
        """
        numbers = torch.arange(int(clean[0]["document"].max()) + 1, device=scored.device)
        numbers = numbers.expand(len(scored), -1)
        codes, there = [], []
        for inputs, embedding in (noisy, clean):
            code = self.pool(embedding, inputs["input_ids"], inputs["document"], numbers)
            codes.append(nn.functional.normalize(code.float(), dim=-1))
            there.append((inputs["document"][:, None] == numbers[..., None]).any(-1))
        likeness = (codes[0] @ codes[1].mT / _TEMPERATURE).masked_fill(~there[1][:, None], -torch.inf)
        counted = there[0] & there[1] & scored[:, None]
        return nn.functional.cross_entropy(likeness[counted], numbers[counted], reduction="sum")

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Prepare as the base class does, but compute all positions of the last layer, which the mean needs."""
        super().optimize_for(device, compile, fast)
        if compile:
            self._compiled_decoder = torch.compile(self._reconstruct, dynamic=False)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices of the Transformer layers, the decoder's among them."""
        return super().hidden_matrices() + self.decoder.matrices()

    def parts_beside(self) -> dict[str, nn.Module]:
        """Return the decoder."""
        return {"decoder": self.decoder}

    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the stock checkpoint, and the decoder beside it."""
        state = self.model.state_dict() if weights is None else weights
        stock = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
        super().save_pretrained(folder, stock)
        decoder = {
            name.removeprefix(_PREFIX): value.contiguous()
            for name, value in state.items()
            if name.startswith(_PREFIX)
        }
        save_file(decoder, folder / DECODER, {"heads": str(self.decoder.heads)})

    def load_pretrained(self, folder: Path) -> None:
        """Load the weights of a checkpoint that `save_pretrained` wrote."""
        decoder = {f"{_PREFIX}{name}": value for name, value in load_file(folder / DECODER).items()}
        load_full_state(self.model, {**load_masked_lm(str(folder))[0].state_dict(), **decoder})


def with_decoder(
    denoiser: TextDenoiser,
    settings: TextModelSettings,
    positions: int,
    token_weights: Callable[[], Tensor],
    seed: int,
    check: Callable[[int], None] | None = None,
) -> BottleneckDenoiser:
    """Put a decoder behind a masked language model: that of `model.from_pretrained`, or a fresh one, a pure function of the seed.

    Args:
        positions: tokens of the longest document.
        token_weights: counts those of a fresh decoder, see `CodeDecoder`.
        check: see `build_seeded`.

    Raises:
        SettingsError: the decoder of `model.from_pretrained` is not of these sizes, or of other weights.
    """
    assert settings.code_size
    config, width = denoiser.model.config, denoiser.embeddings.shape[1]
    start = settings.from_pretrained
    decoder = decoder_of(start) if start else None
    fresh = decoder is None
    if decoder is not None:
        if decoder.code_size != settings.code_size:
            raise SettingsError(
                f"model.code_size: {start} has a code of {decoder.code_size} numbers, got {settings.code_size}; "
                "leave it out, or go on without the code: model.code_size=0"
            )
        if decoder.positions < positions:
            raise SettingsError(
                f"data.block_size: the decoder of {start} goes to {decoder.positions} tokens, got {positions}; "
                "shorten it, or go on without the code: model.code_size=0"
            )
        if settings.code_weights == "even" and not bool((decoder.token_weights == 1).all()):
            raise SettingsError(
                f"model.code_weights: the code of {start} is a mean with weights of its own (sif); leave even out"
            )
    else:
        inner = getattr(config, "intermediate_size", None) or 4 * width
        sizes = (width, settings.code_size, positions, inner)
        heads, weights = config.num_attention_heads, token_weights()
        decoder = build_seeded(lambda: CodeDecoder(sizes, heads, weights), seed, check)
    # Of a sample of the decoder's tokens, the same weights beside it.
    of_losses = (settings.decoder_share * each for each in (settings.masked_weight, settings.contrast_weight))
    bottleneck = BottleneckDenoiser(denoiser.model, decoder.train(), *of_losses)
    bottleneck.fresh, bottleneck.fresh_decoder = denoiser.fresh, fresh
    return bottleneck
