"""Evaluation on whole words of held-out text, chosen by a hash of the text: the same words for every tokenizer.

W words, S stretches, n blocks, L positions of a block.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError
from textdae.text.data.packing import Blocks
from textdae.text.tokens.words import StreamWords, is_below, ranges


class WordQuestions:
    """The held-out blocks with scored words, and the positions that are hidden in them.

    A word is hidden, with every token that overlaps it, if its hash lies below the rate. Stretches of the text are chosen
    in the order of their hashes, and only their words are scored, so that the evaluated text does not depend on the
    tokenizer. A word without a token, or with a special one only (the unknown token), is hidden but not scored; `unknown`
    counts these.

    Args:
        held_out: blocks whose words were kept.
        rate: share of the words that is hidden, in (0, 1].
        most: stretches that are evaluated; more if that is needed for one word.
        special_ids: tokens without text of their own.

    Attributes:
        words, bytes: number of scored words, and their UTF-8 bytes.
        unknown: number of words left out.

    Raises:
        SettingsError: no word is chosen.
    """

    def __init__(self, held_out: Blocks, rate: float, most: int, special_ids: Sequence[int]) -> None:
        self.held_out, self.block_size = held_out, held_out.block_size
        text = held_out.words
        order = np.argsort(text.stretch_hash, kind="stable")
        chosen, known = _chosen(text, order[:most], rate, held_out.ids, special_ids)
        while not known.any():
            if most >= len(order):
                raise SettingsError(
                    f"evaluate.rate: none of the {held_out.info.words:,} held-out words that the tokenizer knows is among "
                    f"the {rate:.0%} that are asked for; raise evaluate.rate, or hold out more text"
                )
            most *= 2
            chosen, known = _chosen(text, order[:most], rate, held_out.ids, special_ids)
        scored = chosen[known]
        self.words, self.bytes = len(scored), int(text.bytes[scored].sum())
        self.unknown = len(chosen) - len(scored)

        positions = np.unique(ranges(text.begin[scored], text.end[scored]))
        self.blocks = np.unique(positions // self.block_size)
        self.scored = self._marked(positions)
        # Other chosen words of these blocks are hidden too, so that the context does not tell which are scored.
        first = self.blocks * self.block_size
        nearby = np.unique(
            ranges(
                np.searchsorted(text.end, first, "right"),
                np.searchsorted(text.begin, first + self.block_size, "left"),
            )
        )
        hidden = nearby[is_below(text.hash[nearby], rate)]
        self.hidden = self._marked(ranges(text.begin[hidden], text.end[hidden]))

    def _marked(self, positions: np.ndarray) -> Tensor:
        """Mark stream positions in the blocks. *Shape:* (n, L), bool."""
        block, column = np.divmod(positions, self.block_size)
        row = np.searchsorted(self.blocks, block).clip(max=len(self.blocks) - 1)
        inside = self.blocks[row] == block
        mask = np.zeros((len(self.blocks), self.block_size), bool)
        mask[row[inside], column[inside]] = True
        return torch.from_numpy(mask)

    def __len__(self) -> int:
        return len(self.blocks)

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """Return the blocks of these indices as `Blocks.batch` does, with `hidden` and `scored`. *Shapes:* (B, L)."""
        rows = torch.as_tensor(indices)
        blocks = self.held_out.batch(self.blocks[rows.numpy()])
        return {**blocks, "hidden": self.hidden[rows], "scored": self.scored[rows]}


def _chosen(
    text: StreamWords, stretches: np.ndarray, rate: float, ids: np.ndarray, special_ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scored words of some stretches, and whether the tokenizer knows them. *Shapes:* (m,)."""
    ends = np.append(text.stretch[1:], len(text.hash))
    number = np.sort(ranges(text.stretch[stretches], ends[stretches]))
    number = number[is_below(text.hash[number], rate)]
    begin, end = text.begin[number], text.end[number]
    special = np.isin(ids[ranges(begin, end)], special_ids)
    specials = np.bincount(np.repeat(np.arange(len(number)), end - begin)[special], minlength=len(number))
    return number, (end > begin) & (specials == 0)
