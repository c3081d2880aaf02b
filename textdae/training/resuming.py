"""Choose the checkpoint that a run resumes from, once for all processes, even if their hosts share no disk."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from textdae.core.errors import SettingsError, TextdaeError, reason
from textdae.core.layout import MANIFEST
from textdae.training import checkpoint
from textdae.training.cursor import Cursor
from textdae.training.processes import from_process, gather, place, send_files, together

logger = logging.getLogger(__name__)

BEST, LOG = "best", "log.jsonl"
"""Files of a run beside its checkpoints: the weights of the best evaluation, and the log."""


class Offer(NamedTuple):
    """The newest whole checkpoint on the disk of a process."""

    place: str
    name: str
    identity: str | None
    cursor: Cursor
    fingerprint: dict[str, Any]


class Chosen(NamedTuple):
    """The checkpoint that all processes resume from."""

    path: Path
    """On the disk of this process."""
    cursor: Cursor
    fingerprint: dict[str, Any]


def choose_checkpoint(
    folder: Path,
    fetch: Callable[[Offer | None], bool],
    check: Callable[[dict[str, Any]], None],
    is_local_main: bool,
    device: torch.device,
    limit: int,
) -> Chosen | None:
    """Find the newest whole checkpoint of any process, and bring it to the hosts that lack it. Every process calls it.

    Args:
        folder: of the run.
        fetch: called with the newest one, if any; brings a better one to the first process, and returns whether it did.
        check: raises where the fingerprint of a checkpoint is not that of this run.
        is_local_main: whether this process reads and writes for its host.
        device: what the processes send from.
        limit: checkpoints that a host keeps when it receives one.

    Returns:
        None where there is none.

    Raises:
        SettingsError: the hosts have checkpoints of different runs, or the checkpoint is not of this run.
        TextdaeError: it could not be copied to a host.
    """
    offers = _offers(folder, is_local_main)
    there = [offer for offer in offers if offer]
    best = max(there, key=lambda offer: offer.cursor.step) if there else None
    if from_process(lambda: fetch(best)):
        offers = _offers(folder, is_local_main)
    there = [offer for offer in offers if offer]
    if not there:
        return None
    _check_one_run(folder, there)
    newest = max(there, key=lambda offer: offer.cursor.step)  # the first of them
    check(newest.fingerprint)
    path = folder / "checkpoints" / newest.name
    mine = offers[_rank()]
    lacking = is_local_main and (mine is None or mine.identity != newest.identity)
    if any(gather(lacking)):
        logger.info(f"bringing {path} from {newest.place} to the hosts that lack it")
        _bring(folder, [LOG, BEST, f"checkpoints/{newest.name}"], offers.index(newest), lacking, device)
        together(lambda: checkpoint.remove_old(path, limit), lacking)
    together(lambda: _confirm(path, newest))
    return Chosen(path, newest.cursor, newest.fingerprint)


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _offers(folder: Path, is_local_main: bool) -> list[Offer | None]:
    lines: list[str] = []

    def look() -> Offer | None:
        path = checkpoint.last_whole(folder / "checkpoints", lines)
        if path is None:
            return None
        return Offer(place(), path.name, checkpoint.identity(path), *checkpoint.read_state(path))

    offers = gather(together(look, is_local_main))
    everywhere = gather((place(), lines))
    for where, offer in everywhere:
        for line in offer:
            logger.warning(line if len(everywhere) == 1 else f"{where}: {line}")
    return offers


def _check_one_run(folder: Path, offers: list[Offer]) -> None:
    """Refuse to choose between runs: the newest checkpoint may be a leftover on a host that took no part."""
    known = [offer for offer in offers if offer.fingerprint.get("run")]
    for offer in known[1:]:
        if offer.fingerprint["run"] != known[0].fingerprint["run"]:
            one, two = (f"{each.name} on {each.place}" for each in (known[0], offer))
            raise SettingsError(
                f"--resume: {folder} holds checkpoints of different runs: {one}, {two}; remove those that are not meant"
            )


def copy_to_hosts(folder: Path, is_local_main: bool, device: torch.device) -> None:
    """Copy a folder that `write_whole` wrote on the first process to the hosts that lack it. Every process calls it.

    Raises:
        TextdaeError: it could not be copied.
    """
    identity = from_process(lambda: checkpoint.identity(folder))
    lacking = is_local_main and (
        checkpoint.identity(folder) != identity or checkpoint.fault(folder) is not None
    )
    if any(gather(lacking)):
        _bring(folder.parent, [folder.name], 0, lacking, device)


def _bring(folder: Path, parts: list[str], source: int, lacking: bool, device: torch.device) -> None:
    """Copy parts of a run, files or folders with a manifest, from one process to those that lack them."""

    def files() -> list[str]:
        paths = [path for part in parts for path in [folder / part, *sorted((folder / part).rglob("*"))]]
        return [
            path.relative_to(folder).as_posix() for path in paths if path.is_file() and path.name != MANIFEST
        ]

    incoming = send_files(folder, from_process(files, source), source, lacking, device)
    together(lambda: _put(folder, incoming, parts) if incoming else None)


def _put(folder: Path, incoming: Path, parts: list[str]) -> None:
    """Move received parts into place, each atomically, the last one after the others."""
    try:
        for part in parts:
            arrived = incoming / part
            if arrived.is_file():
                arrived.replace(folder / part)
            elif arrived.is_dir():
                checkpoint.write_whole(
                    folder / part,
                    lambda temporary, arrived=arrived: shutil.copytree(  # type: ignore[misc]
                        arrived, temporary, dirs_exist_ok=True
                    ),
                )
    except OSError as error:
        raise TextdaeError(f"{folder}: cannot be written: {reason(error)}") from None
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _confirm(path: Path, newest: Offer) -> None:
    if checkpoint.identity(path) != newest.identity:
        raise TextdaeError(
            f"{path} is not the checkpoint that {newest.place} has; output_dir must mean the same for all processes of a host"
        )
