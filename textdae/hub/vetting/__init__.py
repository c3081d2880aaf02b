"""Check an untrusted checkpoint folder before anything in it is allocated or run.

Code that a checkpoint brings along is never run in any case: every loader gets `trust_remote_code=False` and
`use_safetensors=True`.
"""

from textdae.hub.vetting.folder import vet, vet_tokenizer

__all__ = ["vet", "vet_tokenizer"]
