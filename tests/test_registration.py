"""After `import textdae`, transformers loads our models, in whatever order the two are imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import textdae
from textdae.core.registry import installed
from textdae.image.models.autoencoder import Autoencoder, AutoencoderConfig

PACKAGE = Path(textdae.__file__).parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    Autoencoder(AutoencoderConfig(image_size=8, hidden_size=4, code_size=2)).save_pretrained(folder)
    return folder


# What is imported first decides which module of transformers is half loaded when its tables come.
@pytest.mark.parametrize(
    "first",
    [
        "from textdae.image.models.unet import UNet",
        pytest.param("from transformers import PreTrainedModel", marks=pytest.mark.slow),
    ],
)
def test_auto_model_knows_our_classes(first, checkpoint):
    code = (
        f"import textdae, sys; assert 'torch' not in sys.modules; {first}; "
        f"from transformers import AutoModel; print(type(AutoModel.from_pretrained({str(checkpoint)!r})).__name__)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout.strip() == "Autoencoder", process.stderr[-500:]


@pytest.mark.slow
def test_auto_model_knows_our_classes_if_transformers_comes_first(checkpoint):
    code = (
        "from transformers import AutoModel; import textdae; "
        f"print(type(AutoModel.from_pretrained({str(checkpoint)!r})).__name__)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout.strip() == "Autoencoder", process.stderr[-500:]


def test_without_textdae_it_is_unknown(checkpoint):
    code = f"from transformers import AutoModel; AutoModel.from_pretrained({str(checkpoint)!r})"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode
    assert "textdae_autoencoder" in process.stderr


def test_what_is_loaded_is_what_was_saved(checkpoint):
    model = Autoencoder.from_pretrained(checkpoint)
    pixels = torch.rand(3, 1, 8, 8)
    output = model(pixels)
    assert output.reconstruction.shape == pixels.shape
    assert output.pooler_output.shape == (3, 2)
    again = Autoencoder.from_pretrained(checkpoint)(pixels)
    assert torch.equal(output.reconstruction, again.reconstruction)


def file_of(module: str) -> Path | None:
    path = PACKAGE.parent / module.replace(".", "/")
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


def needed(*modules: str) -> set[str]:
    """These modules and all of textdae that their imports at the top lead to."""
    known, left = set(), [*modules]
    while left:
        if (module := left.pop()) in known or (file := file_of(module)) is None:
            continue
        known.add(module)
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("textdae"):
                left += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return known


def imports_transformers(module: str) -> bool:
    return any("from transformers" in file_of(each).read_text() for each in needed(module))


IMPORT_EACH_FIRST = """
import importlib, os, sys
import torch, transformers.configuration_utils  # not the tables of models: they are what our classes wait for
for name in sys.argv[1:]:
    if not os.fork():
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {error!r}", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
def test_a_module_that_our_models_need_can_be_the_first_import_of_a_process():
    """Only these can be half loaded where they are needed. Each in a fork of one process, which saves the time to load torch."""
    models = [name for modality in installed().values() for name in modality.models]
    first = sorted(name for name in needed(*models) if imports_transformers(name))
    assert set(models) < set(first)
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH_FIRST, *first], capture_output=True, text=True, check=True
    )
    assert process.stdout == ""
