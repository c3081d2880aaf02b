"""Download checkpoints from the Hub: only the files that are needed, at one commit, into the client's cache."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from textdae.core.errors import TextdaeError
from textdae.core.layout import CARD, MODEL, TRAINING_STATE
from textdae.core.names import PREFIX, HubName, is_local, parse_hub_name
from textdae.core.registry import report_files
from textdae.hub.client import explained, retry, unreachable

_PATIENCE = 3.0
"""Seconds to wait for a Hub that does not answer at all: often there is no network, and a folder was meant."""


def _files() -> tuple[str, ...]:
    return (*MODEL, CARD, *report_files())


def _download(name: HubName, files: tuple[str, ...], only_here: bool = False, kind: str = "model") -> Path:
    from huggingface_hub import snapshot_download

    def ask() -> str:
        return snapshot_download(
            name.id,
            repo_type=kind,
            revision=name.revision,
            allow_patterns=[*files],
            local_files_only=only_here,
        )

    with explained(f"{name} on the Hub"):
        return Path(ask() if only_here else retry(ask))


@lru_cache(maxsize=64)
def pin(name: HubName) -> HubName:
    """Resolve a name to its present commit; the answer stays the same while the program runs.

    If the Hub cannot be reached, this is the commit that was last downloaded under the name.

    Raises:
        SettingsError: there is no such repository or revision.
        TextdaeError: the Hub did not answer, and the name is not in the cache.
    """
    if name.is_pinned:
        return name
    from huggingface_hub import HfApi

    with explained(f"{name} on the Hub"):
        try:
            info = retry(lambda: HfApi().model_info(name.id, revision=name.revision), _PATIENCE)
            commit = str(info.sha)
        except Exception as error:
            if not unreachable(error):
                raise
            return HubName(name.id, _download(name, _files(), only_here=True).name)
    _download(name, _files())  # under its name, for use when the Hub is unreachable
    return HubName(name.id, commit)


@lru_cache(maxsize=64)
def fetch(name: HubName, training_state: bool = False) -> Path:
    """Download a checkpoint, with its model and its report only; return its folder.

    Args:
        training_state: also download what a resume needs.

    Raises:
        SettingsError: there is none.
        TextdaeError: the Hub could not be reached.
    """
    return _download(pin(name), (*_files(), *TRAINING_STATE) if training_state else _files())


def fetch_dataset(name: str, files: str) -> Path:
    """Download the files of a dataset whose names match a pattern; return their folder. Without the Hub the cache serves.

    Raises:
        SettingsError: there is no such dataset.
        TextdaeError: the Hub could not be reached, and the dataset is not in the cache.
    """
    parsed = parse_hub_name(name, "the dataset")
    try:
        return _download(parsed, (files,), kind="dataset")
    except TextdaeError:
        with suppress(Exception):
            return _download(parsed, (files,), only_here=True, kind="dataset")
        raise


def pinned(checkpoint: str) -> str:
    """Pin the name of a checkpoint: add the commit to a name on the Hub, leave a local path as it is."""
    if is_local(checkpoint):
        return checkpoint
    with or_no_folder(checkpoint):
        return str(pin(parse_hub_name(checkpoint)))


@contextmanager
def or_no_folder(name: str) -> Iterator[None]:
    """Add to an error of the Hub that there is no folder of that name either, which may have been meant."""
    try:
        yield
    except TextdaeError as error:
        if name.startswith(PREFIX):
            raise
        raise type(error)(f"{error}; nor is there a folder {name} here") from None
