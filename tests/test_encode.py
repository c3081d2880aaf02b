"""`encode`: lists of texts and of pictures to vectors, beside sentence-transformers and the `embed` of the same encoder."""

import logging.handlers

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, ModernBertConfig, ViTConfig, ViTModel

import textdae
from textdae.arrays.encoder import ArrayEncoder
from textdae.core.errors import SettingsError
from textdae.image.building import save_image_processor
from textdae.image.models.autoencoder import AutoencoderConfig
from textdae.text.sentence_transformer import save_sentence_files
from textdae.text.tokens.tokenizer import save_tokenizer


@pytest.fixture(scope="module")
def checkpoint(wordpiece, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("encoder")
    config = ModernBertConfig(
        vocab_size=len(wordpiece), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128, local_attention=8, pad_token_id=0,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    denoiser = textdae.TextDenoiser.from_config(config)
    denoiser.save_pretrained(folder)
    save_tokenizer(wordpiece, folder, 128)
    save_sentence_files(folder, denoiser.model, wordpiece, 128)
    return str(folder)


def test_vectors_are_those_of_sentence_transformers(checkpoint, corpus_texts):
    texts = [*corpus_texts[:40], "", "a", corpus_texts[0] * 20]
    encoder = textdae.TextEncoder.from_pretrained(checkpoint, precision="fp32")
    model = SentenceTransformer(checkpoint, device="cpu")
    for how in ({}, {"normalize": True}, {"batch_size": 3}):
        vectors = encoder.encode(texts, **how)
        stock = model.encode(texts, normalize_embeddings=how.get("normalize", False))
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, stock, atol=1e-5)
    assert encoder.notes["texts cut off after 128 tokens"] > 0


def test_weights_that_an_encoder_does_not_need_are_not_reported(checkpoint):
    logger = logging.getLogger("transformers.modeling_utils")
    handler = logging.handlers.MemoryHandler(100, logging.CRITICAL)
    logger.addHandler(handler)
    before = logging.getLogger("transformers").level
    logging.getLogger("transformers").setLevel(logging.WARNING)
    try:
        AutoModel.from_pretrained(checkpoint)
        assert "LOAD REPORT" in handler.buffer.pop().getMessage()
        textdae.TextEncoder.from_pretrained(checkpoint)
        assert not handler.buffer
        assert not logger.filters
    finally:
        logging.getLogger("transformers").setLevel(before)
        logger.removeHandler(handler)


def test_a_view_a_batch_size_and_a_bar(checkpoint, corpus_texts, capsys, monkeypatch):
    texts = corpus_texts[:10]
    encoder = textdae.TextEncoder.from_pretrained(
        checkpoint, pooling="cls", layer=1, precision="fp32", max_length=16
    )
    sizes, forward = [], encoder.model.forward

    def counted(*args, **inputs):
        sizes.append(len(inputs["input_ids"]))
        return forward(*args, **inputs)

    monkeypatch.setattr(encoder.model, "forward", counted)
    vectors = encoder.encode(texts, batch_size=4, show_progress=True)
    assert max(sizes) == 4
    assert "encoding: 100%" in capsys.readouterr().err
    encoder.encode(texts)
    assert max(sizes) > 4  # for that call alone
    ids = encoder.tokenizer(texts[0], truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder.model(**ids, output_hidden_states=True).hidden_states[1]
    np.testing.assert_allclose(vectors[0], hidden[0, 0].numpy(), atol=1e-5)
    assert encoder.encode([("a text", "its pair")]).shape == (1, 32)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    chance = np.random.default_rng(0)
    return [Image.fromarray(chance.integers(0, 256, (12, 9, 3), dtype=np.uint8)) for _ in range(5)]


@pytest.mark.parametrize("family", ["autoencoder", "vit"])
def test_pictures_in_any_form_are_encoded(family, pictures, tmp_path):
    if family == "vit":
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        ViTModel(ViTConfig(image_size=8, patch_size=4, **sizes)).save_pretrained(tmp_path)
    else:
        config = AutoencoderConfig(image_size=8, num_channels=3, hidden_size=16, code_size=4)
        textdae.ImageDenoiser.from_config(config).save_pretrained(tmp_path)
    save_image_processor(tmp_path, 8, 3)
    encoder = textdae.ImageEncoder.from_pretrained(tmp_path, precision="fp32")
    vectors = encoder.encode(pictures, batch_size=2)
    assert vectors.shape == (5, 16 if family == "vit" else 4)
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    np.testing.assert_allclose(encoder.encode(paths), vectors, atol=1e-6)
    pixels = encoder.read(pictures)
    np.testing.assert_allclose(encoder.encode(pixels), vectors, atol=1e-6)
    np.testing.assert_allclose(encoder(pixels), vectors, atol=1e-6)
    shares = [
        torch.from_numpy(each).float() / 255 for each in pixels
    ]  # as ToTensor of torchvision makes them
    np.testing.assert_array_equal(encoder.encode(shares), encoder.encode(pixels))
    transparent = pictures[0].convert("RGBA")
    np.testing.assert_allclose(encoder.encode([transparent])[0], vectors[0], atol=1e-6)


def test_an_encoder_of_one_vector_has_no_pooling_to_choose(tmp_path):
    for options in ({"pooling": "mean"}, {"layer": 1}):
        with pytest.raises(
            SettingsError, match="ArrayEncoder has one vector for each example; leave them out"
        ):
            ArrayEncoder.from_pretrained(tmp_path, **options)


def test_a_mistake_is_one_line(checkpoint, pictures, tmp_path):
    texts = textdae.TextEncoder.from_pretrained(checkpoint)
    textdae.ImageDenoiser.from_config(
        AutoencoderConfig(image_size=8, num_channels=1, hidden_size=16)
    ).save_pretrained(tmp_path)
    images = textdae.ImageEncoder.from_pretrained(tmp_path)
    for call, message in (
        (lambda: texts.encode("a text"), "give a list of texts"),
        (lambda: texts.encode(["a", 3]), "entry 1 is no text, but int"),
        (lambda: texts.encode(["a", ("b", "c")]), "texts and pairs"),
        (lambda: texts.encode([]), "an empty list"),
        (lambda: texts.encode(["a"], batch_size=0), "batch_size must be at least 1"),
        (lambda: images.encode(pictures[0]), "give a list of pictures"),
        (lambda: images.encode([pictures[0], "nowhere.png"]), "entry 1: nowhere.png: No such file"),
        (
            lambda: images.encode([np.zeros((3, 8, 8), np.uint8)]),
            r"entry 0: pixels are (1, 8, 8) of uint8, or of floats in [0, 1], got (3, 8, 8)",
        ),
        (
            lambda: images.encode([np.full((8, 8), 2.0)]),
            "pixels of floats are in [0, 1], not normalized, got 2 to 2",
        ),
        (lambda: images.encode([np.full((8, 8), np.nan)]), "not normalized, got nan to nan"),
        (lambda: images.encode([Image.new("I;16", (8, 8))]), "entry 0: more than 8 bits"),
    ):
        with pytest.raises(SettingsError) as raised:
            call()
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_opened_picture_is_turned_as_its_file_is(tmp_path):
    textdae.ImageDenoiser.from_config(
        AutoencoderConfig(image_size=8, num_channels=1, hidden_size=16)
    ).save_pretrained(tmp_path)
    encoder = textdae.ImageEncoder.from_pretrained(tmp_path, precision="fp32")
    image, exif = (
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)),
        Image.Exif(),
    )
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    one, other = encoder.encode([tmp_path / "turned.png", Image.open(tmp_path / "turned.png")])
    np.testing.assert_array_equal(one, other)
    (tmp_path / "cut.png").write_bytes((tmp_path / "turned.png").read_bytes()[:-40])
    with Image.open(tmp_path / "cut.png") as cut:
        for example in (cut, [[0.0], [1, 2]], "a\0.png", torch.full((1, 8, 8), 3).bfloat16()):
            with pytest.raises(SettingsError, match="entry 0"):
                encoder.encode([example])
    shares = torch.rand(1, 8, 8, requires_grad=True)
    np.testing.assert_array_equal(encoder.encode([shares]), encoder.encode([shares.detach()]))
