"""`textdae export`: a checkpoint as ONNX, by transformers' own exporter, compared with torch before it is kept.

The int8 model has its weight matrices rounded to 8 bits by ONNX Runtime's dynamic quantization, which needs no examples.
"""

import json
import logging
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from textdae.commands.export_comparison import compare
from textdae.commands.keywords import for_checkpoint
from textdae.commands.run_folder import writing
from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.exportable import Exportable
from textdae.core.layout import EXPORTED, ONNX, ONNX_INT8, ONNX_REPORT
from textdae.core.names import is_local, public
from textdae.core.registry import modality
from textdae.core.settings.runs import EmbedSettings
from textdae.core.settings.yaml_text import read_file
from textdae.hub.locate import digests, modality_of
from textdae.report.scores import Scores

logger = logging.getLogger(__name__)

_EXAMPLES, _BATCH = 128, 16
_ONE_FILE = 1_900_000_000
"""Bytes of weights beyond which they lie in a file of their own: a protobuf holds 2 GiB."""
_KEYS = ("source", "subset", "split", "revision", "text_column")
"""Settings of a run that say where its examples come from."""


@dataclass(frozen=True)
class ExportResult:
    """The ONNX files of a checkpoint, and how they compare with torch.

    Example:
        >>> exported = textdae.export("runs/mine", int8=True)
        >>> exported.table["ONNX int8"]["agreement"]
    """

    folder: Path
    """Holds `model.onnx`, perhaps `model_int8.onnx`, and `export.json`."""
    files: list[Path]
    """The models."""
    table: Scores
    """Row (torch, ONNX, ONNX int8) -> `difference` (the largest, from torch), `agreement` (share of equal answers, of models
    with logits), `accuracy` (of masked tokens), a speed (`texts_per_second`), `megabytes`."""
    examples: str
    """What they were compared on."""


def export(
    checkpoint: str | Path,
    *,
    int8: bool = False,
    source: str | Path | None = None,
    output: str | Path | None = None,
) -> ExportResult:
    """Export a checkpoint to ONNX, and compare it with torch: its outputs and its speed on this CPU.

    Args:
        checkpoint: folder or Hub id of a denoiser or a classifier.
        int8: write a model with weights of 8 bits too.
        source: examples to compare on, as `data.source`; default: those of the run, else examples drawn at random.
        output: folder to write; default: `onnx` beside the checkpoint, where `textdae push` finds it.

    Raises:
        SettingsError: the checkpoint cannot be exported, or a library is missing.
        TextdaeError: the exported model gives other outputs than torch, or cannot be written.

    Example:
        >>> textdae.export("runs/mine", int8=True).table
    """
    checkpoint = str(checkpoint)
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise SettingsError(f"export needs {', '.join(missing)}; run: pip install 'textdae[onnx]'")
    if output is None and not is_local(checkpoint):
        raise SettingsError(
            "export: a checkpoint on the Hub needs a folder to write; say output, e.g. -o exported"
        )
    folder = Path(output).expanduser() if output else Path(checkpoint).expanduser() / Path(ONNX).parent
    folder = folder.resolve()
    _check_output(folder)
    exportable: Exportable = modality(modality_of(checkpoint)).part("exportable")(checkpoint)
    if int8 and not any(isinstance(module, torch.nn.Linear) for module in exportable.model.modules()):
        raise SettingsError(
            "export: --int8 is for models with weight matrices; this one has convolutions, so leave it out"
        )
    examples, what = _examples(checkpoint, source, exportable)
    groups = [examples[at : at + _BATCH] for at in range(0, len(examples), _BATCH)]
    batches = [
        {name: tensor.numpy() for name, tensor in exportable.collate(group).items()} for group in groups
    ]
    half = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        with writing(folder.parent if folder.parent.is_dir() else Path()):
            half.mkdir(parents=True)
            files = [half / Path(ONNX).name]
            _write_onnx(exportable, exportable.collate(groups[0][:2]), files[0])
            if int8:
                files.append(half / Path(ONNX_INT8).name)
                _quantize(*files)
            table = compare(exportable, files, batches)
            report = {"examples": what, "table": table, "weights": digests(checkpoint)}
            (half / Path(ONNX_REPORT).name).write_text(json.dumps(report, indent=1))
            shutil.rmtree(folder, ignore_errors=True)
            half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return ExportResult(folder, [folder / file.name for file in files], table, what)


def _check_output(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier export, which is replaced."""
    ours = {Path(name).name for name in EXPORTED}
    if folder.is_file():
        raise SettingsError(f"export: -o {folder} is a file; name a folder")
    if strange := sorted(each.name for each in folder.glob("*") if each.name not in ours):
        raise SettingsError(
            f"export: -o {folder} holds {strange[0]}, which is no export; name a new folder, e.g. {folder / 'onnx'}"
        )


def _examples(
    checkpoint: str, source: str | Path | None, exportable: Exportable
) -> tuple[Sequence[Any], str]:
    """Return examples to compare on, and what they are, in words."""
    settings = Path(checkpoint).expanduser() / "settings.yaml"
    data: dict[str, Any] = {}
    if source is not None:
        data = {"source": str(source)}
    elif is_local(checkpoint) and settings.is_file():
        of_run: Mapping[str, Any] = read_file(settings).get("data") or {}
        first = (of_run.get("sources") or [{}])[0]  # of several
        data = {
            key: value for key, value in {**of_run, **first}.items() if key in _KEYS and value is not None
        }
    try:
        if data:
            embed = for_checkpoint(EmbedSettings, checkpoint, data=data)
            rows = modality(embed.modality).part("embed")(checkpoint, embed)[1]
            examples = [example for _, example in islice(rows.read(), _EXAMPLES)]
            if len(examples) > 1:
                return examples, f"{len(examples)} {exportable.unit} of {public(data['source'])}"
    except TextdaeError as error:
        if source is not None:
            raise
        logger.info(f"export: the data of the run is not at hand ({first_line(error)})")
    return exportable.draw(_EXAMPLES), f"{_EXAMPLES} {exportable.unit} drawn at random"


def _write_onnx(exportable: Exportable, sample: dict[str, torch.Tensor], file: Path) -> None:
    import onnx_ir
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    inputs = {name: tensor for name, tensor in sample.items() if name in exportable.free_axes}
    free = torch.export.Dim.AUTO
    shapes = {name: dict.fromkeys((0, *exportable.free_axes[name]), free) for name in inputs}
    try:
        with _without_exporter_output():
            exported = OnnxExporter().export(
                exportable.model, inputs, config=OnnxConfig(dynamic_shapes=shapes)
            )
    except Exception as error:  # of torch, onnxscript or transformers: one line each
        raise TextdaeError(
            f"export: {type(exportable.model).__name__} cannot be exported: {first_line(error)}"
        ) from error
    size = sum(weight.nbytes for weight in exportable.model.state_dict().values())
    onnx_ir.save(exported.program, str(file), external_data=f"{file.name}.data" if size > _ONE_FILE else None)


def _quantize(file: Path, to: Path) -> None:
    """Round the weight matrices to 8 bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _without_exporter_output():
        quantize_dynamic(file, to, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)


@contextmanager
def _without_exporter_output() -> Any:
    """Keep what the exporters print and warn of from the screen."""
    from transformers.utils import logging as of_transformers

    level = of_transformers.get_verbosity()
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [each.level for each in loggers]
    try:
        of_transformers.set_verbosity_error()
        for each in loggers:
            each.setLevel(logging.ERROR)
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        of_transformers.set_verbosity(level)
        for each, before in zip(loggers, levels, strict=True):
            each.setLevel(before)
