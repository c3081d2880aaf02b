"""`textdae doctor`: is this machine, and is this checkpoint, as it should be? One line each."""

from textdae.core.finding import Finding

__all__ = ["Finding"]
