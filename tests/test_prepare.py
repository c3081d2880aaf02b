"""`textdae prepare`: the same bytes whoever makes them and however often that is interrupted; the blocks of one process."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from textdae.commands.executors import LocalExecutor
from textdae.commands.prepare import prepare, read_prepare_settings
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.store import Store
from textdae.text.data.byte_ranges import cut
from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.preparing import TextPreparation
from textdae.text.data.questions import WordQuestions
from textdae.text.data.shard_cache import ShardCache
from textdae.text.data.sources import open_source, part_of
from textdae.text.model_settings import TokenizerSettings
from textdae.text.settings import TextPrepareSettings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A corpus of every kind of file that is cut, and one that is not."""
    from conftest import make_texts

    folder, texts = tmp_path_factory.mktemp("corpus"), make_texts(200, seed=3)
    (folder / "a.txt").write_text("\n\n".join(texts[:50]) + "\n\n\nEnd é\r\n\r\nof all")
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[50:100]))
    (folder / "c.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in texts[100:130]))
    pq.write_table(pa.table({"text": texts[130:]}), folder / "d.parquet", row_group_size=20)
    return folder


def settings(files, output, **data) -> TextPrepareSettings:
    base = {"data": {"source": str(files), "held_out": 0.1, **data}, "output_dir": str(output), "shard_bytes": 3000, "tokenizer": {"vocab_size": 300}}  # fmt: skip
    return load(TextPrepareSettings, base=base)


def bytes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all that training reads."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    kept = [name for name in names if not name.startswith("work/")]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(kept)}


@pytest.fixture(scope="module")
def prepared(files, tmp_path_factory):
    """The corpus as one worker prepares it."""
    folder = tmp_path_factory.mktemp("prepared") / "one"
    os.environ["TEXTDAE_CACHE"] = str(folder.parent / "cache")
    prepare(settings(files, folder), workers=1)
    return folder


@pytest.mark.parametrize("document", ["auto", "line"])
@pytest.mark.parametrize("most", [200, 3000, 10**9])
def test_the_shards_together_are_the_source(files, most, document):
    data = TextDataSettings(source=str(files), document=document)
    source = open_source(data, files.parent / "cache")
    shards = cut(source.files, data, most)
    assert (len(shards) > 30, len(shards) > 1) == (most == 200, most < 10**9)
    assert [text for shard in shards for text in part_of(source, shard)] == list(source)


@pytest.mark.parametrize("workers", [2, pytest.param(7, marks=pytest.mark.slow)])
def test_several_workers_write_the_same_bytes(files, prepared, tmp_path, workers):
    prepare(settings(files, tmp_path / "p"), workers=workers)
    assert bytes_of(tmp_path / "p") == bytes_of(prepared)


def test_what_is_done_is_left_out_and_what_is_missing_is_made_again(files, prepared, tmp_path):
    once, output = settings(files, tmp_path / "p"), tmp_path / "p"
    preparation = TextPreparation(once)
    for stage in preparation.stages():
        if stage.name == "pack":  # it is interrupted within
            for task in range(0, stage.tasks, 3):
                stage.do(task)
            break
        stage.share(0, 1)
    before = {path: path.stat().st_mtime_ns for path in (output / "train").iterdir()}
    assert prepare(once, workers=1).lines[0].startswith(f"{output}: ")
    assert bytes_of(output) == bytes_of(prepared)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert "all tasks were done before" in prepare(once, workers=1).lines[0]


def test_a_sample_for_the_tokenizer_is_that_of_one_process(files, tmp_path, monkeypatch):
    for most in (5000,):
        once = settings(files, tmp_path / str(most))
        once = once.model_copy(
            update={"tokenizer": TokenizerSettings(vocab_size=300, max_training_bytes=most)}
        )
        prepare(once, workers=1)
        found = prepare_text(TextDataSettings(source=once.output_dir), TokenizerSettings())
        expected = prepare_text(once.data, once.tokenizer)
        assert found.fingerprint == expected.fingerprint


@pytest.mark.parametrize("block_size", [16, 128])
def test_training_sees_the_blocks_and_the_questions_of_one_process(files, prepared, block_size):
    found = prepare_text(TextDataSettings(source=str(prepared), block_size=block_size), TokenizerSettings())
    data = TextDataSettings(source=str(files), held_out=0.1, block_size=block_size)
    expected = prepare_text(data, TokenizerSettings(vocab_size=300))
    assert found.fingerprint == expected.fingerprint
    for side in ("train", "held_out"):
        one, other = getattr(found, side), getattr(expected, side)
        assert len(one.shards.entries) > 3
        assert one.info == other.info
        everything = torch.randperm(len(other), generator=torch.Generator().manual_seed(0))
        for name, values in other.batch(everything).items():
            assert torch.equal(one.batch(everything)[name], values), (side, name)
    for name in found.held_out.words._fields:
        assert np.array_equal(getattr(found.held_out.words, name), getattr(expected.held_out.words, name)), (
            name
        )
    assert len(WordQuestions(found.held_out, 0.2, 50, [])) == len(
        WordQuestions(expected.held_out, 0.2, 50, [])
    )


def _killed(settings_of, rank):
    preparation = TextPreparation(settings_of).as_worker()
    (stage,) = (each for each in preparation.stages() if each.name == "pack")
    stage.share(rank, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_workers_that_are_killed_leave_nothing_that_is_wrong(files, prepared, tmp_path, seed):
    import random

    chance, once = random.Random(seed), settings(files, tmp_path / "p")
    for stage in TextPreparation(once).stages():
        if stage.name == "pack":
            break
        stage.share(0, 1)
    for _ in range(4):
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_killed, args=(once, rank)) for rank in range(2)]
        for worker in workers:
            worker.start()
        time.sleep(chance.uniform(0.02, 0.4))
        for worker in workers:
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGKILL)
            worker.join()
    prepare(once, workers=2)
    assert bytes_of(tmp_path / "p") == bytes_of(prepared)


def _die(rank, world):
    if rank:
        os._exit(1)
    return 0


def test_a_worker_that_dies_is_named(files, tmp_path):
    once = settings(files, tmp_path / "p")
    stages = TextPreparation(once).stages()

    (pack,) = (stage for stage in stages if stage.name == "pack")
    with pytest.raises(TextdaeError, match="pack: a worker died"):
        LocalExecutor(2).run(pack, _die)


def test_a_store_of_objects_holds_the_same_bytes_and_is_trained_from(files, prepared, monkeypatch):
    fs = fsspec.filesystem("memory")
    prepare(settings(files, "memory://bucket/p"), workers=1)
    try:
        expected = bytes_of(prepared)
        assert {
            name: hashlib.sha256(fs.cat(f"/bucket/p/{name}")).hexdigest() for name in expected
        } == expected
        here = prepare_text(TextDataSettings(source=str(prepared)), TokenizerSettings())
        data = TextDataSettings(source="memory://bucket/p")
        everything = torch.randperm(len(here.train))
        there = prepare_text(data, TokenizerSettings())
        assert there.fingerprint == here.fingerprint
        assert torch.equal(
            there.train.batch(everything)["input_ids"], here.train.batch(everything)["input_ids"]
        )
        # In a cache that holds three shards at most.
        most = 3 * max(entry.size for entry in here.train.shards.entries)
        tight = prepare_text(data.model_copy(update={"cache_bytes": most}), TokenizerSettings())
        assert torch.equal(
            tight.train.batch(everything)["input_ids"], here.train.batch(everything)["input_ids"]
        )
        folder = Path(os.environ["TEXTDAE_CACHE"]) / "shards"
        assert sum(path.stat().st_size for path in folder.iterdir()) <= most
        assert len(tight.train.shards._opened) <= 4
    finally:
        fs.store.clear()
        fs.pseudo_dirs[:] = [""]


def test_a_download_that_is_damaged_is_repeated(tmp_path):
    (tmp_path / "store").mkdir()
    content = b"of a shard" * 1000
    store = Store("memory://damaged")
    store.write("a", content)
    cache = ShardCache(store, 0, tmp_path / "cache", 10**6)
    answers = [content[:-1] + b"?", content]
    opened = store._fs.open

    def damaged(path, mode="rb", **more):
        import io

        return io.BytesIO(answers.pop(0)) if answers else opened(path, mode, **more)

    store._fs.open = damaged
    try:
        path = cache.path("a", len(content), hashlib.sha256(content).hexdigest())
        assert path.read_bytes() == content
        with pytest.raises(TextdaeError, match="damaged, 3 times"):
            cache.path("a", len(content), hashlib.sha256(b"other").hexdigest())
        with pytest.raises(SettingsError, match=r"data\.cache_bytes"):
            ShardCache(store, 0, tmp_path / "cache", 10).path("a", len(content), "0")
    finally:
        del store._fs.open
        store._fs.store.clear()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": [{"source": "a"}, {"source": "b"}]}, "one source at a time"),
        ({"max_bytes": 100}, "leave it out"),
        ({"held_out": 0.2}, "holds a corpus of another source, or of other settings"),
    ],
)
def test_what_cannot_be_prepared_is_refused(files, prepared, change, says):
    with pytest.raises(SettingsError, match=says):
        prepare(settings(files, prepared, **change))


def test_a_prepared_corpus_that_is_damaged_or_half_done_is_refused(files, prepared, tmp_path):
    import shutil

    folder = tmp_path / "p"
    shutil.copytree(prepared, folder)
    shard = sorted((folder / "train").iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    corpus = TextDataSettings(source=str(folder))
    with pytest.raises(SettingsError, match="is damaged"):
        prepare_text(corpus, TokenizerSettings()).train.batch([0])
    shard.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        prepare_text(corpus, TokenizerSettings()).train.batch([0])
    (folder / "index.json").unlink()
    with pytest.raises(SettingsError, match="half prepared"):
        prepare_text(corpus, TokenizerSettings())


def test_another_tokenizer_is_refused(prepared, bpe):
    with pytest.raises(SettingsError, match="prepared with another tokenizer"):
        prepare_text(TextDataSettings(source=str(prepared)), TokenizerSettings(), bpe)


def test_settings_of_pretraining_give_data_and_tokenizer(files, prepared, tmp_path):
    """One file serves both commands; what the preparation has decided is named where another value is set."""
    file = tmp_path / "run.yaml"
    of_both = settings(files, tmp_path / "p").model_dump(
        mode="json", include={"data", "tokenizer"}, exclude_unset=True
    )
    file.write_text(yaml.safe_dump({**of_both, "output_dir": "runs/mine", "train": {"max_steps": 3}}))
    result = prepare(file, output_dir=tmp_path / "p", shard_bytes=3000, workers=1)
    assert result.output_dir == str(tmp_path / "p")
    assert bytes_of(tmp_path / "p") == bytes_of(prepared)
    data = TextDataSettings(source=result.output_dir, max_bytes=1000, text_column="nope", held_out=0.1)
    corpus = prepare_text(
        data, TokenizerSettings(algorithm="bpe", vocab_size=300)
    )  # .1 and 300 are those of the preparation
    line = (
        "decided by textdae prepare, so not used here: data.max_bytes, data.text_column, tokenizer.algorithm"
    )
    assert corpus.summary[-1] == line
    as_prepared = TextDataSettings(source=result.output_dir)
    assert not any("decided" in line for line in prepare_text(as_prepared, TokenizerSettings()).summary)


def test_of_several_prepared_sources_each_says_what_it_had_decided(files, prepared, tmp_path):
    lines = settings(files, tmp_path / "lines", document="line")
    lines = lines.model_copy(
        update={
            "tokenizer": lines.tokenizer.model_copy(update={"from_pretrained": str(prepared / "tokenizer")})
        }
    )
    prepare(lines, workers=1)
    sources = [
        {"source": str(prepared), "name": "a", "document": "line"},
        {"source": str(tmp_path / "lines"), "document": "line"},
    ]
    summary = prepare_text(TextDataSettings(source=sources), TokenizerSettings()).summary
    assert "decided by textdae prepare, so not used here: data.document" in summary  # of the first one
    twice = [{"source": str(prepared)}, {"source": str(prepared), "name": "again"}]
    with pytest.raises(SettingsError, match=r"holds the same text as .*; name it once"):
        prepare_text(TextDataSettings(source=twice), TokenizerSettings())
    del sources[0]["document"]
    whole = prepare_text(TextDataSettings(source=sources), TokenizerSettings()).fingerprint
    index = json.loads((tmp_path / "lines/index.json").read_text())
    index["fingerprint"]["data.held_out"] = 0.5  # as if it had been prepared again with another share
    (tmp_path / "lines/index.json").write_text(json.dumps(index))
    assert prepare_text(TextDataSettings(source=sources), TokenizerSettings()).fingerprint != whole
    summary = prepare_text(TextDataSettings(source=sources), TokenizerSettings()).summary
    assert not any("decided" in line for line in summary)


@pytest.mark.parametrize("as_settings", [False, True])
def test_a_preparation_takes_what_a_run_takes(files, as_settings):
    own = {
        "modality": "text",
        "data": {"source": str(files)},
        "tokenizer": {"vocab_size": 300},
        "train": {"max_steps": 3},
        "output_dir": "runs/mine",
    }
    made = load(PretrainSettings, base=own) if as_settings else own
    read = read_prepare_settings(made, ())
    assert (read.tokenizer.vocab_size, read.data.source, read.output_dir) == (300, str(files), "prepared")
    with pytest.raises(SettingsError, match="tokeniser: no such key; did you mean `tokenizer`"):
        read_prepare_settings({**own, "tokeniser": {}}, ())
