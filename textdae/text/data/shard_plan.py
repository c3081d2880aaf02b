"""How `textdae prepare` cuts a source of text into shards; the first process writes it down, the workers read it."""

import json
from functools import cached_property
from itertools import zip_longest
from typing import Any

from textdae.core.cache import cache_root
from textdae.core.errors import SettingsError
from textdae.core.source_files import size_of
from textdae.core.split import check_apart, named_as, other_source, share_for_both_sides
from textdae.core.store import Store
from textdae.text.data.byte_ranges import Span, cut
from textdae.text.data.corpus import vocabulary_digest
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.sources import Source, open_source, part_of
from textdae.text.settings import TextPrepareSettings
from textdae.text.tokens.tokenizer import load_tokenizer


class ShardPlan:
    """The sources of a preparation, and the shards that they are cut into.

    Args:
        store: where the plan is written.

    Attributes:
        is_worker: whether to use the plan as it was written down, without reading the source again.

    Raises:
        SettingsError: the source cannot be cut into shards.
    """

    def __init__(self, settings: TextPrepareSettings, store: Store) -> None:
        data = settings.data
        if data.sources:
            raise SettingsError(
                "prepare: one source at a time; prepare each, and draw from several when training"
            )
        if data.max_bytes:
            raise SettingsError(
                "prepare: data.max_bytes would stop in the middle of the shards; leave it out, or set data.max_bytes=null"
            )
        self.settings, self.store, self.is_worker = settings, store, False

    @cached_property
    def source(self) -> Source:
        """The source to prepare."""
        return self._open(self.settings.data)

    @cached_property
    def other(self) -> Source | None:
        """The source of the held-out side, if it has one of its own."""
        data = other_source(self.settings.data)
        with named_as("held_out"):
            if data is None:
                return None
            return self._open(data)

    @cached_property
    def values(self) -> dict[str, Any]:
        """How the source is cut; the first process writes it down, as `plan.json`.

        Raises:
            SettingsError: the output holds a corpus of another source, or of other settings.
        """
        data, written = self.settings.data, self.store.read("plan.json")
        if written is not None and self.is_worker:
            plan: dict[str, Any] = json.loads(written)
            if differ := next(
                (here for here, there in zip_longest(self._files(), plan["files"]) if here != there), None
            ):
                raise SettingsError(
                    f"data.source: {differ[0]} has changed since the preparation began ({differ[1]} bytes now)"
                )
            return plan
        check_apart(
            data,
            {"train": self.source.fingerprint} | ({"held_out": self.other.fingerprint} if self.other else {}),
        )
        share = 0.0 if self.other else data.held_out
        plan = {
            "files": self._files(),
            "source": self.source.fingerprint,
            "held_out": self.other.fingerprint if self.other else share,
            "tokenizer": self._tokenizer_settings(),
            # As in one process: of few documents one at least is on each side.
            "share": share_for_both_sides(self.source, share),
            "shards": cut(self.source.files, self.source.settings, self.settings.shard_bytes),
            "held_out_shards": cut(self.other.files, self.other.settings, self.settings.shard_bytes)
            if self.other
            else [],
        }
        if self.settings.near_duplicates:
            plan["near_duplicates"] = self.settings.near_duplicates
        content = json.dumps(plan).encode()
        if written not in (None, content):
            raise SettingsError(
                f"output_dir: {self.store} holds a corpus of another source, or of other settings; name another folder"
            )
        if written is None:
            self.store.write("plan.json", content)
        return json.loads(content)

    def _files(self) -> list[list[Any]]:
        """Return the name and size of every file of the source."""
        files = [*self.source.files, *(self.other.files if self.other else [])]
        return [[file.name, size_of(file)] for file in files]

    def _tokenizer_settings(self) -> Any:
        settings = self.settings.tokenizer
        if settings.from_pretrained:
            return vocabulary_digest(load_tokenizer(settings.from_pretrained))
        return settings.model_dump(mode="json")

    @property
    def shards(self) -> int:
        """Number of the shards of the source."""
        return len(self.values["shards"])

    @property
    def all_shards(self) -> int:
        """The same with those of the source of the held-out side, which come behind."""
        return self.shards + len(self.values["held_out_shards"])

    def part(self, task: int) -> Source:
        """Return the source of a shard."""
        if task < self.shards:
            return part_of(self.source, [Span(*span) for span in self.values["shards"][task]])
        assert self.other
        return part_of(
            self.other, [Span(*span) for span in self.values["held_out_shards"][task - self.shards]]
        )

    def _open(self, data: TextDataSettings) -> Source:
        source = open_source(data, cache_root(data.cache_dir), is_hashed=not self.is_worker)
        if not source.files:
            raise SettingsError(
                f"prepare: {data.source} is a dataset on the Hub; name its files: "
                f"data.source='hf://datasets/{data.source}/**/*.parquet'"
            )
        return source
