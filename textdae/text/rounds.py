"""The masks of one text filled in rounds, with the positions that each round fills; the page plays them step by step."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from textdae.text.denoise import Candidate, allowed, as_candidates
from textdae.text.loading import LoadedText


class Filled(NamedTuple):
    """A round of filling masks. L positions, k of them filled."""

    ids: torch.Tensor
    """The text after the round. *Shape:* (L,), int64."""
    positions: torch.Tensor
    """What was filled in it. *Shape:* (k,), int64."""
    candidates: list[list[Candidate]]
    """The best guesses for each mask that was left before it."""


@torch.no_grad()
def fill(
    model: LoadedText, ids: torch.Tensor, masks: torch.Tensor, steps: int, top: int = 5
) -> Iterator[Filled]:
    """Fill the masks of a text in rounds of equal size, the surest first; yield each round.

    Args:
        ids: the text, with masks. *Shape:* (L,), int64.
        masks: their positions. *Shape:* (M,), int64.
        steps: rounds, of which no more than M are made.
        top: candidates for each mask.
    """
    denoiser, tokenizer = model
    rounds, left = min(steps, len(masks)), masks
    for number in range(rounds):
        logits = allowed(
            denoiser.decode(denoiser.encode({"input_ids": ids[None].to(_device(denoiser))})[0, left]),
            tokenizer,
        )
        best = logits.softmax(-1).topk(min(top, len(tokenizer)))
        surest = best.values[:, 0].topk(-(-len(left) // (rounds - number))).indices.sort().values
        ids = ids.index_put((left[surest],), best.indices[surest, 0])
        yield Filled(ids, left[surest], as_candidates(tokenizer, best))
        kept = torch.ones(len(left), dtype=torch.bool)
        kept[surest] = False
        left = left[kept]


def _device(denoiser: torch.nn.Module) -> torch.device:
    return next(denoiser.parameters()).device
