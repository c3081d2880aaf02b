"""Trackers: they get what the log gets, a resumed run goes on in its own, and none of them can stop a run."""

import os
import subprocess
import sys
import types
from importlib.util import find_spec

import pytest
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from PIL import Image
from records import heard

import textdae
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.training.log import read_log
from textdae.training.trackers import Trackers, check_trackers, flat

CONFIG = {
    "train": {"max_steps": 3},
    "noise": [{"kind": "words"}],
    "data": {"source": "https://me:hf_word@host/a"},
}
RUN = "0123456789abcdef0123456789abcdef"


def trackers(folder, step=0, **settings):
    PartialState()  # as a run has it
    return Trackers(
        TrainSettings(**{"project": "tests", "run_name": "mine", **settings}), CONFIG, folder, RUN, step
    )


def report_twice(folder, name):
    """Report two steps, resume behind the first of them as after a kill, report the second again, and the end."""
    Image.new("RGB", (6, 4), (255, 0, 0)).save(folder / "loss.png")
    with trackers(folder, report_to=name) as first:
        first.log({"step": 1, "loss": 2.0})
        first.log({"step": 2, "loss": 1.5})
    with trackers(folder, 1, report_to=name) as resumed:
        resumed.log({"step": 2, "loss": 1.5})
        resumed.log({"step": 3, "loss": 1.0, "eval_loss": 1.25})
        resumed.finish(
            {"held_out": {"baseline: a b": {"loss": 4.5}}, "asked": "words"},
            [folder / "loss.png", folder / "no.png"],
        )


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def test_tensorboard_gets_the_log_the_settings_and_the_pictures(tmp_path):
    report_twice(tmp_path, "tensorboard")
    board = events(tmp_path)
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(1, 2.0), (2, 1.5), (3, 1.0)]
    assert [event.value for event in board.Scalars("eval_loss")] == [1.25]
    assert [event.value for event in board.Scalars("final/held_out/baseline_a_b/loss")] == [4.5]
    assert (board.Images("pictures/loss")[0].width, board.Images("pictures/loss")[0].height) == (6, 4)
    (settings,) = tmp_path.rglob("hparams.yml")
    assert "noise.0.kind: words" in settings.read_text()
    assert "hf_word" not in settings.read_text()


@pytest.mark.skipif(find_spec("mlflow") is None, reason="pip install 'textdae[mlflow]'")
@pytest.mark.filterwarnings("ignore")  # of MLflow, about itself
def test_mlflow_keeps_a_resumed_run_in_one_run(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    report_twice(tmp_path, "mlflow")
    client = mlflow.MlflowClient(f"file:{tmp_path / 'mlruns'}")
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert run.info.run_name == "mine"
    assert run.data.metrics == {"loss": 1.0, "eval_loss": 1.25, "final/held_out/baseline_a_b/loss": 4.5}
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 2, 3]
    assert run.data.params["train.max_steps"] == "3"
    assert run.data.params["data.source"] == "https://***@host/a"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["loss.png"]


@pytest.mark.skipif(find_spec("trackio") is None, reason="pip install 'textdae[trackio]'")
@pytest.mark.filterwarnings("ignore")  # of trackio, about itself
def test_trackio_keeps_a_resumed_run_in_one_run(tmp_path):
    code = (
        "import sys, pathlib, test_trackers; test_trackers.report_twice(pathlib.Path(sys.argv[1]), 'trackio')"
    )
    environment = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True, timeout=120)
    code = (
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "print([(row['step'], row['loss']) for row in SQLiteStorage.get_logs('tests', 'mine-012345') if 'loss' in row])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, timeout=120, capture_output=True, text=True
    )
    assert process.stdout.strip() == "[(1, 2.0), (2, 1.5), (2, 1.5), (3, 1.0)]"


class Broken:
    """A tracker that fails at one of its calls."""

    requires_logging_directory = False

    def __init__(self, at, calls):
        self.at, self.calls = at, calls

    def __call__(self, project, **options):
        self.calls.append(("open", options))
        return self

    def __getattr__(self, name):
        def call(*values, **options):
            self.calls.append((name, values))
            if name == self.at:
                raise ConnectionError("the server is away\nfor long")

        return call


@pytest.mark.parametrize("at", ["start", "store_init_configuration", "log", "log_images", "finish"])
def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(at, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "swanlab", Broken(at, calls))
    with heard() as said:
        report_twice(tmp_path, ["swanlab", "tensorboard"])
    failed = [line for line in said if "swanlab failed" in line]
    assert (
        failed[0]
        == "train.report_to: swanlab failed (ConnectionError: the server is away); the run goes on without it"
    )
    assert {event.step: event.value for event in events(tmp_path).Scalars("loss")} == {1: 2.0, 2: 1.5, 3: 1.0}
    assert [name for name, _ in calls].count(at) <= 2  # each sitting tries once


def test_a_tracker_whose_package_fails_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))  # it has no init
    with heard() as said, trackers(tmp_path, report_to="wandb") as board:
        board.log({"step": 1, "loss": 1.0})
    assert any("wandb failed (AttributeError" in line for line in said)


def test_wandb_is_asked_for_the_same_run_again(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Broken("", calls))
    report_twice(tmp_path, "wandb")
    same = {"name": "mine", "id": RUN, "resume": "allow", "dir": str(tmp_path)}
    assert [options for name, options in calls if name == "open"] == [same, same]
    assert [values for name, values in calls if name == "store_init_configuration"] == [(dict(flat({
        "train": {"max_steps": 3}, "noise": [{"kind": "words"}], "data": {"source": "https://***@host/a"}})),)]  # fmt: skip


def test_a_token_in_a_setting_is_not_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    calls = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "aim", Broken("", calls))
    PartialState()
    with Trackers(TrainSettings(report_to="aim"), {"hub": {"repo_id": "a/hf_secret"}}, tmp_path, RUN, 0):
        pass
    assert ("store_init_configuration", ({"hub.repo_id": "a/***"},)) in calls


def test_a_run_reports_what_its_log_has(tmp_path, corpus_texts):
    (tmp_path / "a.txt").write_text("\n\n".join(corpus_texts))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    train = {"max_steps": 4, "compile": "never", "logging_steps": 1, "report_to": ["tensorboard"]}
    with heard() as said:
        run = textdae.pretrain(
            source=tmp_path / "a.txt",
            output_dir=tmp_path / "run",
            model=sizes,
            train=train,
            tokenizer={"vocab_size": 300},
        )
    assert not [line for line in said if "failed" in line]
    board = events(run.output_dir)
    wanted = [(entry["step"], pytest.approx(entry["loss"])) for entry in run.log if "loss" in entry]
    assert [(event.step, event.value) for event in board.Scalars("loss")] == wanted
    assert board.Images("pictures/loss")
    assert board.Scalars("final/held_out/model/loss")[0].value == pytest.approx(
        run.metrics["held_out"]["model"]["loss"]
    )
    assert read_log(run.output_dir / "log.jsonl") == run.log


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train.tensorboard=true", r"train\.tensorboard: no such key; did you mean `report_to`\?"),
        ("train.report_to=tensorbord", "tensorboard"),
        ("train.report_to=[tensorboard,mlfow]", "mlflow"),
    ],
)
def test_what_is_no_tracker_is_refused_with_a_way_out(words, message):
    with pytest.raises(textdae.SettingsError, match=message):
        load(PretrainSettings, None, [words])


def test_one_tracker_needs_no_list_and_none_is_no_tracker():
    settings = load(PretrainSettings, None, ["train.report_to=none"])
    assert settings.train.report_to == ()
    assert load(PretrainSettings, None, ["train.report_to=[mlflow]"]).train.report_to == ("mlflow",)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("textdae.training.trackers.find_spec", lambda name: None)
    for name, package in (("mlflow", r"'textdae\[mlflow\]'"), ("aim", "aim"), ("comet_ml", "comet-ml")):
        with pytest.raises(
            textdae.SettingsError, match=f"{name} is not installed; run: pip install {package}$"
        ):
            check_trackers([name])
