"""`textdae embed`: one vector for every example of a source, written as it goes, in memory that does not grow.

Each chunk of examples is a file of its own, so that a stopped run continues after its last chunk. At the end the chunks
become one `.npy` (n, D) or one Parquet file with the columns `row` and `embedding`, and `file` where each row is a file.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from textdae.commands.keywords import for_checkpoint
from textdae.core.errors import SettingsError, TextdaeError, reason
from textdae.core.lock import sole
from textdae.core.logs import cautions, log_summary
from textdae.core.progress import Progress
from textdae.core.registry import modality
from textdae.core.settings.runs import EmbedSettings
from textdae.downstream.encoder import Rows, StockEncoder
from textdae.hub.locate import weights_of

logger = logging.getLogger(__name__)

CHUNK = 4096


@dataclass(frozen=True)
class EmbedResult:
    """The vectors of a source, in a file.

    Example:
        >>> result = textdae.embed("runs/mine", source="texts/", output="vectors.npy")
        >>> result.vectors.shape
    """

    count: int
    """How many there are."""
    width: int
    """Numbers in each, D."""
    output: Path
    """A `.npy` or `.parquet` file."""

    @property
    def vectors(self) -> np.ndarray:
        """The vectors, in the order of the source. *Shape:* (n, D), float32; a `.npy` file is memory-mapped, not read."""
        if self.output.suffix == ".npy":
            mapped: np.ndarray = np.load(self.output, mmap_mode="r")
            return mapped
        import pyarrow.parquet as pq

        column = pq.read_table(self.output, columns=["embedding"])["embedding"].combine_chunks()
        return np.asarray(column.flatten()).reshape(self.count, self.width)


def embed(
    checkpoint: str | Path,
    settings: EmbedSettings | Mapping[str, Any] | Path | str | None = None,
    output: Path | str = "",
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    **sections: Any,
) -> EmbedResult:
    """Embed every example of a source into `output`.

    Args:
        checkpoint: folder or Hub id of an encoder.
        settings: ready ones, a dictionary, or a YAML file.
        output: a `.npy` or `.parquet` file to write.
        source, dataset: what to embed, see `pretrain`; of a `DatasetDict` the split `data={"split": ...}`.
        sections: any other settings (`textdae settings embed`): `normalize=True`.

    Raises:
        SettingsError: the checkpoint, the source or the output cannot be used, or another process writes there.
        TextdaeError: the output could not be written; finished chunks are kept, and the next run continues.

    Example:
        >>> textdae.embed("runs/mine", source="texts/", output="vectors.npy").vectors.shape
    """
    checkpoint, output = str(checkpoint), Path(output).expanduser()
    settings = for_checkpoint(EmbedSettings, checkpoint, settings, source=source, dataset=dataset, **sections)
    if output.suffix not in (".npy", ".parquet"):
        raise SettingsError(f"embed: -o {output} must end in .npy or .parquet")
    if output.is_dir():
        raise SettingsError(f"embed: -o {output} is a folder")
    encoder, rows = modality(settings.modality).part("embed")(checkpoint, settings)
    fingerprint = {"rows": rows.fingerprint, "checkpoint": weights_of(checkpoint), "how": _how(settings)}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with sole(f"embed: -o {output}", output.with_name(f".{output.name}.lock"), "give another -o"):
            count, width = _write(encoder, rows, fingerprint, settings, output)
    except OSError as error:
        raise TextdaeError(f"{output}: cannot be written: {reason(error)}; run it again to go on") from error
    log_summary(logger, cautions(rows.notes() + encoder.notes))
    return EmbedResult(count, width, output)


def _write(
    encoder: StockEncoder,
    rows: Rows,
    fingerprint: dict[str, Any],
    settings: EmbedSettings,
    output: Path,
) -> tuple[int, int]:
    """Write the vectors; return how many there are, and D."""
    parts = output.with_name(f"{output.name}.parts")
    sizes = _resume(parts, fingerprint)
    begin = sum(sizes)
    waiting = islice(rows.read(), begin, None)
    with Progress("embedding", unit="rows", done=begin) as bar:
        while chunk := list(islice(waiting, CHUNK)):
            vectors = embed_chunk(encoder, [example for _, example in chunk], settings.normalize)
            _keep(parts, len(sizes), np.array([row for row, _ in chunk]), vectors)
            sizes.append(len(chunk))
            bar.update(len(chunk))
    if not sizes:
        raise SettingsError(f"data.source: {settings.data.source} holds nothing to embed")
    width = _join(parts, len(sizes), sum(sizes), output, rows.files)
    shutil.rmtree(parts)
    return sum(sizes), width


def embed_chunk(encoder: StockEncoder, examples: list[Any], normalize: bool) -> np.ndarray:
    """Embed some examples at once. *Shape:* (n, D), float32."""
    vectors: np.ndarray = encoder(examples)
    if normalize:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return vectors


def _how(settings: EmbedSettings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"data", "slurm", "shard_bytes"})


def _resume(parts: Path, fingerprint: dict[str, Any]) -> list[int]:
    """Return the sizes of the finished chunks with this fingerprint; chunks with another one are removed."""
    current = json.loads(json.dumps(fingerprint))
    file = parts / "question.json"
    if file.exists() and _read(file) == current:
        sizes: list[int] = []
        while (path := parts / f"{len(sizes):08d}.npz").exists():
            with np.load(path) as chunk:
                sizes.append(len(chunk["row"]))
        if sizes:
            logger.info(f"going on after the first {sum(sizes):,} rows")
        return sizes
    if parts.exists():
        logger.warning(f"{parts}: of other settings or another source; starting anew")
        shutil.rmtree(parts)
    parts.mkdir(parents=True)
    file.write_text(json.dumps(current))
    return []


def _read(file: Path) -> Any:
    """Return the fingerprint of the chunks; None if its file is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(file.read_text())
    return None


def _keep(parts: Path, number: int, rows: np.ndarray, vectors: np.ndarray) -> None:
    """Write a chunk atomically."""
    temporary = parts / ".writing.npz"
    np.savez(temporary, row=rows, embedding=vectors)
    temporary.replace(parts / f"{number:08d}.npz")


def _chunks(parts: Path, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for number in range(count):
        with np.load(parts / f"{number:08d}.npz") as chunk:
            yield chunk["row"], chunk["embedding"]


def _join(parts: Path, count: int, total: int, output: Path, files: list[str] | None) -> int:
    """Join the chunks into one file, with one chunk in memory at a time; return D."""
    temporary = parts / f".whole{output.suffix}"
    width = next(_chunks(parts, count))[1].shape[1]
    if output.suffix == ".npy":
        whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(total, width))
        begin = 0
        for _, vectors in _chunks(parts, count):
            whole[begin : begin + len(vectors)] = vectors
            begin += len(vectors)
        whole.flush()
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [("row", pa.int64()), ("embedding", pa.list_(pa.float32(), width))]
        schema = pa.schema([*fields, *([("file", pa.string())] if files else [])])
        with pq.ParquetWriter(temporary, schema) as writer:
            for rows, vectors in _chunks(parts, count):
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
                columns = [
                    pa.array(rows),
                    column,
                    *([pa.array([files[row] for row in rows])] if files else []),
                ]
                writer.write_table(pa.table(columns, schema=schema))
    temporary.replace(output)
    return width
