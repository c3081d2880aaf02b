"""Phases: what a step trains on is a pure function of it, in each phase and across their boundaries."""

import shutil
import subprocess
import sys
from fractions import Fraction

import kills
import numpy as np
import pytest
import signals
import torch
from safetensors.torch import load_file

from textdae.core.errors import SettingsError
from textdae.core.examples import Concatenated, SourceWeight
from textdae.core.settings.phases import PhaseSettings, starts_of
from textdae.core.settings.reader import load
from textdae.core.settings.train import TrainSettings
from textdae.core.settings.yaml_text import dump, from_anyone
from textdae.image.noises.changing import GaussianNoise
from textdae.text.settings import TextPretrainSettings
from textdae.training import checkpoint
from textdae.training.cursor import Cursor
from textdae.training.log import read_log
from textdae.training.loop import Trainer
from textdae.training.mixture import MixtureSampler
from textdae.training.order import EpochSampler
from textdae.training.phases import Phases
from textdae.training.run_plan import RunPlan
from textdae.training.schedule import Schedule

SHARES = [SourceWeight("a", 0.7), SourceWeight("b", 0.3)]
PHASES = [
    {"share": 0.25},
    {"steps": 4, "weights": {"a": 0.2, "b": 0.8}, "global_batch_size": 6, "learning_rate_scale": 0.5, "warmup_steps": 2},
    {"weights": {"b": 1}, "lr_scheduler_type": "linear", "learning_rate_scale": 0.5, "noise_level": 0.05},
]  # fmt: skip
SETTINGS = {
    "max_steps": 12, "phases": PHASES, "per_device_train_batch_size": 4, "precision": "fp32", "compile": "never",
    "eval_steps": 0, "save_steps": 1, "save_total_limit": 99, "warmup_steps": 2, "logging_steps": 1,
}  # fmt: skip


def phases(**settings):
    return Phases(TrainSettings(**{**SETTINGS, **settings}), 1, Cursor())


def test_steps_and_shares_make_up_the_run():
    def starts(given, steps):
        return starts_of([PhaseSettings(**phase) for phase in given], steps)

    assert starts(PHASES, 12) == [0, 3, 7]
    assert starts([{"share": 0.9}, {}], 100) == [0, 90]
    assert starts([{"share": 1 / 3}] * 3, 100) == [0, 33, 67]
    assert starts([{}], 5) == [0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("[]", "an empty list"),
        ("[{steps: 5}, {steps: 6}]", "they end at step 11, and the run at train.max_steps=12"),
        ("[{steps: 12}, {}]", "leave out steps and share of the last"),
        ("[{}, {steps: 5}]", "phase 1: give its steps or share"),
        ("[{steps: 5, share: 0.5}, {}]", "phase 1: give steps or share, not both"),
        ("[{share: 0.01}, {share: 0.01}, {}]", "less than a step"),
        ("[{steps: 5, weights: {a: 1}}, {}]", "no source a; data.source is one source"),
        ("[{steps: 5, weights: {a: -1}}, {}]", "greater than or equal to 0"),
        ("[{stpes: 5}, {}]", "no such key"),
    ],
)
def test_phases_that_make_no_run_are_refused_in_one_line(given, says):
    with pytest.raises(SettingsError, match=says) as error:
        load(TextPretrainSettings, None, ["train.max_steps=12", f"train.phases={given}"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", ["train.time_budget=10m", "train.num_train_epochs=2"])
def test_phases_are_counted_in_steps(limit):
    with pytest.raises(SettingsError, match=r"give train.max_steps"):
        load(TextPretrainSettings, None, [limit, "train.phases=[{steps: 5}, {}]"])


def test_the_settings_of_phases_give_them_back():
    settings = load(TextPretrainSettings, None, ["train.max_steps=9", "train.phases=[{share: 0.5}, {noise_level: 0.1}]"])  # fmt: skip
    assert load(TextPretrainSettings, base=from_anyone(dump(settings), "settings.yaml")) == settings


def test_a_step_begins_where_the_one_before_ends():
    plan, begin = phases(), 0
    for step in range(12):
        assert plan.examples(step) == begin
        begin += 6 if 3 <= step < 7 else 4
    assert [plan.number(step) for step in range(12)] == [0] * 3 + [1] * 4 + [2] * 5


def test_of_each_beginning_of_each_phase_every_source_has_its_share_to_less_than_one():
    changes = [(0, None), (1000, {"a": 0.25, "b": 0.75}), (2500, {"b": 1}), (3000, None)]
    sampler = MixtureSampler(3, [400, 90], SHARES, changes)
    drawn = sampler.sources(0, 5000)
    weights = [Fraction(3, 10), Fraction(3, 4), Fraction(1), Fraction(3, 10)]
    for begin, end, weight in zip([0, 1000, 2500, 3000], [1000, 2500, 3000, 5000], weights, strict=True):
        counts = (drawn[begin:end] == 1).cumsum()
        assert all(abs(int(count) - n * weight) < 1 for n, count in enumerate(counts, 1))
    # Each source goes on in its own order, and any stretch can be asked for by itself.
    epochs, examples = sampler.at(0, 5000)
    for source, size in enumerate((400, 90)):
        inside = torch.from_numpy(drawn == source)
        expected = EpochSampler(3, size).at(0, int(inside.sum()))
        assert torch.equal(epochs[inside], expected[0])
        assert torch.equal(examples[inside] - 400 * source, expected[1])
    for start, count in ((0, 7), (998, 5), (2400, 900), (4999, 1)):
        again = MixtureSampler(3, [400, 90], SHARES, changes).at(start, count)
        assert torch.equal(again[1], examples[start : start + count])


def test_a_source_that_is_used_up_before_its_phase_ends_is_named_with_the_place():
    shares = [SourceWeight("a", 1, 1.0), SourceWeight("b", 1)]
    with pytest.raises(SettingsError, match=r"used up at example 120, and the next phase begins at 500"):
        MixtureSampler(0, [100, 50], shares, [(0, None), (40, {"a": 1}), (500, None)])
    assert MixtureSampler(0, [100, 50], shares, [(0, None), (40, {"a": 1})]).end == 120
    with pytest.raises(SettingsError, match="no source c; the sources are a, b"):
        MixtureSampler(0, [100, 50], shares, [(40, {"c": 1})])


def test_the_learning_rate_of_each_phase_against_its_closed_form():
    settings = TrainSettings(**{**SETTINGS, "lr_scheduler_type": "constant"})
    schedule = Schedule(settings, 100, 4, None, phases(lr_scheduler_type="constant"))
    factors = [schedule.factor(step, step / 12) for step in range(12)]
    second, third = [0.25, 0.5, 0.5, 0.5], [0.5 * (1 - n / 5) for n in range(5)]
    assert factors == pytest.approx([0.5, 1, 1, *second, *third])


def run_plan(world=1, rank=0):
    _, pictures, _, _ = kills.build("image", 0.0)
    examples = Concatenated([pictures, pictures], SHARES)
    noise = GaussianNoise(sigma=0.3).build()
    return RunPlan(examples, noise, TrainSettings(**{**SETTINGS, "global_batch_size": 4}), world, rank, Cursor(), False)  # fmt: skip


def shown(world):
    """What the processes of a run are shown in each step, in the order of the stream."""
    steps = []
    plans = [run_plan(world, rank) for rank in range(world)]
    specs = [plan.batch_specs(lambda: 0.0) for plan in plans]
    for step in range(12):
        rows = {}
        for plan, spec in zip(plans, specs, strict=True):
            for each in (next(spec) for _ in range(plan.step_plan(step).passes)):
                batch = plan.batches[each]
                for row in range(each.size):
                    if batch.loss_mask[row].any():
                        rows[each.start + row] = batch.inputs["pixel_values"][row]
        assert sorted(rows) == list(range(plans[0].examples(step), plans[0].examples(step + 1)))
        steps.append(torch.stack([rows[place] for place in sorted(rows)]))
    return steps


def test_any_number_of_processes_sees_the_same_examples_and_noise_in_each_step():
    alone = shown(1)
    assert [len(step) for step in alone] == [4] * 3 + [6] * 4 + [4] * 5
    for world in (2, 3):
        assert all(map(torch.equal, shown(world), alone))
    clean = kills.Pictures().batch(torch.arange(kills.SIZE))["pixel_values"]
    spread = [float((step[:, None] - clean).abs().mean((2, 3, 4)).amin(1).mean()) for step in alone]
    assert max(spread[7:]) < 0.1 < min(spread[:7])  # noise_level of the last phase


def train(folder, resume_from=None, given=PHASES, **more):
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    phases = [
        {name: value for name, value in phase.items() if name != "noise_level"} for phase in given
    ]  # signals have another noise
    settings = TrainSettings(
        **{**SETTINGS, "phases": phases, "save_steps": 0, "milestones": [2, 3, 5, 9], **more}
    )
    examples, noise = Concatenated([signals.Sines(20), signals.Sines(30)], SHARES), signals.GaussianNoise(0.3)
    denoiser = signals.SignalDenoiser(dropout=0.1)
    Trainer(denoiser, examples, noise, settings, folder, resume_from=resume_from).fit()
    return folder / "checkpoints"


@pytest.mark.parametrize("more", [{}, {"ema": 0.8}], ids=["raw", "averaged"])
def test_stopped_in_each_phase_and_resumed_is_bit_for_bit_the_run_that_was_never_stopped(tmp_path, more):
    whole = train(tmp_path / "whole", **more)
    log = read_log(tmp_path / "whole/log.jsonl")
    assert [entry["phase"] for entry in log] == [1] * 3 + [2] * 4 + [3] * 5
    for step in (2, 3, 5, 9):  # within the phases, and at the end of the first
        again = train(tmp_path / f"from-{step}", whole / f"step-{step:08d}", **more)
        for name in ("model.safetensors", "training_state.safetensors"):
            mine, right = (load_file(each / "step-00000012" / name) for each in (again, whole))
            assert mine.keys() == right.keys()
            assert all(torch.equal(mine[key], right[key]) for key in right)
    with pytest.raises(SettingsError, match="a run with phases keeps them"):
        train(tmp_path / "other", whole / "step-00000009", [{"steps": 8}, {"global_batch_size": 5}], **more)


@pytest.mark.slow
def test_a_real_run_of_two_sources_goes_on_with_two_processes(tmp_path, corpus_texts):
    """From a milestone in each phase, to the weights of the run that was never stopped, up to rounding."""
    half = len(corpus_texts) // 2
    for name, texts in (("a", corpus_texts[:half]), ("b", corpus_texts[half:])):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(texts))
    sources = f"[{{source: {tmp_path}/a.txt, weight: 0.75}}, {{source: {tmp_path}/b.txt, weight: 0.25}}]"
    phases = "[{steps: 4}, {steps: 4, weights: {a.txt: 0.25, b.txt: 0.75}, global_batch_size: 12}, {lr_scheduler_type: linear, noise_level: 0.1}]"
    words = [
        f"data.source={sources}", "data.block_size=32", "tokenizer.vocab_size=300", "model.hidden_size=32",
        "model.num_hidden_layers=1", "model.intermediate_size=48", "train.max_steps=12", f"train.phases={phases}",
        "train.milestones=[2, 6, 10]", "train.precision=fp32", "train.compile=never", "evaluate.max_examples=16", "train.logging_steps=1",
    ]  # fmt: skip

    def run(folder, processes, *more):
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *launch, "-m", "textdae", "pretrain", *words, f"output_dir={folder}", *more]  # fmt: skip
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
        )
        assert process.returncode == 0, process.stderr[-2000:]
        return load_file(folder / "model.safetensors")

    whole = run(tmp_path / "whole", 1)
    losses = [entry["loss"] for entry in read_log(tmp_path / "whole/log.jsonl") if "loss" in entry]
    for step in (2, 6, 10):
        folder = tmp_path / f"from-{step}"
        shutil.copytree(tmp_path / "whole", folder)
        for path in checkpoint.checkpoints(folder / "checkpoints"):
            if path.name != f"step-{step:08d}":
                shutil.rmtree(path)
        weights = run(folder, 2, "--resume")
        for name, value in whole.items():
            torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)
        again = [entry["loss"] for entry in read_log(folder / "log.jsonl") if "loss" in entry]
        assert np.allclose(again, losses, rtol=0, atol=1e-4)
