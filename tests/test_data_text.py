"""The text corpus as a whole: split by content, prepared once, and refused in one line where it cannot be used."""

import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import make_texts

from textdae.core.cache import cache_root, cached, digest
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.split import is_held_out, share_for_both_sides
from textdae.text.data import corpus as text
from textdae.text.data import sources
from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.sources import open_source
from textdae.text.data.tokenizer_sample import TokenizerSample
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.vocabulary import vocabulary_of

TOKENIZER = TokenizerSettings(vocab_size=300)


@pytest.fixture
def corpus(tmp_path, corpus_texts) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps({"text": t}) for t in corpus_texts[:150]))
    return path


def settings(path: Path, **data) -> TextDataSettings:
    return TextDataSettings(**{"source": str(path), "block_size": 32, "held_out": 0.2, **data})


def documents(blocks, tokenizer) -> list[str]:
    """The documents of a stream, decoded."""
    found: list[list[int]] = []
    for token in blocks.ids.tolist():
        if token == tokenizer.cls_token_id:
            found.append([])
        elif token != tokenizer.sep_token_id:
            found[-1].append(token)
    return [tokenizer.decode(ids) for ids in found]


# Held out


@pytest.mark.parametrize("share", [0.02, 0.05, 0.3, 0.9])
def test_about_the_right_share_is_held_out(share):
    held = sum(is_held_out(f"document {n}", share) for n in range(20_000))
    assert abs(held - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5


def test_a_copy_is_held_out_with_its_original_and_white_space_around_it_does_not_matter():
    for content in make_texts(200, seed=1):
        sides = {is_held_out(copy, 0.5) for copy in (content, f" {content}\n", "".join(list(content)))}
        assert len(sides) == 1


def test_a_larger_share_only_adds():
    texts = make_texts(300, seed=1)
    small, large = ({t for t in texts if is_held_out(t, share)} for share in (0.1, 0.4))
    assert small < large


def test_no_document_stands_on_both_sides_and_none_is_missing(tmp_path, corpus_texts):
    path = tmp_path / "twice.jsonl"
    texts = corpus_texts[:100] * 2
    path.write_text("\n".join(json.dumps({"text": t}) for t in texts))
    corpus = prepare_text(settings(path), TOKENIZER)
    train, held_out = (documents(blocks, corpus.tokenizer) for blocks in (corpus.train, corpus.held_out))
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == 200
    assert len(held_out) == sum(is_held_out(t, 0.2) for t in texts)
    assert min(train.count(document) for document in train) == 2


# Prepared once


def test_a_second_run_reads_nothing_again(corpus, monkeypatch):
    first = prepare_text(settings(corpus), TOKENIZER)
    monkeypatch.setattr(text, "_pack", None)
    monkeypatch.setattr(text, "train_tokenizer", None)
    second = prepare_text(settings(corpus), TOKENIZER)
    assert second.fingerprint == first.fingerprint
    assert second.summary == first.summary
    assert (second.train.ids == first.train.ids).all()
    other = prepare_text(settings(corpus, block_size=64), TOKENIZER)  # the stream is cut anew, not made anew
    assert other.fingerprint != first.fingerprint
    assert (other.train.ids == first.train.ids).all()


@pytest.mark.parametrize("change", ["content", "held_out", "vocab_size", "errors"])
def test_whatever_changes_the_stream_makes_another(corpus, change):
    first = prepare_text(settings(corpus), TOKENIZER)
    data, tokenizer = settings(corpus), TOKENIZER
    if change == "content":
        corpus.write_text(corpus.read_text() + '\n{"text": "one more"}')
    elif change == "vocab_size":
        tokenizer = TokenizerSettings(vocab_size=200)
    else:
        data = settings(corpus, **{change: {"held_out": 0.3, "errors": "skip"}[change]})
    assert prepare_text(data, tokenizer).fingerprint != first.fingerprint


def test_the_tokenizer_is_trained_on_the_training_side_only(corpus, corpus_texts):
    training = [t for t in corpus_texts[:150] if not is_held_out(t, 0.2)]
    alone = text.train_tokenizer(TOKENIZER, training)
    assert prepare_text(settings(corpus), TOKENIZER).tokenizer.get_vocab() == alone.get_vocab()
    assert text.train_tokenizer(TOKENIZER, corpus_texts[:150]).get_vocab() != alone.get_vocab()


def test_a_given_tokenizer_is_used_and_none_is_trained(corpus, bpe, monkeypatch):
    monkeypatch.setattr(text, "train_tokenizer", None)
    prepared = prepare_text(settings(corpus), TOKENIZER, bpe)
    assert prepared.tokenizer is bpe
    assert prepared.train.ids.max() < vocabulary_of(bpe).size


def test_a_saved_tokenizer_is_loaded_where_the_settings_name_one(corpus, unigram, tmp_path):
    unigram.save_pretrained(tmp_path / "saved")
    prepared = prepare_text(settings(corpus), TokenizerSettings(from_pretrained=str(tmp_path / "saved")))
    assert prepared.tokenizer.get_vocab() == unigram.get_vocab()


def test_what_was_read_and_left_out_is_told(tmp_path, corpus_texts):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\n".join([*(t.encode() for t in corpus_texts[:100]), b"bad \xff"]))
    prepared = prepare_text(settings(path, errors="skip"), TOKENIZER)
    told = "\n".join(prepared.summary)
    assert f"{prepared.train.info.documents} documents" in told
    assert f"{prepared.train.padding + prepared.held_out.padding} positions" in told
    assert "documents skipped, not decodable: 1" in told
    assert prepared.train.info.documents + prepared.held_out.info.documents == 100


class Listed:
    """A source of known texts."""

    def __init__(self, texts: list[str], size: int | None, is_plain: bool = True) -> None:
        self.texts, self.size, self.is_plain = texts, size, is_plain

    def __iter__(self):
        return iter(self.texts)


def test_a_large_corpus_is_thinned_out_evenly_for_the_tokenizer():
    texts = [f"{n:05} {'x' * 94}" for n in range(8000)]
    sample = list(TokenizerSample(Listed(texts, 800_000), 0.1, 200_000))
    assert abs(len(sample) - 8000 * 0.9 / 4) < 5 * (8000 * 0.9 * 3 / 16) ** 0.5
    assert not any(is_held_out(t, 0.1) for t in sample)
    quarters = [sum(int(t[:5]) // 2000 == q for t in sample) for q in range(4)]
    assert all(abs(q - 450) < 5 * (450 * 3 / 4) ** 0.5 for q in quarters)
    assert len(list(TokenizerSample(Listed(texts, 800_000), 0.1, 10**9))) == sum(
        not is_held_out(t, 0.1) for t in texts
    )


@pytest.mark.parametrize(("size", "is_plain"), [(None, False), (10**7, False)])
def test_a_corpus_whose_text_nobody_knows_the_size_of_is_thinned_out_evenly_too(size, is_plain):
    texts = [f"{n:05} {'x' * (44 if n % 2 else 144)}" for n in range(4000)]
    sample = list(TokenizerSample(Listed(texts, size, is_plain), 0.1, 100_000))
    assert 95_000 < sum(map(len, sample)) <= 100_000
    assert not any(is_held_out(t, 0.1) for t in sample)
    quarters = [sum(int(t[:5]) // 1000 == q for t in sample) for q in range(4)]
    assert all(abs(q - 250) < 5 * (250 * 3 / 4) ** 0.5 for q in quarters)


def test_the_cap_of_the_tokenizer_is_text_and_not_what_it_is_packed_to(tmp_path):
    """The later half of a packed file has words of its own, which a head would not have shown."""
    texts = [f"{'later' if n >= 1000 else 'early'} word{n % 10} stands here" for n in range(2000)]
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\n\n".join(texts).encode()))
    assert path.stat().st_size < 20_000
    tokenizer = TokenizerSettings(vocab_size=200, max_training_bytes=10_000)
    assert {"early", "later"} <= prepare_text(settings(path), tokenizer).tokenizer.get_vocab().keys()
    found = open_source(settings(path), tmp_path / "cache")
    assert 9_000 < sum(map(len, TokenizerSample(found, 0.1, 10_000))) <= 10_000


# Sides that would be empty


@pytest.mark.parametrize("share", [1e-9, 0.05, 0.95, 1 - 1e-9])
def test_of_few_documents_one_at_least_is_on_each_side(tmp_path, share):
    texts = [f"the old words and {name} stand here " * 12 for name in ("ash", "elm", "oak", "fir", "yew")]
    for number, content in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(content)
    corpus = prepare_text(settings(tmp_path, held_out=share, document="file", block_size=8), TOKENIZER)
    sides = [corpus.train.info.documents, corpus.held_out.info.documents]
    assert min(sides) >= 1
    assert sum(sides) == 5
    assert sides == ([4, 1] if share == 1e-9 else [1, 4] if share == 1 - 1e-9 else sides)
    if share in (1e-9, 1 - 1e-9):
        assert f"examples put on a side that data.held_out={share:g} left empty: 1" in corpus.summary


def test_a_share_that_leaves_both_sides_something_stays_and_little_is_read_for_it():
    read = []
    texts = (read.append(n) or f"text {n}" for n in range(10_000))
    assert share_for_both_sides(texts, 0.1) == 0.1
    assert len(read) < 200
    assert share_for_both_sides(["a", "a "], 0.1) == 0.1
    assert share_for_both_sides([], 0.1) == 0.1
    assert share_for_both_sides(["a", "b"], 0.0) == 0.0


# Documents without an end


def test_a_line_without_an_end_is_cut_at_white_space_and_said(tmp_path, corpus_texts, monkeypatch):
    monkeypatch.setattr(sources, "_MOST_CHARACTERS", 2000)
    path, line = tmp_path / "a.txt", " ".join(corpus_texts)
    path.write_text(line)
    corpus = prepare_text(settings(path, held_out=0.2), TOKENIZER)
    documents = corpus.train.info.documents + corpus.held_out.info.documents
    assert len(line) / 2000 < documents < len(line) / 1000
    assert corpus.train.info.bytes + corpus.held_out.info.bytes == len(line.encode())
    assert any(note.endswith("cut into several at white space: 1") for note in corpus.summary)
    assert list(open_source(settings(path), tmp_path / "cache").texts()) == [line]  # rows stay rows
    # A run from before such documents were cut is not gone on with; any other is.
    assert corpus.fingerprint["data.source"] != open_source(settings(path), tmp_path / "cache").fingerprint
    path.write_text("\n\n".join(corpus_texts))
    short = prepare_text(settings(path), TOKENIZER)
    assert short.fingerprint["data.source"] == open_source(settings(path), tmp_path / "cache").fingerprint


def test_words_without_an_end_are_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join("x" * 4000 + str(number) for number in range(9)))
    with pytest.raises(
        SettingsError, match=r"a token stands for .* bytes, as words without end .*=bpe reads them"
    ):
        prepare_text(settings(path, held_out=0.3, block_size=64), TOKENIZER)
    prepare_text(
        settings(path, held_out=0.3, block_size=64), TokenizerSettings(algorithm="bpe", vocab_size=300)
    )


# What cannot be used


@pytest.mark.parametrize(
    ("content", "data", "says"),
    [
        ("one two three", {"held_out": 0.0001}, r"too small for one block: \d+ training tokens, data.block_size is 32"),
        (" \n\n \t\n", {}, "holds no text|no words to train on"),
        ("\n\n".join(["the same words " * 9] * 60), {"held_out": 1e-9}, "the 60 documents are all the same, so none can be held out"),
    ],
)  # fmt: skip
def test_a_corpus_that_cannot_be_used_is_refused_in_one_line(tmp_path, content, data, says):
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(SettingsError, match=says) as caught:
        prepare_text(settings(path, **data), TOKENIZER)
    assert "\n" not in str(caught.value)


def test_a_fault_in_the_corpus_leaves_nothing_half_made(tmp_path, corpus_texts):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps({"text": corpus_texts[0]}), "{"]))
    with pytest.raises(SettingsError, match="line 2: not JSON"):
        prepare_text(settings(path), TOKENIZER)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


# The cache folder


def test_the_cache_is_where_the_setting_or_the_environment_says(tmp_path, monkeypatch):
    assert cache_root(Path("~/x")) == Path.home() / "x"
    assert cache_root(None) == tmp_path / "cache"
    monkeypatch.delenv("TEXTDAE_CACHE")
    assert cache_root(None) == Path.home() / ".cache" / "textdae"


def test_a_name_follows_the_content_and_not_the_order_of_keys():
    assert digest({"a": 1, "b": [2]}, None) == digest({"b": [2], "a": 1}, None)
    assert len({digest(), digest(1), digest("1"), digest(1, 2), digest([1, 2]), digest({"a": 1})}) == 6


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def fill(folder: Path) -> None:
    (folder / "data").write_text("whole")


def test_a_folder_is_made_once(tmp_path):
    made = [cached(tmp_path / "a" / "b", fill) for _ in range(2)]
    assert made == [tmp_path / "a" / "b"] * 2
    assert cached(made[0], None) == made[0]
    assert names_in(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt()], ids=repr)
def test_a_folder_whose_making_fails_is_not_there(tmp_path, error):
    def make(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(type(error)):
        cached(tmp_path / "root" / "b", make)
    assert names_in(tmp_path / "root") == []


def test_a_full_disk_is_answered_in_one_line(tmp_path):
    def make(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(
        TextdaeError, match="cannot write prepared data: No space left on device; free some space"
    ) as caught:
        cached(tmp_path / "root" / "b", make)
    assert not isinstance(caught.value, SettingsError)
    assert names_in(tmp_path / "root") == []


def test_of_two_processes_the_first_to_finish_wins(tmp_path):
    def make(folder: Path) -> None:  # as on a disk without locks
        fill(folder)
        others = cached(
            tmp_path / "elsewhere" / "b", lambda other: (other / "data").write_text("the other's")
        )
        shutil.copytree(others, tmp_path / "b")
        shutil.rmtree(tmp_path / "elsewhere")

    assert (cached(tmp_path / "b", make) / "data").read_text() == "the other's"
    assert names_in(tmp_path) == ["b"]
