"""Denoisers: an encoder and a decoder around a stock Hugging Face model."""

from textdae.models.denoiser import Denoiser, DenoiserOutput

__all__ = ["Denoiser", "DenoiserOutput"]
