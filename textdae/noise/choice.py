"""How a share of an example is chosen to be hidden, whatever it is made of.

A *unit* is what is hidden as a whole (a token, a word, a patch). Each unit gets a priority; units are taken in that
order until the rate is met. The unit that would pass the rate is taken with just the probability that makes the
expected share exact, and the first unit is always taken, so an example with something to hide hides something.

B batch, L positions.
"""

import torch
from torch import Tensor


def take(unit: Tensor, priority: Tensor, maskable: Tensor, rate: Tensor, u: Tensor) -> Tensor:
    """Which units are taken, from the lowest priority up, until the share `rate` is met. *Shape:* (B, L), by unit."""
    size = torch.zeros_like(unit).scatter_add(1, unit, maskable.long())
    order = priority.masked_fill(size == 0, 2.0).argsort(dim=1, stable=True)
    size = size.gather(1, order)
    left = rate * size.sum(1, keepdim=True) - (size.cumsum(1) - size)
    taken = u * size < left
    taken[:, 0] = True
    return torch.zeros_like(taken).scatter(1, order, taken & (size > 0))
