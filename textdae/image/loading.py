"""Load an image checkpoint: a folder or a Hub id."""

from pathlib import Path

from textdae.hub.locate import locate
from textdae.image.model import ImageDenoiser, as_denoiser, load_image_model


def load_image(checkpoint: str | Path) -> ImageDenoiser:
    """Load an image denoiser of ours, or any `ViTForMaskedImageModeling`, in evaluation mode.

    Raises:
        SettingsError: there is none.
    """
    denoiser: ImageDenoiser = as_denoiser(load_image_model(locate(str(checkpoint)))).eval()
    return denoiser
