"""The doctor: well is said to be well, and each fault is found by its own line."""

import copy
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from labelled import image_checkpoint, text_checkpoint
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM

from textdae.checks import machine
from textdae.checks.checkpoint import check_checkpoint
from textdae.checks.golden import RECORD, check_loss, golden_losses, golden_text
from textdae.checks.machine import check_machine
from textdae.cli.app import main
from textdae.text.tokens.tokenizer import save_tokenizer
from textdae.training.checkpoint import write_whole


@pytest.fixture
def text(tmp_path, wordpiece):
    return Path(text_checkpoint(tmp_path / "text", wordpiece))


def found(checkpoint) -> dict[str, tuple[bool, str]]:
    return {what: (good, says) for good, what, says in check_checkpoint(str(checkpoint))}


# The machine


def test_this_machine_is_well(tmp_path):
    findings = list(check_machine(tmp_path))
    assert [finding for finding in findings if not finding.good and finding.what != "disk"] == []
    assert {"versions", "device", "threads", "precision", "compiler", "disk"} <= {
        each.what for each in findings
    }
    assert all("\n" not in str(finding) for finding in findings)
    assert f"torch {importlib.metadata.version('torch')}" in str(findings[0])


def line(what: str, folder: Path) -> str:
    return next(str(finding) for finding in check_machine(folder) if finding.what == what)


def test_a_version_that_is_not_supported_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.importlib.metadata, "requires", lambda name: ["numpy<1", "torch>=2"])
    assert line("versions", tmp_path).startswith("LOOK versions: numpy ")
    assert line("versions", tmp_path).endswith(" is not <1: pip install 'numpy<1'")


def test_a_library_that_is_missing_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.importlib.metadata, "requires", lambda name: ["not-there-at-all>=2"])
    assert line("versions", tmp_path).endswith(
        "not-there-at-all is not installed: pip install 'not-there-at-all>=2'"
    )


def test_missing_extras_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(
        machine, "_installed", lambda needed: None if needed.name == "scikit-learn" else "99.0"
    )
    said = line("extras", tmp_path)
    assert said.endswith("pip install 'textdae[downstream,images,photos]'")
    names = set(tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"])
    there = names - {"images", "photos", "downstream", "test", "docs"}
    assert all(name in said for name in there)


def test_more_threads_than_cores_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert line("threads", tmp_path).startswith("LOOK threads: 8 on 2 cores")
    assert line("threads", tmp_path).endswith("set OMP_NUM_THREADS=2")


def test_a_gpu_that_torch_cannot_use_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if name == "nvidia-smi" else None
    )
    assert line("device", tmp_path).startswith("LOOK device: this machine has a GPU that torch")
    assert "nothing is compiled" in line("compiler", tmp_path)


def test_a_full_disk_is_noticed(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    assert line("disk", tmp_path / "not" / "yet").startswith("LOOK disk: 0.0 GB free")


# The loss


def test_the_recorded_curve_is_that_of_this_program():
    """On another processor or with other versions within the tolerance, which is what it is for."""
    finding = check_loss(golden_losses)
    assert finding.good, finding


@pytest.mark.slow
def test_a_broken_loss_is_found(monkeypatch):
    """A mean of means instead of the global sum over the global count; and targets that are shifted by one."""
    from textdae.text.model import TextDenoiser

    right = TextDenoiser.loss
    monkeypatch.setattr(
        TextDenoiser, "loss", lambda self, logits, target: right(self, logits, target.roll(1))
    )
    assert not check_loss(golden_losses).good


def test_the_text_is_the_same_everywhere():
    import hashlib

    assert hashlib.sha256(golden_text().encode()).hexdigest()[:16] == "366bfb917bd54f43"


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (lambda loss: loss * 1.02, True),
        (lambda loss: loss * 1.05, False),
        (lambda loss: float("nan"), False),
        (lambda loss: 0.0, False),
    ],
)
def test_the_curve_is_compared_with_the_record(change, good):
    recorded = {int(step): loss for step, loss in json.loads(RECORD.read_text()).items()}
    last = max(recorded)
    finding = check_loss(lambda: recorded | {last: change(recorded[last])})
    assert finding.good == good
    assert good or f"at step {last} it is" in finding.message


def test_a_run_that_stopped_early_is_not_well():
    assert not check_loss(lambda: {20: 4.5}).good


# A checkpoint


def test_a_checkpoint_that_is_well(text):
    assert all(good for good, _ in found(text).values())
    assert found(text)["loss under Trainer"][1].startswith("scaled by the global count")


@pytest.mark.parametrize("name", ["autoencoder", "unet", "vit"])
def test_an_image_checkpoint_that_is_well(name, tmp_path):
    lines = found(image_checkpoint(tmp_path / name, name))
    assert all(good for good, _ in lines.values())
    assert set(lines) == {"files", "model", "numbers"}


def test_a_head_that_ignores_the_count_is_found(tmp_path, wordpiece):
    """As seen where `Trainer` accumulates: the count makes no difference to the stock loss of BERT."""
    folder = text_checkpoint(tmp_path / "bert", wordpiece, "bert")
    good, says = found(folder)["loss under Trainer"]
    assert good  # for here it does not matter
    assert says.startswith("BertForMaskedLM ignores the global count")
    model, ids = BertForMaskedLM.from_pretrained(folder).eval(), torch.arange(8)[None]
    plain, counted = (
        model(input_ids=ids, labels=ids, **given).loss for given in ({}, {"num_items_in_batch": 800})
    )
    assert torch.equal(plain, counted)


def test_numbers_that_are_not_finite_are_found(text):
    weights = load_file(text / "model.safetensors")
    name = next(name for name in weights if weights[name].ndim == 2)
    weights[name][0, 0] = float("nan")
    save_file(weights, text / "model.safetensors", {"format": "pt"})
    good, says = found(text)["numbers"]
    assert not good
    assert "not finite" in says


def test_a_tokenizer_of_another_model_is_found(text, bpe, unigram):
    other = copy.deepcopy(max((bpe, unigram), key=len))  # others are given the same ones
    rows = json.loads((text / "config.json").read_text())["vocab_size"]
    other.add_tokens([f"word{number}" for number in range(max(0, rows - len(other) + 1))])
    save_tokenizer(other, text)
    good, says = found(text)["tokenizer"]
    assert not good
    assert "it is another model's" in says


def test_another_padding_is_found(text):
    config = json.loads((text / "config.json").read_text())
    (text / "config.json").write_text(json.dumps(config | {"pad_token_id": 3}))
    good, says = found(text)["tokenizer"]
    assert not good
    assert "pad_token_id is 3 in config.json and 0 in the tokenizer" in says


def test_checkpoints_of_a_run_are_told_one_by_one(text):
    for step in (5, 9):
        write_whole(text / f"checkpoints/step-{step:08d}", lambda place: (place / "a").write_text("content"))
    (text / "checkpoints/step-00000009/a").write_text("changed")
    lines = found(text)
    assert lines["step-00000005"] == (True, "whole")
    assert lines["step-00000009"] == (False, "not whole: a has changed; --resume passes it over")


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    assert [(finding.good, finding.what) for finding in check_checkpoint(str(tmp_path))] == [
        (False, "checkpoint")
    ]


@pytest.mark.slow
def test_the_command_says_all_and_exits_by_it(text, monkeypatch, capsys):
    words = ["textdae", "doctor", str(text), "--quick"]
    well = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    lines = well.stdout.splitlines()
    assert all(line.startswith(("ok   ", "LOOK ")) for line in lines)
    assert well.returncode == any(line.startswith("LOOK") for line in lines)
    (text / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "LOOK checkpoint: " in capsys.readouterr().out
