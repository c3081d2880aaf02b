"""A plan: what it measures, predicts, chooses, keeps and refuses."""

import json
import os

import datasets
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from textdae.cli import app
from textdae.commands import pilots, plan_search
from textdae.commands.pilots import Pilot, PilotSize
from textdae.commands.plan import MARK, _table, plan
from textdae.commands.plan_search import PlannedSize, Search
from textdae.commands.pretrain import pretrain
from textdae.core.errors import Interrupted, SettingsError, TextdaeError
from textdae.core.registry import modality
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.text import sizes as text_sizes
from textdae.text import task as text_task
from textdae.text.learning_rates import USUAL_STEPS, rates_for
from textdae.text.task import prepare_pretraining
from textdae.training.hardware import join_processes
from textdae.training.scaling_law import Point, Prediction, Prior, ScalingLaw
from textdae.training.sizes import Sizes

TINY = [
    "data.block_size=32",
    "tokenizer.vocab_size=300",
    "evaluate.max_examples=20",
    "train.per_device_train_batch_size=16",
]
LAW = Prior("nats", 1e6, 1e6, 100, {(a, b): (4.9, 1.0, 2.4, 1.0) for a in (0.2, 0.5) for b in (0.25, 0.5)}, (1.0, 0.5, 1.0, 0.4), 0.02)  # fmt: skip


@pytest.fixture(autouse=True)
def _small_and_in_a_hurry(monkeypatch):
    """Shapes that take no time; every size is measured, however busy the machine."""
    monkeypatch.setattr(text_sizes, "_SHAPES", [(16, 1, 2), (32, 1, 2), (48, 2, 2)])
    monkeypatch.setattr(plan_search, "_EACH", 0.1)
    monkeypatch.setattr(plan_search, "_SHORTEST", 0.1)
    monkeypatch.setattr(plan_search, "_WORSE", 1e9)


@pytest.fixture
def corpus(tmp_path, corpus_texts):
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(corpus_texts))
    return path


def files(tmp_path):
    """Those of pilot runs; one more has the losses of the baselines."""
    every = (tmp_path / "cache" / "pilots").glob("*.json")
    return sorted(path for path in every if "steps" in path.read_text())


def test_a_plan_of_text_is_kept_and_can_be_run(tmp_path, corpus, monkeypatch):
    words = [*TINY, f"data.source={corpus}", f"output_dir={tmp_path / 'run'}"]
    made = plan("8s", overrides=words)
    assert [row.settings.model.hidden_size for row in made.rows] == [16, 32, 48]
    assert made.settings == made.rows[made.chosen].settings
    assert made.settings.train.time_budget == 8
    there = len(prepare_pretraining(made.settings).evaluation.corpus.train)
    for row in made.rows:
        assert row.parameters > 0
        assert row.steps > 0
        assert row.memory > row.checkpoint == 4 * row.parameters
        assert row.seen == pytest.approx(row.epochs * there * 32, rel=1e-6)
    assert made.text.count("->") == 1
    assert "is chosen" in made.text
    assert "loss of the baselines: unigram " in made.text
    # The file says the same.
    file = tmp_path / "plan.yaml"
    file.write_text(made.yaml)
    assert load(PretrainSettings, file) == made.settings
    assert all(line.rstrip() in made.yaml for line in made.text.splitlines())
    # The same plan again takes what was measured; another budget takes the speeds.
    before = files(tmp_path)
    assert len(before) >= 4
    with monkeypatch.context() as patch:
        patch.setattr(pilots, "Trainer", None)
        patch.setattr(text_task, "TextBaselines", None)
        assert plan("8s", overrides=words).text == made.text
    plan("9s", overrides=words)
    pilot_runs = sum(json.loads(path.read_text())["loss"] is not None for path in before)
    assert len(files(tmp_path)) <= 2 * pilot_runs + 3
    # It is a settings file like any other.
    run = pretrain(file, train={"time_budget": 1})
    assert run.metrics["parameters"] == made.rows[made.chosen].parameters


@pytest.mark.slow
def test_measuring_again_measures_again(corpus, monkeypatch):
    words = [*TINY, f"data.source={corpus}", "model.hidden_size=16"]
    plan("5s", overrides=words)
    ran, run = [], PilotSize._run
    monkeypatch.setattr(PilotSize, "_run", lambda *args: ran.append(args) or run(*args))
    plan("5s", overrides=words)
    assert not ran
    plan("5s", overrides=words, fresh=True)
    assert len(ran) >= 2


@pytest.mark.parametrize("words", [["data.source=digits", "model.type=unet"], pytest.param(["data.source=photos", "data.crop=16", "model.type=unet"], marks=pytest.mark.slow)])  # fmt: skip
def test_images_are_planned_through_the_same_interface(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(24):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 40), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"photos/{number}.png")
    made = plan("4s", overrides=[*words, "evaluate.max_examples=32", "model.num_hidden_layers=1"])
    assert "PSNR (dB)" in made.text
    assert made.unit == "dB"
    assert [row.settings.model.hidden_size for row in made.rows] == [16, 32, 64, 96]
    assert all(loss < -5 for row in made.rows for *_, loss in row.pilots)  # decibels, their sign turned
    assert made.prediction.loss < -5


def test_crops_of_a_photograph_are_many_examples(tmp_path):
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 64), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    settings = load(PretrainSettings, None, [f"data.source={tmp_path}", "data.crop=16", "data.held_out=0.5", "model.type=unet"])  # fmt: skip
    train = modality("image").part("pretraining")(settings).evaluation.corpus.train
    assert train.unique == len(train) * (32 * 64 / 16**2) * 8


@pytest.mark.parametrize("width", [16, pytest.param(256, marks=pytest.mark.slow)])
def test_a_shape_that_is_given_stays(corpus, width):
    made = plan("3s", overrides=[*TINY, f"data.source={corpus}", f"model.hidden_size={width}", "model.num_hidden_layers=1"])  # fmt: skip
    assert [row.settings.model.hidden_size for row in made.rows] == [width]
    assert made.settings.model.num_attention_heads == 2


@pytest.mark.slow
def test_rows_of_a_dataset_are_read_once(tmp_path, corpus_texts, monkeypatch):
    from textdae.core import source_dataset

    read, calls = source_dataset.as_parquet, []
    monkeypatch.setattr(source_dataset, "as_parquet", lambda *args: calls.append(1) or read(*args))
    rows = datasets.Dataset.from_dict({"text": corpus_texts})
    made = plan("4s", overrides=TINY, dataset=rows)
    assert len(calls) == 1
    assert len({row.settings.data.source for row in made.rows}) == 1
    assert made.settings.data.source.endswith(".parquet")


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_its_own_size(tmp_path, corpus):
    words = [*TINY, f"data.source={corpus}"]
    for seed in (1, 2):
        pretrain(overrides_of(words, tmp_path / f"m{seed}", seed))
    plans = [
        plan("3s", overrides=[*words, f"model.from_pretrained={tmp_path / name}"]) for name in ("m1", "m2")
    ]
    assert all(len(made.rows) == 1 for made in plans)
    assert "a rough one" in plans[0].text
    assert "width" not in plans[0].text
    assert len(files(tmp_path)) == 4  # the two are not taken for each other


def overrides_of(words, folder, seed):
    more = [f"output_dir={folder}", "model.hidden_size=16", "model.num_hidden_layers=1", "train.max_steps=2", f"train.seed={seed}"]  # fmt: skip
    return load(PretrainSettings, None, [*words, *more])


@pytest.mark.slow
def test_a_code_an_average_of_weights_and_two_noises_are_planned(corpus):
    noises = "noise=[{kind: tokens, rate: 0.2}, {kind: shuffle}]"
    made = plan(
        "3s", overrides=[*TINY, f"data.source={corpus}", "model.code_size=8", "train.ema=0.9", noises]
    )
    assert len(made.rows) == 3
    assert [made.settings.model.code_size, made.settings.train.ema, len(made.settings.noise)] == [8, 0.9, 2]
    assert all(np.isfinite(loss) for row in made.rows for *_, loss in row.pilots)


class _Machine:
    """Pilot runs by a formula: speeds fall with size, losses follow a law that is not the mean of the prior, C being 1.3."""

    def __init__(self, law, exponents):
        self.law, self.exponents, self.said = law, exponents, []

    def loss(self, parameters, seen):
        (e, a, b), (alpha, beta) = self.law, self.exponents
        first = 1.3 * np.exp(-seen / 32 / 16 / 100)
        return e + a * (parameters / 1e6) ** -alpha + b * (seen / 1e6) ** -beta + first

    def speed(self, parameters):
        return 2e7 / parameters

    def run(self, size, seconds, score, batch, fresh, rates=None):
        self.said.append((size.parameters, seconds, score))
        examples = self.speed(size.parameters) * seconds
        loss = self.loss(size.parameters, examples * 32) if score else None
        return Pilot(
            seconds, int(examples), int(examples / 16), batch, self.speed(size.parameters), 0.0, loss
        )


@pytest.mark.parametrize("seconds", [600, 20_000])
def test_the_choice_is_that_of_a_look_at_every_size(corpus, monkeypatch, seconds):
    """Against brute force over the sizes, where pilot runs follow a known law; without them the prediction is another."""
    machine = _Machine((2.2, 0.6, 3.1), (0.5, 0.25))
    monkeypatch.setattr(PilotSize, "run", lambda *args: machine.run(*args))
    monkeypatch.setattr(plan_search, "_ALIKE", 1e-9)
    monkeypatch.setattr(plan_search, "effective", lambda seen, unique: seen)
    monkeypatch.setattr(plan_search, "compile_gain", lambda settings, device, matrices: (1.0, 0.0))
    monkeypatch.setattr(text_sizes, "_SHAPES", [(16, 1, 2), (64, 2, 2), (128, 2, 2), (256, 2, 2)])
    settings = load(PretrainSettings, None, [*TINY, f"data.source={corpus}"])
    candidates = [load(PretrainSettings, None, [*TINY, f"data.source={corpus}"], size) for size in modality("text").part("sizes")(settings).smallest_first]  # fmt: skip
    search = Search(candidates, Sizes([], {}, LAW), seconds, join_processes())
    search._climb()
    before = search.rows()
    search = Search(candidates, Sizes([], {}, LAW), seconds, join_processes())
    search.measure()
    rows = search.rows()
    wanted = [machine.loss(row.parameters, machine.speed(row.parameters) * seconds * 32) for row in rows]
    scored = [number for number, row in enumerate(rows) if row.pilots]
    assert [rows[number].prediction.loss for number in scored] == pytest.approx(
        [wanted[number] for number in scored], abs=0.15
    )
    assert abs(before[0].prediction.loss - wanted[0]) > 0.3
    assert wanted[search.best(rows)] - min(wanted) < 0.03
    assert sum(seconds for _, seconds, score in machine.said if score) <= seconds / 20 + 0.1


def test_the_climb_ends_where_sizes_are_too_slow_or_do_not_fit(corpus, monkeypatch):
    machine = _Machine((2.2, 0.6, 3.1), (0.5, 0.25))
    monkeypatch.setattr(plan_search, "_WORSE", 5.0)
    settings = [load(PretrainSettings, None, [*TINY, f"data.source={corpus}", f"model.hidden_size={width}"]) for width in (16, 32, 64, 128, 256)]  # fmt: skip

    def run(size, *args):
        if limit and size.parameters > limit:
            raise TextdaeError("out of memory: told so")
        return machine.run(size, *args)

    monkeypatch.setattr(PilotSize, "run", run)
    limit = 0
    search = Search(settings, Sizes([], {}, LAW), 10, join_processes())
    search.measure()
    assert len(search.sizes) == 3
    assert "learn too slowly" in search.left
    limit = search.sizes[0].parameters
    search = Search(settings, Sizes([], {}, LAW), 10, join_processes())
    search.measure()
    assert len(search.sizes) == 1
    assert "out of memory" in search.left
    limit = 1
    with pytest.raises(TextdaeError, match="told so"):
        Search(settings, Sizes([], {}, LAW), 10, join_processes()).measure()


def test_a_baseline_is_subtracted_before_the_law_and_added_again(corpus, monkeypatch):
    machine = _Machine((2.2, 0.6, 3.1), (0.5, 0.25))
    monkeypatch.setattr(PilotSize, "run", lambda *args: machine.run(*args))
    settings = [load(PretrainSettings, None, [*TINY, f"data.source={corpus}", f"model.hidden_size={width}"]) for width in (16, 32)]  # fmt: skip

    def measured(prior):
        search = Search(settings, Sizes([], {}, prior), 200, join_processes())
        search.measure()
        return search, [row.prediction for row in search.rows()]

    subtracted, found = measured(LAW._replace(baseline="unigram"))
    baselines = prepare_pretraining(settings[0]).evaluation
    (expected,) = baselines.baselines(baselines.questions(20))
    unigram = expected["unigram"]["loss"]
    assert subtracted.baselines == {name: pytest.approx(row["loss"]) for name, row in expected.items()}
    lower = {exponents: (law[0] + unigram, *law[1:]) for exponents, law in LAW.laws.items()}
    _, plain = measured(LAW._replace(laws=lower))
    for one, other in zip(found, plain, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-6)
        assert one.deviation == pytest.approx(other.deviation, abs=1e-6)


def test_compiling_and_evaluating_take_their_time(corpus, monkeypatch):
    words = [*TINY, f"data.source={corpus}", "model.hidden_size=16"]

    def examples(*more, gain=(1.0, 0.0)):
        monkeypatch.setattr(plan_search, "compile_gain", lambda settings, device, matrices: gain)
        search = Search(
            [load(PretrainSettings, None, [*words, *more])], Sizes([], {}, LAW), 100, join_processes()
        )
        search._pilots = [[Pilot(1, 10, 10, 16, 10.0, 2.0, None)]]
        search.sizes = [PilotSize(search._candidates[0], join_processes(), False)]
        return search._examples(0, 100)

    assert examples("train.eval_steps=0") == 1000
    assert examples("train.eval_steps=0", gain=(1.25, 20.0)) == 1000
    assert examples("train.eval_steps=0.1", "train.eval_share=null") == pytest.approx(800)
    assert examples("train.eval_steps=0.1") == pytest.approx(900)  # at most a tenth
    # 2 s after each 5 steps of 16 examples, which take 8 s.
    assert examples("train.eval_steps=5", "train.eval_share=null") == pytest.approx(800)


def test_the_batch_follows_the_data_unless_it_is_given():
    def batch(tokens, *words):
        return text_sizes.batch_for(load(PretrainSettings, None, ["data.source=docstrings", *words]), tokens)

    assert [batch(tokens) for tokens in (1e4, 2.6e6, 4 * 2.6e6, 16 * 2.6e6, 1e15)] == [16, 16, 32, 64, 1024]
    assert batch(16 * 2.6e6, "data.block_size=512") == 16
    assert batch(16 * 2.6e6, "train.per_device_train_batch_size=24") == 24
    assert batch(16 * 2.6e6, "train.global_batch_size=32") == 16


def test_rates_follow_the_width_and_the_length_unless_they_are_given():
    def rates(steps, *words):
        return text_sizes.rates_in(load(PretrainSettings, None, ["data.source=docstrings", *words]), steps)

    wide, given = "model.hidden_size=256", "train.learning_rate=0.5"
    assert rates(USUAL_STEPS) == rates_for(128)
    assert rates(3000, wide) == rates_for(256, 3000)
    assert rates(3000, wide, given) == {"muon_learning_rate": rates_for(256, 3000)["muon_learning_rate"]}
    assert rates(3000, "train.optimizer=adamw") == {}
    usual = [f"train.{name}={rate}" for name, rate in rates_for(128).items()]
    assert rates(3000, *usual) == {}  # given, though it is what the rule says of other runs


def test_each_size_of_a_plan_has_the_rates_of_its_steps(corpus, monkeypatch):
    machine = _Machine((2.2, 0.6, 3.1), (0.5, 0.25))
    monkeypatch.setattr(PilotSize, "run", lambda *args: machine.run(*args))
    settings = [load(PretrainSettings, None, [*TINY, f"data.source={corpus}", f"model.hidden_size={width}"]) for width in (64, 256)]  # fmt: skip
    search = Search(settings, Sizes([], {}, LAW, None, text_sizes.rates_in), 4000, join_processes())
    search.measure()
    for row in search.rows():
        wanted = rates_for(row.settings.model.hidden_size, row.steps)
        assert {name: getattr(row.settings.train, name) for name in wanted} == pytest.approx(wanted, rel=0.02)


def test_pilot_runs_of_a_checkpoint_decide_what_is_predicted():
    prior = text_sizes._OF_CHECKPOINTS
    pilots = [
        Point(2e6, 2e5, 100, -3.0),
        Point(2e6, 4e5, 200, -3.1),
    ]  # training from scratch is at -.9 and -1.6 then
    found = ScalingLaw(prior, pilots).predict(2e6, 1e6, 500)
    assert found.interval[0] < -3.1 < found.interval[1]
    scratch = ScalingLaw(text_sizes._PRIOR, pilots).predict(2e6, 1e6, 500)
    assert abs(found.loss + 3.2) < abs(scratch.loss + 3.2)


def test_a_long_run_has_a_larger_batch_than_its_pilot_runs(corpus, monkeypatch):
    machine = _Machine((2.2, 0.6, 3.1), (0.5, 0.25))
    monkeypatch.setattr(PilotSize, "run", lambda *args: machine.run(*args))
    settings = [load(PretrainSettings, None, [*TINY[:-1], f"data.source={corpus}", "model.hidden_size=16"])]
    monkeypatch.setattr(plan_search, "effective", lambda seen, unique: seen)
    rule = lambda settings, tokens: 64 if tokens > 1e6 else 16  # noqa: E731
    parameters = PilotSize(settings[0], join_processes(), False).parameters
    search = Search(settings, Sizes([], {}, LAW, rule), 6e4 / machine.speed(parameters), join_processes())
    search.measure()
    (row,) = search.rows()
    assert row.settings.train.per_device_train_batch_size == 64
    assert {pilot.batch for pilot in search._pilots[0][1:]} == {16}
    assert row.steps == int(search._examples(0, search._seconds) / 64)


def test_a_table_of_decibels_has_its_ends_in_order():
    settings = load(PretrainSettings, None, ["data.source=digits"])
    row = PlannedSize(settings, 10**6, 1e6, 2.0, 10, Prediction(-10.0, 0.1), 1e9, [(1.0, 1e5, -9.0)])
    shown = _table([row], 0, {}, "dB", "pictures")
    assert "10.00" in shown
    assert " 9.80 to 10.20 " in shown
    near_zero = row._replace(prediction=Prediction(-0.04, 0.5))
    assert "-1.020 to 0.940" in _table([near_zero], 0, {}, "nats", "tokens")


def test_an_interrupted_plan_keeps_what_it_measured(tmp_path, corpus, monkeypatch):
    run, ran = PilotSize._run, []

    def run_twice(self, *how):
        if len(ran) == 2:
            raise Interrupted(2)
        ran.append(how)
        return run(self, *how)

    words = [*TINY, f"data.source={corpus}"]
    monkeypatch.setattr(PilotSize, "_run", run_twice)
    with pytest.raises(Interrupted):
        plan("3s", overrides=words)
    damaged, whole = files(tmp_path)
    damaged.write_text("{")  # is measured again
    kept = whole.read_text()
    monkeypatch.setattr(PilotSize, "_run", run)
    plan("3s", overrides=words)
    assert whole.read_text() == kept
    assert json.loads(damaged.read_text())["steps"] > 0
    assert not any(path.suffix == ".new" for path in (tmp_path / "cache" / "pilots").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "soon"], "budget: not a quantity with a unit"),
        (["--budget", "-1h"], "greater than 0"),
        (["--budget", "5s", "train.max_steps=3"], "the budget is the only limit of a plan"),
        (["--budget", "5s", "train.time_budget=9s"], "the budget is the only limit of a plan"),
        (["--budget", "5s", "data.sauce=3"], "data.sauce"),
        (["--budget", "5s", "-o", "mine.yaml"], "mine.yaml: it is no plan"),
        (["--budget", "5s", "-o", "other.yaml"], "other.png: it would be replaced"),
        (["--budget", "5s", "-o", "plan.png"], "ends with .yaml"),
    ],
)
def test_what_cannot_be_planned_is_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("output_dir: mine\n")
    (tmp_path / "other.png").write_text("a picture")
    result = CliRunner().invoke(app, ["plan", *words])
    assert isinstance(result.exception, SettingsError)
    assert message in str(result.exception)
    assert (tmp_path / "mine.yaml").read_text() == "output_dir: mine\n"
    assert (tmp_path / "other.png").read_text() == "a picture"
    assert not (tmp_path / "plan.yaml").exists()


def test_a_limit_in_a_settings_object_is_refused_like_one_in_words():
    with pytest.raises(SettingsError, match=r"train\.max_steps: the budget is the only limit"):
        plan("5s", train=TrainSettings(max_steps=3))


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="one process measures"):
        plan("5s")


@pytest.mark.slow
def test_the_command_writes_a_plan_and_replaces_none_but_its_own(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["plan", "--budget", "5s", "-o", "sub/plan.yaml", f"data.source={corpus}", *TINY]
    for _ in range(2):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert "textdae pretrain sub/plan.yaml" in result.output
        assert (tmp_path / "sub" / "plan.yaml").read_text().startswith(MARK)
        with PIL.Image.open(tmp_path / "sub" / "plan.png") as picture:
            assert picture.size[0] > 400


def test_pretrain_with_a_budget_plans_once(tmp_path, corpus, monkeypatch):
    """A run that is resumed goes on with the settings that it began with, though another plan would be made by now."""
    run = tmp_path / "run"
    words = [f"data.source={corpus}", f"output_dir={run}", *TINY, "train.save_steps=5"]
    result = CliRunner().invoke(app, ["pretrain", "--budget", "3s", *words])
    assert result.exit_code == 0, result.output
    assert "->" in result.output
    assert "baseline: unigram" in result.output
    before = (run / "settings.yaml").read_text()
    monkeypatch.setattr("textdae.commands.plan.plan", None)
    result = CliRunner().invoke(app, ["pretrain", "--budget", "3s", *words])
    assert "already holds a run" in str(result.exception)
    result = CliRunner().invoke(app, ["pretrain", "--budget", "9s", *words, "--resume"])
    assert "did not begin with this one" in str(result.exception)
    result = CliRunner().invoke(app, ["pretrain", "--budget", "3s", *words, "--resume"])
    assert result.exit_code == 0, result.output
    assert (run / "settings.yaml").read_text() == before


def test_sizes_are_settings_of_every_family(monkeypatch):
    monkeypatch.undo()
    families = [["model.type=unet"], ["model.encoder=conv"], ["model.encoder=mlp"], ["model.type=vit"], ["model.type=vit_mae"]]  # fmt: skip
    for words in (["data.source=docstrings"], *([*family, "data.source=digits"] for family in families)):
        settings = load(PretrainSettings, None, words)
        sizes: Sizes = modality(settings.modality).part("sizes")(settings)
        widths = [
            load(PretrainSettings, None, words, size).model.hidden_size for size in sizes.smallest_first
        ]
        assert widths == sorted(widths)
        assert len(set(widths)) >= 3
        assert np.isfinite(list(sizes.prior.laws.values())).all()
        one = [*words, "model.hidden_size=256"]
        given = {
            load(PretrainSettings, None, one, size).model.hidden_size for size in sizes_of(one).smallest_first
        }
        assert given == {256}
    # What chooses between convolutions and an MLP by the size of the images is left to choose.
    assert sizes_of(["data.source=digits"]).smallest_first == [{}]


def sizes_of(words):
    settings = load(PretrainSettings, None, words)
    return modality(settings.modality).part("sizes")(settings)
