"""Shared parts of the noises of text: block of tokens, base classes.

B batch, L positions, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted, Example, Level, Noise
from textdae.core.noise_kind import NoiseKind
from textdae.core.settings.base import Share
from textdae.text.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


class Block(NamedTuple):
    """A batch for a text noise, as NumPy arrays."""

    ids: np.ndarray
    """The tokens. *Shape:* (B, L), int64."""
    maskable: np.ndarray
    """Whether a position holds an ordinary token, which may be hidden or moved. *Shape:* (B, L), bool."""
    document: np.ndarray
    """The number of its document, -1 on padding. *Shape:* (B, L), int64."""
    word_start: np.ndarray
    """Whether a word begins there. *Shape:* (B, L), bool."""

    @classmethod
    def of(cls, inputs: Example, vocabulary: Vocabulary) -> Block:
        """Read a batch of examples."""
        ids, document = inputs["input_ids"].numpy(), inputs["document"].numpy()
        maskable = vocabulary.is_ordinary[ids]
        maskable &= document >= 0
        return cls(ids, maskable, document, inputs["word_start"].numpy())

    def words(self) -> np.ndarray:
        """Return the number of the word at each position, from 0 along the block. *Shape:* (B, L), int64.

        An unknown piece within a word belongs to it; special tokens between words belong to the word before, without effect.
        """
        start = self.word_start.copy()
        start[:, 1:] |= self.document[:, 1:] != self.document[:, :-1]
        start[:, 0] = True
        return start.cumsum(1) - 1


class TextNoise(NoiseKind):
    """A noise of text; `build(vocabulary)` makes the `Noise`. A call takes what a tokenizer gives, and the tokenizer.

    It reads `input_ids` (B, L), `word_start` (B, L) bool and `document` (B, L), the number of the document that a position
    belongs to, -1 on padding.
    """

    field: ClassVar[str] = "input_ids"
    dial: ClassVar[str | None] = "rate"
    reads_words: ClassVar[bool] = True
    """Whether it needs `word_start`."""
    rate: Share = 0.3
    """Share of the ordinary tokens that is changed."""
    final_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Rate at the end of the run; default: `rate` throughout (uniform: 0)."""
    schedule: Literal["linear", "cosine", "uniform"] = "linear"
    """How the rate goes from `rate` to `final_rate`; uniform: each block draws its own rate between the two."""

    @classmethod
    def read_examples(
        cls, clean: Any, tokenizer: Any = None, **context: Any
    ) -> tuple[Example, tuple[Any, ...], bool]:
        """Take what `tokenizer(texts, padding=True, return_tensors="pt")` gives, and `tokenizer=` itself.

        Raises:
            SettingsError: there is no tokenizer, it tells no words, or the batch is no tensor.
        """
        from textdae.text.tokens.word_starts import read_batch

        if tokenizer is None or context:
            raise SettingsError(
                "a noise of text needs the tokenizer of the batch: noise(batch, tokenizer=tokenizer, seed=0)"
            )
        return read_batch(clean, tokenizer, cls.reads_words)

    def __call__(self, clean: Any, /, **how: Any) -> Corrupted:
        """Corrupt what a tokenizer gave; the inputs of the result are the arguments of any masked language model.

        Args:
            clean: `tokenizer(texts, padding=True, return_tensors="pt")`, or that of one text without a batch dimension;
                with `word_start` (B, L), where words are not to be told from the tokens.
            how: `tokenizer=`, and what every noise takes, see `NoiseKind`: `seed`, `epoch`, `index`, `progress`.

        Raises:
            SettingsError: there is no tokenizer, it tells no words, or the batch is no tensor.
        """
        inputs, target, loss_mask = super().__call__(clean, **how)
        named = clean if isinstance(clean, Mapping) else ()
        spent = {"document", "word_start"}.difference(named)
        return Corrupted({n: v for n, v in inputs.items() if n not in spent}, target, loss_mask)

    @classmethod
    def contents(cls, examples: Example) -> list[bytes]:
        """Return the tokens of each text without padding."""
        ids, inside = examples["input_ids"].numpy(), examples["document"].numpy() >= 0
        return [row[here].tobytes() for row, here in zip(ids, inside, strict=True)]


class ReplacingNoise(TextNoise):
    """A noise that replaces tokens and keeps the length."""

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Replace the share `level` (B, 1) of each block's ordinary tokens; the context is the `Vocabulary`."""
        import torch

        (vocabulary,) = context
        ids, loss_mask = self.replace(Block.of(inputs, vocabulary), draw, level.numpy(), vocabulary)
        return {**inputs, "input_ids": torch.from_numpy(ids)}, torch.from_numpy(loss_mask)

    @abstractmethod
    def replace(
        self, block: Block, draw: Draw, rate: np.ndarray, vocabulary: Vocabulary
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the visible ids (B, L), int64, and the loss mask (B, L), bool; `rate` is (B, 1), float32."""


class ChosenNoise(Noise):
    """Show the mask at positions that the example chooses, by `hidden` and `scored`, (B, L) bool.

    Args:
        rate: share of hidden words; the examples have chosen them already.
    """

    field = "input_ids"
    mask_share, random_share = 1.0, 0.0

    def __init__(self, vocabulary: Vocabulary, rate: float) -> None:
        self.mask_id, self.level = vocabulary.mask_id, Level(rate, rate)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Mask the chosen positions; nothing is drawn."""
        shown = {name: value for name, value in inputs.items() if name not in ("hidden", "scored")}
        shown["input_ids"] = inputs["input_ids"].masked_fill(inputs["hidden"], self.mask_id)
        return shown, inputs["scored"]
