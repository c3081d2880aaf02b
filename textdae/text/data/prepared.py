"""Open a corpus that `textdae prepare` wrote."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from textdae.core.cache import cache_root, cached, digest
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.names import is_remote
from textdae.core.store import Store
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.reading import SUFFIXES
from textdae.text.data.shard_cache import ShardCache
from textdae.text.data.shards import ShardedBlocks, Shards, as_entry
from textdae.text.data.writing import SIDES
from textdae.text.tokens.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)

FORMAT, VERSION = "textdae.prepared", 1
INDEX, TOKENIZER = "index.json", "tokenizer"
DECIDED = (
    "held_out",
    "subset",
    "split",
    "revision",
    "document",
    "text_column",
    "encoding",
    "errors",
    "max_bytes",
)
"""Settings below `data` that a preparation applies."""


class Prepared(NamedTuple):
    """A prepared corpus, found."""

    store: Store
    contents: dict[str, Any]
    """Of its index."""
    data: TextDataSettings

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Return the tokenizer that it was prepared with."""
        return load_tokenizer_files(self.store, self.contents["tokenizer"], cache_root(self.data.cache_dir))

    def blocks(self, pad_id: int) -> dict[str, ShardedBlocks]:
        """Return the blocks of each side."""
        root = cache_root(self.data.cache_dir)
        entries = {side: [as_entry(values) for values in self.contents[side]] for side in SIDES}
        total = sum(entry.size for side in entries.values() for entry in side)
        key = digest("prepared", [entry.sha256 for side in SIDES for entry in entries[side]])
        cache = ShardCache(self.store, total, root / "shards", self.data.cache_bytes)
        if self.store.is_remote and total > self.data.cache_bytes:
            logger.warning(
                f"data.cache_bytes: {self.store} has {total:,} bytes, of which {self.data.cache_bytes:,} may be kept here; "
                "shards are fetched again and again"
            )
        cache.fetch_ahead([*entries["held_out"], *entries["train"]])
        return {
            side: ShardedBlocks(Shards(of_side, cache), self.data.block_size, pad_id, f"{key}-{side}", root)
            for side, of_side in entries.items()
        }


def find_prepared(data: TextDataSettings) -> Prepared | None:
    """Find what `data.source` names; None where it is no prepared corpus.

    Raises:
        SettingsError: it is one that is not whole, or of another version.
    """
    name = data.source
    if not name or set("*?[") & set(name) or name.lower().endswith(SUFFIXES):
        return None
    if not is_remote(name) and not Path(name).expanduser().is_dir():
        return None
    store = Store(name, "data.source")
    if (content := store.read(INDEX)) is None:
        if store.read("plan.json") is not None:
            raise SettingsError(
                f"data.source: {name} is half prepared; run `textdae prepare output_dir={name} ...` again"
            )
        return None
    try:
        index = json.loads(content)
        is_ours = index.get("format") == FORMAT
    except (ValueError, AttributeError, RecursionError):
        return None
    if not is_ours:
        return None
    if index["version"] != VERSION:
        raise SettingsError(
            f"data.source: {name} was prepared by another version of textdae; prepare it again"
        )
    if not all(index[side] for side in SIDES):
        raise SettingsError(
            f"data.source: {name} holds no document of one side; prepare it with another data.held_out"
        )
    return Prepared(store, index, data)


def load_tokenizer_files(store: Store, digests: dict[str, str], root: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a prepared corpus, proven to be what was written."""

    def fetch(folder: Path) -> None:
        for name, sha256 in digests.items():
            content = store.read(f"{TOKENIZER}/{Path(name).name}")
            if content is None or hashlib.sha256(content).hexdigest() != sha256:
                raise TextdaeError(
                    f"{store}/{TOKENIZER}/{name}: missing or damaged; run `textdae prepare` again"
                )
            (folder / Path(name).name).write_bytes(content)

    if not digests:
        raise TextdaeError(f"{store}/{TOKENIZER}: missing; run `textdae prepare` again")
    return load_tokenizer(str(cached(root / f"tokenizer-{digest('prepared', digests)}", fetch)))
