"""After `import textdae`, transformers loads our models, in whatever order the two are imported."""

import subprocess
import sys

import pytest
import torch

from textdae.image.autoencoder import Autoencoder, AutoencoderConfig


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    Autoencoder(AutoencoderConfig(image_size=8, hidden_size=4, code_size=2)).save_pretrained(folder)
    return folder


# What is imported first decides which module of transformers is half loaded when its tables come.
@pytest.mark.parametrize("first", ["PreTrainedModel"])
def test_auto_model_knows_our_classes(first, checkpoint):
    code = (
        f"import textdae, sys; assert 'torch' not in sys.modules; from transformers import {first}; "
        f"from transformers import AutoModel; print(type(AutoModel.from_pretrained({str(checkpoint)!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Autoencoder", done.stderr[-500:]


def test_the_other_order_too(checkpoint):
    code = (
        "from transformers import AutoModel; import textdae; "
        f"print(type(AutoModel.from_pretrained({str(checkpoint)!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "Autoencoder", done.stderr[-500:]


def test_without_textdae_it_is_unknown(checkpoint):
    code = f"from transformers import AutoModel; AutoModel.from_pretrained({str(checkpoint)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "textdae_autoencoder" in done.stderr


def test_what_is_loaded_is_what_was_saved(checkpoint):
    model = Autoencoder.from_pretrained(checkpoint)
    pixels = torch.rand(3, 1, 8, 8)
    output = model(pixels)
    assert output.reconstruction.shape == pixels.shape
    assert output.pooler_output.shape == (3, 2)
    again = Autoencoder.from_pretrained(checkpoint)(pixels)
    assert torch.equal(output.reconstruction, again.reconstruction)
