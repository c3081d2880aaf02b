"""Text out of masks: masked diffusion."""
