"""Milestones: where they fall, that their checkpoints stay, and that they become revisions on the Hub."""

import json

import pytest
import torch
from labelled import text_checkpoint
from signals import GaussianNoise, SignalDenoiser, Sines
from typer.testing import CliRunner

from textdae.cli.app import app
from textdae.core.errors import SettingsError
from textdae.core.layout import checkpoints
from textdae.core.milestones import Milestone, milestone_of
from textdae.core.settings.reader import load
from textdae.core.settings.train import TrainSettings
from textdae.core.settings.yaml_text import dump, from_anyone
from textdae.hub.milestones import push_milestones
from textdae.text.settings import TextPretrainSettings
from textdae.training import checkpoint
from textdae.training.cursor import Cursor
from textdae.training.loop import Trainer


def train(folder, resume=False, **settings):
    torch.manual_seed(0)
    options = {"max_steps": 20, "per_device_train_batch_size": 8, "precision": "fp32", "compile": "never", "eval_steps": 0, "save_steps": 2}  # fmt: skip
    start = checkpoint.last_whole(folder / "checkpoints") if resume else None
    trainer = Trainer(
        SignalDenoiser(),
        Sines(50),
        GaussianNoise(0.3),
        TrainSettings(**{**options, **settings}),
        folder,
        resume_from=start,
        unit="samples",
        units_per_example=16,
    )
    return trainer.fit()


def kept(folder):
    return {path.name: milestone_of(path) for path in checkpoints(folder / "checkpoints")}


@pytest.mark.parametrize(
    ("text", "count", "unit"),
    [
        (500, 500, "steps"),
        ("1,000 steps", 1000, "steps"),
        ("200k examples", 200_000, "examples"),
        ("1.5B tokens", 1_500_000_000, "tokens"),
    ],
)
def test_a_milestone_is_read(text, count, unit):
    milestone = Milestone.parse(text)
    assert (milestone.amount, milestone.unit) == (count, unit)
    assert Milestone.parse(milestone.text) == milestone


def test_the_settings_of_milestones_give_them_back():
    settings = load(TextPretrainSettings, None, ["train.milestones=[5, 10M tokens, 1.5k examples]"])
    written = from_anyone(dump(settings), "settings.yaml")
    assert written["train"]["milestones"] == ["5 steps", "10M tokens", "1.5k examples"]
    assert load(TextPretrainSettings, base=written) == settings


@pytest.mark.parametrize("text", ["soon", -3, 0, True, "10 M tokens!", None])
def test_what_is_no_milestone_is_refused(text):
    with pytest.raises(ValueError, match=r"steps|first step"):
        Milestone.parse(text)


def test_checkpoints_of_milestones_stay_beside_the_newest_others(tmp_path):
    # 8 examples a step of 16 samples each: 40 examples are step 5, 1k samples step 8.
    train(tmp_path, milestones=[3, "40 examples", "1k samples", 1000])
    assert kept(tmp_path) == {
        "step-00000003": "3 steps",
        "step-00000005": "40 examples",
        "step-00000008": "1k samples",
        "step-00000018": None,
        "step-00000020": None,
    }
    assert all(checkpoint.fault(path) is None for path in checkpoints(tmp_path / "checkpoints"))


def test_a_resumed_run_reaches_each_milestone_once_and_the_last_step_may_be_one(tmp_path):
    train(tmp_path, max_steps=7, milestones=[3, 7, 12], save_total_limit=1)
    assert kept(tmp_path) == {
        "step-00000003": "3 steps",
        "step-00000006": None,
        "step-00000007": "7 steps",
    }
    train(tmp_path, max_steps=13, milestones=[3, 7, 12], save_total_limit=1, resume=True)
    assert kept(tmp_path) == {
        "step-00000003": "3 steps",
        "step-00000007": "7 steps",
        "step-00000012": "12 steps",
        "step-00000013": None,
    }


def test_a_unit_that_the_run_does_not_count_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="10M words: this run counts steps, examples, samples"):
        train(tmp_path, milestones=["10M words"])


@pytest.fixture
def run(tmp_path, wordpiece):
    """A run's folder with two milestones and another checkpoint."""
    text_checkpoint(tmp_path / "run", wordpiece)
    for step, name in ((10, "10k tokens"), (20, None), (30, "30 steps")):

        def write(folder, step=step, name=name):
            text_checkpoint(folder, wordpiece)
            (folder / "note.txt").write_text("stays here")
            state = {"cursor": Cursor(step)._asdict(), "facts": {}} | ({"milestone": name} if name else {})
            (folder / "training_state.json").write_text(json.dumps(state))

        checkpoint.write_whole(tmp_path / f"run/checkpoints/step-{step:08d}", write)
    return tmp_path / "run"


def test_each_milestone_is_a_revision_and_is_sent_once(hub, run):
    words = ["push", str(run), "tester/small", "--milestones"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    repository = hub.repositories["models", "tester/small"]
    assert set(repository.branches) == {"main", "step-10", "step-30"}
    for branch in ("step-10", "step-30"):
        files = repository.files(branch)
        folder = run / f"checkpoints/step-{int(branch[5:]):08d}"
        assert hub.content(files["model.safetensors"]) == (folder / "model.safetensors").read_bytes()
        assert "note.txt" not in files
    assert "10k tokens: " in said.output
    sent = hub.sent
    again = CliRunner().invoke(app, words)
    assert again.output.count("nothing was sent") == 3
    assert hub.sent == sent


def test_a_run_without_milestones_and_a_revision_are_refused(hub, run, tmp_path):
    with pytest.raises(SettingsError, match="has none; train"):
        push_milestones(tmp_path, "tester/small")
    with pytest.raises(SettingsError, match="a revision of its own"):
        push_milestones(run, "tester/small@other")
    shown = CliRunner().invoke(app, ["push", str(run), "tester/small", "--milestones", "--dry-run"])
    assert "step-10" in shown.output
    assert not hub.repositories
