"""Every public name has an example in its docstring; all that take little time are run, in a folder with three checkpoints."""

import doctest
from pathlib import Path

import pytest
import torch
from all_levels import save_unet_of_all_levels
from PIL import Image
from transformers import BertConfig

import textdae
from textdae.core import registry
from textdae.image.building import save_image_processor
from textdae.image.models.autoencoder import AutoencoderConfig
from textdae.text.tokens.tokenizer import save_tokenizer

NOT_RUN = {
    "pretrain", "plan", "Plan", "finetune", "probe", "label_curve", "evaluate", "embed", "push", "doctor", "TrainingResult",
    "ProbeResult", "LabelCurveResult", "EvaluationResult", "EmbedResult", "prepare", "PrepareResult", "DenoiserOutput", "MaskingCollator", "Trainer",
}  # fmt: skip
"""They train, or read a corpus; the tests of their own do what these examples do."""


def examples_of(name: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(getattr(textdae, name).__doc__ or "")


@pytest.mark.parametrize("name", dir(textdae))
def test_every_public_name_has_an_example(name):
    if getattr(textdae, name).__module__.startswith(
        "textdae"
    ):  # else a noise of a package that is installed beside
        assert examples_of(name), f"textdae.{name} has no example in its docstring"


@pytest.fixture(scope="module")
def folder(wordpiece, tmp_path_factory) -> Path:
    """A folder as the examples know it."""
    found = tmp_path_factory.mktemp("examples")
    sizes = {"hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    textdae.TextDenoiser.from_config(BertConfig(vocab_size=400, **sizes)).save_pretrained(found / "runs/mine")
    save_tokenizer(wordpiece, found / "runs/mine", 512)
    config = AutoencoderConfig(image_size=8, num_channels=1, hidden_size=16, code_size=32)
    textdae.ImageDenoiser.from_config(config).save_pretrained(found / "runs/digits")
    save_image_processor(found / "runs/digits", 8, 1)
    save_unet_of_all_levels(found / "runs/all-levels", 8)
    (found / "pairs.csv").write_text("sentence_good,sentence_bad\nba da,da ba\n")
    for name in ("a.png", "b.png", "photo.png"):
        Image.new("L", (8, 8), 99).save(found / name)
    return found


SLOW = {"export", "ExportResult"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in sorted(set(dir(textdae)) - NOT_RUN)
    ],
)
def test_the_example_runs(name, folder, wordpiece, corpus_texts, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    pixels = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    around = {
        "textdae": textdae,
        "torch": torch,
        "PIL": __import__("PIL.Image"),
        "pixels": pixels,
        "texts": corpus_texts[:3],
        "tokenizer": wordpiece,
        "model": textdae.load_text("runs/mine").denoiser.model,
    }
    test = doctest.DocTest(examples_of(name), around, name, None, 0, None)
    lines: list[str] = []
    runner = doctest.DocTestRunner(Shown(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=lines.append)
    assert not runner.failures, "".join(lines)


class Shown(doctest.OutputChecker):
    """An example that shows no output may have any."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)
