"""Check safetensors files: which are loaded, and whether their headers match their content."""

import struct
from pathlib import Path

from textdae.core.untrusted import MOST_JSON, parse_json, read_json


def weight_files(folder: Path) -> list[Path]:
    """Return the files that are loaded: one, or the shards that an index names; these must lie beside it.

    Raises:
        ValueError: the index names something else.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.exists() else set()
    for shard in shards:
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{index.name} names {shard!r}, which is no safetensors file of this folder")
    return [whole] if whole.exists() else sorted(folder / shard for shard in shards)


def size_of_numbers(path: Path) -> int:
    """Check the header of a safetensors file against its size; return the bytes of its tensors.

    Raises:
        ValueError: the header is too large, or its tensors lie outside the file or over each other.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, MOST_JSON):
            raise ValueError(f"{path.name} promises a header of {length:,} bytes in a file of {size:,}")
        header = parse_json(stream.read(length), path.name)
    spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    if any(not 0 <= begin <= end <= size - 8 - length for begin, end in spans):
        raise ValueError(f"{path.name} promises more numbers than it holds; it was cut short, or changed")
    last = 0
    for begin, end in sorted(spans):
        if begin < last:
            raise ValueError(f"{path.name} has tensors that lie over each other")
        last = end
    return size - 8 - length
