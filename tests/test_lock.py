"""Two runs never write into one folder, and a lock never outlives its process."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from labelled import rows_of, text_checkpoint, write_table
from records import heard
from test_pretrain import tiny

from textdae.commands.embed import embed
from textdae.commands.finetune import finetune
from textdae.commands.label_curve import label_curve
from textdae.commands.pretrain import pretrain
from textdae.core import lock
from textdae.core.errors import SettingsError
from textdae.core.lock import sole, turn
from textdae.core.settings.downstream import FinetuneSettings, LabelCurveSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EmbedSettings

HOLD = """
import os, sys, time; from pathlib import Path
from textdae.core.lock import sole
with sole("it", Path(sys.argv[1]), ""):
    if "fork" in sys.argv and not os.fork():
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held(file: Path, *how: str):
    """Another process, that holds a lock."""
    command = [sys.executable, "-c", HOLD, str(file), *how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    file = tmp_path / ".lock"
    with held(file, "fork") as process:
        with pytest.raises(SettingsError) as refused, sole("output_dir: x", file, "set another"):
            pass
        said = str(refused.value)
        assert said.startswith(
            f"output_dir: x is in use by process {process.pid} on {socket.gethostname()} since 20"
        )
        assert said.endswith("or set another")
        process.kill()  # not its child, which it forked while it held the lock
        process.wait()
        assert file.exists()
        with sole("output_dir: x", file, ""):
            pass
    assert not file.exists()


def test_a_damaged_note_is_no_traceback(tmp_path):
    file = tmp_path / ".lock"
    with held(file):
        file.write_bytes(b"\xff{")
        with pytest.raises(SettingsError, match="in use by another process"), sole("x", file, ""):
            pass


def test_whoever_waits_gets_the_lock_and_is_alone_with_it(tmp_path):
    """Also where the file is removed and made anew while they wait."""
    file, journal = tmp_path / ".lock", tmp_path / "journal"
    wait = (
        "import sys, time; from pathlib import Path; from textdae.core.lock import turn\n"
        "for _ in range(3):\n"
        "    with turn(Path(sys.argv[1]), 'waits'), open(sys.argv[2], 'a') as journal:\n"
        "        for word in ('in', 'out'):\n"
        "            print(word, file=journal, flush=True); time.sleep(0.02)\n"
    )
    several = [subprocess.Popen([sys.executable, "-c", wait, str(file), str(journal)]) for _ in range(3)]
    assert [process.wait(60) for process in several] == [0, 0, 0]
    assert journal.read_text().split() == ["in", "out"] * 9


def test_who_is_waited_for_is_said(tmp_path):
    file = tmp_path / ".lock"
    with held(file) as process, heard(logging.WARNING) as said:
        end = threading.Timer(0.5, process.kill)
        end.start()
        with turn(file, "reads the source"):
            pass
    (line,) = said
    start, _, since = line.removesuffix(", which reads the source").rpartition(" since ")
    assert start == f"waiting for process {process.pid} on {socket.gethostname()}"
    assert abs(time.mktime(time.strptime(since, "%Y-%m-%d %H:%M:%S")) - time.time()) < 60


def test_every_command_that_writes_a_result_is_refused_while_another_does(tmp_path, wordpiece, corpus_texts):
    encoder = text_checkpoint(tmp_path / "encoder", wordpiece)
    table, folder = write_table(tmp_path / "table.jsonl", rows_of(corpus_texts, "classes")), tmp_path / "run"
    folder.mkdir()
    given = [f"data.source={table}", f"output_dir={folder}"]
    with held(folder / ".lock") as process:
        (folder / "settings.yaml").write_text("of the other run")
        before = sorted(folder.iterdir())
        for start in (
            lambda: pretrain(tiny(table, folder), overwrite=True),
            lambda: pretrain(tiny(table, folder), resume=True),
            lambda: finetune(
                encoder, load(FinetuneSettings, None, given, {"modality": "text"}), overwrite=True
            ),
            lambda: label_curve(encoder, load(LabelCurveSettings, None, given, {"modality": "text"})),
        ):
            with pytest.raises(SettingsError, match=f"output_dir: .* is in use by process {process.pid} "):
                start()
        assert sorted(folder.iterdir()) == before
    with held(tmp_path / ".vectors.npy.lock"):
        settings = load(EmbedSettings, None, given[:1], {"modality": "text"})
        with pytest.raises(SettingsError, match="npy is in use by process"):
            embed(encoder, settings, tmp_path / "vectors.npy")
    assert not (tmp_path / "vectors.npy").exists()
