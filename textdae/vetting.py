"""Whether a checkpoint folder may be opened, which may come from anyone: looked at before anything is allocated or run.

Code that a checkpoint brings along is never run in any case: every loader is told `trust_remote_code=False` and
`use_safetensors=True`.
"""

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from textdae.errors import SettingsError, first_line

_MOST_JSON = 100_000_000
"""Bytes of a header or a config, as in the safetensors format itself."""
_SPARE = 16_000_000
"""Numbers that a model may have beside those of its weights, for instance a head for other labels."""
_WITHOUT_WEIGHTS = 1_000_000_000
"""Numbers of a model that there is only a config of."""


_MOST_TENSORS = 100_000
"""And layers; far more than any model has."""
_MOST_LABELS = 1_000_000
_LAYERS = re.compile(r"(^|_)layers?$")


def vet(folder: Path) -> None:
    """Refuse a folder whose files lead elsewhere, or promise what they do not hold.

    Raises:
        SettingsError: says which file, and why.
    """
    try:
        for path in folder.iterdir():
            _check_link(path, folder)
        files = _weight_files(folder)
        pickles = [path.name for suffix in ("bin", "pt", "pth", "pkl") for path in folder.glob(f"*.{suffix}")]
        if not files and pickles:
            raise ValueError(
                f"{sorted(pickles)[0]} is a pickle, which can run anything when it is opened; convert it to safetensors"
            )
        size = sum(_size_of_numbers(path) for path in files)
        # Two numbers a byte, as in weights of 4 bits.
        _check_config(
            json.dumps(_json(folder / "config.json")), 2 * size + _SPARE if files else _WITHOUT_WEIGHTS
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{folder}: refused: {first_line(error)}") from None


def _check_link(path: Path, folder: Path) -> None:
    """A link may lead to the folder itself; in the Hub's cache to the blobs of its repository, or of all of them."""
    home = folder.resolve()
    repository = home.parent.parent
    blobs = [repository / "blobs", repository.parent / "blobs"]
    allowed = [home, *(blobs if home.parent.name == "snapshots" else [])]
    if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in allowed):
        raise ValueError(f"{path.relative_to(folder)} is a link out of the folder")


def _weight_files(folder: Path) -> list[Path]:
    """The files that are loaded: one, or the shards that an index names, which have to lie beside it."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    shards = set(_json(index)["weight_map"].values()) if index.exists() else set()
    for shard in shards:
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{index.name} names {shard!r}, which is no safetensors file of this folder")
    return [whole] if whole.exists() else sorted(folder / shard for shard in shards)


def _size_of_numbers(path: Path) -> int:
    """The bytes behind the header of a safetensors file, which must be what it says."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, _MOST_JSON):
            raise ValueError(f"{path.name} promises a header of {length:,} bytes in a file of {size:,}")
        header = json.loads(stream.read(length))
    for name, entry in header.items():
        begin, end = entry["data_offsets"] if name != "__metadata__" else (0, 0)
        if not 0 <= begin <= end <= size - 8 - length:
            raise ValueError(f"{path.name} promises more numbers than it holds; it was cut short, or changed")
    return size - 8 - length


@lru_cache(maxsize=16)
def _check_config(text: str, most: int) -> None:
    """A config may not describe a model that the weights are far too few for: it would be allocated all the same.

    The model is built without memory for its numbers, and no further than the limit.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    config = json.loads(text)
    if config.get("model_type") not in CONFIG_MAPPING:
        return  # nobody will build it
    for key in (
        "attn_implementation",
        "_attn_implementation",
    ):  # of no account here, and may need other libraries
        config.pop(key, None)
    _check_lengths(config)
    try:
        with torch.device("meta"), _counting(most):
            AutoModel.from_config(
                CONFIG_MAPPING[config["model_type"]].from_dict(config), trust_remote_code=False
            )
    except _TooManyError as error:
        raise ValueError(f"config.json describes a model of more than {most:,} numbers, {error}") from None
    except Exception as error:  # whatever a family makes of sizes that do not go together
        raise ValueError(f"config.json makes no model: {first_line(error)}") from None


def _check_lengths(config: dict[str, Any]) -> None:
    """Refuse numbers that a list or a table is made of, at whatever depth, for that is made before anything is counted."""
    for key, value in config.items():
        if isinstance(value, dict):
            _check_lengths(value)
        elif isinstance(value, int):
            most = _MOST_LABELS if key == "num_labels" else _MOST_TENSORS if _LAYERS.search(key) else value
            if value > most:
                raise ValueError(f"config.json has {key} = {value:,}, which no model has")


class _TooManyError(Exception):
    """More numbers than the weights can hold."""


@contextmanager
def _counting(most: int) -> Iterator[None]:
    """Stop the building of a model at so many numbers, or at so many tensors as no model has."""
    from torch.nn.modules import module

    numbers = tensors = 0

    def count(owner: Any, name: str, tensor: Any) -> None:
        nonlocal numbers, tensors
        if tensor is not None:
            numbers, tensors = numbers + tensor.numel(), tensors + 1
        if numbers > most:
            raise _TooManyError(f"far more than its weights: {name} {tuple(tensor.shape)}")
        if tensors > _MOST_TENSORS:
            raise _TooManyError(f"in more than {_MOST_TENSORS:,} tensors")

    hooks = [
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_JSON:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, which is no config")
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return found
