"""A text as K numbers: the bottleneck, its decoder, and what comes back."""
