"""Shot noise: light arrives in photons.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from textdae.core.draw import Draw
from textdae.image.noise import ChangingNoise

if TYPE_CHECKING:
    from torch import Tensor


class PoissonNoise(ChangingNoise):
    """Count photons: each pixel is a Poisson number whose mean is `peak` where it is white, over `peak`.

    Example:
        >>> corrupted = textdae.PoissonNoise(30)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["poisson"] = "poisson"
    dial: ClassVar[str | None] = "peak"
    peak: Annotated[float, Field(gt=0, le=1e6)] = 30.0
    """Photons that make white at the start of the run; the fewer, the noisier."""
    final_peak: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Photons that make white at the end of the run; default: `peak` throughout."""
    schedule: Literal["linear", "cosine", "uniform"] = "linear"
    """How the noise goes from its start to its end; uniform: each image draws its own strength between the two."""

    @model_validator(mode="after")
    def _both_ends(self) -> PoissonNoise:
        if self.schedule == "uniform" and self.final_peak is None:
            raise ValueError("schedule uniform draws between peak and final_peak; give final_peak too")
        return self

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Poisson(peak x) / peak; below black no light comes."""
        import torch

        mean = (level * pixels.clamp(min=0)).numpy().astype(np.float64)
        counts = np.empty(mean.shape, np.float32)
        # A generator for each image, from its own key: what else is in a batch does not matter.
        for count, each, key in zip(counts, mean, draw.bits("photons")[:, 0], strict=True):
            count[...] = np.random.Generator(np.random.Philox(int(key))).poisson(each)
        return torch.from_numpy(counts) / level
