"""The noises of images; a new file here is imported with the others, and its noises are values of `noise.kind`."""

from textdae.core.noise_kind import import_noises
from textdae.image.noise import ImageNoise

__all__ = ["ImageNoise"]

import_noises(__name__, __path__)
