"""Who hears what: a library user warnings, the command line the rest; and lines and bars on one screen."""

import io
import logging
import os
import re
import subprocess
import sys

import pytest

from textdae.cli.app import app, main
from textdae.core.logs import LOGGER, cautions, log_summary, only_warnings, silence, terminal_logging
from textdae.core.progress import Progress

DETAIL, REMARK, WARNING, RESULT = "batch 3", "a.txt: 3 documents", "texts cut off: 2", "the result"
LIBRARY = """
import logging, sys
from pathlib import Path
from textdae.core import cache, logs, progress
progress.INTERVAL = progress.LONGEST_INTERVAL = 0.0
{more}
make = lambda folder: (folder / "data").write_text("whole")
folder = cache.cached(Path(sys.argv[1]) / "corpus", make)
(folder / "data").write_text("other")
cache.cached(folder, make)
with progress.Progress("reading", 2, "rows") as bar:
    bar.update(1)
"""


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command that logs a record of three levels and prints a result; return its output and errors."""

    @app.command("speak")
    def speak() -> None:
        logger = logging.getLogger("textdae.text.data.corpus")
        logger.debug(DETAIL)
        logger.info(REMARK)
        logger.warning(WARNING)
        print(RESULT)

    def run(*words: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["textdae", *words, "speak"])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return out, err

    yield run
    app.registered_commands.pop()


@pytest.fixture(autouse=True)
def _as_before():
    """No test leaves a level or a handler behind."""
    before = LOGGER.level, LOGGER.handlers[:], LOGGER.propagate
    yield
    now = LOGGER.level, LOGGER.handlers[:], LOGGER.propagate
    LOGGER.setLevel(before[0])
    assert now[1:] == before[1:]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", [r"\S+corpus: data .*; preparing it again"]),
        (
            "logging.basicConfig(level=logging.INFO, format='%(message)s')",
            [r"\S+corpus: data .*; preparing it again", r"reading: 1 of 2 rows, 50%, about \d+ s left"],
        ),
        ("logs.silence()", []),
    ],
    ids=["by default", "asked for more", "another rank"],
)
def test_library_call_is_heard_as_its_user_asks(more, said, tmp_path):
    script = LIBRARY.format(more=more)
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert not process.returncode, process.stderr
    assert process.stdout == ""
    lines = process.stderr.splitlines()
    assert len(lines) == len(said)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(said, lines, strict=True)), lines


@pytest.mark.parametrize(
    ("words", "level", "out"),
    [
        ([], "", [REMARK, RESULT]),
        (["--quiet"], "", [RESULT]),
        (["--verbose"], "", [DETAIL, REMARK, RESULT]),
        ([], "debug", [DETAIL, REMARK, RESULT]),
        ([], "WARNING", [RESULT]),
        (["--verbose"], "WARNING", [DETAIL, REMARK, RESULT]),
    ],
)
def test_switches_set_what_is_shown(words, level, out, command, monkeypatch):
    monkeypatch.setenv("TEXTDAE_LOG_LEVEL", level)
    assert command(*words) == ("\n".join(out) + "\n", f"textdae: {WARNING}\n")


@pytest.mark.parametrize(
    ("words", "level", "problem"),
    [
        (["--quiet", "--verbose"], "", "--quiet and --verbose exclude each other"),
        ([], "loud", "TEXTDAE_LOG_LEVEL: one of DEBUG, INFO, WARNING, ERROR; got 'LOUD'"),
    ],
)
def test_switches_that_cannot_be_are_refused(words, level, problem, command, monkeypatch, capsys):
    monkeypatch.setenv("TEXTDAE_LOG_LEVEL", level)
    monkeypatch.setattr(sys, "argv", ["textdae", *words, "speak"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"textdae: {problem}\n")


def test_second_command_in_a_process_says_each_line_once(command):
    before = LOGGER.level, LOGGER.handlers[:], LOGGER.propagate
    assert command() == command() == (f"{REMARK}\n{RESULT}\n", f"textdae: {WARNING}\n")
    assert (LOGGER.level, LOGGER.handlers, LOGGER.propagate) == before


@pytest.mark.parametrize("switch", [(), ("--verbose",)])
def test_other_rank_prints_no_record(switch, command, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert command(*switch) == (f"{RESULT}\n", "")


def test_other_rank_draws_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with terminal_logging():
        silence()
        with Progress("measuring", 2, "points") as bar:
            bar.update(1)
    assert screen.getvalue() == ""


class Terminal(io.StringIO):
    """A screen that keeps all that is written to it."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> list[str]:
        """The lines as they stand in the end, each as it was written over."""
        lines = []
        for line in self.getvalue().split("\n"):
            cells: list[str] = []
            for part in line.split("\r"):
                cells[: len(part)] = part
            lines.append("".join(cells).rstrip())
        return lines


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_line_during_a_bar_is_whole_and_the_bar_goes_on(level, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    with terminal_logging(), Progress("measuring", 2, "points") as bar:
        for number in range(2):
            logging.getLogger("textdae.training.loop").log(level, "line %d of 2", number + 1)
            bar.update(1)
    first, second, last, *_ = screen.shown()
    prefix = "textdae: " if level == logging.WARNING else ""
    assert [first, second] == [f"{prefix}line 1 of 2", f"{prefix}line 2 of 2"]
    assert last.startswith("measuring: 100%")


def test_quiet_level_draws_no_bar(monkeypatch):
    monkeypatch.setenv("TEXTDAE_LOG_LEVEL", "WARNING")
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with terminal_logging(), Progress("measuring", 2, "points") as bar:
        bar.update(1)
        assert not bar.is_bar
    assert screen.getvalue() == ""


def test_terminal_obeys_no_record(capsys):
    with terminal_logging():
        for level in (logging.INFO, logging.WARNING):
            logging.getLogger("textdae.text").log(level, "source: \x1b[2J\r\u202egnp.exe")
    out, err = capsys.readouterr()
    assert out == "source: \\x1b[2J\\r\\u202egnp.exe\n"
    assert err == f"textdae: {out}"


def test_record_that_the_stream_cannot_spell_is_printed_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with terminal_logging():
        logging.getLogger("textdae.text").info("Grüße")
    stream.seek(0)
    assert stream.read() == "Gr\\xfc\\xdfe\n"


def test_closed_stream_ends_no_work(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with terminal_logging():
            logging.getLogger("textdae.text").info(REMARK)
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            gone.close()


def test_what_was_left_out_is_a_warning_and_the_summary_is_none(caplog):
    caplog.set_level(logging.INFO, "textdae")
    log_summary(LOGGER, [REMARK, *cautions({"blank texts left out": 1234})])
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", REMARK),
        ("WARNING", "blank texts left out: 1,234"),
    ]


def test_part_of_a_larger_run_says_warnings_only(caplog):
    caplog.set_level(logging.INFO, "textdae")
    inner = logging.getLogger("textdae.commands.pretrain")
    with only_warnings("textdae.commands"):
        inner.info(REMARK)
        inner.warning(WARNING)
    inner.info("another")
    assert caplog.messages == [WARNING, "another"]
    silence()
    with only_warnings("textdae.commands"):
        inner.warning(WARNING)
    assert caplog.messages == [WARNING, "another"]
