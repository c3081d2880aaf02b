"""The Hugging Face Hub: download checkpoints pinned to a commit, push results, explain errors."""
