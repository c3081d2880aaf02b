"""Whether a checkpoint folder may be opened, which may come from anyone: looked at before anything is allocated or run.

Code that a checkpoint brings along is never run in any case: every loader is told `trust_remote_code=False` and
`use_safetensors=True`.
"""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from textdae.errors import SettingsError, first_line

_MOST_JSON = 100_000_000
"""Bytes of a header or a config, as in the safetensors format itself."""
_SPARE = 16_000_000
"""Numbers that a model may have beside those of its weights, for instance a head for other labels."""


class Weights(NamedTuple):
    """What the headers of safetensors files promise."""

    tensors: int
    numbers: int
    longest: int
    """The largest dimension of any tensor."""


def vet(folder: Path) -> None:
    """Refuse a folder whose files lead elsewhere, or promise what they do not hold.

    Raises:
        SettingsError: says which file, and why.
    """
    try:
        for path in folder.iterdir():
            _check_link(path, folder)
        _check_index(folder)
        found = [_header(path) for path in sorted(folder.glob("*.safetensors"))]
        pickles = [path.name for suffix in ("bin", "pt", "pth", "pkl") for path in folder.glob(f"*.{suffix}")]
        if not found and pickles:
            raise ValueError(
                f"{sorted(pickles)[0]} is a pickle, which can run anything when it is opened; convert it to safetensors"
            )
        if found:
            tensors, numbers, longest = zip(*found, strict=True)
            _check_config(folder / "config.json", Weights(sum(tensors), sum(numbers), max(longest)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{folder}: refused: {first_line(error)}") from None


def _check_link(path: Path, folder: Path) -> None:
    """A link may lead to the folder itself; in the Hub's cache to the blobs of its repository."""
    home = folder.resolve()
    if home.parent.name == "snapshots":
        home = home.parent.parent
    if path.is_symlink() and not path.resolve().is_relative_to(home):
        raise ValueError(f"{path.relative_to(folder)} is a link out of the folder")


def _check_index(folder: Path) -> None:
    """The shards that an index names lie beside it."""
    for index in folder.glob("*.safetensors.index.json"):
        for shard in set(_json(index)["weight_map"].values()):
            if Path(shard).name != shard or shard in ("", ".", ".."):
                raise ValueError(f"{index.name} names {shard!r}, which is no file of this folder")


def _header(path: Path) -> Weights:
    """Read the header of a safetensors file, and no more than is there."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, _MOST_JSON):
            raise ValueError(f"{path.name} promises a header of {length:,} bytes in a file of {size:,}")
        header = json.loads(stream.read(length))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    for entry in tensors:
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= size - 8 - length:
            raise ValueError(f"{path.name} promises more numbers than it holds; it was cut short, or changed")
    shapes = [entry["shape"] for entry in tensors]
    return Weights(
        len(shapes),
        sum(math.prod(shape) for shape in shapes),
        max((n for shape in shapes for n in shape), default=0),
    )


def _check_config(path: Path, weights: Weights) -> None:
    """A config may not describe a model that the weights are far too few for: it would be allocated all the same."""
    config = _json(path)
    sizes = list(_sizes(config))
    for name, value in sizes:
        if ("layer" in name or "depth" in name) and value > max(weights.tensors, 1):
            raise ValueError(
                f"{path.name} has {name} = {value:,}, the weights are {weights.tensors:,} tensors"
            )
    if any(value > weights.longest for _, value in sizes):  # most have none, and are spared the rest
        promised = _numbers_of(config)
        if promised > 2 * weights.numbers + _SPARE:
            name, value = max(sizes, key=lambda size: size[1])
            raise ValueError(
                f"{path.name} describes a model of {promised:,} numbers ({name} = {value:,}), the weights are "
                f"{weights.numbers:,}"
            )


def _sizes(config: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number of a config with the name it goes by."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key not in ("id2label", "label2id"):
                yield from _sizes(value, str(key))
    elif isinstance(config, list):
        for value in config:
            yield from _sizes(value, name)
    elif isinstance(config, int) and not isinstance(config, bool):
        yield name, config


def _numbers_of(config: dict[str, Any]) -> int:
    """How many numbers a model of this config has. It is built without memory for them."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    if config.get("model_type") not in CONFIG_MAPPING:
        return 0  # nobody will build it
    with torch.device("meta"):
        model = AutoModel.from_config(
            CONFIG_MAPPING[config["model_type"]].from_dict(config), trust_remote_code=False
        )
    return sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()])


def _json(path: Path) -> Any:
    if path.stat().st_size > _MOST_JSON:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, which is no config")
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return found
