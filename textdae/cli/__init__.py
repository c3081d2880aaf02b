"""The command line. Settings are read and refused here, before anything slow is imported."""

# Each adds its commands, in this order.
from textdae.cli import pretraining, planning, denoising, demos, page  # noqa: F401, I001
from textdae.cli import downstream, export, hub, settings, doctor  # noqa: F401
from textdae.cli.app import app, main

__all__ = ["app", "main"]
