"""Compression as a noise.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from textdae.core.draw import Draw
from textdae.image.noise import ChangingNoise

if TYPE_CHECKING:
    from torch import Tensor


class JpegNoise(ChangingNoise):
    """Compress as JPEG and unpack again; pixels are clipped and rounded to 8 bits on the way.

    Example:
        >>> corrupted = textdae.JpegNoise(10)(pixels, seed=0)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["jpeg"] = "jpeg"
    dial: ClassVar[str | None] = "quality"
    quality: Annotated[float, Field(ge=1, le=95)] = 10.0
    """JPEG quality at the start of the run, rounded to a whole number; the lower, the stronger."""
    final_quality: Annotated[float, Field(ge=1, le=95)] | None = None
    """JPEG quality at the end of the run; default: `quality` throughout."""
    schedule: Literal["linear", "cosine", "uniform"] = "linear"
    """How the noise goes from its start to its end; uniform: each image draws its own strength between the two."""

    @model_validator(mode="after")
    def _both_ends(self) -> JpegNoise:
        if self.schedule == "uniform" and self.final_quality is None:
            raise ValueError(
                "schedule uniform draws between quality and final_quality; give final_quality too"
            )
        return self

    def change(self, pixels: Tensor, draw: Draw, level: Tensor) -> Tensor:
        """Compress a colour image as one, with its colours at half the resolution; compress other channels one by one."""
        import torch

        planes = (pixels.clamp(0, 1) * 255).round().byte().numpy()
        out = np.empty(planes.shape, np.uint8)
        for result, image, quality in zip(out, planes, level.flatten().round().int().tolist(), strict=True):
            if len(image) == 3:
                result[...] = _compressed(np.ascontiguousarray(image.transpose(1, 2, 0)), quality).transpose(
                    2, 0, 1
                )
            else:
                result[...] = [_compressed(plane, quality) for plane in image]
        return torch.from_numpy(out).float() / 255


def _compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """(H, W) or (H, W, 3), uint8 -> the same."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))
