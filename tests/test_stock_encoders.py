"""Encoders that textdae has never made: what others publish can be probed and fine-tuned as it is."""

import numpy as np
import pytest
import torch
from transformers import ConvNextConfig, ConvNextModel, ViTConfig, ViTImageProcessorPil, ViTModel

from textdae.commands.finetune import finetune
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.reader import load
from textdae.downstream.encoder import View
from textdae.hub.locate import modality_of
from textdae.image.encoder import ImageEncoder

MODELS = {
    "vit": lambda: ViTModel(
        ViTConfig(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    ),
    "convnext": lambda: ConvNextModel(
        ConvNextConfig(image_size=16, patch_size=2, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    ),
}  # fmt: skip


@pytest.fixture(params=MODELS)
def published(request, tmp_path):
    torch.manual_seed(0)
    model = MODELS[request.param]().eval()
    model.save_pretrained(tmp_path / "published")
    processor = ViTImageProcessorPil(
        size={"height": 16, "width": 16}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    )
    processor.save_pretrained(tmp_path / "published")
    return str(tmp_path / "published"), model, processor


def test_its_vectors_are_those_of_the_stock_model_on_normalised_pixels(published):
    name, model, processor = published
    assert modality_of(name) == "image"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    encoder = ImageEncoder(name, precision="fp32")
    assert (encoder.image_size, encoder.channels) == (16, 3)
    inputs = processor(
        list(pixels.transpose(0, 2, 3, 1)), return_tensors="pt", input_data_format="channels_last"
    )
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    wanted = hidden[:, 1:].mean(1) if hidden.ndim == 3 else hidden.mean((2, 3))
    np.testing.assert_allclose(
        encoder.embed(pixels, [View(None, "mean")])[View(None, "mean")], wanted, atol=1e-4
    )


def test_it_is_fine_tuned_and_keeps_its_own_processor(published, tmp_path):
    name, _, processor = published
    given = ["modality=image", "data.source=digits", f"data.cache_dir={tmp_path / 'cache'}", "train.max_steps=3",
             f"output_dir={tmp_path / 'run'}", "train.compile=never"]  # fmt: skip
    result = finetune(name, load(FinetuneSettings, None, given))
    assert result.metrics["steps"] == 3
    again = ViTImageProcessorPil.from_pretrained(tmp_path / "run")
    assert again.image_mean == processor.image_mean
