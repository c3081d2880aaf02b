"""`textdae doctor`: check this machine or a checkpoint, one line for each finding."""

from textdae.core.finding import Finding

__all__ = ["Finding"]
