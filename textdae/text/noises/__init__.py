"""The noises of text; a new file here is imported with the others, and its noises are values of `noise.kind`."""

from textdae.core.noise_kind import import_noises
from textdae.text.noise import TextNoise

__all__ = ["TextNoise"]

import_noises(__name__, __path__)
