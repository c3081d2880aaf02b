"""`textdae embed --executor`: the same bytes for any number of workers, interrupted or not, and the vectors of one process."""

import hashlib
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelled import text_checkpoint

from textdae.commands.embed import embed
from textdae.commands.embed_shards import Embedding, embed_shards, read_vectors
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EmbedSettings


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, wordpiece):
    return text_checkpoint(tmp_path_factory.mktemp("text"), wordpiece)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Texts in files that are cut, with blank ones among them."""
    from conftest import make_texts

    folder, texts = tmp_path_factory.mktemp("texts"), make_texts(120, seed=5)
    texts[60] = ""
    (folder / "a.txt").write_text("\n\n".join(texts[:40]))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[40:80]))
    pq.write_table(pa.table({"text": texts[80:]}), folder / "c.parquet", row_group_size=10)
    return folder


def settings(files, *more) -> EmbedSettings:
    return load(EmbedSettings, None, ["modality=text", f"data.source={files}", "precision=fp32", "shard_bytes=2000", *more])  # fmt: skip


def bytes_of(folder):
    names = ["index.json", *(f"vectors/{path.name}" for path in sorted((folder / "vectors").iterdir()))]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def embedded(checkpoint, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors") / "one"
    embed_shards(checkpoint, settings(files), str(folder), workers=1)
    return folder


@pytest.mark.parametrize(
    "workers", [pytest.param(2, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)]
)
def test_several_workers_write_the_same_bytes(checkpoint, files, embedded, tmp_path, workers):
    embed_shards(checkpoint, settings(files), str(tmp_path / "v"), workers=workers)
    assert bytes_of(tmp_path / "v") == bytes_of(embedded)


def test_the_shards_hold_the_vectors_of_one_process_in_the_order_of_the_source(
    checkpoint, files, embedded, tmp_path
):
    whole = embed(checkpoint, settings(files), tmp_path / "v.npy").vectors
    found = read_vectors(str(embedded))
    assert found.shape == whole.shape == (120, 32)
    np.testing.assert_allclose(found, whole, atol=1e-5)  # other batches round differently
    index = json.loads((embedded / "index.json").read_text())
    assert index["rows"] == 120
    assert len(index["shards"]) > 5


@pytest.mark.slow
def test_what_is_done_is_left_out_and_what_is_damaged_is_named(checkpoint, files, embedded, tmp_path):
    output = tmp_path / "v"
    stage = Embedding(checkpoint, settings(files), str(output)).stages()[0]
    for task in range(0, stage.tasks, 2):  # it is interrupted within
        stage.do(task)
    before = {path: path.stat().st_mtime_ns for path in (output / "vectors").iterdir()}
    lines = embed_shards(checkpoint, settings(files), str(output), workers=1)
    assert lines[1].startswith(f"{output}: 120 vectors of 32 numbers in ")
    assert bytes_of(output) == bytes_of(embedded)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert "all tasks were done before" in embed_shards(checkpoint, settings(files), str(output))[0]
    shard = output / "vectors/00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(SettingsError, match=r"00001.npy: missing or damaged"):
        read_vectors(str(output))
    with pytest.raises(SettingsError, match="vectors of another source or checkpoint, or of other settings"):
        embed_shards(checkpoint, settings(files, "normalize=true"), str(output))


@pytest.mark.parametrize(
    ("more", "says"), [("data.max_bytes=100", "name its files"), ("data.source=digits", "no rows")]
)
def test_what_cannot_be_cut_is_refused(checkpoint, files, tmp_path, more, says):
    other = ["modality=image"] if "digits" in more else []
    with pytest.raises(SettingsError, match=says):
        embed_shards(checkpoint, settings(files, more) if not other else load(EmbedSettings, None, [*other, more]), str(tmp_path / "v"))  # fmt: skip


def _share(checkpoint, once, output, rank):
    Embedding(checkpoint, once, output, is_worker=True).stages()[0].share(rank, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_workers_that_are_killed_leave_nothing_that_is_wrong(checkpoint, files, embedded, tmp_path, seed):
    import random

    chance, output, once = random.Random(seed), str(tmp_path / "v"), settings(files)
    Embedding(checkpoint, once, output).stages()
    for _ in range(2):
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_share, args=(checkpoint, once, output, rank)) for rank in range(2)]
        for worker in workers:
            worker.start()
        time.sleep(chance.uniform(3, 8))
        for worker in workers:
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGKILL)
            worker.join()
    embed_shards(checkpoint, once, output, workers=1)
    assert bytes_of(tmp_path / "v") == bytes_of(embedded)
