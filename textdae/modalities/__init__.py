"""What a run needs to know of its examples: one class for text, one for images, one interface."""

from textdae.modalities.base import Modality, Row

__all__ = ["Modality", "Row"]
