"""Checkpoints in a store: there whole or not at all, and a machine that has none goes on from them exactly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import fsspec
import pytest
from records import heard
from safetensors.torch import load_file

from textdae.commands.pretrain import pretrain
from textdae.commands.run_store import RunStore
from textdae.core import remote
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.layout import checkpoints
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.training import checkpoint
from textdae.training.checkpoint_store import CheckpointStore, StoreOutbox
from textdae.training.cursor import Cursor


def made(folder, step, run="one", milestone=None):
    """A checkpoint of a few bytes."""

    def write(temporary):
        (temporary / "config.json").write_text("{}")
        (temporary / "model.safetensors").write_bytes(f"weights of {run} at {step}".encode())
        state = {"cursor": Cursor(step)._asdict(), "facts": {"run": run, "seed": 0}, "milestone": milestone}
        (temporary / "training_state.json").write_text(json.dumps(state))

    checkpoint.write_whole(folder / f"step-{step:08d}", write)
    return folder / f"step-{step:08d}"


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSE", 0)
    fs = fsspec.filesystem("memory")
    yield CheckpointStore("memory://bucket/run" if request.param == "memory" else f"file://{tmp_path}/store")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_what_is_put_there_comes_back_the_same(store, tmp_path):
    first, second = made(tmp_path / "a", 3), made(tmp_path / "a", 12)
    for path in (first, second):
        store.put(path, 2)
    assert store.bring(tmp_path / "b", -1, lambda facts: None, None)
    assert [path.name for path in checkpoints(tmp_path / "b")] == ["step-00000012"]
    assert checkpoint.fault(tmp_path / "b/step-00000012") is None
    assert checkpoint.identity(tmp_path / "b/step-00000012") == checkpoint.identity(second)
    assert not store.bring(tmp_path / "b", 12, lambda facts: None, "one")  # nothing further


def test_other_things_in_a_store_are_left_alone(store, tmp_path):
    store.put(made(tmp_path / "a", 3), 1)
    (tmp_path / "notes.txt").write_text("mine")
    store.store.put("step-old/notes.txt", tmp_path / "notes.txt")
    assert store.newest().name == "step-00000003"
    assert store.bring(tmp_path / "b", -1, lambda facts: None, None)
    store.put(made(tmp_path / "a", 12), 1)
    store.remove_beyond(3)
    assert store.store.read("step-old/notes.txt") == b"mine"
    assert store.names() == []


def cut_after(store, monkeypatch, files):
    """Let the store fail for good once so many files are there."""
    real, left = store.store.put, iter(range(files))

    def put(name, path):
        if next(left, None) is None:
            raise TextdaeError("the line is cut")
        real(name, path)

    monkeypatch.setattr(store.store, "put", put)


@pytest.mark.parametrize("files", [0, 1, 2])
def test_an_upload_that_is_cut_is_no_checkpoint_and_goes_on_later(store, tmp_path, monkeypatch, files):
    store.put(made(tmp_path / "a", 3), 2)
    with monkeypatch.context() as patch:
        cut_after(store, patch, files)
        with pytest.raises(TextdaeError, match="the line is cut"):
            store.put(made(tmp_path / "a", 12), 2)
    assert store.newest().name == "step-00000003"
    assert store.bring(tmp_path / "b", -1, lambda facts: None, None)
    assert [path.name for path in checkpoints(tmp_path / "b")] == ["step-00000003"]
    store.put(tmp_path / "a/step-00000012", 2)
    assert store.bring(tmp_path / "b", 3, lambda facts: None, "one")


def test_another_checkpoint_of_the_same_step_is_never_half_of_each(store, tmp_path, monkeypatch):
    store.put(made(tmp_path / "a", 3), 2)
    with monkeypatch.context() as patch:
        cut_after(store, patch, 1)
        with pytest.raises(TextdaeError):
            store.put(made(tmp_path / "b", 3, run="two"), 2)
    assert store.newest() is None


def test_what_is_damaged_there_is_passed_over_with_a_warning(store, tmp_path):
    store.put(made(tmp_path / "a", 3), 2)
    store.put(made(tmp_path / "a", 12), 2)
    store.store.write("step-00000012/model.safetensors", b"weights of one at 13")
    with heard() as said:
        assert store.bring(tmp_path / "b", -1, lambda facts: None, None)
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["step-00000003"]
    assert any("step-00000012: not whole: model.safetensors has" in line for line in said)


def test_the_newest_and_the_milestones_stay(store, tmp_path):
    for step in range(1, 7):
        store.put(made(tmp_path / "a", step, milestone="2 steps" if step == 2 else None), 2)
    assert store.names() == ["step-00000002", "step-00000005", "step-00000006"]
    store.remove_beyond(5)
    store.put(made(tmp_path / "c", 6), 1)
    assert store.names() == ["step-00000002", "step-00000006"]


def test_a_store_of_another_run_is_refused(store, tmp_path):
    store.put(made(tmp_path / "a", 12, run="two"), 2)
    with pytest.raises(SettingsError, match="checkpoints of different runs"):
        store.bring(tmp_path / "b", 3, lambda facts: None, "one")
    assert not (tmp_path / "b").exists()
    settings = load(PretrainSettings, None, [f"output_dir={tmp_path}/run", f"train.checkpoint_store={store.store}"])  # fmt: skip
    with pytest.raises(SettingsError, match=r"already holds a run \(step-00000012\)"):
        RunStore(settings).check(False)
    RunStore(settings).check(True)


def test_a_secret_in_the_url_is_refused():
    with pytest.raises(SettingsError, match=r"train.checkpoint_store: .*leave that out"):
        CheckpointStore("s3://bucket/run?secret=abc")


def test_a_store_that_is_away_stops_nothing_and_gets_all_later(store, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    with monkeypatch.context() as patch, heard() as said:
        cut_after(store, patch, 0)
        outbox = StoreOutbox(tmp_path, store, 2)
        outbox.add(made(tmp_path / "checkpoints", 3))
        while outbox._done < outbox._requested:
            threading.Event().wait(0.01)
    assert any("the line is cut; the run goes on, and step-00000003 waits" in line for line in said)
    outbox.add(made(tmp_path / "checkpoints", 6))
    assert outbox.finish(30) == []
    assert store.names() == ["step-00000003", "step-00000006"]


TINY = ["data.block_size=32", "data.held_out=0.1", "tokenizer.vocab_size=300", "model.hidden_size=32",
        "model.num_hidden_layers=1", "model.intermediate_size=48", "train.max_steps=9", "train.save_steps=3",
        "train.save_total_limit=2", "train.precision=fp32", "evaluate.max_examples=16", "train.compile=never"]  # fmt: skip


@pytest.mark.slow
def test_a_run_on_s3_is_killed_and_goes_on_on_a_machine_that_has_nothing(s3, tmp_path, corpus_texts):
    (tmp_path / "corpus.txt").write_text("\n\n".join(corpus_texts[:200]))
    words = [*TINY, f"data.source={tmp_path}/corpus.txt"]
    whole = pretrain(load(PretrainSettings, None, [*words, f"output_dir={tmp_path}/whole"]))
    address = f"s3://{s3.bucket}/runs/mine"
    stored = [*words, f"train.checkpoint_store={address}"]
    # The first machine is killed behind its sixth step, when that has been copied.
    program = (
        "import os, signal, sys, time\n"
        "from textdae.training.loop import Trainer\n"
        "from textdae.training.checkpoint_store import StoreOutbox\n"
        "step, send, sent = Trainer._step, StoreOutbox.send, []\n"
        "def sending(self, path):\n    process = send(self, path); sent.append(path.name); return process\n"
        "def stepping(self, number, batches):\n"
        "    while number == 7 and 'step-00000006' not in sent: time.sleep(0.05)\n"
        "    if number == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, number, batches)\n"
        "Trainer._step, StoreOutbox.send = stepping, sending\n"
        "from textdae.cli.app import main\nmain()\n"
    )
    command = [sys.executable, "-c", program, "pretrain", *stored, f"output_dir={tmp_path}/first"]
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, env=os.environ
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert "secret-word" not in "".join(
        path.read_text(errors="ignore") for path in (tmp_path / "first").rglob("*") if path.is_file()
    )
    shutil.rmtree(tmp_path / "first")
    with heard() as said:
        pretrain(load(PretrainSettings, None, [*stored, f"output_dir={tmp_path}/second"]), resume=True)
    assert f"step-00000006 comes from {address}" in said
    store = CheckpointStore(address)
    assert store.names() == ["step-00000006", "step-00000009"]
    mine = load_file(tmp_path / "second/model.safetensors")
    assert all(
        (value == mine[name]).all() for name, value in load_file(tmp_path / "whole/model.safetensors").items()
    )
    assert whole.fit.cursor.step == 9
    with pytest.raises(SettingsError, match="already holds a run"):
        pretrain(load(PretrainSettings, None, [*stored, f"output_dir={tmp_path}/third"]))


@pytest.mark.slow
def test_an_upload_to_s3_that_the_server_cuts_is_no_checkpoint(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    store = CheckpointStore(f"s3://{s3.bucket}/runs/cut")
    store.put(made(tmp_path / "a", 3), 2)
    real, count = store.store.put, []

    def put(name, path):
        count.append(name)
        if len(count) == 2:
            s3.stop()
        real(name, path)

    with monkeypatch.context() as patch:
        patch.setattr(store.store, "put", put)
        with pytest.raises(TextdaeError, match="cannot be written"):
            store.put(made(tmp_path / "a", 12), 2)
    s3.start()
    assert store.newest().name == "step-00000003"
    store.put(tmp_path / "a/step-00000012", 2)
    assert store.newest().name == "step-00000012"
    assert store.bring(tmp_path / "b", -1, lambda facts: None, None)
    assert checkpoint.identity(tmp_path / "b/step-00000012") == checkpoint.identity(
        tmp_path / "a/step-00000012"
    )
