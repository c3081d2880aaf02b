"""Load an image checkpoint: a folder or a Hub id."""

from pathlib import Path

from textdae.image.model import ImageDenoiser


def load_image(checkpoint: str | Path) -> ImageDenoiser:
    """Load an image denoiser of ours, or any `ViTForMaskedImageModeling`, in evaluation mode.

    Raises:
        SettingsError: there is none.

    Example:
        >>> textdae.load_image("runs/digits").rebuild({"pixel_values": pixels}).shape == pixels.shape
        True
    """
    return ImageDenoiser.from_pretrained(checkpoint)
