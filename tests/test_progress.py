"""How far a command is: plain lines where the standard error is no terminal."""

import io
import re
import subprocess
import sys
import time

import pytest
from records import heard
from test_interrupts import pretrain

from textdae.core import progress
from textdae.core.logs import terminal_logging
from textdae.core.progress import Progress

_AT_ONCE = (
    "import sys; from textdae.core import progress; progress.INTERVAL = progress.LONGEST_INTERVAL = 0.0\n"
    "from textdae.cli import main; sys.argv[0] = 'textdae'; main()"
)


@pytest.mark.slow
def test_a_run_without_a_terminal_says_how_far_it_is(tmp_path, corpus_texts, monkeypatch):
    (tmp_path / "corpus.txt").write_text("\n\n".join(corpus_texts))
    words = pretrain("train.logging_steps=1", "train.eval_steps=1")
    process = subprocess.run(
        [sys.executable, "-c", _AT_ONCE, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "\r" not in process.stderr + process.stdout
    lines = process.stderr.splitlines()
    assert [line for line in lines if line.startswith("training the tokenizer: 0.1 MB")]
    assert [line for line in lines if line.startswith("tokenizing and packing: 0.1 MB")]
    first, second = lines[-2:]
    assert re.fullmatch(r"step 1 of 2, 50%, loss [\d.]+, [\d,]+ examples/s, about \d+ s left", first)
    assert re.fullmatch(
        r"step 2 of 2, 100%, loss [\d.]+, [\d,]+ examples/s, held-out [\d.]+, about 0 s left", second
    )


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lines_are_half_a_minute_apart_and_sixty_an_hour(clock):
    at = []
    with heard() as lines, Progress("embedding", 7200, "rows") as bar:
        for second in range(7200):
            clock[0] = float(second)
            bar.update(1)
            at += [second] * len(lines)
            lines.clear()
    assert at[:3] == [30, 60, 90]
    assert at[-1] - at[-2] == 75
    assert sum(second < 3600 for second in at) <= 60


def test_a_line_counts_from_where_this_sitting_began(clock, capsys):
    bar = Progress("embedding", 100_000, "rows", done=50_000)
    clock[0] = 100.0
    with terminal_logging():
        bar.move(60_000, loss=3.21)
    assert capsys.readouterr().err == "embedding: 60,000 of 100,000 rows, 60%, loss 3.21, about 7 min left\n"


def test_what_is_left_is_not_estimated_from_a_first_step_that_takes_long(clock, capsys):
    bar = Progress("steps", 4000, "steps")
    with terminal_logging():
        for clock[0], done in ((67.0, 1), (97.0, 301), (127.0, 601)):
            bar.move(done)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "steps: 1 of 4,000 steps, 0%"
    assert second.endswith("about 6 min left")  # 3,699 steps at 10 a second
    assert third.endswith("about 6 min left")


def test_a_standard_error_that_nobody_reads_ends_no_work(clock, monkeypatch):
    class Gone:
        def isatty(self):
            return False

        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    bar = Progress("embedding", 10, "rows")
    clock[0] = 100.0
    with terminal_logging():
        bar.update(1)


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    with terminal_logging(), Progress("measuring", 4, "points") as bar:
        for number in bar.over(range(4)):
            bar.note(f"point {number}")
    assert "\rmeasuring: 100%" in terminal.getvalue()
    assert "point 3" in terminal.getvalue().rpartition("\r")[2]
    assert "4 of 4" not in terminal.getvalue()
