"""Sampling from a denoiser: from pure noise down a chain of levels to pictures, or from a picture with a hole to whole ones.

B pictures, C channels, H, W pixels, T levels.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from textdae.core.changing import normal
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.image.model import ImageDenoiser
from textdae.image.models.level import LOWEST

FOR_A_CHAIN = "model.condition=level noise.schedule=log_uniform noise.sigma=20"
"""Settings of a model that draws pictures: pixels from 0 to 1 drown in noise of 20."""
_RHO = 7.0
REPEATS = 10
"""How often each level is gone through where a hole is filled."""


class Levels(NamedTuple):
    """The levels of a chain, which a denoiser was trained on."""

    highest: float
    lowest: float = LOWEST

    @classmethod
    def of(cls, one: float, other: float) -> "Levels":
        """Return those between two ends of a training, which may be 0."""
        return cls(max(one, other), max(min(one, other), LOWEST))


def karras_levels(levels: Levels, steps: int) -> list[float]:
    """Return T = `steps` levels from the highest down, denser towards the end, and a zero (Karras et al. 2022, equation 5)."""
    ends = levels.highest ** (1 / _RHO), min(levels.lowest, levels.highest / 2) ** (1 / _RHO)
    return [float(level) ** _RHO for level in np.linspace(*ends, steps)] + [0.0]


@torch.no_grad()
def chain(
    denoiser: ImageDenoiser,
    shape: tuple[int, int, int, int],
    trained: Levels,
    steps: int = 50,
    seed: int = 0,
    known: Tensor | None = None,
    hole: Tensor | None = None,
) -> Iterator[Tensor]:
    """Draw pictures from a model of `model.condition=level`, and yield them at each level, noise first.

    Each step guesses the clean picture and puts noise of the next level on the guess: partly the noise that was there, partly
    new (ancestral sampling). Known pixels replace the guess; so that the hole agrees with them, each level is then gone through
    `REPEATS` times, with noise put back in between (Lugmayr et al. 2022, RePaint).

    Args:
        shape: (B, C, H, W).
        trained: the chain starts from noise of the highest level around mid-grey: pure noise where it drowns any picture.
        seed: picture i is a pure function of the seed and i.
        known: pictures with a hole to fill. (B or 1, C, H, W).
        hole: where it is. (B or 1, 1, H, W), bool.

    Yields:
        (B, C, H, W), unclipped, T + 1 times; the last are clean.

    Raises:
        SettingsError: the model has no level as an input.
    """
    if not denoiser.conditioned:
        raise SettingsError(
            f"a chain of levels needs a model that knows the level; train one with model.type=unet {FOR_A_CHAIN}"
        )
    draw = Draw(seed, torch.zeros(shape[0], dtype=torch.long), torch.arange(shape[0]))
    levels, size = karras_levels(trained, steps), torch.Size(shape)

    def beside_the_hole(guess: Tensor) -> Tensor:
        return guess if known is None or hole is None else torch.where(hole, guess, known)

    pictures = beside_the_hole(torch.full(shape, 0.5))
    pictures = pictures + levels[0] * normal(draw, "start", size)
    yield pictures
    for step, (level, following) in enumerate(itertools.pairwise(levels)):
        for repeat in range(REPEATS if hole is not None and following else 1):
            if repeat:
                back = (level**2 - following**2) ** 0.5
                pictures = pictures + back * normal(draw, f"back {step} {repeat}", size)
            clean = beside_the_hole(denoiser.restore(pictures, level))
            fresh = following * (1 - (following / level) ** 2) ** 0.5
            kept = (following**2 - fresh**2) ** 0.5
            noise = normal(draw, f"step {step}" + (f" {repeat}" if repeat else ""), size)
            pictures = clean + kept / level * (pictures - clean) + fresh * noise
        yield pictures


def run_chain(*arguments: Any, **keywords: Any) -> Tensor:
    """Return the last pictures of a `chain`. (B, C, H, W), unclipped."""
    for pictures in chain(*arguments, **keywords):  # noqa: B007  # the last one counts
        pass
    return pictures
