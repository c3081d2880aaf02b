"""The example of a third modality, from its first command to its last, through the ordinary command line."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import textdae
from textdae.core.registry import GROUP

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/signals"
QUICK = ["train.compile=never"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `textdae` where the package is installed, as `importlib.metadata` sees it; without pip, which needs a network."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    installed = tmp_path / "site/textdae_signals-0.1.0.dist-info"
    installed.mkdir(parents=True)
    points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"][GROUP].items())
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    paths = os.pathsep.join(map(str, (ROOT, EXAMPLE, installed.parent)))
    environment = {**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}

    def run(*words, code=0):
        command = [sys.executable, "-m", "textdae", *words]
        process = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert process.returncode == code, f"{words}\n{process.stderr[-3000:]}"
        assert "Traceback" not in process.stderr
        return process.stdout + process.stderr

    return run


@pytest.mark.slow
def test_the_commands_on_signals(run, tmp_path):
    run("pretrain", "data.source=sines", "train.max_steps=700", *QUICK, "output_dir=run")
    assert {"README.md", "loss.png", "samples.png", "metrics.json"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }
    table = json.loads((tmp_path / "run/metrics.json").read_text())["held_out"]
    assert set(table) == {"model", "baseline: noisy", "baseline: Wiener filter"}
    assert table["baseline: noisy"]["mse"] == pytest.approx(0.25, rel=0.02)  # sigma squared
    assert (
        table["model"]["mse"] < table["baseline: Wiener filter"]["mse"] < table["baseline: noisy"]["mse"] / 2
    )

    out = run("evaluate", "run", "--levels", "0.3,0.6", "-o", "evaluation")
    assert "Wiener filter" in out
    levels = json.loads((tmp_path / "evaluation/evaluation.json").read_text())["levels"]
    assert levels["0.3"]["held_out"]["baseline: noisy"]["mse"] == pytest.approx(0.09, rel=0.02)

    noisy = np.random.default_rng(0).normal(0, 0.5, (3, 64)).astype(np.float32)  # nothing but noise
    np.save(tmp_path / "noisy.npy", noisy)
    run("denoise", "run", "noisy.npy", "-o", "clean.npy")
    assert np.square(np.load(tmp_path / "clean.npy")).mean() < np.square(noisy).mean() / 2

    run("embed", "run", "sines", "data.train=50", "-o", "vectors.npy")
    assert np.load(tmp_path / "vectors.npy").shape == (50, 256)

    run("finetune", "run", *QUICK, "train.max_steps=300", "output_dir=classifier")
    test = json.loads((tmp_path / "classifier/metrics.json").read_text())["test"]
    assert test["model"]["accuracy"] > test["baseline: majority"]["accuracy"] + 0.1
    assert "AutoModelForAudioClassification" in (tmp_path / "classifier/README.md").read_text()

    run("probe", "run", "data.train=900", "max_examples=300", "output_dir=probe")
    probe = json.loads((tmp_path / "probe/probe.json").read_text())
    best = max(row["accuracy"] for row in probe["encoder"].values())
    assert best > max(row["accuracy"] for row in probe["baselines"].values())


@pytest.mark.slow
def test_resume_refusals_and_the_doctor_on_signals(run, tmp_path):
    run("pretrain", "data.source=sines", "train.max_steps=20", *QUICK, "output_dir=run")
    assert "(step 20)" in run("pretrain", "run/settings.yaml", "train.max_steps=30", "--resume")
    np.save(tmp_path / "noisy.npy", np.zeros((3, 64), np.float32))
    assert "-o clean.npy" in run("denoise", "run", "noisy.npy", code=2)
    assert "--steps means nothing" in run("denoise", "run", "noisy.npy", "-o", "c.npy", "--steps=2", code=2)
    assert "SignalsModel" in run("doctor", "run", "--quick")
    assert "data.length=64" in run("settings", "pretrain", "-m", "signals")


def test_the_example_is_short_and_textdae_does_not_know_it():
    lines = [line for path in EXAMPLE.rglob("*.py") for line in path.read_text().splitlines()]
    assert sum(bool(line.strip()) for line in lines) < 250  # imports, docstrings and all
    source = "\n".join(path.read_text() for path in Path(textdae.__file__).parent.rglob("*.py"))
    assert not re.search('textdae_signals|"sines"|Sines', source)
