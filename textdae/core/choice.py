"""Choose which units of an example are hidden, for any modality.

A *unit* is hidden as a whole: a token, a word, a patch. Each unit gets a priority; units are taken in that order until the
rate is met. The unit that would pass the rate is taken with the probability that makes the expected share exact. The first
unit is always taken, so that every example with units hides something.

B batch, N units.
"""

import numpy as np

from textdae.core.draw import Draw

_NEVER = np.int64(2**31 - 1)
_NUMBER = np.int64(2**32 - 1)


def priorities(draw: Draw, n: int) -> np.ndarray:
    """Draw a random priority of 24 bits for each of n units of an example. *Shape:* (B, n), int64."""
    return (draw.bits("priority", n) >> np.uint64(40)).view(np.int64)


def select_to_rate(priority: np.ndarray, size: np.ndarray, rate: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Take units in the order of their priority numbers until the share `rate` is met. *Shape:* (B, N), bool.

    Args:
        priority: whole numbers below 2^31 - 1; ties are taken from left to right. *Shape:* (B, N), int64.
        size: number of positions of each unit, or bool for 0 and 1; units of size 0 are never taken. *Shape:* (B, N).
        rate: the share of the sum of all sizes. *Shape:* (B, 1), float32.
        u: a uniform number, for the unit that would pass the rate. *Shape:* (B, 1), float32.
    """
    number = np.arange(size.shape[1])
    some = size > 0
    # No two keys of a row are equal: the last one taken divides them, and no sort has to be stable.
    key = np.where(some, priority, _NEVER)
    key <<= 32
    key |= number
    ordered = np.sort(key, axis=1)
    total = size.sum(1, keepdims=True, dtype=np.float32)
    if size.dtype == bool:
        ones, before = number < total, number
    else:
        ones = np.take_along_axis(size, ordered & _NUMBER, 1)
        before = ones.cumsum(1) - ones
    taken = u * ones.astype(np.float32) < rate * total - before.astype(np.float32)
    last = np.maximum(taken.sum(1), 1) - 1
    hidden: np.ndarray = some & (key <= ordered[np.arange(len(last)), last][:, None])
    return hidden
