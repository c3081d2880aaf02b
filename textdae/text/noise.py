"""Hiding tokens, words and spans; what is chosen differs, everything else is one mechanism.

A *unit* is what is hidden as a whole (a token, or a word). Each unit gets a priority; `choice.take` takes units in
that order until the rate is met. Inside, all is NumPy's, as in `Draw`.

B batch, L positions, V vocabulary.
"""

import functools
import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from textdae.core.choice import priorities, select_to_rate
from textdae.core.draw import Draw, as_integers, as_uniform
from textdae.core.noise import Example, Level, Noise


class Vocabulary(NamedTuple):
    """What a text noise knows of the tokenizer."""

    size: int
    """V, the number of ids."""
    mask_id: int
    """The id that hides."""
    special_ids: tuple[int, ...]
    """Ids that are never hidden, scored, or drawn as a replacement: padding, separators, mask, unknown."""


class Block(NamedTuple):
    """What a text noise chooses by."""

    maskable: np.ndarray
    """Whether a position may be hidden. *Shape:* (B, L), bool."""
    document: np.ndarray
    """The number of its document, -1 on padding. *Shape:* (B, L), int64."""
    word_start: np.ndarray
    """Whether a word begins there. *Shape:* (B, L), bool."""

    def words(self) -> np.ndarray:
        """The number of the word at each position, from 0 along the block. *Shape:* (B, L), int64.

        An unknown piece within a word belongs to it; special tokens between words go with the word before, where they
        change nothing.
        """
        start = self.word_start.copy()
        start[:, 1:] |= self.document[:, 1:] != self.document[:, :-1]
        start[:, 0] = True
        return start.cumsum(1) - 1


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
        self.is_ordinary = np.ones(vocabulary.size, bool)
        self.is_ordinary[list(vocabulary.special_ids)] = False
        self.ordinary = np.flatnonzero(self.is_ordinary)
        if not len(self.ordinary):
            raise ValueError("the vocabulary holds special tokens only")

    @abstractmethod
    def choose(self, block: Block, draw: Draw, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Which positions are hidden; `rate` and `u` as `select_to_rate` has them. *Shape:* (B, L), bool."""

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Hide the share `level` (B, 1) of each block's ordinary tokens."""
        ids, document = inputs["input_ids"].numpy(), inputs["document"].numpy()
        maskable = self.is_ordinary[ids]
        maskable &= document >= 0
        block = Block(maskable, document, inputs["word_start"].numpy())
        loss_mask = self.choose(block, draw, level.numpy(), draw.uniform("last").numpy())

        rows, places = np.nonzero(loss_mask)
        u = as_uniform(draw.bits_at("replace", rows, self.deciders(loss_mask, document, rows, places)))
        drawn = self.ordinary[as_integers(draw.bits_at("random", rows, places), len(self.ordinary))]
        shown = np.where(u < self.mask_share + self.random_share, drawn, ids[rows, places])
        shown[u < self.mask_share] = self.mask_id
        corrupted = ids.copy()
        corrupted[rows, places] = shown
        return {**inputs, "input_ids": torch.from_numpy(corrupted)}, torch.from_numpy(loss_mask)

    def deciders(
        self, loss_mask: np.ndarray, document: np.ndarray, rows: np.ndarray, places: np.ndarray
    ) -> np.ndarray:
        """The position whose random number decides what each hidden place shows: itself, unless places share one. *Shape:* (k,)."""
        return places


class TokenNoise(TextNoise):
    """Hide tokens, each on its own."""

    def choose(self, block: Block, draw: Draw, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Every position is a unit."""
        return select_to_rate(priorities(draw, block.maskable.shape[1]), block.maskable, rate, u)


class WordNoise(TextNoise):
    """Hide whole words: all pieces of a word or none."""

    def choose(self, block: Block, draw: Draw, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Every word is a unit."""
        maskable, unit = block.maskable, block.words()
        unit_of_all = unit + np.arange(len(unit))[:, None] * unit.shape[1]
        size = np.bincount(unit_of_all[maskable], minlength=unit.size).reshape(unit.shape)
        taken = select_to_rate(self.priority(block, unit, draw), size, rate, u)
        hidden: np.ndarray = maskable & taken.ravel()[unit_of_all]
        return hidden

    def priority(self, block: Block, unit: np.ndarray, draw: Draw) -> np.ndarray:
        """Of each word, by its number: drawn at its first position. *Shape:* (B, L)."""
        return np.take_along_axis(priorities(draw, unit.shape[1]), _first_positions(unit), 1)


class SpanNoise(WordNoise):
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
        self.longer = (1 - 1 / mean_length) ** np.arange(1, max_length, dtype=np.float64)

    def priority(self, block: Block, unit: np.ndarray, draw: Draw) -> np.ndarray:
        """Of each word: the lowest among the candidate runs that cover it. *Shape:* (B, L)."""
        first = _first_positions(unit)

        def at_first(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, first, 1)

        own = at_first(priorities(draw, unit.shape[1]))
        u = at_first(draw.uniform("length", unit.shape[1]).numpy()).astype(np.float64)
        length = 1 + (u[..., None] < self.longer).sum(-1)
        hidden_here, document = at_first(block.maskable), at_first(block.document)
        segment = (~hidden_here).cumsum(1)
        lowest = own.copy()
        for back in range(1, min(len(self.longer) + 1, unit.shape[1])):
            covers = hidden_here[:, :-back] & (length[:, :-back] > back)
            covers &= segment[:, :-back] == segment[:, back:]
            covers &= document[:, :-back] == document[:, back:]
            later = lowest[:, back:]
            np.minimum(later, own[:, :-back], out=later, where=covers)
        return lowest

    def deciders(
        self, loss_mask: np.ndarray, document: np.ndarray, rows: np.ndarray, places: np.ndarray
    ) -> np.ndarray:
        """A hidden run shares the number of its first position."""
        begins = loss_mask.copy()
        begins[:, 1:] &= ~(loss_mask[:, :-1] & (document[:, 1:] == document[:, :-1]))
        start = np.where(begins, np.arange(loss_mask.shape[1]), 0)
        found: np.ndarray = np.maximum.accumulate(start, axis=1)[rows, places]
        return found


class ChosenNoise(Noise):
    """Show the mask where an example says so: it reads `hidden` and `scored`, (B, L) bool, beside `input_ids`.

    Args:
        rate: share of the words that is hidden, which is decided where the examples are made.
    """

    field = "input_ids"
    mask_share, random_share = 1.0, 0.0

    def __init__(self, vocabulary: Vocabulary, rate: float) -> None:
        self.mask_id, self.level = vocabulary.mask_id, Level(rate, rate)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Nothing is drawn."""
        shown = {name: value for name, value in inputs.items() if name not in ("hidden", "scored")}
        shown["input_ids"] = inputs["input_ids"].masked_fill(inputs["hidden"], self.mask_id)
        return shown, inputs["scored"]


def _first_positions(unit: np.ndarray) -> np.ndarray:
    """The first position of each unit; L - 1 for numbers past the last unit. *Shape:* (B, L)."""
    begins = np.ones(unit.shape, bool)
    begins[:, 1:] = unit[:, 1:] != unit[:, :-1]
    rows, places = np.nonzero(begins)
    first = np.full(unit.shape, unit.shape[1] - 1)
    first[rows, unit[rows, places]] = places
    return first


def text_noise(noises: Sequence[Any], vocabulary: Vocabulary) -> Noise:
    """The noise that the settings ask for."""
    kinds = {"tokens": TokenNoise, "words": WordNoise, "spans": SpanNoise}
    built = [kinds[noise.kind](vocabulary, **noise.model_dump(exclude={"kind"})) for noise in noises]
    return functools.reduce(operator.or_, built)
