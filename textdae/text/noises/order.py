"""Noises that move or delete tokens.

B batch, L positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from textdae.core.choice import priorities, select_to_rate
from textdae.core.draw import Draw
from textdae.core.noise import Example
from textdae.core.settings.base import Share
from textdae.text.noise import Block, ReplacingNoise, TextNoise
from textdae.text.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


class ShuffleNoise(ReplacingNoise):
    """Permute some tokens of each window (after BART, Lewis et al. 2020, section 2.2, which permutes sentences).

    The target is the clean token of each position; a position is scored where its token came from another. A token that
    is the only one chosen of its window stays, so that at most `rate` of the tokens move. An evaluation asks for hidden words
    all the same; `noise=[{kind: shuffle}, {kind: words}]` trains on both.

    Example:
        >>> batch = tokenizer(texts, padding=True, return_tensors="pt")
        >>> corrupted = textdae.ShuffleNoise(0.3, window=4)(batch, tokenizer=tokenizer, seed=0)
        >>> corrupted.inputs["input_ids"].shape == batch["input_ids"].shape
        True
    """

    kind: Literal["shuffle"] = "shuffle"
    reads_words: ClassVar[bool] = False
    rate: Share = 0.3
    """Share of the ordinary tokens that are permuted."""
    window: Annotated[int, Field(ge=2, le=65536)] = 8
    """Tokens are permuted within stretches of so many positions of one document."""

    def replace(
        self, block: Block, draw: Draw, rate: np.ndarray, vocabulary: Vocabulary
    ) -> tuple[np.ndarray, np.ndarray]:
        """Order the chosen tokens of each window by random numbers."""
        length = block.ids.shape[1]
        begins = np.arange(length) % self.window == 0
        begins = np.broadcast_to(begins, block.ids.shape).copy()
        begins[:, 1:] |= block.document[:, 1:] != block.document[:, :-1]
        chosen = _chosen(block, draw, rate)
        rows, positions = np.nonzero(chosen)
        stretch = rows * length + begins.cumsum(1)[rows, positions] - 1
        source = positions[np.lexsort((draw.bits_at("shuffle", rows, positions), stretch))]
        changed, moved = block.ids.copy(), np.zeros_like(chosen)
        changed[rows, positions] = block.ids[rows, source]
        moved[rows, positions] = source != positions
        return changed, moved


class DeleteNoise(TextNoise):
    """Leave out tokens, and close the gaps (TSDAE, Wang et al. 2021, section 3).

    The inputs keep their width: what is left stands at the front in its order, padding behind it with document -1. The target
    is the clean block, scored at every ordinary token, so that position i of the inputs is no longer position i of the
    target: a masked language model cannot be pretrained with it, and it ends a chain.

    Example:
        >>> batch = tokenizer(texts, padding=True, return_tensors="pt")
        >>> corrupted = textdae.DeleteNoise(0.6)(batch, tokenizer=tokenizer, seed=0)
        >>> corrupted.inputs["input_ids"].shape == batch["input_ids"].shape
        True
    """

    kind: Literal["delete"] = "delete"
    aligned: ClassVar[bool] = False
    reads_words: ClassVar[bool] = False
    rate: Share = 0.6
    """Share of the ordinary tokens that is left out."""

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Move all per-position inputs, such as `attention_mask`, with their tokens."""
        import torch

        (vocabulary,) = context
        block = Block.of(inputs, vocabulary)
        deleted = torch.from_numpy(_chosen(block, draw, level.numpy()))
        # Remaining tokens first, in order: the sort is stable.
        order = torch.sort(deleted.byte(), dim=1, stable=True).indices
        gone = torch.gather(deleted, 1, order)
        fill = {"input_ids": vocabulary.pad_id, "document": -1}
        moved = {
            name: torch.gather(value, 1, order).masked_fill(gone, fill.get(name, 0))
            for name, value in inputs.items()
            if value.shape == deleted.shape
        }
        return {**inputs, **moved}, torch.from_numpy(block.maskable)


def _chosen(block: Block, draw: Draw, rate: np.ndarray) -> np.ndarray:
    """Choose ordinary tokens independently, at the rate. *Shape:* (B, L), bool."""
    return select_to_rate(
        priorities(draw, block.ids.shape[1]), block.maskable, rate, draw.uniform("last").numpy()
    )
