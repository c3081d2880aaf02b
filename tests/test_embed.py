"""`textdae embed`: the vectors of the stock model, in order, whatever the batches, and again after a stop."""

import json
from pathlib import Path

import labelled
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from records import heard
from transformers import AutoModel, AutoTokenizer

from textdae.cli.app import main
from textdae.commands import embed as module
from textdae.commands.embed import embed
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EmbedSettings
from textdae.downstream.encoder import View
from textdae.image.encoder import ImageEncoder
from textdae.image.model import ImageDenoiser
from textdae.image.models.autoencoder import Autoencoder, AutoencoderConfig
from textdae.text.building import build_text_denoiser
from textdae.text.encoder import TextEncoder
from textdae.text.model_settings import TextModelSettings
from textdae.text.tokens.tokenizer import save_tokenizer


@pytest.fixture(scope="module")
def text_checkpoint(tmp_path_factory, wordpiece):
    folder = tmp_path_factory.mktemp("text")
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 32,
    }
    build_text_denoiser(TextModelSettings(**sizes), wordpiece, 0).save_pretrained(folder)
    save_tokenizer(wordpiece, folder)
    return str(folder)


@pytest.fixture(scope="module")
def image_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    torch.manual_seed(0)
    Autoencoder(AutoencoderConfig(image_size=8, hidden_size=8, code_size=3)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def texts(tmp_path, corpus_texts):
    """A table with blanks and long texts in it; every row counts."""
    rows = [text[: 20 + 7 * (number % 23)] for number, text in enumerate(corpus_texts[:40])]
    rows[3], rows[8] = "", " ".join(corpus_texts[:6])
    pq.write_table(pa.table({"text": rows}), tmp_path / "texts.parquet")
    return rows


def settings_of(tmp_path, modality="text", source="texts.parquet", *overrides):
    given = [f"modality={modality}", f"data.source={tmp_path / source}", "precision=fp32", *overrides]
    return load(EmbedSettings, None, given)


def stock(checkpoint, text, pooling="mean", layer=None):
    """One text by itself, through the stock model."""
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), AutoModel.from_pretrained(checkpoint).eval()
    inputs = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    hidden = (output.last_hidden_state if layer is None else output.hidden_states[layer])[0]
    return (hidden[0] if pooling == "cls" else hidden.mean(0)).numpy()


@pytest.mark.parametrize(("pooling", "layer"), [("mean", None), ("cls", None), ("mean", 1)])
def test_texts_get_the_vectors_of_the_stock_model(pooling, layer, text_checkpoint, texts, tmp_path):
    overrides = [f"pooling={pooling}", *([f"layer={layer}"] if layer is not None else []), "batch_tokens=100"]
    settings = settings_of(tmp_path, "text", "texts.parquet", *overrides)
    with heard() as said:
        assert embed(text_checkpoint, settings, tmp_path / "v.npy").vectors.shape == (40, 16)
    vectors = np.load(tmp_path / "v.npy")
    for number in (0, 3, 8, 17, 39):
        wanted = stock(text_checkpoint, texts[number], pooling, layer)
        np.testing.assert_allclose(vectors[number], wanted, atol=2e-5)
    cut = sum(len(AutoTokenizer.from_pretrained(text_checkpoint)(text)["input_ids"]) > 32 for text in texts)
    assert said == [f"texts cut off after 32 tokens: {cut}"]


def test_parquet_and_npy_hold_the_same_and_normalize_gives_length_one(text_checkpoint, texts, tmp_path):
    embed(text_checkpoint, settings_of(tmp_path), tmp_path / "v.npy")
    embed(text_checkpoint, settings_of(tmp_path), tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["row"].to_pylist() == list(range(40))
    plain = np.load(tmp_path / "v.npy")
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), plain)
    embed(
        text_checkpoint, settings_of(tmp_path, "text", "texts.parquet", "normalize=true"), tmp_path / "n.npy"
    )
    np.testing.assert_allclose(np.load(tmp_path / "n.npy"), plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)  # fmt: skip
    assert not list(tmp_path.glob("*.parts"))


def test_a_stopped_run_goes_on_behind_its_last_chunk(text_checkpoint, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    embed(text_checkpoint, settings_of(tmp_path), tmp_path / "whole.npy")
    seen: list[int] = []
    call = TextEncoder.__call__

    def interrupted(self, examples):
        seen.append(len(examples))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return call(self, examples)

    monkeypatch.setattr(TextEncoder, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(text_checkpoint, settings_of(tmp_path), tmp_path / "v.npy")
    assert not (tmp_path / "v.npy").exists()
    with heard() as said:
        embed(text_checkpoint, settings_of(tmp_path), tmp_path / "v.npy")
    assert said[0] == "going on after the first 24 rows"
    assert sum(seen) == 40 + 8  # the chunk that was stopped, twice; none of the others
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), np.load(tmp_path / "whole.npy"))


def test_chunks_of_another_question_are_not_used(text_checkpoint, texts, tmp_path):
    (tmp_path / "v.npy.parts").mkdir()
    (tmp_path / "v.npy.parts/question.json").write_text(json.dumps({"rows": "others"}))
    np.savez(tmp_path / "v.npy.parts/00000000.npz", row=np.arange(5), embedding=np.zeros((5, 16)))
    with heard() as said:
        embed(text_checkpoint, settings_of(tmp_path), tmp_path / "v.npy")
    assert said[0].endswith("of other settings or another source; starting anew")
    assert len(np.load(tmp_path / "v.npy")) == 40


def test_images_get_their_codes(image_checkpoint, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no picture")
    with pytest.raises(SettingsError, match=r"2\.png: not a picture .* or set data\.on_error=skip"):
        embed(image_checkpoint, settings_of(tmp_path, "image", "pictures"), tmp_path / "v.parquet")
    settings = settings_of(tmp_path, "image", "pictures", "data.on_error=skip")
    with heard() as said:
        assert embed(image_checkpoint, settings, tmp_path / "v.parquet").vectors.shape == (4, 3)
    assert "pictures skipped, not usable: 1" in said
    table = pq.read_table(tmp_path / "v.parquet")
    rows = table["row"].to_pylist()
    assert rows == [0, 1, 3, 4]
    assert table["file"].to_pylist() == [f"{row}.png" for row in rows]
    with torch.no_grad():
        wanted = ImageDenoiser.from_pretrained(image_checkpoint).model.encode(
            torch.from_numpy(pixels[rows])[:, None].float() / 255
        )
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("output", "overrides", "message"),
    [
        ("v.txt", [], r"v\.txt must end in \.npy or \.parquet"),
        ("v.npy", ["layer=9"], "layer: .* has layers 0 to 2, got 9"),
        ("v.npy", ["data.text_column=body"], "no column 'body'; it has: text"),
    ],
)
def test_what_cannot_be_is_one_line(output, overrides, message, text_checkpoint, texts, tmp_path):
    with pytest.raises(SettingsError, match=message) as caught:
        embed(text_checkpoint, settings_of(tmp_path, "text", "texts.parquet", *overrides), tmp_path / output)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "known"), [("unet", "grid and mean"), ("conv", "code")])
def test_what_has_no_first_place_has_no_cls(name, known, tmp_path):
    """Layers of a convolution: channels by height by width."""
    checkpoint = labelled.image_checkpoint(tmp_path / name, name)
    if known == "code":  # one vector there is, whatever was asked for
        assert ImageEncoder(checkpoint, View(None, "cls")).view.pooling == "cls"
        known = "grid and mean"
    with pytest.raises(SettingsError, match=rf"pooling: that layer of .* has {known}, got cls"):
        ImageEncoder(checkpoint, View(0, "cls"))


def test_a_name_is_taken_as_it_is_written(text_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/other.txt").write_text("one\n\ntwo\n\nthree")
    (tmp_path / "notes #1.txt").write_text("a\n\nb")
    (tmp_path / "a: b.txt").write_text("c")
    for name, count in (("notes #1.txt", 2), ("a: b.txt", 1)):
        monkeypatch.setattr("sys.argv", ["textdae", "embed", text_checkpoint, name, "-o", "v.npy"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        assert len(np.load("v.npy")) == count


def test_a_checkpoint_may_be_a_path(text_checkpoint, texts, tmp_path):
    assert (
        embed(Path(text_checkpoint), output=tmp_path / "v.npy", source=tmp_path / "texts.parquet").count == 40
    )
