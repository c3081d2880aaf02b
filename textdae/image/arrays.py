"""Pictures as arrays: check them, and bring their channels to the front."""

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError

_MOST = 20.0
"""Far beyond white, also with strong noise: such pixels are in steps of 255."""


def as_planes(pixels: np.ndarray, channels: int, size: int | None) -> Tensor:
    """Return a picture (H, W) or (H, W, C) of floating-point numbers as a tensor (C, H, W), float32.

    Args:
        channels: that a model takes; one that takes 1 takes the channels of any picture one by one, and one that takes 3 a grey
            picture, three times.
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
    if np.abs(pixels).max() > _MOST:
        raise SettingsError(
            f"denoise: black is 0 and white 1, and a pixel is {pixels.flat[np.abs(pixels).argmax()]:g}; divide by 255"
        )
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] > 4:
        raise SettingsError(f"denoise: channels come last, (H, W, C); got {shape}")
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    if channels == 3 and len(planes) == 1:
        planes = planes.repeat(3, 0)
    if channels not in (1, len(planes)):
        raise SettingsError(f"denoise: {channels} channels are needed, (H, W, {channels}); got {shape}")
    if size and planes.shape[1:] != (size, size):
        raise SettingsError(f"denoise: this model takes {size} x {size} pixels only; got {shape}")
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32))
