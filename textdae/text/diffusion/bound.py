"""A bound on the likelihood of held-out text, in bits per byte: the loss of masked diffusion, with any number of tokens hidden.

Each block is corrupted several times, each time with another number of hidden tokens; the losses, weighed by 1 over the hidden
share, bound the negative log likelihood from above in expectation (MDLM, Sahoo et al. 2024). An autoregressive model, such as
the Kneser-Ney 5-gram beside it, gives its likelihood itself. Special tokens, which mark where documents begin and end,
and unknown tokens cost neither of them anything. The model sees where they stand; the n-grams are renormalised over ordinary tokens.

n blocks, R draws.
"""

import gzip
import logging
import lzma
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from textdae.core.draw import Draw
from textdae.core.examples import Examples, Questions
from textdae.core.noise import Noise
from textdae.core.progress import Progress
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks
from textdae.text.model import TextDenoiser
from textdae.text.ngram import NGramModel, part_counted
from textdae.text.noises.masking import TokenNoise
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training.batches import with_elbo_weights
from textdae.training.evaluation import FROZEN_SEED

logger = logging.getLogger(__name__)
ORDER = 5
"""Of the n-gram beside it."""


def diffusion_noise(vocabulary: Vocabulary) -> Noise:
    """Return the noise that hides any number of the ordinary tokens of a block, every number equally likely."""
    return TokenNoise(rate=1, schedule="uniform", mask_share=1, random_share=0).build(vocabulary)


@torch.no_grad()
def bound_draws(
    denoiser: TextDenoiser,
    examples: Examples,
    noise: Noise,
    indices: Tensor,
    draws: int,
    batch_size: int,
    seed: int = FROZEN_SEED,
) -> np.ndarray:
    """Return unbiased estimates of the bound on the negative log likelihood of all examples together, in nats.

    Args:
        indices: of the examples. (n,)
        draws: R.
        seed: the estimates are a pure function of it.

    Returns:
        One estimate for each draw, independent of the others. *Shape:* (R,), float64.
    """
    device = next(denoiser.parameters()).device
    totals = np.zeros(draws)
    with Progress("bounding the likelihood", total=draws * len(indices), unit="blocks") as bar:
        for number in range(draws):
            for place in torch.arange(len(indices)).split(batch_size):
                example = indices[place]
                draw = Draw(seed + number, torch.zeros_like(example), example, stream=place)
                clean = examples.batch(example)
                corrupted = with_elbo_weights(noise(clean, draw), noise.candidates(clean))
                totals[number] += float(denoiser(corrupted.to(device)).loss_sum)
                bar.update(len(example))
    return totals


class Bound:
    """The bound on held-out text: its blocks, their ordinary tokens, and the bytes that these stand for."""

    def __init__(
        self,
        train: Blocks | MixedBlocks,
        held_out: Blocks | MixedBlocks,
        tokenizer: PreTrainedTokenizerFast,
        vocabulary: Vocabulary,
    ) -> None:
        self.train, self.held_out, self.tokenizer, self.vocabulary = train, held_out, tokenizer, vocabulary

    def is_scored(self, indices: Tensor) -> np.ndarray:
        """Return which positions of the stream are scored: the ordinary tokens of these blocks. *Shape:* (N,), bool."""
        return self._in_blocks(indices) & self.vocabulary.is_ordinary[self.held_out.ids]

    def _in_blocks(self, indices: Tensor) -> np.ndarray:
        block = np.arange(self.held_out.info.tokens) // self.held_out.block_size
        return np.isin(block, indices.numpy())

    def bytes(self, indices: Tensor) -> float:
        """Count the UTF-8 bytes of the text in these blocks; of a part of them, their share by tokens."""
        ordinary = self.vocabulary.is_ordinary[self.held_out.ids].sum()
        return self.held_out.info.bytes * int(self.is_scored(indices).sum()) / max(1, int(ordinary))

    def row(self, nats: float, indices: Tensor) -> dict[str, float]:
        """Return the nats of a token and the bits of a byte."""
        tokens = int(self.is_scored(indices).sum())
        return {"loss": nats / tokens, "bits_per_byte": nats / math.log(2) / self.bytes(indices)}

    def model_row(
        self, denoiser: TextDenoiser, questions: Questions, draws: int, batch_size: int
    ) -> dict[str, float]:
        """Return the mean of the draws, and its standard error."""
        totals = bound_draws(denoiser, *questions, draws, batch_size)
        error = totals.std(ddof=1) / math.sqrt(draws)
        bits = self.row(float(error), questions.indices)["bits_per_byte"]
        return {**self.row(float(totals.mean()), questions.indices), "standard_error": bits}

    def baselines(self, indices: Tensor) -> dict[str, dict[str, float]]:
        """Score unigrams and the 5-gram on the same tokens, and compressors on the whole held-out text."""
        begins, scored = self.held_out.document_starts, self.is_scored(indices)
        rows = {}
        for name, order in (("unigram", 1), (f"{ORDER}-gram, Kneser-Ney", ORDER)):
            logger.info(f"baseline: {name}")
            model = NGramModel(
                np.asarray(self.train.ids), self.train.document_starts, self.vocabulary.size, order
            )
            nats = -model.log_probabilities(
                np.asarray(self.held_out.ids), begins, self.vocabulary.special_ids
            )
            rows[name] = self.row(float(nats[scored].sum()), indices)
        text = self._text().encode()
        packed = {
            "gzip -9, whole text": gzip.compress(text, 9),
            "xz -9, whole text": lzma.compress(text, preset=9),
        }
        sizes = {name: 8 * len(data) / self.held_out.info.bytes for name, data in packed.items()}
        return rows | {name: {"bits_per_byte": bits} for name, bits in sizes.items()}

    def _text(self) -> str:
        """Return the held-out text as the tokenizer gives it back, a document a line."""
        starts = np.flatnonzero(self.held_out.document_starts)
        documents = np.split(np.asarray(self.held_out.ids).astype(np.int64), starts[1:])
        return "\n".join(
            self.tokenizer.batch_decode([d.tolist() for d in documents], skip_special_tokens=True)
        )

    def describe(self, questions: Questions, draws: int) -> dict[str, Any]:
        """Describe the scored tokens."""
        indices = questions.indices
        part = self.is_scored(indices)
        is_unknown = np.asarray(self.held_out.ids) == self.tokenizer.unk_token_id
        unknown = int((is_unknown & self._in_blocks(indices)).sum())
        lossy = (
            ""
            if not self._is_lossy()
            else "; the tokenizer drops capitals or spaces, which cost nothing here"
        )
        return {
            "asked": f"bits per byte of the text, {draws} draws of each of {len(indices):,} blocks: {int(part.sum()):,} tokens, "
            f"{self.bytes(indices):,.0f} bytes{lossy}"
            + (f"; {unknown:,} unknown tokens, which cost nothing" if unknown else "")
            + part_counted(len(self.train.ids)),
            "evaluated_tokens": int(part.sum()),
            "evaluated_bytes": self.bytes(indices),
        }

    def _is_lossy(self) -> bool:
        probe = "The Cat,  it sat (again)."
        ids = self.tokenizer(probe, add_special_tokens=False)["input_ids"]
        return bool(self.tokenizer.decode(ids) != probe)
