"""Count the tokens of a training stream, or of stretches that are spread evenly over a long one."""

from collections.abc import Iterator

import numpy as np

from textdae.text.mixed import MixedBlocks, weighted_parts
from textdae.text.packing import Blocks
from textdae.text.vocabulary import Vocabulary

MOST_TOKENS = 1 << 22
"""Tokens of a stream that are counted at most; that is enough for the frequent ones, which matter most."""
_STRETCH = 1 << 20


def stretches(size: int) -> Iterator[slice]:
    """Yield stretches of a stream of this size, spread evenly if not all of it is counted."""
    number_of = -(-size // _STRETCH)
    counted = min(number_of, MOST_TOKENS // _STRETCH)
    for number in range(counted):
        begin = number * number_of // counted * _STRETCH
        yield slice(begin, begin + _STRETCH)


def with_shares(vocabulary: Vocabulary, train: Blocks | MixedBlocks) -> Vocabulary:
    """Return the vocabulary with the shares of its tokens in a corpus; its sources count by their weights."""
    counts = np.zeros(vocabulary.size)
    for part, weight in weighted_parts(train):
        own = np.zeros(vocabulary.size)
        for stretch in stretches(part.info.tokens):
            own += np.bincount(part.ids[stretch], minlength=vocabulary.size)
        counts += own * (weight / max(1, own[vocabulary.ordinary].sum()))
    return vocabulary.with_counts(counts)
