"""The text corpus: source -> documents -> tokenizer -> packed blocks, each step cached by its content."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from textdae.core.cache import cache_root, cached, digest
from textdae.core.errors import SettingsError
from textdae.core.logs import Caution
from textdae.core.split import (
    check_apart,
    is_held_out,
    named_as,
    other_source,
    share_for_both_sides,
)
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.packed_corpus import TextCorpus, mixed_corpus, packed_corpus
from textdae.text.data.packing import Blocks, Packer
from textdae.text.data.prepared import Prepared, find_prepared
from textdae.text.data.sources import CUT, Source, open_source
from textdae.text.data.tokenizer_sample import Repeatable, TokenizerSample, with_progress
from textdae.text.data.writing import write_sides
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer

_TOKENIZER_VERSION, _PACKED_VERSION = 3, 4


class _Part(NamedTuple):
    """One of the sources, opened."""

    data: TextDataSettings
    source: Source
    other: Source | None
    """Where its held-out side has a source of its own."""
    share: float
    """Of its documents that is held out; 0 where the held-out side has a source of its own."""


def prepare_text(
    data: TextDataSettings,
    tokenizer_settings: TokenizerSettings,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> TextCorpus:
    """Read, tokenize and pack a corpus, or open it from the cache.

    Args:
        tokenizer: overrides the settings; an evaluation passes that of the checkpoint.

    Raises:
        SettingsError: the corpus cannot be read, or is too small for one block on either side.
    """
    root = cache_root(data.cache_dir)
    prepared = [find_prepared(each) for each in data.parts()]
    if any(prepared):
        corpora = _open_prepared(data, prepared, tokenizer, tokenizer_settings)
        return mixed_corpus(corpora, data.sources) if data.sources else corpora[0]
    parts = [_open(each, root) for each in data.parts()]
    _check_distinct(parts)
    weights = [each.weight for each in data.sources] if data.sources else [1.0]
    tokenizer = tokenizer or _tokenizer(parts, weights, tokenizer_settings, root)
    corpora = [_prepare(part, tokenizer, root) for part in parts]
    return mixed_corpus(corpora, data.sources) if data.sources else corpora[0]


def vocabulary_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a short name of all that decides what a tokenizer makes of a text."""
    return hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=12).hexdigest()


def _open_prepared(
    data: TextDataSettings,
    prepared: Sequence[Prepared | None],
    tokenizer: PreTrainedTokenizerFast | None,
    settings: TokenizerSettings,
) -> list[TextCorpus]:
    """Open corpora that were prepared before.

    Raises:
        SettingsError: their tokenizers differ, or the settings name another one.
    """
    corpora: list[TextCorpus] = []
    seen: dict[str, str] = {}
    if settings.from_pretrained and not tokenizer:
        tokenizer = load_tokenizer(settings.from_pretrained)
    for part, each in zip(data.parts(), prepared, strict=True):
        if each is None:
            raise SettingsError(
                f"data.source: {part.source} is not prepared, and others are; prepare it with their tokenizer"
            )
        if part.held_out_source or part.held_out_split:
            raise SettingsError(
                "data.held_out_source: what is held out was chosen by `textdae prepare`; leave it out"
            )
        fingerprint = each.contents["fingerprint"]
        if before := seen.get(fingerprint["data.source"]):
            raise SettingsError(f"data.source: {part.source} holds the same text as {before}; name it once")
        seen[fingerprint["data.source"]] = part.source
        own = tokenizer or each.tokenizer()
        tokenizer = own
        if vocabulary_digest(own) != fingerprint["tokenizer"]:
            raise SettingsError(
                f"data.source: {part.source} was prepared with another tokenizer; prepare it with "
                "tokenizer.from_pretrained=THE CHECKPOINT, or name the text itself"
            )
        sides = each.blocks(_pad_id(own))
        corpora.append(
            packed_corpus(
                own,
                sides["train"],
                sides["held_out"],
                fingerprint,
                each.contents["name"],
                "",
                part,
                Counter(each.contents["notes"]),
            )
        )
    if names := sorted(
        {
            name
            for part, each in zip(data.parts(), prepared, strict=True)
            if each
            for name in _not_used(part, settings, each)
        }
    ):
        corpora[0].summary.append(
            Caution(f"decided by textdae prepare, so not used here: {', '.join(names)}")
        )
    return corpora


def _not_used(data: TextDataSettings, tokenizer: TokenizerSettings, prepared: Prepared) -> Iterator[str]:
    """Yield the settings that are set here to something else than the preparation had."""
    decided = prepared.contents.get("decided", {})
    for section, settings in (("data", data), ("tokenizer", tokenizer)):
        now, fields = settings.model_dump(mode="json"), type(settings).model_fields
        for name, value in decided.get(section, {}).items():
            is_default = now[name] == fields[name].get_default()
            if name != "from_pretrained" and now[name] != value and not is_default:
                yield f"{section}.{name}"


def _open(data: TextDataSettings, root: Path) -> _Part:
    source = open_source(data, root)
    other_data = other_source(data)
    with named_as("held_out"):
        other = open_source(other_data, root) if other_data else None
    check_apart(data, {"train": source.fingerprint} | ({"held_out": other.fingerprint} if other else {}))
    return _Part(data, source, other, 0.0 if other else data.held_out)


def _check_distinct(parts: list[_Part]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        if before := seen.get(part.source.fingerprint):
            raise SettingsError(
                f"data.source: {part.data.source} holds the same text as {before}; name it once"
            )
        seen[part.source.fingerprint] = part.data.source


def _prepare(part: _Part, tokenizer: PreTrainedTokenizerFast, root: Path) -> TextCorpus:
    """Tokenize and pack one source, or open it from the cache."""
    data, source, other, share = part
    vocabulary = vocabulary_digest(tokenizer)
    key = digest(
        "packed", _PACKED_VERSION, source.fingerprint, vocabulary, other.fingerprint if other else share
    )
    folder = cached(
        root / f"text-{key}",
        lambda temporary: _pack(temporary, source, other, share, tokenizer, data.num_proc),
    )

    blocks = [Blocks(folder / side, data.block_size, _pad_id(tokenizer)) for side in ("train", "held_out")]
    notes = Counter(json.loads((folder / "notes.json").read_text()))
    fingerprint = {
        # A run from before very long documents were cut cannot be resumed.
        "data.source": digest(source.fingerprint, "cut") if CUT in notes else source.fingerprint,
        "data.held_out": other.fingerprint if other else share,
        "tokenizer": vocabulary,
    }
    of = f" of {other.name}" if other else ""
    return packed_corpus(
        tokenizer, blocks[0], blocks[1], fingerprint, source.name, of, data, _left_out(source, other) + notes
    )


def _left_out(source: Source, other: Source | None) -> Counter[str]:
    return source.left_out + (other.left_out if other else Counter())


def _pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    assert isinstance(tokenizer.pad_token_id, int)
    return tokenizer.pad_token_id


def _tokenizer(
    parts: list[_Part], weights: list[float], settings: TokenizerSettings, root: Path
) -> PreTrainedTokenizerFast:
    """Train a tokenizer on the training documents, of several sources on a share of each by its weight."""
    if settings.from_pretrained:
        return load_tokenizer(settings.from_pretrained)
    held_out, most = parts[0].share, settings.max_training_bytes
    own: Any = parts[0].source.fingerprint
    if len(parts) > 1:
        own = [[part.source.fingerprint, weight] for part, weight in zip(parts, weights, strict=True)]
    key = digest("tokenizer", _TOKENIZER_VERSION, own, settings.model_dump(), held_out)
    source = parts[0].source
    if source.size is None or (source.size > most and not source.is_plain):
        key = digest(key, "measured")

    def train(folder: Path) -> None:
        samples = [
            TokenizerSample(
                part.source, share_for_both_sides(part.source, held_out), int(most * weight / sum(weights))
            )
            for part, weight in zip(parts, weights, strict=True)
        ]
        texts = Repeatable(lambda: chain.from_iterable(samples))
        save_tokenizer(train_tokenizer(settings, texts), folder)

    return load_tokenizer(str(cached(root / f"tokenizer-{key}", train)))


def _pack(
    folder: Path,
    source: Source,
    other: Source | None,
    share: float,
    tokenizer: PreTrainedTokenizerFast,
    processes: int | None,
) -> None:
    used = share_for_both_sides(source, share)

    def documents() -> Iterator[tuple[bool, str]]:
        for text in with_progress(source, "tokenizing and packing"):
            yield is_held_out(text, used), text
        if other:
            for text in with_progress(other, "tokenizing and packing what is held out"):
                yield True, text

    write_sides(folder, Packer(tokenizer), documents(), processes)
    notes: Counter[str] = source.notes + (other.notes if other else Counter())
    if used != share:
        notes[f"examples put on a side that data.held_out={share:g} left empty"] = 1
    (folder / "notes.json").write_text(json.dumps(notes))
