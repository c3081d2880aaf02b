"""The command line. Settings are read and refused here, before anything slow is imported."""

from textdae.cli import (
    pretraining,
    planning,
    denoising,
    demos,
    page,
    downstream,
    export,
    hub,
    settings,
    doctor,
)  # noqa: F401, I001  (each adds its commands, in this order)
from textdae.cli.app import app, main

__all__ = ["app", "main"]
