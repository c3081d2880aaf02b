"""A checkpoint is whole or not there, and what is not whole is never picked."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from signals import SignalDenoiser

from textdae.core.errors import TextdaeError
from textdae.core.settings.train import TrainSettings
from textdae.downstream.classifier import Classifier
from textdae.text.model import TextDenoiser
from textdae.training import checkpoint
from textdae.training.cursor import Cursor
from textdae.training.optimizers import build_optimizers, set_learning_rates
from textdae.training.state import restore


def stepped(seed: int = 0):
    """A denoiser and its optimizers after one step, so that there is state to save."""
    torch.manual_seed(seed)
    denoiser = SignalDenoiser()
    optimizers = build_optimizers(denoiser, TrainSettings())
    denoiser.model(torch.randn(4, 16)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    return denoiser, optimizers


def save(folder: Path, step: int, limit: int = 9, seed: int = 0) -> Path:
    def asset(target):
        (target / "tokenizer.json").write_text("{}")

    return checkpoint.save(folder, *stepped(seed), Cursor(step, step * 8, 1.5), {"seed": 0}, asset, limit)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    path = save(tmp_path, 5)
    denoiser, optimizers = stepped(seed=1)
    restore(path, denoiser, optimizers)
    wanted, wanted_optimizers = stepped(seed=0)
    assert all(torch.equal(a, b) for a, b in zip(denoiser.parameters(), wanted.parameters(), strict=True))
    for mine, theirs in zip(optimizers, wanted_optimizers, strict=True):
        for a, b in zip(mine.state.values(), theirs.state.values(), strict=True):
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
    assert checkpoint.read_state(path) == (Cursor(5, 40, 1.5), {"seed": 0})


def test_the_manifest_names_every_file(tmp_path):
    path = save(tmp_path, 5)
    names = {file.name for file in path.iterdir()} - {"manifest.json"}
    assert set(json.loads((path / "manifest.json").read_text())) == names
    assert {
        "model.safetensors",
        "training_state.safetensors",
        "training_state.json",
        "tokenizer.json",
    } == names


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damaged_twice(folder: Path) -> None:
    """Three checkpoints, of which only the first is whole."""
    for step in (10, 20, 30):
        path = save(folder, step)
        if step > 10:
            flip(path / "model.safetensors")


def link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGE = {
    "a flipped bit": (flip, "has changed"),
    "cut short": (lambda path: os.truncate(path, path.stat().st_size - 1), "bytes, not"),
    "removed": (Path.unlink, "is missing"),
    "a link out": (link, "lies outside the folder"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "training_state.safetensors", "training_state.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_said_and_passed_over(tmp_path, damage, name):
    good, bad = save(tmp_path, 5), save(tmp_path, 10)
    harm, message = DAMAGE[damage]
    harm(bad / name)
    said: list[str] = []
    assert checkpoint.last_whole(tmp_path, said) == good
    assert len(said) == 1
    assert name in said[0]
    assert message in said[0]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"../x": {"bytes": 1}}', b'{"model.safetensors": 3}', b"\xff"]
)
def test_a_bad_manifest_is_a_fault_and_no_traceback(tmp_path, content):
    path = save(tmp_path, 5)
    (path / "manifest.json").write_bytes(content)
    assert checkpoint.fault(path) is not None
    assert checkpoint.last_whole(tmp_path) is None


def test_old_checkpoints_go_only_once_the_new_one_is_whole(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        save(tmp_path, step, limit=2)
    assert [path.name[-1] for path in checkpoint.checkpoints(tmp_path)] == ["2", "3"]
    monkeypatch.setattr(checkpoint, "fault", lambda path: "has changed")
    with pytest.raises(TextdaeError, match="not whole after writing"):
        save(tmp_path, 4, limit=1)
    assert {"2", "3"} <= {path.name[-1] for path in checkpoint.checkpoints(tmp_path)}


def test_a_resume_past_damaged_checkpoints_keeps_what_it_writes(tmp_path):
    damaged_twice(tmp_path)
    new = save(tmp_path, 12, limit=2)
    assert checkpoint.checkpoints(tmp_path) == [tmp_path / "step-00000010", new]  # the damaged ones went
    assert checkpoint.last_whole(tmp_path) == new


def test_what_was_written_later_outlives_a_higher_step(tmp_path):
    latest, earliest = save(tmp_path, 20), save(tmp_path, 30)
    for seconds, path in ((100, earliest), (200, latest)):
        os.utime(path / "manifest.json", (seconds, seconds))
    new = save(tmp_path, 12, limit=2)
    assert checkpoint.checkpoints(tmp_path) == [new, latest]


KILLED_WHILE_REMOVING = """
import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])
from test_training_checkpoint import save
written, left = Path(sys.argv[2]) / "step-00000012", int(sys.argv[3])
def hook(event, given):
    global left
    if event in ("shutil.rmtree", "os.remove", "os.rmdir") and written.exists():
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
save(written.parent, 12, limit=1)
"""


SLOW = pytest.mark.slow


@pytest.mark.parametrize("moment", [pytest.param(1, marks=SLOW), 6, pytest.param(12, marks=SLOW)])
def test_killed_while_old_checkpoints_are_removed_the_new_one_is_left(tmp_path, moment):
    damaged_twice(tmp_path)
    command = [sys.executable, "-c", KILLED_WHILE_REMOVING, str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.run(
        [*command, str(moment)], capture_output=True, text=True, timeout=100, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert checkpoint.last_whole(tmp_path) == tmp_path / "step-00000012"


def test_a_half_written_one_is_not_there(tmp_path):
    good = save(tmp_path, 5)

    def crash(target):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, *stepped(), Cursor(10), {}, crash, 1)
    assert checkpoint.checkpoints(tmp_path) == [good]
    assert save(tmp_path, 10).exists()  # what was left behind is no hindrance


FULL_DISK = """
import resource, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])
from test_training_checkpoint import save
from textdae.core.errors import TextdaeError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100, 3000):  # within the JSON, within the tensors
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(Path(sys.argv[2]), 10, limit=1)
    except TextdaeError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_full_disk_costs_nothing_that_was_there(tmp_path):
    good = save(tmp_path, 5)
    command = [sys.executable, "-c", FULL_DISK, str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert process.stdout.count("could not be written") == 2
    assert process.stdout.count("earlier checkpoints are untouched") == 2
    assert checkpoint.last_whole(tmp_path) == good


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_is_trained_by_one_optimizer(optimizer):
    denoiser = SignalDenoiser()
    optimizers = build_optimizers(denoiser, TrainSettings(optimizer=optimizer, weight_decay=0.1))
    groups = [group for one in optimizers for group in one.param_groups]
    trained = sorted(id(p) for group in groups for p in group["params"])
    assert trained == sorted(id(p) for p in denoiser.parameters())
    assert [type(one).__name__ for one in optimizers] == (
        ["Muon", "AdamW"] if optimizer == "muon" else ["AdamW"]
    )
    for group in groups:  # biases and norms are not decayed
        assert all((p.ndim >= 2) == (group["weight_decay"] > 0) for p in group["params"])


@pytest.mark.parametrize(("kind", "block"), [(TextDenoiser, 64), (Classifier, 0), (SignalDenoiser, 0)])
def test_blocks_are_for_the_pretraining_of_text(kind, block):
    """What they cost fine-tuning or images was not measured."""
    denoiser = SignalDenoiser()
    denoiser.muon_block = kind.muon_block
    muon, _ = build_optimizers(denoiser, TrainSettings())
    assert muon.block == block


def test_the_learning_rate_is_set_from_the_peak_each_time():
    optimizers = build_optimizers(SignalDenoiser(), TrainSettings(learning_rate=0.5, muon_learning_rate=2.0))
    for factor in (0.1, 0.5, 0.1):
        rates = set_learning_rates(optimizers, factor)
        assert rates == pytest.approx({"learning_rate": 0.5 * factor, "muon_learning_rate": 2.0 * factor})
        assert optimizers[0].param_groups[0]["lr"] == pytest.approx(2.0 * factor)
