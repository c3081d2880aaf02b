"""The Hugging Face Hub: names, what goes wrong on the way, and checkpoints from there, pinned to a commit."""
