"""Check the size of the model that a `config.json` describes, by building it without memory, up to a limit."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from textdae.core.errors import first_line

_SPARE = 16_000_000
"""Parameters that a model may have beyond its weights, for instance a head for other labels."""
_WITHOUT_WEIGHTS = 1_000_000_000
"""Parameters of a model without weights."""
_MOST_TENSORS = 100_000
"""Entries of any list; far more than any model has."""
_MOST_LAYERS = 1_000
"""Each is built before it is counted, at a third of a millisecond."""
_MOST_LABELS = 50_000
"""Classes: ImageNet-21k has 21,841; beyond it reading the names takes minutes."""
_LAYERS = re.compile(r"(^|_)layers?$")


def check_config(config: dict[str, Any], weight_bytes: int | None) -> None:
    """Refuse a config that describes a model far larger than its weights, or lists without end.

    Args:
        weight_bytes: of the weights; None: there are none.

    Raises:
        ValueError: names what is too large.
    """
    _check_lengths(config)
    # Two numbers a byte, as in weights of 4 bits.
    _build(json.dumps(config), 2 * weight_bytes + _SPARE if weight_bytes is not None else _WITHOUT_WEIGHTS)


@lru_cache(maxsize=16)
def _build(text: str, most: int) -> None:
    """Refuse a config that describes a model far larger than its weights, because it would be allocated.

    The model is built on the meta device, up to the limit.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModel

    config = json.loads(text)
    if config.get("model_type") not in CONFIG_MAPPING:
        return  # no library can build it
    for key in (
        "attn_implementation",
        "_attn_implementation",
    ):  # irrelevant here, and may need other libraries
        config.pop(key, None)
    try:
        with torch.device("meta"), _counting(most):
            AutoModel.from_config(
                CONFIG_MAPPING[config["model_type"]].from_dict(config), trust_remote_code=False
            )
    except _TooManyError as error:
        raise ValueError(f"config.json describes a model of more than {most:,} numbers, {error}") from None
    except Exception as error:  # errors of inconsistent sizes
        raise ValueError(f"config.json makes no model: {first_line(error)}") from None


def _check_lengths(values: Any, key: str = "") -> None:
    """Refuse large numbers that become lists or tables, and long lists, at any depth: they are allocated before the count."""
    if isinstance(values, dict | list):
        most = _MOST_LABELS if key in ("id2label", "label2id") else _MOST_TENSORS
        if len(values) > most:
            raise ValueError(f"config.json has {len(values):,} entries in {key or 'it'}, which no model has")
        for inner, value in values.items() if isinstance(values, dict) else ((key, each) for each in values):
            _check_lengths(value, inner)
    elif isinstance(values, int):
        most = _MOST_LABELS if key == "num_labels" else _MOST_LAYERS if _LAYERS.search(key) else values
        if values > most:
            raise ValueError(f"config.json has {key} = {values:,}, which no model has")


class _TooManyError(Exception):
    """The model has more parameters than its weights can hold."""


@contextmanager
def _counting(most: int) -> Iterator[None]:
    """Stop building a model at this number of parameters, or of tensors."""
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
