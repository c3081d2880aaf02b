"""What a run needs to know of its examples: one class for text, one for images, one interface."""

from importlib import import_module

from textdae.modalities.base import Modality, Row

__all__ = ["Modality", "Row", "modality"]


def modality(name: str) -> type[Modality]:
    """The class for `text` or `image`, imported where it is asked for: text needs no image library, and the reverse."""
    found: type[Modality] = getattr(import_module(f"textdae.modalities.{name}"), f"{name.title()}Modality")
    return found
