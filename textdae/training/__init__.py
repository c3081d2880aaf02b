"""The training loop; it knows examples, a noise and a denoiser, and no modality."""
