"""The two noises of a model with a code: one for the encoder, a heavier one for the decoder.

B batch, L positions.
"""

from copy import copy

import torch
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.noise import Corrupted, Example, Noise
from textdae.text.noises.masking import TokenNoise
from textdae.text.tokens.vocabulary import Vocabulary


class DecoderNoise(Noise):
    """Corrupt a batch twice, independently: once for the encoder, and once for the decoder, whose masked positions the loss scores.

    The inputs also hold `decoder_input_ids` and `decoder_document` (B, L), shaped like the target, and
    `encoder_loss_mask` (B, L) where the encoder's noise is `aligned`.

    Args:
        noise: of the encoder.
        rate: share of the ordinary tokens that the decoder does not see.
        share: of these, that the loss scores: a sample, drawn for each example; all where it would be empty.
    """

    def __init__(self, noise: Noise, vocabulary: Vocabulary, rate: float, share: float = 1.0) -> None:
        self.noise, self.field, self.aligned = noise, noise.field, noise.aligned

        def choose(part: float) -> Noise:
            return TokenNoise(rate=part, mask_share=1.0, random_share=0.0).build(vocabulary)

        self._second, self._sample = choose(rate), choose(share) if share < 1 else None

    def __call__(self, clean: Example, draw: Draw, progress: float = 0.0) -> Corrupted:
        """Corrupt a batch for the encoder and for the decoder; the decoder is scored where it sees a mask."""
        inputs, target, loss_mask = self.noise(clean, draw, progress)
        hidden = self._second(clean, draw.child("decoder"), progress)
        scored = hidden.loss_mask
        if self._sample:
            sample = scored & self._sample(clean, draw.child("sample"), progress).loss_mask
            scored = torch.where(sample.any(1, keepdim=True), sample, scored)
        inputs |= {"decoder_input_ids": hidden.inputs["input_ids"], "decoder_document": clean["document"]}
        if self.aligned:
            inputs["encoder_loss_mask"] = loss_mask
        return Corrupted(inputs, target, scored)

    def at_level(self, level: float, where: str = "level") -> "DecoderNoise":
        """Return the same pair with the encoder's noise at `level` throughout; the decoder's has a rate of its own."""
        changed = copy(self)
        changed.noise = self.noise.at_level(level, where)
        return changed

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Refuse: the two noises have no level in common."""
        raise TypeError("a pair of noises is called; its parts corrupt")

    def __str__(self) -> str:
        return str(self.noise)
