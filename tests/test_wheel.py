"""Without a clone: the wheel, in an environment of its own, from an empty folder to the Hub."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def run(*command, **options):
    process = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=400, check=False, **options
    )
    assert process.returncode == 0, f"{command}\n{process.stdout[-1000:]}\n{process.stderr[-3000:]}"
    return process.stdout


@pytest.fixture
def wheel(tmp_path):
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (file,) = (tmp_path / "dist").iterdir()
    return file


@pytest.mark.slow
def test_from_an_empty_folder_to_the_hub(wheel, tmp_path, corpus_texts, hub):
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {"textdae/configs/text-mini.yaml", "textdae/checks/golden.json"} <= inside
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/"))]

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    # The other packages are those of the tests; textdae itself, of which a clone may lie there, comes from the wheel.
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = environment / "lib" / version / "site-packages"
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        environment / "bin/python",
        "install",
        "--quiet",
        "--no-deps",
        wheel,
    )

    empty = tmp_path / "empty"
    empty.mkdir()
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables |= {"ACCELERATE_USE_CPU": "true", "HF_HUB_CACHE": str(tmp_path / "hub-cache")}

    def textdae(*words):
        return run(environment / "bin/textdae", *words, cwd=empty, env=variables)

    where = run(
        environment / "bin/python", "-c", "import textdae; print(textdae.__file__)", cwd=empty, env=variables
    )
    assert Path(where.strip()).is_relative_to(environment)
    assert "text-mini" in textdae("settings", "--list")
    (empty / "a.txt").write_text("\n\n".join(corpus_texts))
    small = [
        "tokenizer.vocab_size=400",
        "model.hidden_size=32",
        "model.num_hidden_layers=1",
        "train.compile=never",
    ]
    textdae("pretrain", "text-mini", "data.source=a.txt", "train.max_steps=4", *small)
    assert "baseline: neighbours" in textdae("evaluate", "runs/text-mini")
    assert "commit" in textdae("push", "runs/text-mini", "tester/wheel")
    assert "bits/byte" in textdae("evaluate", "tester/wheel", "data.source=a.txt")
    few = ["train.max_steps=4", "train.compile=never"]
    textdae("pretrain", "image-digits", *few, "train.time_budget=null")
    assert (empty / "runs/image-digits/samples.png").is_file()
    assert "ok   model" in run(environment / "bin/python", "-m", "textdae", "doctor", "runs/text-mini", "--quick", cwd=empty, env=variables)  # fmt: skip


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["title"].startswith(project["name"])
