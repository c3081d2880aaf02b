"""What does not fit into memory is refused before the first step, in one line that says what would fit."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textdae.cli.app import main
from textdae.commands import pretrain as pretraining
from textdae.core.errors import SettingsError, TextdaeError, memory_refused
from textdae.image.building import build_image_denoiser
from textdae.image.model_settings import UNetSettings
from textdae.image.noises.changing import GaussianNoise
from textdae.training import memory, setup
from textdae.training.memory import activation_bytes, available_memory, check_batch_fits, check_model_fits


class Grey:
    """Two grey images."""

    def __init__(self, size: int) -> None:
        self.size = size

    def batch(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.rand(len(indices), 1, self.size, self.size)}


def test_what_one_more_example_takes_is_what_a_step_keeps():
    """Four times the pixels, four times the memory; and by hand: the tensors that a residual block saves, twice on a CPU."""
    found = []
    for size in (32, 64):
        denoiser = build_image_denoiser(UNetSettings(hidden_size=8, num_hidden_layers=1), size, 1, 0)
        found.append(activation_bytes(denoiser, Grey(size), GaussianNoise().build(), None))
    fine = 16 * 16 * 8 * 4  # (32 / 2)^2 places of 8 channels in fp32
    assert 20 * fine < found[0] < 60 * fine
    assert found[1] == pytest.approx(4 * found[0], rel=0.05)


def test_a_batch_that_does_not_fit_is_refused_and_what_fits_is_named():
    check_batch_fits(10**6, 10**8, 64, free=7 * 10**9)
    check_batch_fits(10**6, 10**8, 64, free=None)
    with pytest.raises(
        SettingsError, match=r"64 examples at once need 6.4 GB \(0.10 GB each\), 3.0 GB are free.*=29 or"
    ):
        check_batch_fits(10**6, 10**8, 64, free=3 * 10**9)
    with pytest.raises(SettingsError, match="=4 or less"):  # six processes on one host
        check_batch_fits(10**6, 10**8, 64, free=3 * 10**9, processes=6)
    with pytest.raises(SettingsError, match=r"free; set a smaller model.hidden_size, or smaller examples"):
        check_batch_fits(10**6, 10**10, 64, free=3 * 10**9)
    with pytest.raises(SettingsError, match=r"model: 807 M parameters need 12.9 GB .*, 8.0 GB are free"):
        check_model_fits(807 * 10**6, free=8 * 10**9)


def test_there_is_some_memory_here():
    free = available_memory(torch.device("cpu"))
    assert free is None or 10**7 < free < 10**14


@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_run_is_refused_before_anything_is_removed(tmp_path, monkeypatch, capsys, corpus_texts, modality):
    monkeypatch.setattr(setup, "available_memory", lambda device: 10**7)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("an older model")
    chance = np.random.default_rng(0)
    if modality == "image":
        source = tmp_path / "photographs"
        source.mkdir()
        for number in range(10):
            Image.fromarray(chance.integers(0, 256, (64, 64), np.uint8)).save(source / f"{number}.png")
        given = ["model.type=unet", "model.hidden_size=8", "data.held_out=0.3", "train.compile=never"]
    else:
        source = tmp_path / "texts.txt"
        source.write_text("\n\n".join(corpus_texts[:100]))
        given = ["model.hidden_size=64", "tokenizer.vocab_size=300", "model.num_hidden_layers=2", "data.block_size=128",
                 "model.intermediate_size=64", "train.per_device_train_batch_size=64", "data.held_out=0.1",
                 "train.compile=never"]  # fmt: skip
    monkeypatch.setattr(
        "sys.argv", ["textdae", "pretrain", f"data.source={source}", f"output_dir={tmp_path / 'run'}", "--overwrite", *given]
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert "train.per_device_train_batch_size: 64 examples at once need" in errors
    assert (tmp_path / "run/config.json").read_text() == "an older model"


def test_what_torch_says_where_memory_runs_out_is_one_line():
    with pytest.raises(TextdaeError, match=r"out of memory: .*; do less"), memory_refused("do less"):
        torch.empty(2**50)
    with pytest.raises(TextdaeError, match=r"out of memory: .*; do less"), memory_refused("do less"):
        np.empty(2**50)
    with pytest.raises(TextdaeError, match="out of memory: CUDA"), memory_refused("do less"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="shapes"), memory_refused("do less"):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("modality", "sizes", "parameters"),
    [
        ("image", ["data.image_size=512", "model.encoder=mlp"], "807 M"),
        ("text", ["model.hidden_size=65536", "tokenizer.vocab_size=300", "data.block_size=16"], "73,286 M"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_it_is_built(
    tmp_path, monkeypatch, capsys, corpus_texts, modality, sizes, parameters
):
    """The limit is low, and a model that is built all the same would be seen in the peak."""
    monkeypatch.setattr(memory, "available_memory", lambda device: 8 * 10**9)
    source = tmp_path / "source"
    source.mkdir()
    if modality == "image":
        pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
        for number, picture in enumerate(pixels):
            Image.fromarray(picture).save(source / f"{number}.png")
    else:
        (source / "a.txt").write_text("\n\n".join(corpus_texts[:50]))
    monkeypatch.setattr(
        "sys.argv", ["textdae", "pretrain", f"data.source={source}", f"modality={modality}", *sizes,
                     f"output_dir={tmp_path / 'run'}", "data.held_out=0.3"]
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert re.search(f"textdae: model: {parameters}.* parameters need", errors := capsys.readouterr().err), (
        errors
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_counting_first_changes_no_weight():
    """Nor does it draw from anybody's generator."""
    found, asked = [], []
    for check in (None, asked.append):
        torch.manual_seed(5)
        denoiser = build_image_denoiser(UNetSettings(hidden_size=8), 16, 1, 3, check)
        found.append([*denoiser.state_dict().values(), torch.rand(3)])
    assert all(map(torch.equal, *found))
    assert asked == [sum(parameter.numel() for parameter in denoiser.parameters())]


@pytest.mark.parametrize(("few", "told"), [(1000, True), (1, False)])
def test_a_large_model_for_few_pictures_is_told_of(tmp_path, monkeypatch, capsys, few, told):
    monkeypatch.setattr(pretraining, "_LARGE", 1000)
    monkeypatch.setattr(pretraining, "_FEW", few)
    monkeypatch.setattr(
        "sys.argv", ["textdae", "pretrain", "modality=image", "data.source=digits", "data.max_images=40", "train.max_steps=1", "train.eval_steps=0",
                     f"output_dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path / 'cache'}", "train.compile=never"]
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert ("training examples are few for" in capsys.readouterr().err) is told


STEPS = """
import torch
from textdae.image.building import build_image_denoiser
from textdae.core.draw import Draw
from textdae.image.noises.changing import GaussianNoise
from textdae.image.model_settings import UNetSettings
from textdae.training.hardware import keep_freed_memory
from textdae.training.memory import activation_bytes

class Examples:
    def batch(self, numbers):
        return {"pixel_values": torch.rand(len(numbers), 1, 96, 96)}

def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

denoiser, noise = build_image_denoiser(UNetSettings(), 96, 1, 0), GaussianNoise().build()
denoiser.optimize_for(torch.device("cpu"), False)
predicted = 16 * activation_bytes(denoiser, Examples(), noise, None)
before = peak()
keep_freed_memory()
numbers = torch.arange(16)
for step in range(2):
    denoiser(noise(Examples().batch(numbers), Draw(step, numbers, numbers))).loss_sum.backward()
print(predicted, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_step_takes_about_what_was_predicted():
    """In a process of its own, for the peak of this one is that of other tests."""
    process = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    predicted, taken = map(int, process.stdout.split())
    assert 0.75 * taken < predicted < 1.75 * taken


def test_the_most_memory_of_the_process_is_told():
    before = memory.peak_memory(torch.device("cpu"))
    taken = np.ones(300_000_000 // 8)
    after = memory.peak_memory(torch.device("cpu"))
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        assert after == pytest.approx(int(line.split()[1]) * 1024, rel=0.05)
    assert after >= max(before, taken.nbytes)


@pytest.mark.parametrize("name", ["inactive_file", "total_inactive_file"])
def test_files_that_the_kernel_gives_back_are_free(tmp_path, name):
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file 7\n{name} 4096\nslab 3\n")
    assert memory._file_cache(tmp_path) == 4096
    assert memory._file_cache(tmp_path / "nowhere") == 0
