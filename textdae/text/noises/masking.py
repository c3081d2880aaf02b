"""Noises that hide tokens, words or spans; they differ only in the choice of positions.

A *unit* is what is hidden as a whole (a token, or a word). Each unit gets a priority; `select_to_rate` takes units in
that order until the rate is met.

B batch, L positions.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from textdae.core.choice import priorities, select_to_rate
from textdae.core.draw import Draw, as_integers, as_uniform
from textdae.core.noise import Example
from textdae.core.settings.base import Share
from textdae.text.noise import Block, ReplacingNoise
from textdae.text.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


class MaskingNoise(ReplacingNoise):
    """Hide a share of the ordinary tokens: most show the mask, some a random token, some stay (Devlin et al. 2019)."""

    rate: Share = 0.3
    """Share of the ordinary tokens that is hidden."""
    mask_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Of the hidden tokens, the share that shows the mask token."""
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Of the hidden tokens, the share that shows a random ordinary token; the rest is left as it was."""

    @model_validator(mode="after")
    def _shares(self) -> MaskingNoise:
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"mask_share + random_share must not pass 1, got {self.mask_share + self.random_share:g}"
            )
        return self

    @abstractmethod
    def choose(self, block: Block, draw: Draw, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Choose the hidden positions; `rate` and `u` as for `select_to_rate`. *Shape:* (B, L), bool."""

    def replace(
        self, block: Block, draw: Draw, rate: np.ndarray, vocabulary: Vocabulary
    ) -> tuple[np.ndarray, np.ndarray]:
        """Hide the chosen positions; all of them are scored, also those that show their token."""
        last = draw.uniform("last").numpy()
        # Where levels hold exactly, the next whole number of tokens: under a uniform rate all numbers are as probable.
        loss_mask = self.choose(block, draw, rate, np.zeros_like(last) if draw.is_spread else last)
        rows, positions = np.nonzero(loss_mask)
        deciders = self.deciders(loss_mask, block.document, rows, positions)
        u = as_uniform(draw.bits_at("replace", rows, deciders))
        random = as_integers(draw.bits_at("random", rows, positions), len(vocabulary.ordinary))
        shown = np.where(
            u < self.mask_share + self.random_share, vocabulary.ordinary[random], block.ids[rows, positions]
        )
        shown[u < self.mask_share] = vocabulary.mask_id
        corrupted = block.ids.copy()
        corrupted[rows, positions] = shown
        return corrupted, loss_mask

    def candidates(self, clean: Example, vocabulary: Vocabulary) -> Tensor:
        """Return the ordinary tokens. *Shape:* (B, L), bool."""
        import torch

        return torch.from_numpy(Block.of(clean, vocabulary).maskable)

    def deciders(
        self, loss_mask: np.ndarray, document: np.ndarray, rows: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Return the position whose random number decides what each hidden position shows: itself, unless positions share
        one. *Shape:* (k,)."""
        return positions


class TokenNoise(MaskingNoise):
    """Hide tokens, each on its own.

    Example:
        >>> batch = tokenizer(texts, padding=True, return_tensors="pt")
        >>> corrupted = textdae.TokenNoise(0.15)(batch, tokenizer=tokenizer, seed=0)
        >>> corrupted.inputs["input_ids"].shape == batch["input_ids"].shape
        True
    """

    kind: Literal["tokens"] = "tokens"
    reads_words: ClassVar[bool] = False

    def choose(self, block: Block, draw: Draw, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Choose positions as units."""
        return select_to_rate(priorities(draw, block.maskable.shape[1]), block.maskable, rate, u)


class _WordsNoise(MaskingNoise):
    """Hide whole words, in the order of `priority`."""

    def choose(self, block: Block, draw: Draw, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Choose words as units."""
        maskable, unit = block.maskable, block.words()
        unit_of_all = unit + np.arange(len(unit))[:, None] * unit.shape[1]
        size = np.bincount(unit_of_all[maskable], minlength=unit.size).reshape(unit.shape)
        taken = select_to_rate(self.priority(block, unit, draw), size, rate, u)
        hidden: np.ndarray = maskable & taken.ravel()[unit_of_all]
        return hidden

    def priority(self, block: Block, unit: np.ndarray, draw: Draw) -> np.ndarray:
        """Return the priority of each word, drawn at its first position. *Shape:* (B, L)."""
        return np.take_along_axis(priorities(draw, unit.shape[1]), _first_positions(unit), 1)


class WordNoise(_WordsNoise):
    """Hide whole words: all pieces of a word or none.

    Example:
        >>> batch = tokenizer(texts, padding=True, return_tensors="pt")
        >>> corrupted = textdae.WordNoise(0.3)(batch, tokenizer=tokenizer, seed=0)
        >>> corrupted.inputs["input_ids"].shape == batch["input_ids"].shape
        True
    """

    kind: Literal["words"] = "words"


class SpanNoise(_WordsNoise):
    """Hide runs of whole words, of geometric length (SpanBERT, Joshi et al. 2020, section 3.1).

    Every word starts a candidate run with a random priority; runs are taken in that order, the last one cut short
    where the rate is met. A run ends at the border of its document and shows masks, random tokens or itself as a
    whole.

    Example:
        >>> batch = tokenizer(texts, padding=True, return_tensors="pt")
        >>> corrupted = textdae.SpanNoise(0.3, mean_length=3)(batch, tokenizer=tokenizer, seed=0)
        >>> corrupted.inputs["input_ids"].shape == batch["input_ids"].shape
        True
    """

    kind: Literal["spans"] = "spans"
    mean_length: Annotated[float, Field(ge=1)] = 5.0
    """Mean of the geometric run length, in words, before it is clipped."""
    max_length: Annotated[int, Field(ge=1, le=1000)] = 10
    """Longest run, in words."""

    def longer(self) -> np.ndarray:
        """Return P(length > k) for k = 1, 2, ...: a table, so that no rounded logarithm decides."""
        table: np.ndarray = (1 - 1 / self.mean_length) ** np.arange(1, self.max_length, dtype=np.float64)
        return table

    def priority(self, block: Block, unit: np.ndarray, draw: Draw) -> np.ndarray:
        """Return for each word the lowest priority among the candidate runs that cover it. *Shape:* (B, L)."""
        first, longer = _first_positions(unit), self.longer()

        def at_first(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, first, 1)

        own = at_first(priorities(draw, unit.shape[1]))
        u = at_first(draw.uniform("length", unit.shape[1]).numpy()).astype(np.float64)
        length = 1 + (u[..., None] < longer).sum(-1)
        hidden_here, document = at_first(block.maskable), at_first(block.document)
        segment = (~hidden_here).cumsum(1)
        lowest = own.copy()
        for back in range(1, min(len(longer) + 1, unit.shape[1])):
            covers = hidden_here[:, :-back] & (length[:, :-back] > back)
            covers &= segment[:, :-back] == segment[:, back:]
            covers &= document[:, :-back] == document[:, back:]
            later = lowest[:, back:]
            np.minimum(later, own[:, :-back], out=later, where=covers)
        return lowest

    def deciders(
        self, loss_mask: np.ndarray, document: np.ndarray, rows: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Return the first position of each hidden run."""
        begins = loss_mask.copy()
        begins[:, 1:] &= ~(loss_mask[:, :-1] & (document[:, 1:] == document[:, :-1]))
        start = np.where(begins, np.arange(loss_mask.shape[1]), 0)
        deciders: np.ndarray = np.maximum.accumulate(start, axis=1)[rows, positions]
        return deciders


def _first_positions(unit: np.ndarray) -> np.ndarray:
    """Return the first position of each unit; L - 1 after the last unit. *Shape:* (B, L)."""
    begins = np.ones(unit.shape, bool)
    begins[:, 1:] = unit[:, 1:] != unit[:, :-1]
    rows, positions = np.nonzero(begins)
    first = np.full(unit.shape, unit.shape[1] - 1)
    first[rows, unit[rows, positions]] = positions
    return first
