"""Check the input of our own image models.

B batch, C channels, H, W pixels.
"""

import torch
from torch import Tensor


def check_pixels(pixel_values: Tensor, channels: int, size: int | None, dtype: torch.dtype) -> None:
    """Refuse anything but images (B, C, H, W) of floating-point numbers, where black is 0 and white 1.

    Args:
        size: H and W; None if any size is allowed.
        dtype: of the weights.

    Raises:
        ValueError: names the expected and the actual input.
    """
    shape = tuple(pixel_values.shape)
    side = "H, W" if size is None else f"{size}, {size}"
    fits = len(shape) == 4 and shape[1] == channels and (size is None or shape[2:] == (size, size))
    number = pixel_values.dtype
    wide = number == torch.float64 and dtype != torch.float64
    if fits and number.is_floating_point and not wide:
        return
    hint = "" if number.is_floating_point else "; divide whole numbers by 255"
    raise ValueError(
        f"pixel_values: expected (B, {channels}, {side}) of {str(dtype).removeprefix('torch.')} from 0 to 1, "
        f"got {shape} of {str(number).removeprefix('torch.')}{hint}"
    )
