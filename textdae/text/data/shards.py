"""Shards of a prepared corpus: files of token ids, word starts and document starts that are read as one stream.

A side (`train`, `held_out`) is `SIDE/00000.safetensors`, `SIDE/00001.safetensors`, ...; each holds what `StreamWriter` writes of
its documents. `index.json` names them with sizes, counts and SHA-256; where a shard begins in the stream follows from the counts.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save

from textdae.core.errors import TextdaeError
from textdae.text.data.joined import Joined
from textdae.text.data.packing import Blocks, StreamInfo, total_info
from textdae.text.data.shard_cache import ShardCache
from textdae.text.tokens.words import WORD_TYPES, StreamWords, word_file


class ShardEntry(NamedTuple):
    """A shard as the index names it."""

    file: str
    size: int
    """In bytes."""
    sha256: str
    info: StreamInfo
    """What its part of the stream holds."""


def shard_bytes(folder: Path) -> bytes:
    """Return what a `StreamWriter` wrote to a folder as one safetensors file; the same for the same content."""
    info = StreamInfo(**json.loads((folder / "info.json").read_text()))
    arrays = {
        "ids": np.fromfile(folder / "ids.bin", info.dtype),
        "flags": np.fromfile(folder / "flags.bin", np.uint8),
    }
    for name, dtype in WORD_TYPES.items():
        if (file := word_file(folder, name)).exists():
            arrays[file.stem] = np.fromfile(file, dtype)
    return bytes(save(arrays))


def entry_of(file: str, content: bytes, info: StreamInfo) -> ShardEntry:
    """Return the line of the index for a shard."""
    return ShardEntry(file, len(content), hashlib.sha256(content).hexdigest(), info)


def as_entry(values: Sequence[Any]) -> ShardEntry:
    """Return a line of the index from its JSON."""
    file, size, sha256, info = values
    return ShardEntry(file, size, sha256, StreamInfo(*info))


class Shards:
    """The shards of one side, opened as they are read.

    Args:
        cache: gives the path of a shard on this machine, proven to be what was written.
    """

    def __init__(self, entries: Sequence[ShardEntry], cache: ShardCache) -> None:
        self.entries, self._cache = entries, cache
        self._opened: dict[int, dict[str, np.ndarray]] = {}

    def array(self, number: int, name: str) -> np.ndarray:
        """Return an array of a shard, memory-mapped."""
        entry = self.entries[number]
        if number not in self._opened or not self._cache.use(entry.sha256):
            path = self._cache.path(entry.file, entry.size, entry.sha256)
            # What was dropped takes room for as long as it is mapped.
            opened = self._opened.items()
            self._opened = {
                n: each for n, each in opened if not self._cache.is_dropped(self.entries[n].sha256)
            }
            self._opened[number] = _map(path)
        return self._opened[number][name]

    def joined(self, name: str, lengths: Sequence[int], dtype: Any) -> Joined:
        """Return an array of all shards as one."""
        return Joined(lengths, lambda number: self.array(number, name), dtype)


def _map(path: Path) -> dict[str, np.ndarray]:
    """Memory-map the arrays of a safetensors file."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        begin, arrays = 8 + length, {}
        dtypes = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I64": np.int64}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            dtype = np.dtype(dtypes[entry["dtype"]])
            shape = ((last - first) // dtype.itemsize,)
            arrays[name] = (
                np.memmap(path, dtype, "r", begin + first, shape) if shape[0] else np.zeros(0, dtype)
            )
        return arrays
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TextdaeError(f"{path}: not a shard: {error}") from None


class ShardedBlocks(Blocks):
    """A stream of several shards cut into blocks: the same blocks as of the same stream in one file.

    Args:
        key: of the corpus and the side.
        cache_root: where what follows from the corpus is kept.
    """

    def __init__(self, shards: Shards, block_size: int, pad_id: int, key: str, cache_root: Path) -> None:
        self.block_size, self.pad_id, self.key, self.cache = block_size, pad_id, key, cache_root
        infos = [entry.info for entry in shards.entries]
        self.info = total_info(infos)
        lengths = [info.tokens for info in infos]
        self.shards = shards
        self.ids = shards.joined("ids", lengths, self.info.dtype)
        self.flags = shards.joined("flags", lengths, np.uint8)

    @property
    def words(self) -> StreamWords:
        """The words of the text, where the writer kept them; read into memory."""
        infos = [entry.info for entry in self.shards.entries]
        tokens, words = (
            np.cumsum([0, *(getattr(info, name) for info in infos)]) for name in ("tokens", "words")
        )
        columns = {}
        for name, dtype in WORD_TYPES.items():
            stem = word_file(Path(), name).stem
            first = {"begin": tokens, "end": tokens, "stretch": words}.get(name)
            parts = [
                self.shards.array(number, stem) + (first[number] if first is not None else np.array(0, dtype))
                for number in range(len(infos))
            ]
            columns[name] = np.concatenate(parts).astype(dtype)
        return StreamWords(**columns)
