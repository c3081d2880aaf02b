"""The epoch that the main process is in, as loader workers see it."""

import torch


class SharedEpoch:
    """A whole number in memory that processes share: what one sets, loader workers see, also those that live on.

    A copy that is pickled otherwise than by torch keeps the value and is shared no longer.
    """

    def __init__(self) -> None:
        self._value = torch.full((), -1, dtype=torch.int64).share_memory_()

    def set(self, epoch: int) -> None:
        """Set the epoch, a number from 0."""
        self._value.fill_(epoch)

    def get(self) -> int | None:
        """Return the epoch; None before it is set."""
        value = int(self._value)
        return None if value < 0 else value
