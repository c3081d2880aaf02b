"""Arrays on disk, one after the other, read as one; nothing is copied. N numbers in all."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Joined:
    """Several arrays as one.

    Args:
        lengths: of the arrays.
        open_array: called with the number of an array when it is read; it gives the array.
        dtype: of all of them.
    """

    def __init__(self, lengths: Sequence[int], open_array: Callable[[int], np.ndarray], dtype: Any) -> None:
        self.starts, self.dtype = np.cumsum([0, *lengths]), np.dtype(dtype)
        self._open = open_array

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all of it in memory."""
        return self[:].astype(dtype or self.dtype)

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Return a stretch, or the numbers at some positions of any shape."""
        return (
            self._stretch(*key.indices(len(self))) if isinstance(key, slice) else self._take(np.asarray(key))
        )

    def _stretch(self, begin: int, end: int, step: int) -> np.ndarray:
        first = int(np.searchsorted(self.starts, begin, "right")) - 1
        parts = []
        while begin < end:
            start, stop = int(self.starts[first]), int(self.starts[first + 1])
            parts.append(self._open(first)[begin - start : min(end, stop) - start])
            begin, first = min(end, stop), first + 1
        if not parts:
            return np.zeros(0, self.dtype)
        return (parts[0] if len(parts) == 1 else np.concatenate(parts))[::step]

    def _take(self, positions: np.ndarray) -> np.ndarray:
        values = np.empty(positions.shape, self.dtype)
        part = np.searchsorted(self.starts, positions, "right") - 1
        for number in np.unique(part):
            here = part == number
            values[here] = self._open(int(number))[positions[here] - self.starts[number]]
        return values
