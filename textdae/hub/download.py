"""Checkpoints from the Hub: only what may be needed of them, at one commit, into the client's cache."""

from functools import lru_cache
from pathlib import Path

from textdae.core.layout import CARD, MODEL, REPORT, TRAINING_STATE
from textdae.core.names import HubName, is_local, parse
from textdae.hub.client import explained, retry, unreachable

_FILES = (*MODEL, CARD, *REPORT)


def _download(name: HubName, files: tuple[str, ...], only_here: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    def ask() -> str:
        return snapshot_download(
            name.id, revision=name.revision, allow_patterns=[*files], local_files_only=only_here
        )

    with explained(f"{name} on the Hub"):
        return Path(retry(ask))


@lru_cache(maxsize=64)
def pin(name: HubName) -> HubName:
    """The commit that a name means at this moment; while the program runs the answer stays the same.

    Where the Hub cannot be reached, it is what the name meant when it was last downloaded.

    Raises:
        SettingsError: there is no such repository or revision.
        TextdaeError: the Hub did not answer, and the name is not in the cache.
    """
    if name.is_pinned:
        return name
    from huggingface_hub import HfApi

    with explained(f"{name} on the Hub"):
        try:
            commit = str(retry(lambda: HfApi().model_info(name.id, revision=name.revision)).sha)
        except Exception as error:
            if not unreachable(error):
                raise
            return HubName(name.id, _download(name, _FILES, only_here=True).name)
    _download(name, _FILES)  # by its name, so that it is known when the Hub is away
    return HubName(name.id, commit)


@lru_cache(maxsize=64)
def fetch(name: HubName, training_state: bool = False) -> Path:
    """The folder of a checkpoint on the Hub, with its model and its report; nothing else is downloaded.

    Args:
        training_state: bring what a resume needs too.

    Raises:
        SettingsError: there is none.
        TextdaeError: the Hub could not be reached.
    """
    return _download(pin(name), (*_FILES, *TRAINING_STATE) if training_state else _FILES)


def pinned(checkpoint: str) -> str:
    """The name of a checkpoint that will always mean the same: one on the Hub with its commit, a local one as it is."""
    return checkpoint if is_local(checkpoint) else str(pin(parse(checkpoint)))
