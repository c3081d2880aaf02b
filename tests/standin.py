"""A stand-in for an Apple GPU: the CPU computes, but float64 and mixed devices are refused as MPS refuses them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

MPS = torch.device("mps")
_TO_CPU = ("cpu", "tolist", "item", "__float__", "__int__", "__bool__", "__index__", "__repr__", "__format__")

_MIXES = ("__getitem__", "__setitem__", "copy_", "_has_compatible_shallow_copy_type")
"""Functions that take tensors of two devices."""


class StandIn(TorchFunctionMode):
    """Knows which tensors lie on the device by a mark on them.

    Attributes:
        calls: how many functions were called with a tensor on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function on the CPU, and mark what comes out of it where its inputs or its target are on the device."""
        name, given = getattr(func, "__name__", ""), (args, kwargs or {})
        here = [leaf for leaf in tree_iter(given) if isinstance(leaf, torch.Tensor)]
        marked = [tensor for tensor in here if on_device(tensor)]
        self.calls += bool(marked)
        if func is torch.device or name == "_parse_to":
            return func(*args, **given[1])
        if func == torch.Tensor.device.__get__:
            return MPS if marked else func(*args)
        targets = [torch.device(leaf) for leaf in tree_iter(given) if _is_device(leaf, name)]
        if name == "to" and len(here) > 1:  # like another tensor
            targets = [MPS if on_device(here[1]) else torch.device("cpu")]
        if name == "numpy" and marked:
            raise TypeError("can't convert mps:0 device type tensor to numpy; use Tensor.cpu() first")
        moves = name in ("to", "cpu") or name == "__set__"
        apart = [tensor for tensor in here if tensor.ndim and not on_device(tensor)]
        if marked and apart and not moves and name not in _MIXES:
            raise RuntimeError(f"{name}: tensors on mps:0 and on the CPU")
        args, kwargs = tree_map(lambda leaf: "cpu" if _is_device(leaf, name) else leaf, given)
        result = func(*args, **kwargs)
        if name == "__set__" and func == torch.Tensor.data.__set__:  # `parameter.data = parameter.to(device)`
            mark(args[0], on_device(args[1]))
            return result
        leaves_device = name in _TO_CPU or (targets and targets[-1].type == "cpu")
        device = bool(targets and targets[-1].type == "mps") or (bool(marked) and not leaves_device)
        if moves and bool(marked) != device:  # a tensor of its own, as a real move makes one
            result = result.clone() if any(result is tensor for tensor in here) else result
        if name.startswith(("empty", "new_empty")):
            # transformers does not recognise the parameters of a fresh head here and leaves them as the memory was.
            result.zero_()
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                if device and tensor.dtype == torch.float64:
                    raise TypeError(f"{name}: the MPS framework doesn't support float64")
                mark(tensor, device)
        return result


def _is_device(leaf: Any, name: str) -> bool:
    return isinstance(leaf, torch.device) or (
        isinstance(leaf, str) and leaf in ("mps", "cpu") and name != "get"
    )


def on_device(tensor: torch.Tensor) -> bool:
    """Whether a tensor lies on the stand-in."""
    return bool(tensor.__dict__.get("_stands_in", False))


def mark(tensor: torch.Tensor, device: bool) -> None:
    """Say where a tensor lies."""
    if device or on_device(tensor):
        tensor.__dict__["_stands_in"] = device


@contextmanager
def stand_in(monkeypatch: Any) -> Iterator[StandIn]:
    """Every choice of a device falls on the stand-in."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: MPS)
    monkeypatch.setattr("accelerate.state.is_mps_available", lambda: True)
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # accelerate sets it; afterwards it is as before
    AcceleratorState._reset_state(True)
    try:
        with StandIn() as mode:
            yield mode
    finally:
        AcceleratorState._reset_state(True)
