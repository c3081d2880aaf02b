"""An exported model beside torch: its outputs, its speed on this CPU, its size.

B batch, L positions, C classes.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from textdae.core.errors import TextdaeError, first_line
from textdae.core.exportable import Exportable
from textdae.report.scores import Scores

_MOST = 1e-4
"""Largest difference from torch, where the outputs have a deviation of 1 or less; in proportion where they have more."""

Batch = dict[str, np.ndarray]


def compare(exportable: Exportable, files: list[Path], batches: list[Batch]) -> Scores:
    """Return outputs beside those of torch, speed and size of each; refuse an ONNX model that differs.

    Raises:
        TextdaeError: see there.
    """
    runs: dict[str, Callable[[Batch], np.ndarray]] = {"torch": _torch_run(exportable)}
    megabytes = {"torch": sum(weight.nbytes for weight in exportable.model.parameters()) / 1e6}
    for name, file in zip(("ONNX", "ONNX int8"), files, strict=False):
        parts = [each for each in (file, file.with_name(f"{file.name}.data")) if each.is_file()]
        runs[name], megabytes[name] = _onnx_run(file), sum(each.stat().st_size for each in parts) / 1e6
    compared = {name: _Comparison() for name in runs}
    for run in runs.values():
        run(batches[0])  # the first call allocates
    for batch in batches:
        stock = np.empty(0)
        for name, run in runs.items():  # all take turns
            start = perf_counter()
            output = run(batch)
            compared[name].seconds += perf_counter() - start
            stock = output if name == "torch" else stock
            compared[name].add(stock, output, batch)
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    table: Scores = {
        name: each.row()
        | {f"{exportable.unit}_per_second": count / each.seconds, "megabytes": megabytes[name]}
        for name, each in compared.items()
    }
    difference, most = table["ONNX"]["difference"], _MOST * max(1.0, compared["torch"].deviation)
    if not difference <= most:  # NaN too
        raise TextdaeError(
            f"export: the ONNX model differs from torch by {difference:.2g}, more than {most:.1g}; it is not kept"
        )
    return table


class _Comparison:
    """The outputs of one model beside those of torch, batch by batch.

    Attributes:
        deviation: the largest of a batch of outputs.
    """

    def __init__(self) -> None:
        self.seconds, self.deviation = 0.0, 0.0
        self._apart: list[float] = []
        self._equal: list[np.ndarray] = []
        self._right: list[np.ndarray] = []

    def add(self, stock: np.ndarray, ours: np.ndarray, batch: Batch) -> None:
        """Compare the outputs of a batch: those of tokens but on padding, and their best classes where tokens are hidden."""
        of_text = "input_ids" in batch
        if of_text and stock.ndim == 3:
            real = batch["attention_mask"] == 1
            labels = batch["labels"][real] if "labels" in batch else None
            stock, ours = stock[real], ours[real]
            if labels is not None:
                hidden = labels >= 0
                self._right.append(ours[hidden].argmax(-1) == labels[hidden])
                self._equal.append(ours[hidden].argmax(-1) == stock[hidden].argmax(-1))
        if stock.ndim == 2 and stock.shape[1] > 1 and "labels" not in batch:  # one column: a regression
            self._equal.append(ours.argmax(-1) == stock.argmax(-1))
        self._apart.append(float(np.abs(stock - ours).max()))
        self.deviation = max(self.deviation, float(stock.std()))

    def row(self) -> dict[str, float]:
        """Return `difference`, and `agreement` and `accuracy` where there are classes and known tokens."""
        row = {"difference": float(np.max(self._apart))}  # NaN if one is
        if self._equal:
            row["agreement"] = float(np.concatenate(self._equal).mean())
        if self._right:
            row["accuracy"] = float(np.concatenate(self._right).mean())
        return row


def _torch_run(exportable: Exportable) -> Callable[[Batch], np.ndarray]:
    @torch.inference_mode()
    def run(batch: Batch) -> np.ndarray:
        inputs = {name: torch.from_numpy(batch[name]) for name in exportable.free_axes}
        first: np.ndarray = exportable.model(**inputs)[0].numpy()
        return first

    return run


def _onnx_run(file: Path) -> Callable[[Batch], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(batch: Batch) -> np.ndarray:
        try:
            first: np.ndarray = session.run(None, {name: batch[name] for name in names})[0]
        except Exception as error:  # onnxruntime has no base class of its own
            raise TextdaeError(f"export: the ONNX model does not run: {first_line(error)}") from None
        return first

    return run
