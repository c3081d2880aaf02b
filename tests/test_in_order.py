"""Several processes give what one gives, in the same order, and none is waited for in vain."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from textdae.core.errors import TextdaeError
from textdae.core.in_order import InOrder
from textdae.text.data import packing
from textdae.text.data.packing import Packer, StreamWriter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is forked")


def run(work, processes: int, count: int, pause: float = 0.0) -> list:
    found: list = []
    with InOrder(work, processes) as in_order:
        for number in range(count):
            in_order.call(found.append, number)
            time.sleep(pause)
        in_order.finish()
    return found


def test_results_come_in_the_order_of_the_calls():
    def work(number: int) -> tuple[int, int]:
        time.sleep(0.02 * (number % 3))
        return number, os.getpid()

    found: list[tuple[int, int]] = []
    with InOrder(work, 3) as in_order:
        for number in range(20):
            in_order.call(found.append, number)
            assert number - len(found) < 2 * 3  # no more than two a process are waited for
        in_order.finish()
    assert [number for number, _ in found] == list(range(20))
    assert {process for _, process in found[:2]} == {os.getpid()}
    assert os.getpid() not in {process for _, process in found[2:]}


def test_what_was_remembered_here_is_remembered_there():
    known: list[int] = []

    def work(number: int) -> list[int]:
        known.append(number)
        return known[:2]

    assert run(work, 2, 6)[1:] == [[0, 1]] * 5


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_the_function_is_the_callers(processes):
    def work(number: int) -> int:
        return 1 // (5 - number)

    with pytest.raises(ZeroDivisionError):
        run(work, processes, 9)


@pytest.mark.parametrize("pause", [0, 0.1])
def test_a_process_that_dies_is_told_of(pause):
    """Whether it is seen to have died when something is asked of it, or when its answer is waited for."""

    def work(number: int) -> int:
        if number == 4:
            os._exit(9)
        return number

    with pytest.raises(TextdaeError, match=r"died.*data\.num_proc=1"):
        run(work, 2, 9, pause)


_PROGRAM = """
import os, sys, time
from textdae.core.in_order import InOrder

with InOrder(lambda number: os.getpid(), 2) as in_order:
    for number in range(9):
        in_order.call(lambda process: print(process, flush=True), number)
    in_order.finish()
    print("done", flush=True)
    time.sleep(60)
"""


def test_processes_end_with_the_one_that_they_work_for():
    """Even where it was killed and can tell them nothing."""
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        lines = list(iter(parent.stdout.readline, "done\n"))
        others = {int(line) for line in lines} - {parent.pid}
        assert others
        parent.kill()
    deadline = time.monotonic() + 20
    while any(map(is_alive, others)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that nobody has asked for its exit status yet is there, but dead.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_a_stream_is_the_same_whoever_makes_it(kind, tokenizers, corpus_texts, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", 400)
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    streams = []
    for processes in (1, 2):
        with InOrder(Packer(tokenizers[kind]), processes) as pack:
            folders = [tmp_path / f"{processes} {side}" for side in "ab"]
            writers = [StreamWriter(folder, pack) for folder in folders]
            for number, text in enumerate(corpus_texts[:60]):
                writers[number % 3 == 0].add(text)
            infos = [writer.close() for writer in writers]
            assert (pack._pool is None) == (processes == 1)
        files = [(folder / name).read_bytes() for folder in folders for name in ("ids.bin", "flags.bin")]
        streams.append((infos, files))
    assert streams[0] == streams[1]
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    assert capfd.readouterr().err == ""  # a tokenizer warns of a fork that nobody has told it of
