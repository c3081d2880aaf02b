"""A plan: what it measures, foretells, chooses, keeps and refuses."""

import os

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from textdae.cli import app
from textdae.commands import pilots, plan_search
from textdae.commands.pilots import Pilot, PilotSize
from textdae.commands.plan import MARK, plan
from textdae.commands.pretrain import pretrain
from textdae.core.errors import Interrupted, SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.training.hardware import join_processes
from textdae.training.sizes import Sizes

TINY = [
    "data.block_size=32",
    "tokenizer.vocab_size=300",
    "model.num_hidden_layers=1",
    "model.num_attention_heads=1",
    "model.intermediate_size=16",
    "evaluate.max_examples=20",
]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(plan_search, "_LEAST_EACH", 0.3)
    monkeypatch.setattr(plan_search, "_SHORTEST", 0.3)


@pytest.fixture
def corpus(tmp_path, corpus_texts):
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(corpus_texts))
    return path


def files(tmp_path):
    return sorted((tmp_path / "cache" / "pilots").glob("*.json"))


def test_a_plan_of_text_is_kept_and_can_be_run(tmp_path, corpus, monkeypatch):
    words = [*TINY, f"data.source={corpus}", f"output_dir={tmp_path / 'run'}"]
    made = plan("16s", overrides=words)
    assert [row.settings.model.hidden_size for row in made.rows][:3] == [128, 192, 256]
    assert made.settings == made.rows[made.chosen].settings
    assert made.settings.train.time_budget == 16
    for row in made.rows:
        assert row.parameters > 0
        assert row.steps > 0
        assert row.memory > row.checkpoint == 4 * row.parameters
        assert row.seen == pytest.approx(row.epochs * len(made_examples(row.settings)) * 32, rel=1e-6)
    assert made.text.count("->") == 1
    assert "chosen" in made.text
    assert "times as much" in made.text
    # The file says the same.
    file = tmp_path / "plan.yaml"
    file.write_text(made.yaml)
    assert load(PretrainSettings, file) == made.settings
    assert all(line in made.yaml for line in made.text.splitlines())
    # The same plan again takes what was measured.
    assert len(files(tmp_path)) >= 5
    with monkeypatch.context() as patch:
        patch.setattr(pilots, "Trainer", None)
        assert plan("16s", overrides=words).text == made.text
    # It is a settings file like any other.
    run = pretrain(file, train={"time_budget": 1})
    assert run.metrics["parameters"] == made.rows[made.chosen].parameters


def made_examples(settings):
    from textdae.text.task import prepare_pretraining

    return prepare_pretraining(settings).evaluation.corpus.train


def test_images_are_planned_through_the_same_interface(tmp_path):
    words = ["data.source=digits", "model.type=unet", "evaluate.max_examples=64", "model.num_hidden_layers=1"]
    made = plan("20s", overrides=words)
    assert "PSNR (dB)" in made.text
    assert "pictures" not in made.text.splitlines()[0]
    assert {row.settings.model.type for row in made.rows} == {"unet"}
    assert made.forecast.loss < -10  # decibels, their sign turned


def test_a_size_that_is_given_stays(tmp_path, corpus):
    made = plan("6s", overrides=[*TINY, f"data.source={corpus}", "model.hidden_size=16"])
    assert [row.settings.model.hidden_size for row in made.rows] == [16]


class _Law:
    """Pilots by a formula: speeds fall with size, losses follow the law of the experience."""

    def __init__(self, experience):
        self.experience = experience

    def loss(self, parameters, seen):
        e = self.experience
        return (
            e.law[0]
            + e.law[1] * (parameters / e.size_unit) ** -e.size_exponents[0]
            + e.law[2] * (seen / e.data_unit) ** -e.data_exponents[0]
        )

    def fly(self, size, seconds, ask):
        speed = 2e7 / size.parameters
        examples = speed * seconds
        loss = self.loss(size.parameters, examples * 32) if ask else None
        return Pilot(seconds, int(examples), 1, speed, loss, 0.0)


@pytest.mark.parametrize("seconds", [60, 3000, 200_000])
def test_the_choice_is_that_of_a_look_at_every_size(corpus, monkeypatch, seconds):
    """Against brute force, where the pilots follow a known law."""
    settings = load(PretrainSettings, None, [*TINY, f"data.source={corpus}"])
    from textdae.text.sizes import _EXPERIENCE

    experience = _EXPERIENCE._replace(size_exponents=(0.5,), data_exponents=(0.35,))
    law = _Law(experience)
    monkeypatch.setattr(PilotSize, "fly", lambda size, seconds, ask: law.fly(size, seconds, ask))
    monkeypatch.setattr(plan_search, "_ALIKE", 1e-9)
    monkeypatch.setattr(plan_search, "worth", lambda seen, there: seen)
    monkeypatch.setattr(plan_search, "compile_gain", lambda settings, device: (1.0, 0.0))
    sizes = [settings.model_copy(update={"model": settings.model.model_copy(update={"hidden_size": width})}) for width in (16, 32, 64, 128, 256)]  # fmt: skip
    search = plan_search.Search(sizes, experience, seconds, join_processes())
    rows = search.rows()
    assert len(rows) >= 3, search.left
    wanted = [law.loss(row.parameters, 2e7 / row.parameters * seconds * 32) for row in rows]
    assert [row.forecast.loss for row in rows] == pytest.approx(wanted, rel=0.05)
    assert wanted[search.best(rows)] == min(wanted)
    if len(rows) < len(sizes):  # the climb did not end too soon
        beyond = search.sizes[-1].parameters * 2
        assert law.loss(beyond, 2e7 / beyond * seconds * 32) > min(wanted)


def test_an_interrupted_plan_keeps_its_pilots(tmp_path, corpus, monkeypatch):
    fly, flown = PilotSize._fly, []

    def fly_once(self, seconds, ask):
        if len(flown) == 2:
            raise Interrupted(2)
        flown.append(seconds)
        return fly(self, seconds, ask)

    words = [*TINY, f"data.source={corpus}"]
    monkeypatch.setattr(PilotSize, "_fly", fly_once)
    with pytest.raises(Interrupted):
        plan("6s", overrides=words)
    kept = files(tmp_path)
    assert len(kept) == 2
    kept[0].write_text("{")  # damaged: measured again
    monkeypatch.setattr(PilotSize, "_fly", fly)
    plan("6s", overrides=words)
    assert set(kept) <= set(files(tmp_path))
    assert len(files(tmp_path)) > 2
    assert not any(path.suffix == ".new" for path in (tmp_path / "cache" / "pilots").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "soon"], "budget: not a quantity with a unit"),
        (["--budget", "-5"], "budget: "),
        (["--budget", "5s", "train.max_steps=3"], "the budget of a plan is its only limit"),
        (["--budget", "5s", "train.time_budget=9s"], "the budget of a plan is its only limit"),
        (["--budget", "5s", "data.sauce=3"], "data.sauce"),
        (["--budget", "5s", "-o", "mine.yaml"], "mine.yaml: it is no plan"),
    ],
)
def test_what_cannot_be_planned_is_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("output_dir: mine\n")
    result = CliRunner().invoke(app, ["plan", *words])
    assert isinstance(result.exception, SettingsError)
    assert message in str(result.exception)
    assert (tmp_path / "mine.yaml").read_text() == "output_dir: mine\n"
    assert not (tmp_path / "plan.yaml").exists()


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="one process measures"):
        plan("5s")


def test_the_command_writes_a_plan_and_replaces_none_but_its_own(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["plan", "--budget", "5s", "-o", "sub/plan.yaml", f"data.source={corpus}", *TINY]
    for _ in range(2):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert "textdae pretrain sub/plan.yaml" in result.output
        assert (tmp_path / "sub" / "plan.yaml").read_text().startswith(MARK)
        assert PIL.Image.open(tmp_path / "sub" / "plan.png").size[0] > 400


def test_pretrain_with_a_budget_plans_once(tmp_path, corpus, monkeypatch):
    """A resumed run goes on with the settings that it began with, though another plan would be made by now."""
    words = [f"data.source={corpus}", f"output_dir={tmp_path / 'run'}", *TINY, "train.save_steps=5"]
    result = CliRunner().invoke(app, ["pretrain", "--budget", "3s", *words])
    assert result.exit_code == 0, result.output
    assert "->" in result.output
    assert "baseline: unigram" in result.output
    before = (tmp_path / "run" / "settings.yaml").read_text()
    monkeypatch.setattr("textdae.commands.plan.plan", None)
    result = CliRunner().invoke(app, ["pretrain", "--budget", "3s", *words, "--resume"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "settings.yaml").read_text() == before
    assert result.exception is None


def test_sizes_are_settings_of_every_family():
    from textdae.core.registry import modality

    for words in (["data.source=docstrings"], *([f"model.type={t}", "data.source=digits"] for t in ("unet", "autoencoder", "vit", "vit_mae"))):  # fmt: skip
        settings = load(PretrainSettings, None, words)
        sizes: Sizes = modality(settings.modality).part("sizes")(settings)
        widths = [
            load(PretrainSettings, None, words, size).model.hidden_size for size in sizes.smallest_first
        ]
        assert widths == sorted(widths)
        assert len(set(widths)) >= 3
        assert np.isfinite(sizes.experience.law).all()
