"""Export to ONNX: what comes out gives what torch gives, read by ONNX Runtime alone; what cannot be exported says why."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from labelled import image_checkpoint, text_checkpoint
from records import heard
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForTokenClassification,
)

from textdae.cli.app import main
from textdae.commands import export as module
from textdae.commands import export_comparison
from textdae.commands.export import export
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.exportable import Exportable
from textdae.core.layout import EXPORTED
from textdae.core.names import HubName
from textdae.core.settings.yaml_text import dump
from textdae.hub.locate import digests
from textdae.hub.upload import upload_of
from textdae.image.exporting import open_exportable as open_pictures
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.own_classifiers import UNetForImageClassification
from textdae.text.exporting import open_exportable as open_texts
from textdae.text.settings import TextPretrainSettings
from textdae.text.tokens.tokenizer import save_tokenizer


@pytest.fixture
def checkpoint(tmp_path, wordpiece):
    return tmp_path / "run", text_checkpoint(tmp_path / "run", wordpiece)


def run_onnx(file, inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = {each.name for each in session.get_inputs()}
    return session.run(None, {name: value.numpy() for name, value in inputs.items() if name in names})[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's exporter
def test_a_masked_language_model_is_the_same_in_onnx_and_goes_along_in_a_push(checkpoint, corpus_texts):
    folder, name = checkpoint
    (folder / "texts.txt").write_text("\n\n".join(corpus_texts[:40]))
    found = export(name, int8=True, source=folder / "texts.txt")
    assert found.examples == "40 texts of texts.txt"
    assert found.table["ONNX"]["difference"] < 1e-4
    assert found.table["ONNX"]["agreement"] == 1
    assert found.table["ONNX int8"]["megabytes"] < found.table["ONNX"]["megabytes"]
    assert found.table["ONNX int8"]["agreement"] > 0.5
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    inputs = tokenizer(
        [corpus_texts[50][:60], "one", corpus_texts[51][:20]], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(**inputs).logits.numpy()
    real = inputs["attention_mask"] == 1
    assert np.abs(run_onnx(folder / "onnx/model.onnx", inputs) - expected)[real].max() < 1e-4
    (folder / "onnx/notes.txt").write_text("nobody's business")
    pushed = upload_of(folder, False, HubName("tester/small")).files
    assert {each for each in pushed if each.startswith("onnx")} == {
        "onnx/model.onnx",
        "onnx/model_int8.onnx",
        "onnx/export.json",
    }
    assert str(folder) not in (folder / "onnx/export.json").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_tagger_is_the_same_in_onnx(tmp_path, wordpiece):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    config = ModernBertConfig(
        vocab_size=len(wordpiece), num_attention_heads=2, num_labels=5, pad_token_id=wordpiece.pad_token_id,
        cls_token_id=wordpiece.cls_token_id, sep_token_id=wordpiece.sep_token_id, **sizes,
    )  # fmt: skip
    ModernBertForTokenClassification(config).save_pretrained(tmp_path / "tagger")
    save_tokenizer(wordpiece, tmp_path / "tagger")
    found = export(str(tmp_path / "tagger"))
    assert found.examples == "128 texts drawn at random"
    assert found.table["ONNX"]["difference"] < 1e-4
    inputs = wordpiece(["some words", "more of them here"], padding=True, return_tensors="pt")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "tagger").eval()
    with torch.no_grad():
        expected = model(inputs["input_ids"], inputs["attention_mask"]).logits.numpy()
    real = inputs["attention_mask"] == 1
    assert np.abs(run_onnx(found.files[0], inputs) - expected)[real].max() < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["conv", "vit", "unet"])
def test_image_models_are_the_same_in_onnx(tmp_path, name):
    folder = image_checkpoint(tmp_path / "run", name)
    found = export(folder, output=tmp_path / "elsewhere")
    assert found.folder == tmp_path / "elsewhere"
    assert found.table["ONNX"]["difference"] < 1e-4
    assert "pictures_per_second" in found.table["ONNX"]
    if name == "unet":
        with pytest.raises(SettingsError, match="this one has convolutions, so leave it out"):
            export(folder, int8=True, output=tmp_path / "elsewhere")
        assert found.files[0].is_file()  # what was there stays
        assert not list(tmp_path.glob(".elsewhere*"))


def test_a_run_of_several_sources_is_compared_on_the_first(checkpoint, corpus_texts):
    folder, name = checkpoint
    (folder / "texts.txt").write_text("\n\n".join(corpus_texts[:40]))
    run = TextPretrainSettings.model_validate(
        {"data": {"source": [{"source": str(folder / "texts.txt")}, {"source": "docstrings"}]}}
    )
    (folder / "settings.yaml").write_text(dump(run))
    examples, what = module._examples(name, None, open_texts(name))
    assert (len(examples), what) == (40, "40 texts of texts.txt")


def test_what_is_given_to_a_masked_language_model(checkpoint, corpus_texts):
    exportable = open_texts(checkpoint[1])
    inputs = exportable.collate(corpus_texts[:4])
    again = exportable.collate(corpus_texts[:4])
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)
    assert set(exportable.free_axes) == {"input_ids", "attention_mask"}
    hidden = inputs["labels"] >= 0
    assert 0.05 < hidden.sum() / inputs["attention_mask"].sum() < 0.3
    assert inputs["input_ids"].shape[1] <= 64
    assert len(exportable.draw(3)) == 3


def test_a_unet_that_knows_the_level_is_given_one(tmp_path):
    sizes = {"image_size": 8, "num_channels": 1, "hidden_size": 16, "num_hidden_layers": 1}
    UNet(UNetConfig(**sizes, condition="level", data_deviation=0.25)).save_pretrained(tmp_path)
    exportable = open_pictures(str(tmp_path))
    inputs = exportable.collate(exportable.draw(3))
    assert inputs["level"].shape == (3,)
    found = export(
        str(tmp_path), output=tmp_path / "onnx"
    )  # compares batches of other sizes than the sample's
    assert found.table["ONNX"]["difference"] < 1e-4
    assert exportable.model(**inputs)[0].shape == (3, 1, 8, 8)
    # A classifier made of it estimates the level by itself.
    classifier = UNetForImageClassification(UNetConfig(**sizes, condition="level", num_labels=2))
    classifier.save_pretrained(tmp_path)
    exportable = open_pictures(str(tmp_path))
    assert exportable.free_axes.keys() == {"pixel_values"}
    assert exportable.model(**exportable.collate(exportable.draw(3)))[0].shape == (3, 2)


class _Twice(torch.nn.Module):
    def forward(self, x):
        return (2 * x,)


def test_a_model_that_differs_is_refused_and_the_figures_are_those_of_the_outputs(monkeypatch, tmp_path):
    batches = [{"x": np.eye(4, dtype=np.float32)[[0, 1]]}, {"x": np.eye(4, dtype=np.float32)[[2, 3]]}]
    exportable = Exportable(_Twice(), None, None, {"x": ()}, "texts")
    (tmp_path / "model.onnx").write_bytes(b"12")

    def onnx_that(file, run):
        monkeypatch.setattr(export_comparison, "_onnx_run", lambda file: run)
        return export_comparison.compare(exportable, [file], batches)

    table = onnx_that(tmp_path / "model.onnx", lambda batch: 2 * batch["x"] + 5e-5)
    assert table["ONNX"]["difference"] == pytest.approx(5e-5, rel=1e-2)
    assert table["ONNX"]["agreement"] == 1
    with pytest.raises(TextdaeError, match=r"differs from torch by 2, more than 0\.0001; it is not kept"):
        onnx_that(tmp_path / "model.onnx", lambda batch: 0 * batch["x"])
    with pytest.raises(TextdaeError, match="differs from torch by nan"):
        onnx_that(tmp_path / "model.onnx", lambda batch: np.nan * batch["x"])


def test_what_cannot_be_exported_says_why(tmp_path, checkpoint, monkeypatch, capsys):
    with pytest.raises(SettingsError, match=r"on the Hub needs a folder to write"):
        export("tester/small")
    config = tmp_path / "run/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "architectures": ["ModernBertModel"]}))
    with pytest.raises(
        SettingsError, match=r"holds ModernBertModel; what can be exported ends in ForMaskedLM"
    ):
        export(checkpoint[1])
    monkeypatch.setattr(sys, "argv", ["textdae", "export", checkpoint[1]])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "export: say the format: --onnx" in capsys.readouterr().err
    there = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxruntime" else there(name))
    with pytest.raises(SettingsError, match=r"export needs onnxruntime; run: pip install 'textdae\[onnx\]'"):
        export(checkpoint[1])


def test_only_what_was_exported_of_these_weights_is_pushed(checkpoint):
    folder, _ = checkpoint
    (folder / "onnx").mkdir()

    def pushed(weights):
        for name in EXPORTED:
            (folder / name).write_text(json.dumps({"weights": weights}))
        return {name for name in upload_of(folder, False, HubName("tester/small")).files if "onnx" in name}

    assert pushed(digests(str(folder))) == set(EXPORTED)
    with heard() as said:
        assert pushed(["of before"]) == set()
    assert "made of other weights, so it is not sent; run textdae export again" in said[-1]
    (folder / "onnx/export.json").unlink()  # somebody else's
    assert "onnx" in upload_of(folder, False, HubName("tester/small")).left_out


def test_a_folder_that_holds_something_else_is_not_replaced(checkpoint, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/thesis.txt").write_text("mine")
    for place in (tmp_path / "models", checkpoint[0]):
        before = sorted(place.iterdir())
        with pytest.raises(SettingsError, match="which is no export; name a new folder"):
            export(checkpoint[1], output=place)
        assert sorted(place.iterdir()) == before
