"""Every settings file that is shipped can be read, and says what its name says."""

import subprocess
from pathlib import Path

import pytest
import yaml

from textdae.cli.app import main
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.shipped import shipped
from textdae.core.settings.train import TrainSettings
from textdae.core.settings.yaml_text import dump
from textdae.text.learning_rates import rates_for
from textdae.text.sizes import batch_for

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*-*.yaml")), ids=lambda path: path.name)
def test_it_loads_and_names_its_own_folder(path, tmp_path):
    if path.stem.startswith("accelerate"):
        pytest.skip("read by accelerate")
    settings = load(PretrainSettings, path)
    assert settings.modality == path.stem.partition("-")[0]
    assert settings.output_dir == Path("runs") / path.stem
    again = tmp_path / "again.yaml"
    again.write_text(dump(settings))
    assert load(PretrainSettings, again) == settings


@pytest.mark.parametrize(("name", "tokens"), [("text-mini", 7e6), ("text-small", 64e6), ("text-base", 64e6)])
def test_sizes_of_text_follow_the_rules_of_scale(name, tokens):
    """`tokens`: what the file says that it sees, of the docstrings, or in ten minutes of two cores."""
    settings = load(PretrainSettings, CONFIGS / f"{name}.yaml")
    without = settings.model_copy(update={"train": TrainSettings()})
    assert settings.train.per_device_train_batch_size == batch_for(without, tokens)
    rates = {rate: getattr(settings.train, rate) for rate in ("learning_rate", "muon_learning_rate")}
    assert rates == rates_for(settings.model.hidden_size)
    blocks = tokens / settings.data.block_size
    steps = blocks / settings.train.per_device_train_batch_size
    warm_up = settings.train.warmup_steps
    assert (warm_up if warm_up < 1 else warm_up / steps) <= 0.05


@pytest.mark.parametrize(
    "word", ["train.eval_share=null", "model.config.pad_token_id=null", "noise=[{kind: words}]"]
)
def test_settings_written_and_read_back_are_the_same(tmp_path, word):
    settings = load(PretrainSettings, None, [word])
    (tmp_path / "again.yaml").write_text(dump(settings))
    assert load(PretrainSettings, tmp_path / "again.yaml") == settings


def test_none_is_written_only_where_it_is_not_the_default():
    assert "null" not in dump(load(PretrainSettings))
    nulls = [
        line.strip()
        for line in dump(load(PretrainSettings, None, ["train.eval_share=null"])).splitlines()
        if "null" in line
    ]
    assert nulls == ["eval_share: null"]


def test_a_shipped_file_is_found_by_its_name_and_a_file_here_goes_before_it(tmp_path, monkeypatch):
    names = {path.stem for path in CONFIGS.glob("*-*.yaml") if not path.stem.startswith("accelerate")}
    assert set(shipped()) == names
    monkeypatch.chdir(tmp_path)
    assert load(PretrainSettings, "text-mini") == load(PretrainSettings, CONFIGS / "text-mini.yaml")
    (tmp_path / "text-mini").mkdir()  # a run of that name, say
    assert load(PretrainSettings, "text-mini").output_dir == Path("runs/text-mini")
    (tmp_path / "image-digits").write_text("output_dir: mine")
    assert load(PretrainSettings, "image-digits").output_dir == Path("mine")
    with pytest.raises(SettingsError, match=r"text-mni: no such settings file; .* shipped: image-digits, "):
        load(PretrainSettings, "text-mni")


def test_the_list_says_what_each_is_for(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["textdae", "settings", "--list"])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped())
    assert "Ten minutes on two cores: 4 layers x 256" in "".join(lines)
    assert all(len(line) > 40 for line in lines)


def test_the_sizes_and_the_definitions_are_there():
    assert {path.stem for path in CONFIGS.glob("text-*.yaml")} == {
        f"text-{size}" for size in ("tiny", "mini", "small", "base", "definitions")
    }


def test_the_image_runs_are_there():
    assert {path.stem for path in CONFIGS.glob("image-*.yaml")} == {
        f"image-{name}" for name in ("digits", "fashion", "patterns", "photos")
    }


def test_mini_is_the_default_but_wider_and_longer():
    mini = load(PretrainSettings, CONFIGS / "text-mini.yaml")
    wider = ["model.hidden_size=256", "model.intermediate_size=640", "model.num_attention_heads=4"]
    longer = ["train.time_budget=10m", "train.per_device_train_batch_size=32", "output_dir=runs/text-mini"]
    assert mini == load(PretrainSettings, None, [*wider, *longer])


def test_the_files_for_clusters_can_be_read():
    folder = CONFIGS / "cluster"
    for script in (folder / "slurm.sbatch", folder / "ssh.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert "--resume" in script.read_text()
    service, job = yaml.safe_load_all((folder / "kubernetes-job.yaml").read_text())
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert "--resume" in job["spec"]["template"]["spec"]["containers"][0]["args"][0]
