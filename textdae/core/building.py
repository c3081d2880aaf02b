"""Build fresh models: count their parameters before allocation, and draw their weights from the seed alone."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def build_seeded(make: Callable[[], M], seed: int, check: Callable[[int], None] | None = None) -> M:
    """Build a model whose weights depend on the seed alone.

    Args:
        make: builds it.
        check: called with the number of parameters before their memory is allocated; raises if there are too many.

    Raises:
        Exception: that of `make` or `check`.
    """
    if check and (parameters := count_parameters(make)) is not None:
        check(parameters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def count_parameters(make: Callable[[], nn.Module]) -> int | None:
    """Count the parameters of a model without allocating them; None if it cannot be built so."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return sum(parameter.numel() for parameter in make().parameters())
    except Exception:  # wrong sizes, which `make` reports itself, or a family that computes while it is built
        return None
