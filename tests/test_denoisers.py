"""Denoisers by their name or their config, and the mean loss beside the sums."""

import pytest
import torch
from transformers import BertConfig, PreTrainedConfig, ViTConfig

import textdae
from textdae.core.errors import SettingsError
from textdae.image.model import PatchDenoiser
from textdae.image.models.autoencoder import AutoencoderConfig
from textdae.text.tokens.tokenizer import save_tokenizer


def tiny_bert(**more) -> BertConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertConfig(vocab_size=400, max_position_embeddings=64, **sizes, **more)


CONFIGS = {
    "autoencoder": lambda: AutoencoderConfig(image_size=8, num_channels=1, hidden_size=16),
    "vit": lambda: ViTConfig(
        image_size=8, patch_size=4, encoder_stride=4, num_channels=1, hidden_size=16,
        num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", CONFIGS)
def test_an_image_denoiser_is_built_saved_and_loaded(family, tmp_path):
    denoiser = textdae.ImageDenoiser.from_config(CONFIGS[family](), seed=1)
    assert isinstance(denoiser, PatchDenoiser) == (family == "vit")
    assert denoiser.training
    again = textdae.ImageDenoiser.from_config(CONFIGS[family](), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(denoiser.parameters(), again.parameters(), strict=True))
    denoiser.save_pretrained(tmp_path)
    corrupted = textdae.PatchNoise(0.5)(torch.rand(3, 1, 8, 8), seed=0)
    expected = denoiser.eval()(corrupted).reconstruction
    for load in (textdae.ImageDenoiser.from_pretrained, textdae.load):
        loaded = load(tmp_path)
        assert not loaded.training
        assert torch.equal(loaded(corrupted).reconstruction, expected)


def test_a_text_denoiser_is_built_saved_and_loaded(tmp_path, wordpiece, corpus_texts):
    denoiser = textdae.TextDenoiser.from_config(tiny_bert(), seed=2)
    denoiser.save_pretrained(tmp_path)
    save_tokenizer(wordpiece, tmp_path)
    batch = wordpiece(corpus_texts[:3], padding=True, truncation=True, max_length=40, return_tensors="pt")
    corrupted = textdae.WordNoise(0.3)(batch, tokenizer=wordpiece, seed=0)
    expected = denoiser.eval()(corrupted)
    for load in (textdae.TextDenoiser.from_pretrained, textdae.load):
        assert torch.equal(load(tmp_path)(corrupted).loss, expected.loss)
    # The stock model on the same inputs: the mean over the hidden tokens.
    labels = corrupted.target.masked_fill(~corrupted.loss_mask, -100)
    torch.testing.assert_close(expected.loss, denoiser.model(**corrupted.inputs, labels=labels).loss)


def test_the_mean_loss_is_the_sum_over_the_count_and_nothing_where_nothing_is_scored():
    denoiser = textdae.ImageDenoiser.from_config(CONFIGS["autoencoder"]())
    corrupted = textdae.PixelNoise(0.5, scored="hidden")(torch.rand(2, 1, 8, 8))
    output = denoiser(corrupted)
    torch.testing.assert_close(output.loss, output.loss_sum / corrupted.loss_mask.sum())
    nothing = denoiser(corrupted._replace(loss_mask=torch.zeros_like(corrupted.loss_mask)))
    nothing.loss.backward()
    assert nothing.loss == 0


@pytest.mark.parametrize(
    ("denoiser", "config", "message"),
    [
        ("ImageDenoiser", tiny_bert(), "model_type 'bert' is none of textdae_autoencoder"),
        ("ImageDenoiser", AutoencoderConfig(image_size=7, encoder="convolutional"), "no model can be built"),
        ("TextDenoiser", PreTrainedConfig(), "no masked language model can be built of it"),
        ("TextDenoiser", ViTConfig(), "no masked language model can be built of it"),
    ],
)
def test_a_config_that_will_not_do_is_refused_in_one_line(denoiser, config, message):
    with pytest.raises(SettingsError) as raised:
        getattr(textdae, denoiser).from_config(config)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("steps", [1, 3])
def test_texts_are_denoised_in_batches_as_they_are_alone(steps, wordpiece, corpus_texts, tmp_path):
    denoiser = textdae.TextDenoiser.from_config(tiny_bert(), seed=2).eval()
    denoiser.save_pretrained(tmp_path)
    save_tokenizer(wordpiece, tmp_path)
    texts = [
        " ".join([*text.split()[:n], "[MASK]", "or", "[MASK]"]) for n, text in enumerate(corpus_texts[:5])
    ]
    alone = [textdae.denoise_text(tmp_path, text, steps, device="cpu") for text in texts]
    together = textdae.denoise_text(tmp_path, texts, steps, batch_size=2)
    assert [found.text for found in together] == [found.text for found in alone]
    assert [found.order for found in together] == [found.order for found in alone]
    probabilities = [
        [p for mask in f.candidates for _, p in mask] for found in (alone, together) for f in found
    ]
    torch.testing.assert_close(
        torch.tensor(probabilities[:5]), torch.tensor(probabilities[5:]), rtol=1e-4, atol=0
    )
    assert textdae.denoise_text(tmp_path, []) == []
    with pytest.raises(SettingsError, match="text 1: no mask in the text"):
        textdae.denoise_text(tmp_path, ["a [MASK]", "none"])
