"""What does not fit into memory is refused before the first step, in one line that says what would fit."""

import numpy as np
import pytest
import torch
from PIL import Image

from textdae.cli import main
from textdae.errors import SettingsError, TextdaeError, memory_refused
from textdae.models.image import build_image_denoiser
from textdae.noise import image_noise
from textdae.settings import UNetSettings
from textdae.settings.image import GaussianNoise
from textdae.training import loop
from textdae.training.memory import activation_bytes, available_memory, check_batch_fits, check_model_fits


class Grey:
    """Two grey images."""

    def __init__(self, size: int) -> None:
        self.size = size

    def batch(self, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.rand(len(numbers), 1, self.size, self.size)}


def test_what_one_more_example_takes_is_what_a_step_keeps():
    """Four times the pixels, four times the memory; and by hand: the tensors that a residual block saves."""
    found = []
    for size in (32, 64):
        denoiser = build_image_denoiser(UNetSettings(hidden_size=8, num_hidden_layers=1), size, 1, 0)
        found.append(activation_bytes(denoiser, Grey(size), image_noise((GaussianNoise(),)), None))
    fine = 16 * 16 * 8 * 4  # (32 / 2)^2 places of 8 channels in fp32
    assert 10 * fine < found[0] < 30 * fine
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
    monkeypatch.setattr(loop, "available_memory", lambda device: 10**7)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("an older model")
    chance = np.random.default_rng(0)
    if modality == "image":
        source = tmp_path / "photographs"
        source.mkdir()
        for number in range(10):
            Image.fromarray(chance.integers(0, 256, (64, 64), np.uint8)).save(source / f"{number}.png")
        given = ["model.type=unet", "model.hidden_size=8", "data.held_out=0.3"]
    else:
        source = tmp_path / "texts.txt"
        source.write_text("\n\n".join(corpus_texts[:100]))
        given = ["model.hidden_size=64", "tokenizer.vocab_size=300", "model.num_hidden_layers=2", "data.block_size=128",
                 "model.intermediate_size=64", "train.per_device_train_batch_size=64", "data.held_out=0.1"]  # fmt: skip
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
