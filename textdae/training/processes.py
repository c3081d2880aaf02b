"""Communication between the processes of a run, so that they decide alike and fail together.

A process that decided by its own disk alone would train another model, or wait for the others for ever.
"""

import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from textdae.core.errors import SettingsError, TextdaeError, first_line, reason

T = TypeVar("T")

_ALONE = re.compile(
    r"[Cc]onnection (closed|reset|refused)|Broken pipe|[Tt]imed out|NCCL|remote process exited"
)

_CHUNK = 1 << 24  # bytes of a file that are sent at once
PATIENCE, IN_TRAINING = timedelta(hours=24), timedelta(minutes=30)
"""How long a process waits for the others: while one prepares or reports, and while all train."""


def several() -> bool:
    """Return whether the run has more than one process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def leave_processes() -> None:
    """Leave the process group, which ends its threads; nothing where there is none."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def set_patience(timeout: timedelta) -> None:
    """Set how long this process waits for the others before it gives up."""
    if several():
        distributed.distributed_c10d._set_pg_timeout(timeout)


def gather(value: T) -> list[T]:
    """Return the values of all processes, in the order of their ranks."""
    if not several():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    with in_company():
        distributed.all_gather_object(values, value)
    return values


@contextmanager
def in_company() -> Iterator[None]:
    """Turn the error that a lost process causes into one line.

    Raises:
        TextdaeError: another process is gone, or did not answer in time.
    """
    try:
        yield
    except RuntimeError as error:
        if not several() or not _ALONE.search(str(error)):
            raise
        raise TextdaeError(
            f"{place()}: another process of this run has ended or cannot be reached ({first_line(error)[:120]}); "
            "what was saved is whole, --resume goes on with it"
        ) from error


@torch.no_grad()
def spread_weights(model: nn.Module) -> None:
    """Copy the weights of the first process to all: on other hardware they may differ by rounding."""
    for tensor in [*model.parameters(), *model.buffers()] if several() else ():
        sent = tensor.detach().contiguous()
        distributed.broadcast(sent.reshape(-1).view(torch.uint8), 0)
        tensor.copy_(sent)


def place() -> str:
    """Return a name of this process to print: its rank and its host."""
    return f"host {socket.gethostname()} (process {distributed.get_rank() if several() else 0})"


def together(work: Callable[[], T], here: bool = True) -> T | None:
    """Do some work on the processes where `here` is true; a `TextdaeError` on one of them is raised on all.

    Every process calls it. Returns the result of this process, None where `here` is false.

    Raises:
        TextdaeError: the work failed, here or elsewhere; the first process prints it.
    """
    result, error = None, None
    try:
        if here:
            result = work()
    except TextdaeError as caught:
        error = caught
    mine = (place(), str(error), isinstance(error, SettingsError)) if error else None
    failures = [failure for failure in gather(mine) if failure]
    if not failures:
        return result
    if not error:
        where, message, of_settings = failures[0]
        error = (SettingsError if of_settings else TextdaeError)(f"{where}: {message}")
    error.is_told_elsewhere = several() and distributed.get_rank() > 0
    raise error


def from_process(work: Callable[[], T], rank: int = 0) -> T:
    """Do some work on one process, and return its result on all of them.

    Raises:
        TextdaeError: it failed there.
    """
    mine = distributed.get_rank() if several() else 0
    return gather(together(work, mine == rank))[rank]  # type: ignore[return-value]


def check_same(values: Mapping[str, Any], what: str) -> None:
    """Refuse to continue where processes differ.

    Args:
        values: by name, of this process.
        what: to do about it.

    Raises:
        SettingsError: on all processes; names what differs, and on which hosts.
    """
    everywhere = gather((place(), dict(values)))
    here, first = everywhere[0]
    for there, other in everywhere[1:]:
        names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        if names:
            one, two = (str(values_of_host.get(names[0]))[:60] for values_of_host in (first, other))
            more = f"; also {', '.join(names[1:])}" if names[1:] else ""
            error = SettingsError(f"{names[0]} differs: {one} on {here}, {two} on {there}{more}; {what}")
            error.is_told_elsewhere = distributed.get_rank() > 0
            raise error


def send_files(
    folder: Path, names: Sequence[str], source: int, wanted: bool, device: torch.device
) -> Path | None:
    """Copy files from the disk of one process to those of others. Every process calls it.

    Args:
        folder: has them at the source, and is written to elsewhere.
        names: of files below `folder`, in all processes alike.
        source: process that has them.
        wanted: whether this process lacks them.
        device: what the processes send from.

    Returns:
        A temporary folder below `folder` with the files, where they were wanted.

    Raises:
        TextdaeError: they could not be read or written; nothing is left behind.
    """
    mine = distributed.get_rank() == source
    sizes = from_process(lambda: [(folder / name).stat().st_size for name in names], source)

    def make() -> Path:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder))
        except OSError as error:
            raise TextdaeError(f"{folder}: cannot be written: {reason(error)}") from None

    incoming = together(make, wanted)
    failure: OSError | None = None
    for name, size in zip(names, sizes, strict=True):
        for begin in range(0, size, _CHUNK):
            chunk = torch.zeros(min(_CHUNK, size - begin), dtype=torch.uint8)
            try:
                if mine and not failure:
                    _read(folder / name, begin, chunk)
            except OSError as error:  # the others wait for the rest
                failure = error
            chunk = chunk.to(device)
            distributed.broadcast(chunk, source)
            try:
                if incoming and not failure:
                    (incoming / name).parent.mkdir(parents=True, exist_ok=True)
                    with open(incoming / name, "ab") as file:
                        file.write(chunk.cpu().numpy().tobytes())
            except OSError as error:
                failure = error
    try:
        together(lambda: _raise(failure, folder), failure is not None)
    except TextdaeError:
        shutil.rmtree(incoming or "", ignore_errors=True)
        raise
    return incoming


def _read(path: Path, begin: int, chunk: torch.Tensor) -> None:
    """Fill a chunk (n,), uint8, from a place in a file."""
    with open(path, "rb") as file:
        file.seek(begin)
        if file.readinto(chunk.numpy()) != len(chunk):
            raise OSError(f"{path.name} has become shorter")


def _raise(failure: OSError | None, folder: Path) -> None:
    if failure:
        raise TextdaeError(f"{folder}: files could not be copied between hosts: {reason(failure)}")
