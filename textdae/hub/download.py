"""Checkpoints from the Hub: only what may be needed of them, at one commit, into the client's cache."""

from functools import lru_cache
from pathlib import Path

from textdae.hub.client import again, explained
from textdae.hub.name import HubName, is_local, parse
from textdae.layout import CARD, MODEL, REPORT, TRAINING_STATE


@lru_cache(maxsize=64)
def pin(name: HubName) -> HubName:
    """The commit that a name means at this moment; while the program runs the answer stays the same.

    Where the Hub cannot be asked, it is what the name meant when it last could.

    Raises:
        SettingsError: there is no such repository or revision.
        TextdaeError: the Hub could not be reached, and the name is not in the cache.
    """
    if name.is_pinned:
        return name
    from huggingface_hub import HfApi, snapshot_download

    with explained(f"{name} on the Hub"):
        try:
            commit = again(lambda: HfApi().model_info(name.id, revision=name.revision)).sha
        except Exception as error:
            try:
                folder = snapshot_download(
                    name.id, revision=name.revision, local_files_only=True, allow_patterns=["config.json"]
                )
            except Exception:
                raise error from None
            commit = Path(folder).name
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
    from huggingface_hub import snapshot_download

    files = [*MODEL, CARD, *REPORT, *(TRAINING_STATE if training_state else ())]
    at = pin(name)
    with explained(f"{name} on the Hub"):
        return Path(again(lambda: snapshot_download(at.id, revision=at.revision, allow_patterns=files)))


def pinned(checkpoint: str) -> str:
    """The name of a checkpoint that will always mean the same: one on the Hub with its commit, a local one as it is."""
    return checkpoint if is_local(checkpoint) else str(pin(parse(checkpoint)))
