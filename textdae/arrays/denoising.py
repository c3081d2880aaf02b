"""`textdae denoise` for arrays: read a `.npy` file, write a `.npy` file.

n examples, ... the shape of one example.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from textdae.core.encoder_decoder import EncoderDecoderDenoiser
from textdae.core.errors import SettingsError
from textdae.training.hardware import choose_device

_BATCH = 1024


@torch.no_grad()
def denoise_array_file(
    denoiser: EncoderDecoderDenoiser, sources: list[str], output: Path | None, shape: str
) -> Iterator[str]:
    """Write the clean arrays for the noisy ones of a file; yield a line to print.

    Args:
        sources: one `.npy` file of noisy arrays (n, ...).
        shape: the shape that the model takes, in words, for the error.

    Raises:
        SettingsError: a file cannot be read or written, or does not fit the model.
    """
    if output is None:
        raise SettingsError("denoise: name the file for the clean arrays, e.g. -o clean.npy")
    if len(sources) > 1:
        raise SettingsError(
            f"denoise: arrays come from one file, got {len(sources)}; join them with np.concatenate"
        )
    (source,) = sources
    denoiser, device = denoiser.to(choose_device()).eval(), choose_device()
    try:
        noisy = torch.from_numpy(np.load(source, allow_pickle=False)).float()
        name = denoiser.model.main_input_name
        parts = [denoiser.decode(denoiser.encode({name: part.to(device)})) for part in noisy.split(_BATCH)]
        np.save(output, torch.cat(parts).cpu().numpy())
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"denoise: {source}: {error}; give a .npy file of {shape}, and -o clean.npy"
        ) from None
    yield f"{source} -> {output} ({len(noisy):,} examples)"
