"""`textdae prepare`, of text: a corpus of any size as shards of tokenized text, made by any number of workers.

The stages: cut the source into shards, draw a sample and train the tokenizer, tokenize each shard, write the index. The
result depends on the data and the settings alone; it is the stream that `prepare_text` makes in one process.
"""

import gzip
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from textdae.core.cache import cache_root, digest
from textdae.core.errors import SettingsError
from textdae.core.names import is_remote, public
from textdae.core.split import is_held_out
from textdae.core.stages import Stage
from textdae.core.store import Store
from textdae.text.data.corpus import vocabulary_digest
from textdae.text.data.deduplication import Deduplication
from textdae.text.data.packing import Packer
from textdae.text.data.prepared import DECIDED, FORMAT, INDEX, TOKENIZER, VERSION, load_tokenizer_files
from textdae.text.data.shard_plan import ShardPlan
from textdae.text.data.shards import entry_of, shard_bytes
from textdae.text.data.sources import CUT, Source
from textdae.text.data.tokenizer_sample import Repeatable, bytes_by_hash, is_sampled, share_within
from textdae.text.data.writing import SIDES, write_sides
from textdae.text.settings import TextPrepareSettings
from textdae.text.tokens.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer


class TextPreparation:
    """The stages of preparing a corpus.

    Raises:
        SettingsError: the source cannot be cut into shards, or the output holds something else.
    """

    def __init__(self, settings: TextPrepareSettings) -> None:
        self.settings, self.store = settings, Store(settings.output_dir)
        self.plan = ShardPlan(settings, self.store)

    @property
    def _cache(self) -> Path:
        return cache_root(self.settings.data.cache_dir)

    def as_worker(self) -> "TextPreparation":
        """Use the plan as it was written down, without reading the source again."""
        self.plan.is_worker = True
        return self

    def stages(self) -> list[Stage]:
        """Return the stages of the work."""
        shards, packed = self.plan.shards, self.plan.all_shards
        stages: list[Stage] = self._duplicates.stages(self._stage) if self._duplicates else []
        if not self.settings.tokenizer.from_pretrained and self._is_large:
            stages.append(self._stage("measure", shards, self._measure, "work/measure/{:05d}.json"))
            stages.append(self._stage("sample", shards, self._sample, "work/sample/{:05d}.json.gz"))
        stages.append(self._stage("tokenizer", 1, self._train_tokenizer, f"{TOKENIZER}/done.json"))
        stages.append(self._stage("pack", packed, self._pack, "work/packed/{:05d}.json"))
        stages.append(self._stage("index", 1, self._index, INDEX))
        return stages

    def _stage(self, name: str, tasks: int, do: Any, leaves: str) -> Stage:
        folder, _, file = leaves.rpartition("/")

        def done() -> set[int]:
            names = self.store.names(folder)
            return {task for task in range(tasks) if file.format(task) in names}

        return Stage(name, tasks, do, done)

    @property
    def _is_large(self) -> bool:
        """Whether the tokenizer is trained on a sample of the source only."""
        return (
            self.plan.source.size is None
            or self.plan.source.size > self.settings.tokenizer.max_training_bytes
        )

    @cached_property
    def _duplicates(self) -> Deduplication | None:
        """The near duplicates, if they are to be left out; what is held out in a source of its own stays first."""
        if not self.settings.near_duplicates:
            return None
        order = [*range(self.plan.shards, self.plan.all_shards), *range(self.plan.shards)]
        return Deduplication(self.store, self.settings.near_duplicates, order, self.plan.part)

    def _documents(self, task: int) -> tuple[Source, Iterable[str]]:
        """Return the source of a shard, and its documents without near duplicates."""
        part = self.plan.part(task)
        return part, self._duplicates.kept(task, part) if self._duplicates else part

    def _measure(self, task: int) -> None:
        """Count the bytes of the training documents by hash, from which the share of the sample follows."""
        sizes = bytes_by_hash(self._training_side(task))
        self.store.write(f"work/measure/{task:05d}.json", json.dumps(sizes.tolist()).encode())

    @cached_property
    def _sampled(self) -> float:
        """Share of the documents that the tokenizer is trained on, the same as in one process."""
        most = self.settings.tokenizer.max_training_bytes
        if self.plan.source.is_plain and self.plan.source.size:
            return most / self.plan.source.size
        shards = range(self.plan.shards)
        sizes = [json.loads(self.store.read(f"work/measure/{task:05d}.json") or "[]") for task in shards]
        return share_within(np.sum(sizes, axis=0), most)

    def _sample(self, task: int) -> None:
        share = self._sampled
        texts = [text for text in self._training_side(task) if is_sampled(text, share)]
        self.store.write(
            f"work/sample/{task:05d}.json.gz", gzip.compress(json.dumps(texts).encode(), 1, mtime=0)
        )

    def _training_texts(self, task: int) -> Iterable[str]:
        if self._is_large:
            content = self.store.read(f"work/sample/{task:05d}.json.gz")
            assert content is not None
            return json.loads(gzip.decompress(content))
        return self._training_side(task)

    def _training_side(self, task: int) -> Iterator[str]:
        """Yield the training documents of a shard."""
        return (text for text in self._documents(task)[1] if not is_held_out(text, self.plan.values["share"]))

    def _train_tokenizer(self, task: int) -> None:
        settings = self.settings.tokenizer
        if settings.from_pretrained:
            tokenizer = load_tokenizer(settings.from_pretrained)
        else:
            shards = range(self.plan.shards)
            texts = Repeatable(lambda: chain.from_iterable(map(self._training_texts, shards)))
            tokenizer = train_tokenizer(settings, texts)
        with tempfile.TemporaryDirectory() as temporary:
            save_tokenizer(tokenizer, Path(temporary))
            files = {path.name: path.read_bytes() for path in sorted(Path(temporary).iterdir())}
        for name, content in files.items():
            self.store.write(f"{TOKENIZER}/{name}", content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.store.write(f"{TOKENIZER}/done.json", json.dumps(digests).encode())

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        digests = json.loads(self.store.read(f"{TOKENIZER}/done.json") or "{}")
        return load_tokenizer_files(self.store, digests, self._cache)

    @cached_property
    def _packer(self) -> Packer:
        return Packer(self._tokenizer)

    def _pack(self, task: int) -> None:
        """Tokenize and pack a shard; its counts are written last, as the mark of a finished task."""
        from_other = task >= self.plan.shards
        entries = {}
        with tempfile.TemporaryDirectory(prefix="textdae-shard-") as temporary:
            (part, kept), share = self._documents(task), self.plan.values["share"]
            documents = ((from_other or is_held_out(text, share), text) for text in kept)
            infos = write_sides(Path(temporary), self._packer, documents)
            for side in SIDES:
                if infos[side].documents:
                    file = f"{side}/{task:05d}.safetensors"
                    content = shard_bytes(Path(temporary) / side)
                    self.store.write(file, content)
                    entries[side] = entry_of(file, content, infos[side])
        notes = part.notes
        if self._duplicates and (gone := len(self._duplicates.removed(task))):
            notes = notes + Counter({"near duplicates left out": gone})
        self.store.write(f"work/packed/{task:05d}.json", json.dumps([entries, notes]).encode())

    def _index(self, task: int) -> None:
        sides: dict[str, list[Any]] = {side: [] for side in SIDES}
        notes: Counter[str] = Counter()
        for number in range(self.plan.all_shards):
            entries, own = json.loads(self.store.read(f"work/packed/{number:05d}.json") or "[{}, {}]")
            notes += Counter(own)
            for side, entry in entries.items():
                sides[side].append(entry)
        if not sides["train"]:
            raise SettingsError(
                f"data.source: {self.settings.data.source} holds no text (only blank documents)"
            )
        plan, name = self.plan.values, self.settings.data.source
        fingerprint = digest(plan["source"], "cut") if CUT in notes else plan["source"]
        if self._duplicates:
            fingerprint = digest(fingerprint, "without near duplicates", plan["near_duplicates"])
        index = {
            "format": FORMAT,
            "version": VERSION,
            "name": public(name) if not is_remote(name) else name.rpartition("/")[2],
            "fingerprint": {
                "data.source": fingerprint,
                "data.held_out": plan["held_out"],
                "tokenizer": vocabulary_digest(self._tokenizer),
            },
            "tokenizer": json.loads(self.store.read(f"{TOKENIZER}/done.json") or "{}"),
            "decided": {
                "data": self.settings.data.model_dump(mode="json", include=set(DECIDED)),
                "tokenizer": self.settings.tokenizer.model_dump(mode="json")
                | {"from_pretrained": None},  # which may be a path
            },
            "notes": notes,
            **sides,
        }
        self.store.remove_halves()
        self.store.write(INDEX, json.dumps(index, indent=1).encode())
