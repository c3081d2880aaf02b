"""Hiding tokens, words and spans; what is chosen differs, everything else is one mechanism.

A *unit* is what is hidden as a whole (a token, or a word). Each unit gets a priority; `choice.take` takes units in
that order until the rate is met.

B batch, L positions, V vocabulary.
"""

import functools
import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textdae.noise.base import Example, Level, Noise
from textdae.noise.choice import take
from textdae.noise.draw import Draw


class Vocabulary(NamedTuple):
    """What a text noise knows of the tokenizer."""

    size: int
    """V, the number of ids."""
    mask_id: int
    """The id that hides."""
    special_ids: tuple[int, ...]
    """Ids that are never hidden, scored, or drawn as a replacement: padding, separators, mask, unknown."""


class TextNoise(Noise):
    """Hide a share of the ordinary tokens: most show the mask, some a random token, some stay (Devlin et al. 2019).

    Reads `input_ids` (B, L), `word_start` (B, L) bool and `document` (B, L), the number of the document that a
    position belongs to, -1 on padding.

    Args:
        vocabulary: of the tokenizer.
        rate: share of the ordinary tokens that is hidden, in (0, 1].
        final_rate, schedule: see `Level`; by default the rate stays.
        mask_share, random_share: of the hidden tokens; the rest is left as it was.
    """

    field = "input_ids"

    def __init__(
        self,
        vocabulary: Vocabulary,
        rate: float = 0.15,
        final_rate: float | None = None,
        schedule: str = "linear",
        mask_share: float = 0.8,
        random_share: float = 0.1,
    ) -> None:
        if final_rate is None:
            final_rate = 0.0 if schedule == "uniform" else rate
        self.level = Level(rate, final_rate, schedule)  # type: ignore[arg-type]
        self.mask_id = vocabulary.mask_id
        self.mask_share, self.random_share = mask_share, random_share
        self.is_special = torch.zeros(vocabulary.size, dtype=torch.bool)
        self.is_special[list(vocabulary.special_ids)] = True
        self.ordinary = (~self.is_special).nonzero().squeeze(1)
        if not len(self.ordinary):
            raise ValueError("the vocabulary holds special tokens only")

    @abstractmethod
    def choose(self, inputs: Example, maskable: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return each position's unit, numbered from 0 along the block, and each unit's priority. *Shapes:* (B, L).

        Units are taken from the lowest priority up.
        """

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Hide the share `level` (B, 1) of each block's ordinary tokens."""
        ids = inputs["input_ids"]
        device = ids.device
        maskable = ~self.is_special.to(device)[ids] & (inputs["document"] >= 0)
        unit, priority = self.choose(inputs, maskable, draw)
        where = maskable & take(unit, priority, maskable, level, draw.uniform("last")).gather(1, unit)

        u = self.fate(draw.uniform("replace", ids.shape[1]), where, inputs["document"])
        random_ids = self.ordinary.to(device)[draw.integers("random", ids.shape[1], len(self.ordinary))]
        shown = torch.where(u < self.mask_share, self.mask_id, ids)
        is_random = (u >= self.mask_share) & (u < self.mask_share + self.random_share)
        shown = torch.where(is_random, random_ids, shown)
        return {**inputs, "input_ids": torch.where(where, shown, ids)}, where

    def fate(self, u: Tensor, where: Tensor, document: Tensor) -> Tensor:
        """The uniform number that decides what each hidden position shows; its own, unless a subclass shares it."""
        return u


class TokenNoise(TextNoise):
    """Hide tokens, each on its own."""

    def choose(self, inputs: Example, maskable: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every position is a unit."""
        length = maskable.shape[1]
        unit = torch.arange(length, device=maskable.device).expand(maskable.shape)
        return unit, draw.uniform("priority", length)


class WordNoise(TextNoise):
    """Hide whole words: all pieces of a word or none."""

    def choose(self, inputs: Example, maskable: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every word is a unit; its priority is drawn at its first position."""
        unit = _words(inputs)
        return unit, draw.uniform("priority", maskable.shape[1]).gather(1, _first_positions(unit))


class SpanNoise(TextNoise):
    """Hide runs of whole words, of geometric length (SpanBERT, Joshi et al. 2020, section 3.1).

    Every word starts a candidate run with a random priority; runs are taken in that order, the last one cut short
    where the rate is met. A run ends at the border of its document and shows masks, random tokens or itself as a
    whole.

    Args:
        mean_length, max_length: mean of the geometric length before clipping, and the clip, in words.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *args: Any,
        mean_length: float = 5.0,
        max_length: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(vocabulary, *args, **kwargs)
        # P(length > k) for k = 1, 2, ...: a table, so that a comparison decides and not a rounded logarithm.
        self.longer = (1 - 1 / mean_length) ** torch.arange(1, max_length, dtype=torch.float64)

    def choose(self, inputs: Example, maskable: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Every word is a unit; its priority is the lowest among the candidate runs that cover it."""
        unit = _words(inputs)
        first = _first_positions(unit)
        own = draw.uniform("priority", maskable.shape[1]).gather(1, first)
        u = draw.uniform("length", maskable.shape[1]).gather(1, first).double()
        length = 1 + (u[..., None] < self.longer.to(u.device)).sum(-1)
        hidden_here = maskable.gather(1, first)
        segment = (~hidden_here).cumsum(1)
        document = inputs["document"].gather(1, first)
        priority = own
        for back in range(1, min(len(self.longer) + 1, maskable.shape[1])):
            covers = hidden_here[:, :-back] & (length[:, :-back] > back)
            covers &= segment[:, :-back] == segment[:, back:]
            covers &= document[:, :-back] == document[:, back:]
            reached = torch.where(covers, own[:, :-back], 1.0)
            priority = torch.cat([priority[:, :back], torch.minimum(priority[:, back:], reached)], 1)
        return unit, priority

    def fate(self, u: Tensor, where: Tensor, document: Tensor) -> Tensor:
        """A hidden run shares the number of its first position."""
        positions = torch.arange(where.shape[1], device=where.device).expand(where.shape)
        goes_on = torch.zeros_like(where)
        goes_on[:, 1:] = where[:, :-1] & (document[:, 1:] == document[:, :-1])
        start = torch.where(where & ~goes_on, positions, -1).cummax(1).values.clamp(min=0)
        return u.gather(1, start)


def _words(inputs: Example) -> Tensor:
    """The number of the word at each position, from 0 along the block. *Shape:* (B, L).

    An unknown piece within a word belongs to it; special tokens between words go with the word before, where they
    change nothing.
    """
    start = inputs["word_start"].clone()
    start[:, 1:] |= inputs["document"][:, 1:] != inputs["document"][:, :-1]
    start[:, 0] = True
    return start.cumsum(1) - 1


def _first_positions(unit: Tensor) -> Tensor:
    """The first position of each unit; L - 1 for numbers past the last unit. *Shape:* (B, L)."""
    length = unit.shape[1]
    positions = torch.arange(length, device=unit.device).expand(unit.shape)
    return torch.full_like(unit, length - 1).scatter_reduce(1, unit, positions, "amin")


def text_noise(noises: Sequence[Any], vocabulary: Vocabulary) -> Noise:
    """The noise that the settings ask for."""
    kinds = {"tokens": TokenNoise, "words": WordNoise, "spans": SpanNoise}
    built = [kinds[noise.kind](vocabulary, **noise.model_dump(exclude={"kind"})) for noise in noises]
    return functools.reduce(operator.or_, built)
