"""A signal outside the training loop: one line, the exit code of a shell, nothing half done left, and the command works again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from textdae.text.building import build_text_denoiser
from textdae.text.model_settings import TextModelSettings
from textdae.text.tokens.tokenizer import save_tokenizer

_COMMAND = "import sys; from textdae.cli import main; sys.argv[0] = 'textdae'; main()"
_HELD = """
import importlib, pathlib, sys, time
from textdae.text.data import packing
from textdae.commands import embed
module, name, calls, marker = sys.argv.pop(1).split(":")
home = importlib.import_module(module)
*owner, name = name.split(".")
home = getattr(home, owner[0]) if owner else home
real, left = getattr(home, name), [int(calls)]
packing._BATCH_CHARACTERS, embed.CHUNK = 400, 8
def held(*given, **named):
    left[0] -= 1
    if left[0] == 0:
        pathlib.Path(marker).touch()
        time.sleep(100)
    return real(*given, **named)
setattr(home, name, held)
"""
"""A process that stays at the n-th call of a function: `module:function:n:file that tells of it`."""

PACKING, TOKENIZER, EMBEDDING, REPORT, IMAGES, DOCSTRINGS = (
    "textdae.text.data.packing:StreamWriter.add:200",
    "textdae.text.data.tokenizer_sample:is_held_out:30",
    "textdae.text.encoder:TextEncoder.__call__:3",
    "textdae.commands.training_run:hardware:1",
    "textdae.image.data.corpus:Reader._bring:30",
    "textdae.text.data.docstrings:Progress.move:20",
)
AGAIN = (
    "interrupted; what was finished is kept, what was half prepared is removed; start the same command again"
)
RESUME = "interrupted; the checkpoints that were saved are kept, go on with --resume"


@pytest.fixture
def corpus(tmp_path, corpus_texts):
    (tmp_path / "corpus.txt").write_text("\n\n".join(corpus_texts))
    return tmp_path


@pytest.fixture
def checkpoint(tmp_path, wordpiece):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    model = TextModelSettings(**sizes, max_position_embeddings=32)
    build_text_denoiser(model, wordpiece, 0).save_pretrained(tmp_path / "checkpoint")
    save_tokenizer(wordpiece, tmp_path / "checkpoint")
    return "checkpoint"


def pretrain(*more):
    return [
        "pretrain", "output_dir=run", "data.source=corpus.txt", "data.block_size=16", "data.num_proc=2", "tokenizer.vocab_size=300",
        "model.hidden_size=16", "model.num_hidden_layers=1", "model.intermediate_size=16", "evaluate.max_examples=8",
        "train.max_steps=2", "train.precision=fp32", "train.compile=never", "train.per_device_train_batch_size=4", *more,
    ]  # fmt: skip


def interrupted(folder: Path, at: str, words: list[str], number: int = signal.SIGINT) -> tuple[int, str]:
    """The exit code of a command that is sent a signal at a place in it, and what it wrote on the standard error.

    Ctrl-C goes to the whole group of processes, as from a terminal.
    """
    marker = folder / "there"
    command = [sys.executable, "-c", _HELD + _COMMAND, f"{at}:{marker}", *words]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            deadline = time.monotonic() + 100
            while not marker.exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            out, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "Traceback" not in out
    assert not list((folder / "cache").glob(".*"))
    return process.returncode, errors


def run(folder: Path, words: list[str]) -> str:
    process = subprocess.run(
        [sys.executable, "-c", _COMMAND, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_interrupt_while_packing_keeps_the_tokenizer_and_removes_the_half_corpus(corpus):
    assert interrupted(corpus, PACKING, pretrain()) == (130, f"textdae: {AGAIN}\n")
    kept = {path.name.partition("-")[0] for path in (corpus / "cache").iterdir()}
    assert "tokenizer" in kept
    assert "text" not in kept
    assert "2 steps" in run(corpus, pretrain())


@pytest.mark.slow
def test_rows_being_embedded(corpus, checkpoint):
    words = ["embed", checkpoint, "corpus.txt", "-o", "vectors.npy"]
    assert interrupted(corpus, EMBEDDING, words) == (130, f"textdae: {AGAIN}\n")
    assert not (corpus / "vectors.npy").exists()
    assert "going on after the first 16 rows" in run(corpus, words)
    assert np.load(corpus / "vectors.npy").shape == (400, 16)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_other_signals_end_in_one_line_with_their_exit_code(number, corpus):
    assert interrupted(corpus, PACKING, pretrain(), number) == (128 + number, f"textdae: {AGAIN}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "words"),
    [
        (TOKENIZER, pretrain()),
        (IMAGES, ["pretrain", "modality=image", "output_dir=run"]),
        (DOCSTRINGS, ["pretrain", "output_dir=run"]),
        ("textdae.commands.pretrain:pretrain:1", ["doctor"]),
    ],
    ids=["tokenizer", "images", "docstrings", "doctor"],
)
def test_interrupt_anywhere_else_ends_in_one_line(at, words, corpus):
    assert interrupted(corpus, at, words) == (130, f"textdae: {AGAIN}\n")


@pytest.mark.slow
def test_a_report_after_the_training(corpus):
    assert interrupted(corpus, REPORT, pretrain()) == (130, f"textdae: {RESUME}\n")
    assert "2 steps" in run(corpus, [*pretrain(), "--resume"])
