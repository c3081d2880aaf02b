"""Pictures as arrays: check them, and bring their channels to the front."""

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError


def as_planes(pixels: np.ndarray, channels: int, size: int | None) -> Tensor:
    """Return a picture (H, W) or (H, W, C) of floating-point numbers as a tensor (C, H, W), float32.

    Args:
        channels: that a model takes; one that takes 1 takes the channels of any picture one by one.
        size: H and W; None where any will do.

    Raises:
        SettingsError: not such an array; says what is expected.
    """
    shape = f"{pixels.shape} of {pixels.dtype}"
    if pixels.ndim not in (2, 3) or not np.issubdtype(pixels.dtype, np.floating):
        hint = "; divide by 255" if pixels.dtype == np.uint8 else ""
        raise SettingsError(
            f"denoise: expected (H, W) or (H, W, C) of floating-point numbers from 0 to 1, got {shape}{hint}"
        )
    if not pixels.size or not np.isfinite(pixels).all():
        raise SettingsError(
            f"denoise: {'not all pixels are finite' if pixels.size else 'no pixels'}: {shape}"
        )
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    if channels not in (1, len(planes)):
        raise SettingsError(f"denoise: {channels} channels are needed, (H, W, {channels}); got {shape}")
    if size and planes.shape[1:] != (size, size):
        raise SettingsError(f"denoise: this model takes {size} x {size} pixels only; got {shape}")
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32))
