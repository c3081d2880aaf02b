"""How often each token occurs in a training stream.

V tokens.
"""

import numpy as np

from textdae.text.data.mixed import MixedBlocks, weighted_parts
from textdae.text.data.packing import Blocks

_CHUNK = 1 << 22


def token_counts(train: Blocks | MixedBlocks, size: int) -> np.ndarray:
    """Count the tokens of a training stream; those of several sources as often as the run draws them, by the weights of the sources.

    Args:
        size: V.

    Returns:
        *Shape:* (V,), float64; their sum is that of all tokens.
    """
    counts, parts = np.zeros(size), weighted_parts(train)
    tokens = sum(part.info.tokens for part, _ in parts)
    for part, weight in parts:
        own = np.zeros(size)
        for begin in range(0, part.info.tokens, _CHUNK):
            own += np.bincount(part.ids[begin : begin + _CHUNK], minlength=size)
        counts += own * (weight * tokens / part.info.tokens) if len(parts) > 1 else own
    return counts
