"""Corrupt plain tensors: number the examples, draw, and take the noise of a call to pieces again.

B batch, ... the shape of one example.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted
from textdae.core.noise_kind import NoiseKind


def content_numbers(contents: Iterable[bytes | memoryview]) -> np.ndarray:
    """Number examples by a hash of their content. *Shape:* (B,), int64."""
    return np.array([xxhash.xxh3_64_intdigest(content) for content in contents], np.uint64).view(np.int64)


def corrupt_examples(
    kind: NoiseKind,
    clean: Any,
    seed: int,
    epoch: Any,
    index: Any,
    progress: float,
    context: Mapping[str, Any],
) -> Corrupted:
    """Do what `NoiseKind.__call__` says; the result lies on the device of the examples.

    Raises:
        SettingsError: these are no examples, or there is not one number for each.
    """
    examples, known, alone = kind.read_examples(clean, **context)
    field = examples[kind.field]
    device, size = field.device, len(field)
    examples = {name: value.cpu() for name, value in examples.items()}
    if index is None:
        index = content_numbers(kind.contents(examples))
    numbers, epochs = _one_each(index, size, "index"), _one_each(epoch, size, "epoch")
    corrupted = kind.build(*known)(examples, Draw(seed, epochs, numbers), progress)
    if alone:
        inputs, target, loss_mask = corrupted
        corrupted = Corrupted({name: value[0] for name, value in inputs.items()}, target[0], loss_mask[0])
    return corrupted if device.type == "cpu" else corrupted.to(device)


def _one_each(values: Any, size: int, name: str) -> Tensor:
    tensor = torch.as_tensor(values)
    if tensor.is_floating_point() or tensor.ndim > 1 or (tensor.ndim and len(tensor) != size):
        raise SettingsError(f"{name}: one whole number for each of {size} examples, got {_shown(tensor)}")
    return tensor.long().cpu().expand(size).contiguous()


def _shown(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
