"""Runs that push as they go, and runs that go on from what was pushed."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from hub_server import TOKEN, Fault, regular
from huggingface_hub import HfApi, parse_eval_result_entries
from records import heard
from safetensors.torch import load_file

from textdae.cli.app import app
from textdae.commands.pretrain import pretrain
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.names import HubName
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.hub import HubSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.hub.background import Pushes
from textdae.hub.download import fetch, pin
from textdae.hub.push import push
from textdae.hub.run_settings import settings_on_hub
from textdae.report.card_data import save_eval_results

TINY = ["data.block_size=32", "data.held_out=0.1", "tokenizer.vocab_size=300", "model.hidden_size=32",
        "model.num_hidden_layers=1", "model.intermediate_size=48", "train.max_steps=9", "train.save_steps=3",
        "train.save_total_limit=2", "train.precision=fp32", "evaluate.max_examples=16", "train.compile=never"]  # fmt: skip
PUSHED = ["hub.repo_id=tester/run", "hub.push_training_state=true"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, corpus_texts) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(corpus_texts[:200]))
    return path


def settings(corpus: Path, folder: Path, *more: str) -> PretrainSettings:
    return load(PretrainSettings, None, [*TINY, f"data.source={corpus}", f"output_dir={folder}", *more])


@pytest.fixture
def run(hub, corpus, tmp_path):
    """A run that pushed as it went."""
    with heard() as said:
        result = pretrain(settings(corpus, tmp_path / "run", *PUSHED))
    return result, said


def content(hub, branch: str, name: str) -> bytes:
    return hub.content(hub.repositories["models", "tester/run"].files(branch)[name])


def test_every_checkpoint_is_a_branch_and_the_result_is_main(hub, run, tmp_path):
    result, _ = run
    repository = hub.repositories["models", "tester/run"]
    assert set(repository.branches) == {"main", "step-3", "step-6", "step-9"}
    assert repository.private
    assert all(hub.commits_of("tester/run", branch) == 1 for branch in repository.branches)
    assert hub.is_whole()
    assert not (tmp_path / "run" / "checkpoints" / ".to-push" / "step-00000003").exists()
    assert content(hub, "main", "model.safetensors") == (tmp_path / "run" / "model.safetensors").read_bytes()
    assert "training_state.safetensors" not in repository.files("main")
    newest = tmp_path / "run" / "checkpoints" / "step-00000006"
    for name in ("model.safetensors", "training_state.safetensors", "manifest.json"):
        assert content(hub, "step-6", name) == (newest / name).read_bytes()
    assert result.closing[-1] == f"pushed: {hub.url}/tester/run at {repository.branches['main']}"
    assert "A run of textdae at step 6" in content(hub, "step-6", "README.md").decode()


@pytest.mark.parametrize("branch", ["step-3", "step-6"])
def test_a_run_goes_on_from_the_hub_to_the_same_bits(hub, run, corpus, tmp_path, branch):
    name = f"hub:tester/run@{branch}"
    with heard() as told:
        result = pretrain(settings(corpus, tmp_path / "other"), resume=name)
    assert result.fit.cursor.step == 9
    assert any(f"(step {branch[-1]})" in line for line in told)
    for file in ("model.safetensors", "training_state.safetensors"):
        last = Path("checkpoints/step-00000009") / file
        assert (tmp_path / "other" / last).read_bytes() == (tmp_path / "run" / last).read_bytes()


def test_the_command_takes_its_settings_from_there_too(hub, run, corpus, tmp_path, capsys):
    words = [
        "pretrain",
        "--resume",
        "hub:tester/run@step-6",
        f"output_dir={tmp_path / 'other'}",
        f"data.source={corpus}",
    ]
    app(words, standalone_mode=False)
    assert "the settings are those of hub:tester/run@step-6" in capsys.readouterr().out
    kept = yaml.safe_load((tmp_path / "other" / "settings.yaml").read_text())
    assert kept["model"]["hidden_size"] == 32
    assert kept["hub"].get("repo_id") is None
    with pytest.raises(SettingsError, match="one checkpoint on the Hub, behind --resume"):
        app([word for word in words if word != "--resume"], standalone_mode=False)


def test_what_cannot_be_gone_on_with_is_refused_and_leaves_nothing(hub, run, corpus, tmp_path):
    other = tmp_path / "other"

    def refused(name: str, *more: str) -> str:
        with pytest.raises(TextdaeError) as raised:
            pretrain(settings(corpus, other, *more), resume=name)
        assert not (other / "checkpoints").exists()
        assert not (other / "settings.yaml").exists()
        return str(raised.value)

    assert "no training state there" in refused("hub:tester/run")
    assert "--resume: noise.rate differs from the run in hub:tester/run@step-6" in refused(
        "hub:tester/run@step-6", "noise.rate=0.5"
    )
    assert "no such revision" in refused("hub:tester/run@step-7")
    spoilt = bytearray(content(hub, "step-6", "model.safetensors"))
    spoilt[-1] ^= 1
    hub.commit("models", "tester/run", "step-6", {"model.safetensors": regular(bytes(spoilt))})
    assert "not whole: manifest.json: model.safetensors has changed" in refused_anew(
        refused, "hub:tester/run@step-6"
    )
    manifest = json.loads(content(hub, "step-3", "manifest.json"))
    hostile = json.dumps({**manifest, "../../../escaped": manifest["config.json"]}).encode()
    hub.commit("models", "tester/run", "step-3", {"manifest.json": regular(hostile)})
    assert "manifest.json: it names '../../../escaped'" in refused_anew(refused, "hub:tester/run@step-3")
    good = json.loads(content(hub, "step-9", "training_state.json"))
    for cursor in ({"stop": 1}, *({**good["cursor"], "step": step} for step in (-1, 2.5, "2", 10**30, True, None)),
                   {**good["cursor"], "seconds": float("nan")}):  # fmt: skip
        state = json.dumps({**good, "cursor": cursor}).encode()
        hub.commit("models", "tester/run", "step-9", {"training_state.json": regular(state)})
        assert "training_state.json cannot be used" in refused_anew(refused, "hub:tester/run@step-9")
    hub.commit(
        "models",
        "tester/run",
        "step-9",
        {"training_state.json": regular(json.dumps({**good, "facts": {}}).encode())},
    )
    assert "data.source, data.held_out" in refused_anew(refused, "hub:tester/run@step-9")
    hub.commit(
        "models",
        "tester/run",
        "step-9",
        {"training_state.json": regular(json.dumps(good).encode()), "manifest.json": regular(b"{}")},
    )
    assert "manifest.json: it lacks config.json" in refused_anew(refused, "hub:tester/run@step-9")


def refused_anew(refused, name: str) -> str:
    """As a program would see it that starts now: a name keeps its meaning while one runs."""
    anew()
    return refused(name)


def anew() -> None:
    pin.cache_clear()
    fetch.cache_clear()


def test_the_same_command_again_goes_on_with_what_it_has(hub, run, corpus, tmp_path):
    """As after a preemption: what came from the Hub is behind what was trained since."""
    given = settings(corpus, tmp_path / "other")
    pretrain(given, resume="hub:tester/run@step-3")
    with heard() as told:
        pretrain(given, resume="hub:tester/run@step-3")
    assert any("step-00000009 (step 9)" in line for line in told)
    with pytest.raises(SettingsError, match=r"--resume: noise\.rate differs from the run in"):
        pretrain(settings(corpus, tmp_path / "other", "noise.rate=0.5"), resume="hub:tester/run@step-3")


def test_a_hub_that_fails_stops_no_run_and_is_asked_again_at_the_end(hub, corpus, tmp_path):
    hub.faults = [Fault("POST", "/commit/", "status", times=14)]
    with heard() as said:
        result = pretrain(settings(corpus, tmp_path / "run", *PUSHED))
    assert result.fit.cursor.step == 9
    assert any("the run goes on, and step-0000000" in line for line in said)
    assert set(hub.repositories["models", "tester/run"].branches) == {"main", "step-3", "step-6", "step-9"}
    assert (
        content(hub, "step-9", "model.safetensors") == (tmp_path / "run" / "model.safetensors").read_bytes()
    )
    assert hub.is_whole()
    assert result.closing[-1].startswith("pushed: ")


def test_a_hub_that_is_gone_leaves_the_run_whole_and_the_next_sitting_sends_it(hub, corpus, tmp_path):
    hub.faults = [Fault("POST", "/commit/", "refuse", times=10**6)]
    with heard() as said:
        result = pretrain(settings(corpus, tmp_path / "run", *PUSHED))
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert re.match(
        "not pushed: .*step-00000006, step-00000009; --resume, or textdae push, ", result.closing[-3]
    )
    assert any("the run goes on, and step-00000003 waits" in line for line in said)
    assert result.closing[-1] == f"push it later with: textdae push {tmp_path / 'run'} tester/run"
    hub.faults = []
    again = pretrain(settings(corpus, tmp_path / "run", *PUSHED), resume=True)
    assert again.closing[-1].startswith("pushed: ")
    assert {"step-6", "step-9"} <= set(hub.repositories["models", "tester/run"].branches)
    assert hub.is_whole()
    assert (
        content(hub, "step-9", "model.safetensors") == (tmp_path / "run" / "model.safetensors").read_bytes()
    )


def test_a_hub_that_is_away_from_the_start_stops_no_run(hub, corpus, tmp_path, monkeypatch):
    waited: list[float] = []
    sleep = time.sleep
    # Short sleeps are those of a lock, or of a child process that is waited for.
    monkeypatch.setattr(
        time, "sleep", lambda seconds: sleep(seconds) if seconds < 0.5 else waited.append(seconds)
    )
    hub.faults = [Fault(method, "", "refuse", times=10**6) for method in ("GET", "POST", "PUT")]
    with heard() as said:
        result = pretrain(settings(corpus, tmp_path / "run", *PUSHED))
    assert any(line.endswith("the run begins all the same") for line in said)
    assert result.fit.cursor.step == 9
    # Of a run of seconds: at its start, and a tenth of it at most for each try.
    assert sum(waited) < 10
    assert result.closing[-1] == f"push it later with: textdae push {tmp_path / 'run'} tester/run"
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_what_waits_too_long_is_given_up_and_said(hub, tmp_path):
    """So that a Hub that stays away does not fill the disk."""
    hub.faults = [Fault("POST", "/api/repos/create", "status", times=10**6)]
    (tmp_path / "settings.yaml").write_text("{}")
    (tmp_path / "versions.json").write_text("{}")
    pushes = Pushes(tmp_path, HubSettings(repo_id="tester/run"), 2)
    with heard() as said:
        for step in range(1, 5):
            folder = tmp_path / "checkpoints" / f"step-{step:08d}"
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
            pushes.add(folder)
            while pushes._done < pushes._requested:
                threading.Event().wait(0.01)
    assert [line for line in said if "will not" in line] == [
        f"step-0000000{step} will not be pushed: 2 newer ones are waiting" for step in (1, 2)
    ]
    assert pushes.finish(30) == [
        "not pushed: step-00000003, step-00000004; --resume, or textdae push, sends what is there"
    ]


def test_a_refusal_holds_up_no_other_checkpoint(hub, corpus, tmp_path):
    """A branch that somebody else has written to stays as it is; the others go."""
    HfApi().create_repo("tester/run", private=True)
    HfApi().create_branch("tester/run", branch="step-3")
    hub.commit("models", "tester/run", "step-3", {"config.json": regular(b"theirs")})
    with heard() as said:
        result = pretrain(settings(corpus, tmp_path / "run", *PUSHED))
    assert any("tester/run@step-3 is taken: it holds config.json" in line for line in said)
    assert content(hub, "step-3", "config.json") == b"theirs"
    assert hub.commits_of("tester/run", "step-9") == 1
    assert result.closing[-2].startswith("not pushed: step-00000003; ")
    assert result.closing[-1].startswith("pushed: ")
    # With leave it goes over it, also when the run is made anew.
    pretrain(settings(corpus, tmp_path / "run", *PUSHED, "hub.force=true", "train.seed=1"), overwrite=True)
    assert content(hub, "step-3", "config.json") != b"theirs"


def test_a_run_made_anew_may_overwrite_what_it_pushed_before(hub, run, corpus, tmp_path):
    result = pretrain(settings(corpus, tmp_path / "run", *PUSHED, "train.seed=1"), overwrite=True)
    assert result.closing[-1].startswith("pushed: ")
    assert (
        content(hub, "step-9", "model.safetensors") == (tmp_path / "run" / "model.safetensors").read_bytes()
    )


def test_a_name_that_is_taken_is_said_before_the_work(hub, run, corpus, tmp_path):
    with pytest.raises(SettingsError, match=r"tester/run is taken: .*hub.force=true"):
        pretrain(settings(corpus, tmp_path / "other", *PUSHED))
    assert not (tmp_path / "other" / "log.jsonl").exists()


def test_what_a_killed_sitting_left_half_done_is_not_sent(hub, run, corpus, tmp_path):
    queue = tmp_path / "run" / "checkpoints" / ".to-push"
    for name in (".step-00000006", ".gone-step-00000009"):
        (queue / name).mkdir(parents=True)
        (queue / name / "config.json").write_text("{}")
    (queue / "step-0001.bak").mkdir()
    before = dict(hub.repositories["models", "tester/run"].branches)
    result = pretrain(settings(corpus, tmp_path / "run", *PUSHED), resume=True)
    assert result.closing[-1].startswith("pushed: ")
    after = hub.repositories["models", "tester/run"].branches
    assert {name: after[name] for name in before if name != "main"} == {
        k: v for k, v in before.items() if k != "main"
    }
    assert not list(queue.glob(".*"))


def test_nothing_that_is_sent_tells_of_this_machine(hub, run, corpus, tmp_path):
    """All that a run from a local checkpoint with data from all over the disk sends."""
    other = tmp_path / "held-out.txt"
    other.write_text(corpus.read_text()[:20_000])
    more = [
        f"data.held_out_source={other}",
        f"model.from_pretrained={tmp_path / 'run'}",
        "hub.repo_id=tester/next",
    ]
    pretrain(settings(corpus, tmp_path / "next", *PUSHED, *more))
    for kind, name in hub.repositories:
        for files in hub.repositories[kind, name].commits.values():
            for where, file in files.items():
                found = hub.content(file)
                assert str(tmp_path).encode() not in found, (name, where)
                assert str(corpus.parent).encode() not in found, (name, where)
    card = hub.content(hub.repositories["models", "tester/next"].files()["README.md"]).decode()
    assert "held-out.txt" in card
    # And what is sent can be gone on with where the checkpoint lies elsewhere.
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = [f"data.held_out_source={other}", f"model.from_pretrained={tmp_path / 'moved'}"]
    result = pretrain(settings(corpus, tmp_path / "third", *moved), resume="hub:tester/next@step-6")
    assert result.fit.cursor.step == 9


def test_settings_from_a_stranger_do_no_harm(hub, run, corpus, tmp_path):
    """They name no folder of this machine, and cannot grow when they are read."""
    bad = {"output_dir": "/tmp/escaped", "data": {"source": "/home/somebody", "cache_dir": "/tmp/escaped"},
           "train": {"max_steps": 9}, "hub": {"repo_id": "evil/run"}}  # fmt: skip
    hub.commit("models", "tester/run", "step-6", {"settings.yaml": regular(yaml.safe_dump(bad).encode())})
    base = settings_on_hub("hub:tester/run@step-6")
    assert base == {"data": {"source": "./somebody"}, "train": {"max_steps": 9}}
    billion = "a: &a [x,x]\nb: &b [*a,*a]\nmodel: {config: {c: [*b,*b]}}\n"
    for text, says in [
        (billion, "uses YAML aliases"),
        ("x" * 2_000_000, "at most 1,000,000"),
        ("[1", "not YAML"),
    ]:
        hub.commit("models", "tester/run", "step-6", {"settings.yaml": regular(text.encode())})
        anew()
        with pytest.raises(SettingsError, match=says):
            settings_on_hub("hub:tester/run@step-6")


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_sends_what_it_saved(hub, corpus, tmp_path):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from textdae.training import loop
step = loop.Trainer._step
def stop_at_four(self, number, micro_batches):
    if number == 4:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, number, micro_batches)
loop.Trainer._step = stop_at_four
from textdae.cli import main
sys.argv = ["textdae", "pretrain", *{[*TINY, f"data.source={corpus}", f"output_dir={tmp_path / 'run'}", *PUSHED]!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment(tmp_path)
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr[-2000:]
    assert set(hub.repositories["models", "tester/run"].branches) == {"main", "step-3", "step-5"}
    assert hub.is_whole()
    assert hub.commits_of("tester/run") == 0
    no_token(tmp_path, done.stdout, done.stderr)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """For another process, which talks to the same Hub with a cache of its own."""
    import os

    return {**os.environ, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", **more}


def no_token(folder: Path, *texts: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert not [text for text in texts if TOKEN in text]


def test_the_token_is_nowhere(hub, run, tmp_path, capsys):
    _, said = run
    everything = capsys.readouterr()
    no_token(tmp_path, *said, everything.out, everything.err)
    for repository in hub.repositories.values():
        for files in repository.commits.values():
            assert not [name for name, file in files.items() if TOKEN.encode() in hub.content(file)]


def test_what_cannot_work_is_said_before_the_work(hub, corpus, tmp_path, monkeypatch):
    def refused(*more: str) -> str:
        with pytest.raises(SettingsError) as raised:
            pretrain(settings(corpus, tmp_path / "run", *more))
        return str(raised.value)

    assert "hub.repo_id: write OWNER/NAME, got 'run'" in refused("hub.repo_id=run")
    assert "hub.repo_id: 'a b/c' is no name" in refused("hub.repo_id=a b/c")
    assert "somebody-else/run: this token has no right" in refused("hub.repo_id=somebody-else/run")
    assert "hub.token: no such key" in refused("hub.token=hf_abc")
    assert "hf_abc" not in refused("hub.token=hf_abc")
    monkeypatch.delenv("HF_TOKEN")
    assert "tester/run: no token; run `hf auth login`" in refused(*PUSHED)
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_training_goes_on_from_weights_of_the_hub_and_says_from_which(hub, run, corpus, tmp_path):
    result = pretrain(
        settings(corpus, tmp_path / "next", "model.from_pretrained=tester/run@step-6", "train.max_steps=1")
    )
    commit = hub.repositories["models", "tester/run"].branches["step-6"]
    kept = yaml.safe_load((tmp_path / "next" / "settings.yaml").read_text())
    assert kept["model"]["from_pretrained"] == f"tester/run@{commit}"
    card = (tmp_path / "next" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "tester/run"
    assert f"started from: tester/run@{commit}" in card.replace("\\", "")
    assert result.metrics["steps"] == 1


LOADED = """
import sys
sys.modules["textdae"] = None  # as where nobody has heard of it
import json
import torch
from pathlib import Path
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline
from safetensors.torch import load_file
weights, vectors = load_file(sys.argv[1]), sys.argv[2]
for revision in ("main", "step-9"):
    model = AutoModelForMaskedLM.from_pretrained("tester/run", revision=revision)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.items())
print(len(pipeline("fill-mask", model="tester/run")("a [MASK] of words")))
from sentence_transformers import SentenceTransformer
print(SentenceTransformer("tester/run", device="cpu").encode(["some words"]).shape)
from datasets import load_dataset
print(load_dataset("tester/vectors", split="train").with_format("numpy")["embedding"][:].shape)
print(pipeline("text-classification", model="tester/labels")("some words")[0]["label"] in ("a", "b"))
from huggingface_hub.cli.hf import main
sys.argv = ["hf", "download", "tester/run"]
main()
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_others_load_what_was_pushed(hub, run, corpus, corpus_texts, tmp_path):
    """In a process without textdae: transformers, a pipeline, SentenceTransformer, load_dataset, `hf download`."""
    from textdae.commands.finetune import finetune

    vectors = tmp_path / "vectors.parquet"
    app(["embed", str(tmp_path / "run"), str(corpus), "-o", str(vectors)], standalone_mode=False)
    app(["push", str(vectors), "tester/vectors"], standalone_mode=False)
    rows = [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(corpus_texts[:60])]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = [f"data.source={tmp_path / 'rows.jsonl'}", f"output_dir={tmp_path / 'labels'}", "train.max_steps=2",
             "train.compile=never", "hub.repo_id=tester/labels"]  # fmt: skip
    base = {"modality": "text"}
    finetune("tester/run@step-9", load(FinetuneSettings, None, given, base))
    assert set(hub.repositories["models", "tester/labels"].branches) >= {"main", "step-2"}
    process = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path / "run" / "model.safetensors"), str(vectors)],
        capture_output=True, text=True, check=False, env=environment(tmp_path, HF_HUB_OFFLINE="0"),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    out = process.stdout.splitlines()
    assert [*out[:2], out[3]] == ["5", "(1, 32)", "True"], process.stdout
    count = int(re.match(r"\((\d+), 32\)", out[2])[1])
    import pyarrow.parquet as pq

    assert count == pq.ParquetFile(vectors).metadata.num_rows
    assert "model.safetensors" in {path.name for path in (tmp_path / "home").rglob("*")}
    no_token(tmp_path, process.stdout, process.stderr)


def test_every_card_says_how_to_load_what_it_is_of(hub, run, corpus, tmp_path, monkeypatch):
    """Their snippets are run, as they stand on the Hub."""
    import torch

    small = ["data.source=patterns", "train.max_steps=3", "train.compile=never", "model.hidden_size=8"]
    for kind, size in (("autoencoder", ["model.code_size=2"]), ("unet", [])):
        name, folder = f"tester/{kind}", tmp_path / kind
        pretrain(
            load(
                PretrainSettings,
                None,
                [*small, *size, f"model.type={kind}", f"output_dir={folder}", f"hub.repo_id={name}"],
            )
        )
    for name in ("tester/run", "tester/run@step-6", "tester/autoencoder", "tester/unet"):
        at = HubName(*name.split("@"))
        files = hub.repositories["models", at.id].files(at.revision or "main")
        card = hub.content(files["README.md"]).decode()
        head = yaml.safe_load(card.split("---")[1])
        assert head["library_name"] == "transformers"
        assert "textdae" in head["tags"]
        for snippet in re.findall(r"```python\n(.*?)```", card, re.S):
            assert f'"{at.id}"' in snippet
            exec(snippet, {"pixel_values": torch.rand(1, 1, 3, 3)})
    card = content(hub, "step-6", "README.md").decode()
    assert "\ntextdae pretrain --resume hub:tester/run@step-6 output_dir=runs/continued\n" in card


def test_a_checkpoint_on_the_hub_is_scored_as_its_run_was(hub, run, corpus, tmp_path, capsys):
    capsys.readouterr()
    words = ["evaluate", "tester/run", f"data.source={corpus}", "-o", str(tmp_path / "scores")]
    app(words, standalone_mode=False)
    scores = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["levels"]["as set"]["held_out"]
    for name, row in run[0].metrics["held_out"].items():
        # The end of a run is scored in fp32, `evaluate` multiplies in bf16 where that is faster.
        assert scores[name] == pytest.approx(row, rel=1e-3)


def test_results_on_a_hub_dataset_are_written_as_its_leaderboard_reads_them(tmp_path):
    given = ["modality=text", "data.source=somebody/rows", "data.subset=hard"]
    save_eval_results(tmp_path, load(FinetuneSettings, None, given), {"accuracy": 0.75})
    written = yaml.safe_load((tmp_path / ".eval_results" / "results.yaml").read_text())
    (entry,) = parse_eval_result_entries(written)
    assert (entry.dataset_id, entry.task_id, entry.value, entry.notes) == (
        "somebody/rows",
        "hard",
        0.75,
        "accuracy",
    )
    save_eval_results(
        tmp_path / "other", load(FinetuneSettings, None, ["modality=text", "data.source=./rows.csv"]), {}
    )
    assert not (tmp_path / "other").exists()


def test_the_push_command_lists_and_sends(hub, run, tmp_path, capsys):
    here = str(tmp_path / "run")
    app(["push", here, "tester/copy", "--dry-run"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert "nothing was sent" in out
    assert "stays here: checkpoints, log.jsonl" in out
    assert ("models", "tester/copy") not in hub.repositories
    app(["push", here, "tester/copy@v1"], standalone_mode=False)
    assert "commit" in capsys.readouterr().out
    app(["push", here, "tester/copy", "--revision", "v1"], standalone_mode=False)
    assert "nothing has changed since commit" in capsys.readouterr().out
    for words, says in [
        (["tester/copy@v1", "--revision", "v2"], "not both"),
        (["copy"], "write OWNER/NAME"),
        (["a/b/c"], "is no name on the Hub"),
    ]:
        with pytest.raises(SettingsError, match=says):
            app(["push", here, *words], standalone_mode=False)
    with pytest.raises(SettingsError, match="no file or folder"):
        app(["push", str(tmp_path / "nothing"), "tester/copy"], standalone_mode=False)


def test_a_bottleneck_autoencoder_comes_back_bit_for_bit(hub, tmp_path):
    from labelled import image_checkpoint
    from transformers import AutoModel

    image_checkpoint(tmp_path / "made", "autoencoder")
    push(tmp_path / "made", HubName("tester/made"))
    state = AutoModel.from_pretrained("tester/made").state_dict()
    for name, value in load_file(tmp_path / "made" / "model.safetensors").items():
        assert (state[name] == value).all()
