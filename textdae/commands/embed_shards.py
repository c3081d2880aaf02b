"""`textdae embed --executor`: the vectors of a large source as shards, made by any number of workers.

A shard is a range of the source, so what is written depends on the checkpoint, the data and the settings alone:

    vectors/00000.npy   (n, D) float32, the vectors of a shard, in the order of the source
    index.json          rows, bytes and SHA-256 of each shard; where it begins follows from the counts before it
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from textdae.commands.embed import CHUNK, embed_chunk
from textdae.commands.executors import Job, Work, carry_out
from textdae.core.errors import SettingsError
from textdae.core.logs import cautions
from textdae.core.registry import modality
from textdae.core.settings.runs import EmbedSettings
from textdae.core.settings.yaml_text import to_yaml
from textdae.core.stages import Stage
from textdae.core.store import Store
from textdae.downstream.encoder import Rows, StockEncoder
from textdae.hub.locate import digests
from textdae.training.hardware import one_thread

FORMAT, VERSION, INDEX = "textdae.vectors", 1, "index.json"


def embed_shards(
    checkpoint: str,
    settings: EmbedSettings,
    output: str,
    executor: str = "local",
    workers: int | None = None,
) -> list[str]:
    """Embed every example of a source into shards; what is done already is not done again.

    Args:
        output: folder, here or in an object store.
        executor: `local` (processes of this machine), `slurm` or `ray`.
        workers: how many work at a time; what is written does not depend on it.

    Returns:
        Lines for people.

    Raises:
        SettingsError: the checkpoint, the source or the output cannot be used.
        TextdaeError: a worker failed; what is done is kept.
    """
    arguments = (checkpoint, to_yaml(settings.model_dump(mode="json", exclude_none=True)), output)
    embedding = Embedding(checkpoint, settings, output)
    job = Job(
        embedding.stages(),
        lambda stage: Work(stage, _open_worker, *arguments),
        settings.slurm,
        output,
        f"vectors/*.npy, which {INDEX} names",
    )
    return carry_out(job, executor, workers) + embedding.lines()


def read_vectors(folder: str) -> np.ndarray:
    """Read the shards that `embed_shards` wrote, in the order of the source. *Shape:* (n, D), float32.

    Raises:
        SettingsError: there are none.
        TextdaeError: the store cannot be read.
    """
    store = Store(folder, "vectors")
    index = json.loads(store.read(INDEX) or "{}")
    if index.get("format") != FORMAT:
        raise SettingsError(
            f"{folder}: no {INDEX} of vectors; textdae embed ... -o {folder} --executor local"
        )
    parts = []
    for entry in index["shards"]:
        content = store.read(entry["file"])
        if content is None or hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise SettingsError(f"{folder}/{entry['file']}: missing or damaged; embed it again")
        parts.append(np.load(io.BytesIO(content)))
    return np.concatenate(parts)


def _open_worker(checkpoint: str, settings: str, output: str) -> "Embedding":
    import yaml

    from textdae.core.settings.reader import load

    return Embedding(checkpoint, load(EmbedSettings, base=yaml.safe_load(settings)), output, is_worker=True)


class Embedding:
    """The stages of embedding a source.

    Args:
        is_worker: takes the plan as it was written down, without looking at the source again.

    Raises:
        SettingsError: the source cannot be cut into shards, or the output holds something else.
    """

    def __init__(
        self, checkpoint: str, settings: EmbedSettings, output: str, is_worker: bool = False
    ) -> None:
        self.checkpoint, self.settings, self._is_worker = checkpoint, settings, is_worker
        self.store = Store(output, "embed: -o")

    @cached_property
    def rows(self) -> Rows:
        """The examples, without the encoder."""
        rows: Rows = modality(self.settings.modality).part("rows")(self.settings)
        if rows.cut is None or rows.read_part is None:
            raise SettingsError(
                f"--executor: {self.settings.data.source} is a dataset on the Hub; name its files: "
                "hf://datasets/OWNER/NAME/**/*.parquet"
            )
        return rows

    @cached_property
    def encoder(self) -> StockEncoder:
        """The encoder of the checkpoint, on one core."""
        encoder: StockEncoder = modality(self.settings.modality).part("embed")(
            self.checkpoint, self.settings
        )[0]
        return encoder

    @cached_property
    def plan(self) -> dict[str, Any]:
        """How the source is cut, written down by whoever comes first.

        Raises:
            SettingsError: the output holds vectors of another source or checkpoint, or of other settings.
        """
        found = self.store.read("plan.json")
        if found is not None and self._is_worker:
            return dict(json.loads(found))
        how = self.settings.model_dump(mode="json", exclude={"data", "slurm"})
        assert self.rows.cut
        plan = {
            "rows": self.rows.fingerprint,
            "checkpoint": digests(self.checkpoint),
            "how": how,
            "shards": self.rows.cut(self.settings.shard_bytes),
        }
        content = json.dumps(plan).encode()
        if found is None:
            self.store.write("plan.json", content)
        elif found != content:
            raise SettingsError(
                f"embed: -o {self.store} holds vectors of another source or checkpoint, or of other settings; name another folder"
            )
        return dict(json.loads(content))

    def stages(self) -> list[Stage]:
        """Return what there is to do."""
        shards = len(self.plan["shards"])

        def embedded() -> set[int]:
            names = self.store.names("work")
            return {task for task in range(shards) if f"{task:05d}.json" in names}

        def indexed() -> set[int]:
            return {0} if self.store.read(INDEX) is not None else set()

        return [Stage("embed", shards, self._embed, embedded), Stage("index", 1, self._index, indexed)]

    def _embed(self, task: int) -> None:
        """Embed a shard; its counts are written last, and say that it is done."""
        with one_thread():  # the sums of a matrix product depend on how it is divided among threads
            notes = Counter(self.encoder.notes)
            vectors = np.concatenate(list(self._vectors(task)) or [np.zeros((0, 0), np.float32)])
        file, content = f"vectors/{task:05d}.npy", io.BytesIO()
        np.save(content, vectors)
        if len(vectors):
            self.store.write(file, content.getvalue())
        entry = {
            "file": file,
            "rows": len(vectors),
            "width": vectors.shape[1],
            "bytes": len(content.getvalue()),
            "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
            "notes": self.encoder.notes - notes,
        }
        self.store.write(f"work/{task:05d}.json", json.dumps(entry).encode())

    def _vectors(self, task: int) -> Iterator[np.ndarray]:
        assert self.rows.read_part
        waiting = iter(self.rows.read_part(self.plan["shards"][task]))
        while chunk := list(islice(waiting, CHUNK)):
            yield embed_chunk(self.encoder, chunk, self.settings.normalize)

    def _index(self, task: int) -> None:
        names = range(len(self.plan["shards"]))
        entries = [json.loads(self.store.read(f"work/{number:05d}.json") or "{}") for number in names]
        notes: Counter[str] = sum((Counter(entry.pop("notes")) for entry in entries), Counter())
        shards = [entry for entry in entries if entry["rows"]]
        if not shards:
            raise SettingsError(f"data.source: {self.settings.data.source} holds nothing to embed")
        index = {
            "format": FORMAT,
            "version": VERSION,
            "rows": sum(entry["rows"] for entry in shards),
            "width": shards[0]["width"],
            "shards": shards,
            "notes": notes,
        }
        self.store.remove_halves()
        self.store.write(INDEX, json.dumps(index, indent=1).encode())

    def lines(self) -> list[str]:
        """Describe what was written, for people; nothing where it is not whole yet."""
        if (content := self.store.read(INDEX)) is None:
            return []
        index = json.loads(content)
        line = f"{self.store}: {index['rows']:,} vectors of {index['width']} numbers in {len(index['shards'])} shards"
        return [line, *map(str, cautions(Counter(index["notes"])))]
