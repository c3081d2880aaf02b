"""What the documents say is run: the notebooks, the code of CONTRIBUTING; of README and documentation see `test_docs`."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from textdae.core import registry
from textdae.core.draw import Draw
from textdae.core.noise import Corrupted
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.downstream import metrics
from textdae.downstream.labels import LabelSchema
from textdae.image.data import corpus
from textdae.image.data.data_settings import ImageDataSettings
from textdae.report.scores import format_table
from textdae.text.noise import TextNoise
from textdae.text.tokens.vocabulary import vocabulary_of

ROOT = Path(__file__).parent.parent


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter, about itself
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("text", ["baseline: neighbours", "torch.Size([1, "]),
        ("image", ["baseline: linear denoiser", "torch.Size([1, 32])"]),
        ("downstream", ["test accuracy 0.", "labels the pretrained encoder (probe"]),
    ],
)
def test_the_notebook_runs(name, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing"
    for cell in notebook.cells:
        cell.source = cell.source.replace("/tmp/textdae-notebook", str(tmp_path / "run"))
    NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert all(part in printed for part in shown)


def test_the_noise_of_contributing_is_a_noise(wordpiece, monkeypatch):
    monkeypatch.setattr(TextNoise, "kinds", dict(TextNoise.kinds))
    code = blocks("CONTRIBUTING.md", "python")[0]
    scope: dict = {"__name__": "contributing"}
    exec(code, scope)
    ids = torch.arange(10, 20)[None]
    clean = {
        "input_ids": ids,
        "word_start": torch.ones_like(ids, dtype=torch.bool),
        "document": torch.zeros_like(ids),
    }
    noise = scope["EndNoise"](rate=0.3).build(vocabulary_of(wordpiece))
    corrupted = noise(clean, Draw(0, torch.tensor([0]), torch.tensor([0])))
    assert corrupted.loss_mask[0].tolist() == [False] * 7 + [True] * 3
    assert load(PretrainSettings, None, ["noise.kind=end"]).noise == (scope["EndNoise"](),)


@pytest.fixture
def recipes(monkeypatch) -> dict[str, dict]:
    """What the code of each recipe of CONTRIBUTING defines, by the last word of its heading."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(TextNoise, "kinds", dict(TextNoise.kinds))
    found: dict[str, dict] = {}
    for section in (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")[1:]:
        for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            exec(code, found.setdefault(section.splitlines()[0].split()[-1], {"__name__": "contributing"}))
    return found


def test_contributing_has_a_recipe_for_each_kind_of_addition(recipes):
    assert list(recipes) == ["noise", "model", "source", "metric", "baseline", "modality"]


def test_the_model_of_contributing_denoises(recipes):
    pixels = torch.rand(2, 1, 8, 8)
    corrupted = Corrupted({"pixel_values": pixels}, pixels, torch.ones_like(pixels, dtype=torch.bool))
    output = recipes["model"]["denoiser"](corrupted)
    assert output.reconstruction.shape == pixels.shape
    output.loss_sum.backward()


def test_the_source_and_the_baseline_of_contributing_are_ones(recipes, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "open_images", lambda data: recipes["source"]["stripes"]())
    prepared = corpus.prepare_images(ImageDataSettings(source="stripes", cache_dir=tmp_path))
    assert len(prepared.train) + len(prepared.held_out) == 100
    assert prepared.train.classes == ["level", "upright"]
    pixels = prepared.train.batch(torch.arange(2))["pixel_values"]
    corrupted = Corrupted({"pixel_values": pixels}, pixels, torch.ones_like(pixels, dtype=torch.bool))
    np.testing.assert_allclose(recipes["baseline"]["darker"](corrupted), pixels / 2)


def test_the_metric_of_contributing_is_measured_and_shown(recipes, monkeypatch):
    functions = metrics._FUNCTIONS["single_label_classification"]
    monkeypatch.setitem(functions, "balanced_accuracy", recipes["metric"]["balanced_accuracy"])
    schema = LabelSchema("single_label_classification", ("a", "b"))
    row = metrics.measure(schema, np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
    assert row["balanced_accuracy"] == pytest.approx(0.75)
    assert "balanced_accuracy" in format_table({"model": row})


def test_the_modality_of_contributing_is_known(recipes):
    assert registry.modality("sound") is recipes["modality"]["SOUND"]
    assert registry.modality_of_config({"model_type": "sound"}).name == "sound"


def test_the_map_of_contributing_has_every_folder():
    named = set(re.findall(r"^textdae/(\w+) ", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert named == {path.parent.name for path in (ROOT / "textdae").glob("*/__init__.py")}


def commands() -> list[str]:
    lines = "\n".join(blocks("README.md", "bash")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.split("  #")[0].strip()]


def test_the_readme_has_commands():
    assert {"./scripts/textdae pretrain", "./scripts/test"} <= set(commands())


def test_every_page_that_the_readme_names_is_there():
    names = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert len(names) > 10
    assert [name for name in names if not name.startswith("http") and not (ROOT / name).exists()] == []


def test_every_picture_of_the_readme_is_there():
    names = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert names
    assert all((ROOT / name).is_file() for name in names)


def test_the_badges_say_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, said in (("python", project["requires-python"]), ("licence", project["license"])):
        badge = ElementTree.parse(ROOT / "docs/images" / f"badge-{name}.svg").getroot()
        assert [text.text for text in badge.iter("{http://www.w3.org/2000/svg}text")] == [name, said]
