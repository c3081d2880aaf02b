"""Every command computes on the device that training chooses, and asks an Apple GPU for nothing that it lacks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import image_checkpoint, rows_of, text_checkpoint, write_table
from PIL import Image
from standin import MPS, on_device, stand_in

from textdae.commands.embed import embed
from textdae.commands.evaluate import evaluate
from textdae.commands.finetune import finetune
from textdae.commands.label_curve import label_curve
from textdae.commands.pretrain import pretrain
from textdae.commands.probe import probe
from textdae.core.settings.downstream import FinetuneSettings, LabelCurveSettings, ProbeSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, PretrainSettings
from textdae.image.denoise import denoise_pictures
from textdae.text.denoise import denoise_text
from textdae.training.hardware import choose_device, join_processes


@pytest.fixture
def device(monkeypatch):
    with stand_in(monkeypatch) as mode:
        yield mode


def test_the_stand_in_refuses_what_mps_refuses(device):
    ones = torch.ones(2).to("mps")
    assert ones.device == MPS
    assert on_device(ones * 2)
    assert not on_device(ones.cpu())
    with pytest.raises(TypeError, match="float64"):
        ones.double()
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(2, dtype=torch.float64, device=MPS)
    with pytest.raises(RuntimeError, match="on the CPU"):
        _ = ones + torch.ones(2)
    with pytest.raises(TypeError, match="numpy"):
        ones.numpy()
    assert ones.cpu().double().sum() == 2


def test_training_and_the_other_commands_choose_alike(device):
    assert choose_device() == MPS
    assert join_processes().device == MPS


QUICK = [
    "train.max_steps=3",
    "train.per_device_train_batch_size=4",
    "train.logging_steps=1",
    "train.eval_steps=2",
]
FEW = ["evaluate.max_examples=4", "evaluate.max_examples_in_training=2"]
SMALL = ["model.hidden_size=8", "model.num_hidden_layers=1", "model.intermediate_size=16"]
MODELS = {
    "text": ["data.source=texts.txt", "data.block_size=16", "data.held_out=0.1", "tokenizer.vocab_size=300", *SMALL],
    "mlp": ["data.source=digits", "data.max_images=60", "model.hidden_size=8", "model.encoder=mlp"],
    "conv": ["data.source=digits", "data.max_images=60", "model.encoder=conv", "model.hidden_size=4"],
    "unet": ["data.source=digits", "data.max_images=60", "model.type=unet", "model.hidden_size=4"],
    "vit": ["data.source=digits", "data.max_images=60", "model.type=vit", "model.patch_size=2", *SMALL,
            "noise.kind=patches", "noise.patch_size=2", "noise.scored=everywhere"],
}  # fmt: skip


@pytest.fixture
def work(tmp_path, monkeypatch, corpus_texts):
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n\n".join(corpus_texts[:150]))
    write_table(Path("rows.jsonl"), rows_of(corpus_texts[:60], "single"))
    table = [
        {"image": Path("one.png").read_bytes(), "label": n % 2} for n in range(30) if _draw("one.png", n)
    ]
    write_table(Path("pictures.parquet"), table)
    return tmp_path


def _draw(path: str, seed: int) -> bool:
    chance = np.random.default_rng(seed)
    Image.fromarray(chance.integers(0, 256, (8, 8), np.uint8)).save(path)
    return True


@pytest.mark.parametrize(
    "name",
    [name if name in ("text", "conv") else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def test_pretraining_evaluation_and_denoising_run_on_the_device(work, monkeypatch, name):
    settings = load(PretrainSettings, None, [*MODELS[name], *QUICK, *FEW, "output_dir=run"])
    with stand_in(monkeypatch) as device:
        result = pretrain(settings)
        assert device.calls > 100
        assert result.metrics["hardware"].startswith("1 x mps")
        device.calls = 0
        base = {"modality": settings.modality, **settings.evaluation()}
        again = evaluate("run", load(EvaluateRunSettings, None, [], base))
        assert device.calls > 5
        device.calls = 0
        if name == "text":
            denoise_text("run", "Ba [MASK] ce [MASK].")
        else:
            denoise_pictures("run", "one.png", "clean.png")
        assert device.calls > 5
    row = again.levels["as set"]["held_out"]["model"]
    assert row["loss"] == pytest.approx(result.metrics["held_out"]["model"]["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["text", "image"])
def test_work_with_labels_runs_on_the_device(work, monkeypatch, wordpiece, modality):
    name = (
        text_checkpoint(work / "m", wordpiece) if modality == "text" else image_checkpoint(work / "m", "unet")
    )
    source = "rows.jsonl" if modality == "text" else "pictures.parquet"
    given = [f"modality={modality}", f"data.source={source}", "precision=fp32"]
    with stand_in(monkeypatch) as device:
        for command in (
            lambda: embed(name, load(EmbedSettings, None, given), work / "v.npy"),
            lambda: probe(name, load(ProbeSettings, None, given)),
            lambda: label_curve(
                name,
                load(
                    LabelCurveSettings,
                    None,
                    [*given, "output_dir=curve", "labels=[8]", "draws=2", "lines=[probe]"],
                ),
            ),
            lambda: finetune(name, load(FinetuneSettings, None, [*given[:2], "output_dir=tuned", *QUICK])),
        ):
            device.calls = 0
            command()
            assert device.calls > 5
