"""The masks of one text filled in rounds, the surest first; `denoise_text` and the page go through them.

L positions, M masks, m of them left, k filled in a round, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textdae.text.loading import LoadedText


class Candidate(NamedTuple):
    """A guess for one mask."""

    token: str
    probability: float


class Filled(NamedTuple):
    """A round of filling masks."""

    ids: Tensor
    """The text after the round. *Shape:* (L,), int64."""
    positions: Tensor
    """What was filled in it. *Shape:* (k,), int64."""
    candidates: list[list[Candidate]]
    """The best guesses for each mask that was left before it."""


class MaskFilling:
    """A text whose masks are filled in rounds of equal size; what is filled stays.

    Args:
        ids: the text, with masks. *Shape:* (L,), int64.
        masks: their positions. *Shape:* (M,), int64.
        steps: rounds, of which no more than M are made.
        top: candidates for each mask.

    Attributes:
        left: the masks that are not filled yet. *Shape:* (m,), int64.
    """

    def __init__(self, ids: Tensor, masks: Tensor, tokenizer: Any, steps: int, top: int) -> None:
        self.ids, self.left, self.tokenizer, self.top = ids, masks, tokenizer, top
        self._rounds = min(steps, len(masks))

    def fill(self, logits: Tensor) -> Filled:
        """Fix the surest guesses of a round, given the logits of the masks that are left, (m, V)."""
        tokenizer = self.tokenizer
        best = best_tokens(logits, tokenizer, self.top)
        surest = best.values[:, 0].topk(-(-len(self.left) // self._rounds)).indices.sort().values
        self._rounds -= 1
        positions = self.left[surest]
        self.ids = self.ids.index_put((positions,), best.indices[surest, 0])
        kept = torch.ones(len(self.left), dtype=torch.bool)
        kept[surest] = False
        self.left = self.left[kept]
        return Filled(self.ids, positions, as_candidates(tokenizer, best))


@torch.no_grad()
def fill(model: LoadedText, ids: Tensor, masks: Tensor, steps: int, top: int = 5) -> Iterator[Filled]:
    """Fill the masks of one text; yield each round. The arguments are those of `MaskFilling`."""
    denoiser, tokenizer = model
    filling, device = MaskFilling(ids, masks, tokenizer, steps, top), next(denoiser.parameters()).device
    while len(filling.left):
        embedding = denoiser.encode({"input_ids": filling.ids[None].to(device)})[0]
        yield filling.fill(denoiser.decode(embedding[filling.left]))


def best_tokens(logits: Tensor, tokenizer: Any, count: int) -> Any:
    """Return the most probable tokens as `topk` does, on the CPU; special ones, and rows that stand for nothing, are ruled out. (n, V)"""
    logits = logits.float().cpu()
    logits[:, sorted(tokenizer.all_special_ids)] = -torch.inf
    logits[:, len(tokenizer) :] = -torch.inf
    return logits.softmax(-1).topk(min(count, len(tokenizer)))


def token_text(tokenizer: Any, token: int) -> str:
    """Return a token as people read it."""
    return str(tokenizer.decode([token])).strip()


def as_candidates(tokenizer: Any, best: Any) -> list[list[Candidate]]:
    """Return tokens and probabilities of what `topk` gives. (n, k) -> n lists."""
    rows = best.indices.tolist()
    texts = {token: token_text(tokenizer, token) for token in {token for row in rows for token in row}}
    return [
        [Candidate(texts[token], probability) for token, probability in zip(row, probabilities, strict=True)]
        for row, probabilities in zip(rows, best.values.tolist(), strict=True)
    ]
