"""Load a denoiser of any modality."""

from pathlib import Path

from textdae.core.denoiser import Denoiser
from textdae.core.registry import modality
from textdae.hub.locate import modality_of


def load(checkpoint: str | Path) -> Denoiser:
    """Load the denoiser of a checkpoint of any modality, in evaluation mode, on the CPU.

    Args:
        checkpoint: a folder, or OWNER/NAME or OWNER/NAME@REVISION on the Hub.

    Raises:
        SettingsError: there is none, or it may not be opened.

    Example:
        >>> denoiser = textdae.load("runs/digits")
        >>> denoiser(textdae.GaussianNoise(0.25)(pixels)).reconstruction
    """
    name = str(checkpoint)
    denoiser: Denoiser = modality(modality_of(name)).part("load")(name)
    return denoiser
