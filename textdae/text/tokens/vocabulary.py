"""The vocabulary of a tokenizer, as far as noises and scores need it.

V its size.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Vocabulary:
    """Size and special ids of a tokenizer: what a noise needs of it."""

    size: int
    """V, the number of ids."""
    mask_id: int
    """Id of the mask."""
    special_ids: tuple[int, ...]
    """Ids that are never changed, scored or drawn as a replacement: padding, separators, mask, unknown."""
    pad_id: int = 0
    """Id of padding."""

    def __post_init__(self) -> None:
        if not len(self.ordinary):
            raise ValueError("the vocabulary holds special tokens only")

    @functools.cached_property
    def is_ordinary(self) -> np.ndarray:
        """Whether an id is not special. *Shape:* (V,), bool."""
        ordinary = np.ones(self.size, bool)
        ordinary[list(self.special_ids)] = False
        return ordinary

    @functools.cached_property
    def ordinary(self) -> np.ndarray:
        """The ids that are not special. *Shape:* (at most V,), int64."""
        return np.flatnonzero(self.is_ordinary)


def vocabulary_of(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    """Return the parts of a tokenizer that a noise needs."""
    special = tuple(sorted(tokenizer.all_special_ids))
    return Vocabulary(len(tokenizer), tokenizer.mask_token_id, special, tokenizer.pad_token_id or 0)
