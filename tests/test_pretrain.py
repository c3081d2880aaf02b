"""A whole run on a tiny corpus, and what others can do with what comes out."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedType
from records import heard
from safetensors.torch import load_file

from textdae.commands.evaluate import evaluate
from textdae.commands.finetune import finetune
from textdae.commands.keywords import of_resumed_run
from textdae.commands.pretrain import pretrain
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EvaluateRunSettings, PretrainSettings
from textdae.text.denoise import denoise_lines, denoise_text
from textdae.text.loading import load_text
from textdae.text.settings import TextPretrainSettings
from textdae.training.log import read_log

TINY = [
    "data.block_size=32",
    "data.held_out=0.1",
    "tokenizer.vocab_size=300",
    "model.hidden_size=32",
    "model.num_hidden_layers=2",
    "model.intermediate_size=48",
    "train.max_steps=40",
    "train.per_device_train_batch_size=16",
    "train.precision=fp32",
    "train.save_steps=10",
    "evaluate.max_examples=40",
]


def tiny(corpus: Path, output_dir: Path, *overrides: str) -> PretrainSettings:
    where = [f"data.source={corpus}", f"data.cache_dir={corpus.parent / 'cache'}", f"output_dir={output_dir}"]
    return load(PretrainSettings, None, [*TINY, *where, *overrides])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, corpus_texts) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(corpus_texts))
    return path


@pytest.fixture(scope="module")
def run(corpus):
    """A finished run: its result and what it said."""
    with heard() as said:
        return pretrain(tiny(corpus, corpus.parent / "run")), said


def test_it_learns_something_and_says_so(run):
    result, said = run
    table = result.metrics["held_out"]
    # The words of this text are drawn one by one, so what stands beside them says nothing.
    assert 4 < table["baseline: unigram"]["loss"] < table["baseline: neighbours"]["loss"] + 0.2 < 6
    assert {"loss", "accuracy", "bits_per_byte"} == set(table["baseline: neighbours"])
    losses = [entry["loss"] for entry in read_log(result.output_dir / "log.jsonl") if "loss" in entry]
    assert losses[-1] < losses[0] - 0.1
    assert "400 documents" not in said[0]  # some are held out
    assert "every token is in a block" in said[1]
    assert all("[" in sample for sample in result.samples)


def test_everything_promised_lies_in_the_output_folder(run):
    folder = run[0].output_dir
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "settings.yaml",
                 "versions.json", "metrics.json", "loss.png", "log.jsonl"):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 40
    versions = json.loads((folder / "versions.json").read_text())
    assert {"torch", "transformers", "textdae"} <= versions.keys()
    clone = Path(__file__).parents[1]
    if (clone / ".git").exists():
        head = subprocess.run(
            ["git", "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        assert versions["git_commit"] == head.stdout.strip()
    assert (
        TextPretrainSettings(**yaml.safe_load((folder / "settings.yaml").read_text())).train.max_steps == 40
    )
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: fill-mask\n")
    assert "baseline: neighbours" in card
    assert (folder / "loss.png").read_bytes()[:4] == b"\x89PNG"


STRANGER = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "textdae":
            raise ImportError("this machine has never heard of it")
sys.meta_path.insert(0, Forbid())
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
inputs = tokenizer("Ba ce " + tokenizer.mask_token + " di.", return_tensors="pt")
logits, report = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=False, output_loading_info=True)
assert not report["missing_keys"] and not report["unexpected_keys"], report
print(float(logits(**inputs).logits.double().sum()))
print(tuple(AutoModel.from_pretrained(folder, trust_remote_code=False)(**inputs).last_hidden_state.shape))
print(len(pipeline("fill-mask", model=folder, trust_remote_code=False)("Ba ce " + tokenizer.mask_token + " di.")))
"""


@pytest.mark.slow
def test_a_machine_that_has_never_heard_of_textdae_loads_it(run, tmp_path):
    result, _ = run
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", STRANGER, str(result.output_dir)]
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    total, shape, guesses = process.stdout.split("\n")[:3]
    denoiser, tokenizer = load_text(str(result.output_dir))
    ids = tokenizer("Ba ce [MASK] di.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        ours = denoiser.decode(denoiser.encode({"input_ids": ids}))
    assert float(total) == pytest.approx(float(ours.double().sum()), rel=1e-5)
    assert eval(shape) == (1, ids.shape[1], 32)
    assert int(guesses) == 5


def files(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_stopped_and_resumed_is_the_same_model(run, corpus, monkeypatch):
    """A SIGTERM in the middle of the run, through the real command in a process of its own."""
    folder = corpus.parent / "stopped"
    settings = corpus.parent / "settings.yaml"
    settings.write_text(yaml.safe_dump(tiny(corpus, folder).model_dump(mode="json", exclude_none=True)))
    stopper = (
        "import os, signal, sys; from textdae.training import loop\n"
        "step = loop.Trainer._step\n"
        "def stop(self, number, batches):\n"
        "    if number == 17: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return step(self, number, batches)\n"
        "loop.Trainer._step = stop\n"
        "from textdae.cli import main; sys.argv = ['textdae', 'pretrain', *sys.argv[1:]]; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", stopper, str(settings)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.returncode == 128 + 15, process.stderr
    assert "go on with: textdae pretrain" in process.stdout
    assert not (folder / "model.safetensors").exists()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-00000010",
        "step-00000018",
    ]
    result = pretrain(output_dir=folder, resume=True)  # with the settings of the run
    assert result.fit.cursor.step == 40
    whole, parted = files(run[0].output_dir), files(folder)
    assert whole.keys() == parted.keys()
    assert all(torch.equal(whole[name], parted[name]) for name in whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("noise.rate=0.2", "noise"),
        ("train.seed=1", "train.seed"),
        ("data.block_size=64", "data.block_size"),
        ("data.held_out=0.2", "data.held_out"),
        ("tokenizer.vocab_size=200", "tokenizer"),
        ("data.errors=skip", "data.source"),
        ("model.num_hidden_layers=1", "model"),
        ("train.optimizer=adamw", "train.optimizer"),
    ],
)
def test_resuming_another_run_is_refused_by_name(run, corpus, changed, named):
    with pytest.raises(SettingsError, match=f"--resume: {named}.* differ"):
        pretrain(tiny(corpus, run[0].output_dir, changed), resume=True)


def test_a_run_goes_on_with_its_own_settings_unless_all_of_them_or_the_data_are_named(
    run, corpus, tmp_path, monkeypatch
):
    shutil.copytree(run[0].output_dir, tmp_path / "run")
    there = {"output_dir": tmp_path / "run", "resume": True}
    result = pretrain(train={"max_steps": 41}, **there)
    assert result.fit.cursor.step == 41
    for named in ({"source": corpus}, {"data": {"source": str(corpus)}}, {"settings": {"modality": "text"}}):
        assert of_resumed_run(PretrainSettings, **named, **there) == {}
    by_clock = of_resumed_run(PretrainSettings, **there, train={"time_budget": "1m"})["train"]
    assert "max_steps" not in by_clock  # else the run would be over
    assert "time_budget" not in by_clock
    assert of_resumed_run(PretrainSettings, **there)["output_dir"] == str(tmp_path / "run")
    with pytest.raises(SettingsError, match="is not of textdae finetune: its settings"):
        finetune(str(tmp_path / "run"), **there)
    (tmp_path / "run" / "settings.yaml").unlink()
    with pytest.raises(SettingsError, match="run holds no run; give"):
        pretrain(**there)  # else a name with a mistake would begin one, on the default corpus
    assert of_resumed_run(PretrainSettings, source=corpus, **there) == {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # both on this host, whose run is not there
    with pytest.raises(SettingsError, match="holds no run"):
        of_resumed_run(PretrainSettings, **there)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # the run may lie on the other host
    assert of_resumed_run(PretrainSettings, **there) == {}


def test_what_is_no_other_run_may_change(run, corpus, tmp_path):
    """How long, how fast, in what portions, how often it is said."""
    shutil.copytree(run[0].output_dir, tmp_path / "run")
    changes = ["train.max_steps=42", "train.learning_rate=1e-4", "train.per_device_train_batch_size=8",
               "train.gradient_accumulation_steps=2", "train.logging_steps=1", "train.save_steps=5",
               "train.dataloader_num_workers=0", "train.precision=bf16"]  # fmt: skip
    with heard() as said:
        result = pretrain(tiny(corpus, tmp_path / "run", *changes), resume=True)
    assert result.fit.cursor.step == 42
    (line,) = (line for line in said if line.startswith("other settings than before: "))
    assert "train.max_steps 40 -> 42" in line
    assert "train.learning_rate 0.001 -> 0.0001" in line
    assert "train.seed" not in line
    (last,) = (
        entry
        for entry in read_log(tmp_path / "run/log.jsonl")
        if entry["step"] == 42 and "learning_rate" in entry
    )
    assert last["muon_learning_rate"] == pytest.approx(310 * last["learning_rate"])  # .031 and 1e-4


def test_rates_that_follow_a_new_length_are_said_and_a_length_that_is_over_too(run, corpus, tmp_path):
    shutil.copytree(run[0].output_dir, tmp_path / "run")
    with heard() as said:
        pretrain(tiny(corpus, tmp_path / "run", "train.max_steps=10"), resume=True)
    over = re.compile(r"train\.max_steps=10: the run has done 40 steps in \d+ s, so nothing more is trained")
    assert any(map(over.fullmatch, said))
    assert "train.max_steps 40 -> 10" in next(line for line in said if line.startswith("other settings"))
    assert yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())["train"]["max_steps"] == 40
    with heard() as said:
        pretrain(tiny(corpus, tmp_path / "run"), resume=True)
    assert any(line.startswith("train.max_steps=40: the run has done 40 steps") for line in said)
    assert not any(line.startswith("other settings than before") for line in said)
    limits = ["train.max_steps=null", "train.num_train_epochs=0.01", "train.time_budget=0.01s"]
    with heard() as said:
        pretrain(tiny(corpus, tmp_path / "run", *limits), resume=True)
    over = "train.num_train_epochs=0.01, train.time_budget=0.01s: the run has done 40 steps"
    assert any(line.startswith(over) for line in said)
    kept = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())["train"]
    assert kept["max_steps"] == 40
    assert "time_budget" not in kept
    shutil.copytree(run[0].output_dir, tmp_path / "longer")
    longer = tiny(corpus, tmp_path / "longer", "train.max_steps=1000", "train.time_budget=0.01s")
    with heard() as said:
        pretrain(longer, resume=True)
    assert any("train.muon_learning_rate 0.031 -> 0.012" in line for line in said)


def test_a_second_run_finds_everything_prepared(run, corpus, monkeypatch):
    from textdae.text.data import corpus as text

    monkeypatch.setattr(text, "train_tokenizer", None)
    monkeypatch.setattr(text, "write_sides", None)
    settings = tiny(corpus, corpus.parent / "again")
    prepared = text.prepare_text(settings.data, settings.tokenizer)
    assert prepared.summary == run[1][: len(prepared.summary)]


def test_overwrite_removes_nothing_for_a_run_that_is_refused(run, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "textdae.training.trackers.find_spec", lambda name: None
    )  # as if the extra were not installed
    folder = shutil.copytree(corpus.parent / "run", tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match=r"'textdae\[tensorboard\]'"):
        pretrain(tiny(corpus, folder, "train.report_to=tensorboard"), overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_other_families_train_too(corpus, family):
    settings = tiny(
        corpus, corpus.parent / family, f"model.type={family}", "train.max_steps=3", "noise.kind=words"
    )
    result = pretrain(settings)
    assert result.metrics["architecture"].lower().startswith(family)
    assert load_text(str(result.output_dir)).tokenizer.mask_token == "[MASK]"


def test_from_pretrained_goes_on_from_a_checkpoint(run, corpus):
    start = run[0]
    overrides = [f"model.from_pretrained={start.output_dir}", "train.max_steps=5", "train.warmup_steps=0"]
    result = pretrain(tiny(corpus, corpus.parent / "continued", *overrides))
    first = next(entry for entry in read_log(result.output_dir / "log.jsonl") if "eval_loss" in entry)
    assert first["eval_loss"] < start.metrics["held_out"]["model"]["loss"] + 0.3
    assert (
        load_text(str(result.output_dir)).tokenizer.get_vocab()
        == load_text(str(start.output_dir)).tokenizer.get_vocab()
    )


def test_evaluate_gives_the_figures_of_the_run_again(run, corpus):
    result, _ = run
    overrides = [
        f"data.source={corpus}",
        "data.held_out=0.1",
        "data.block_size=32",
        "evaluate.max_examples=40",
        "precision=fp32",
    ]
    settings = load(EvaluateRunSettings, None, overrides)
    found = evaluate(str(result.output_dir), settings, [0.15, 0.3])
    assert list(found.levels) == ["0.15", "0.3"]
    assert found.levels["0.15"]["scored"] == result.metrics["scored"]
    assert found.levels["0.15"]["evaluated_words"] < found.levels["0.3"]["evaluated_words"]
    for row, scores in found.levels["0.15"]["held_out"].items():
        assert scores == pytest.approx(result.metrics["held_out"][row], rel=1e-4), row


def test_the_words_that_were_asked_for_are_counted(run):
    result, _ = run
    metrics, card = result.metrics, (result.output_dir / "README.md").read_text()
    table = metrics["held_out"]
    asked = f"15% of the words hidden, chosen by the text: {metrics['evaluated_words']:,} words"
    assert asked in card
    assert "can be compared between tokenizers" in card
    assert metrics["unknown_words"] == 0
    # The bits of all tokens over the bytes of the words.
    for row in table.values():
        bits = row["loss"] * metrics["scored"] / math.log(2)
        assert row["bits_per_byte"] == pytest.approx(bits / metrics["evaluated_bytes"])


def test_the_picture_ends_where_its_dots_do(run, corpus, monkeypatch):
    """Dots, star and baselines are of the same questions, which are fewer than the table's."""
    from textdae.commands import pretrain as pretraining

    drawn = []
    monkeypatch.setattr(pretraining, "loss_curve", lambda *given, **_: drawn.append(given))
    few = ["evaluate.max_examples_in_training=5", "train.max_steps=3", "train.eval_steps=1"]
    result = pretrain(tiny(corpus, corpus.parent / "picture", *few))
    ((entries, final, baselines, _),) = drawn
    dots = [(entry["step"], entry["eval_loss"]) for entry in entries if "eval_loss" in entry]
    assert dots[-1] == pytest.approx(final, rel=1e-5)
    table = result.metrics["held_out"]
    assert final[1] != pytest.approx(table["model"]["loss"], rel=1e-5)
    assert baselines["unigram"] != pytest.approx(table["baseline: unigram"]["loss"], rel=1e-5)


def test_the_old_convention_is_said_wherever_its_figures_are(run, corpus):
    words = ["evaluate.kind=tokens", "train.max_steps=1", "train.eval_steps=0"]
    result = pretrain(tiny(corpus, corpus.parent / "tokens", *words))
    assert "evaluated_words" not in result.metrics
    said = "80% of these masked, 10% random, 10% shown (evaluate.kind=tokens)"
    assert said in result.metrics["asked"]
    assert said in (result.output_dir / "README.md").read_text()
    words = [f"data.source={corpus}", "data.held_out=0.1", "data.block_size=32", *words[:1]]
    settings = load(EvaluateRunSettings, None, words)
    with heard() as said_too:
        found = evaluate(str(result.output_dir), settings)
    assert said in found.levels["as set"]["asked"]
    assert f"the baselines learn from the other examples of {corpus}" in said_too[-1]


@pytest.mark.slow
def test_a_stranger_is_asked_for_the_same_words(run, corpus, tmp_path, bpe):
    """A stock BERT with a tokenizer of its own, saved by transformers and evaluated by the real command."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(bpe), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=24,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    bpe.save_pretrained(tmp_path / "bert")
    words = [f"data.source={corpus}", "data.held_out=0.1", "data.block_size=32", "evaluate.max_examples=40"]
    command = [
        sys.executable,
        "-m",
        "textdae",
        "evaluate",
        str(tmp_path / "bert"),
        *words,
        "-o",
        str(tmp_path / "found"),
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stderr
    found = json.loads((tmp_path / "found/evaluation.json").read_text())["levels"]["as set"]
    mine = run[0].metrics
    for key in ("evaluated_words", "evaluated_bytes", "unknown_words"):
        assert found[key] == mine[key], key
    assert found["scored"] != mine["scored"]
    assert found["asked"] in process.stdout
    assert "the baselines learn from the other examples of" in process.stdout


def test_denoise_fills_the_surest_first(run):
    loaded = load_text(str(run[0].output_dir))
    text = "Ba [MASK] ce [MASK] da [MASK] [MASK] ."
    at_once = denoise_text(loaded, text)
    assert denoise_text(run[0].output_dir, text) == denoise_text(str(run[0].output_dir), text) == at_once
    assert len(at_once.candidates) == 4
    assert all(len(row) == 5 and row[0].probability >= row[1].probability for row in at_once.candidates)
    assert [len(filled) for filled in at_once.order] == [4]
    slowly = denoise_text(loaded, text, steps=4)
    surest = max(slowly.candidates, key=lambda row: row[0].probability)[0].token
    assert slowly.order[0] == [surest]
    assert [len(filled) for filled in slowly.order] == [1, 1, 1, 1]
    assert [len(filled) for filled in denoise_text(loaded, text, steps=3).order] == [2, 1, 1]
    assert "[MASK]" not in slowly.text
    with pytest.raises(SettingsError, match="no mask in the text"):
        denoise_text(loaded, "nothing to do")
    with pytest.raises(SettingsError, match="the model takes 512"):
        denoise_text(loaded, "[MASK] " * 600)
    for name in ("steps", "top", "batch_size"):
        with pytest.raises(SettingsError, match=f"{name} must be at least 1, got 0"):
            denoise_text(loaded, text, **{name: 0})
    lines = list(denoise_lines(str(run[0].output_dir), ["Ba [MASK]", text], None))
    assert [lines[1], lines[-1]] == [found.text for found in denoise_text(loaded, ["Ba [MASK]", text])]
    with pytest.raises(SettingsError, match="text 1: no mask"):
        list(denoise_lines(str(run[0].output_dir), ["Ba [MASK]", "nothing"], None))


NO_DROPOUT = [
    "model.type=bert",
    "model.config.hidden_dropout_prob=0",
    "model.config.attention_probs_dropout_prob=0",
]


@pytest.mark.slow
@pytest.mark.parametrize("family", [[], NO_DROPOUT], ids=["modernbert", "bert"])
def test_one_big_batch_is_eight_small_ones_is_two_processes_with_four(corpus, family):
    name = "bert" if family else "modernbert"
    common = [*family, "train.max_steps=6", "train.save_steps=0", "train.logging_steps=1"]

    def split(batch: int, accumulation: int) -> list[str]:
        return [
            f"train.per_device_train_batch_size={batch}",
            f"train.gradient_accumulation_steps={accumulation}",
        ]

    folders = [corpus.parent / f"{name}-{way}" for way in ("big", "small", "two")]
    pretrain(tiny(corpus, folders[0], *common, *split(8, 1)))
    pretrain(tiny(corpus, folders[1], *common, *split(1, 8)))
    words = [
        *TINY,
        f"data.source={corpus}",
        f"data.cache_dir={corpus.parent / 'cache'}",
        *common,
        *split(1, 4),
    ]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", "-m", "textdae", "pretrain", *words, f"output_dir={folders[2]}"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("bits/byte") == 1  # the first process alone speaks

    # The same words are asked for, whoever forwards them.
    figures = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    for key in ("evaluated_words", "evaluated_bytes", "unknown_words", "scored", "asked"):
        assert figures[0][key] == figures[1][key] == figures[2][key], key
    for row, scores in figures[0]["held_out"].items():
        assert figures[2]["held_out"][row]["loss"] == pytest.approx(scores["loss"], abs=1e-4), row

    weights = [files(folder) for folder in folders]
    losses = [[e["loss"] for e in read_log(folder / "log.jsonl") if "loss" in e] for folder in folders]
    assert len(losses[0]) == 6
    for other in (1, 2):
        assert losses[other] == pytest.approx(losses[0], abs=1e-5)
        for key, tensor in weights[0].items():
            torch.testing.assert_close(weights[other][key], tensor, rtol=0, atol=1e-5, msg=key)


@pytest.mark.slow
def test_sharded_over_two_processes_it_is_the_same_model(corpus):
    """The shipped FSDP settings, through `accelerate launch`, stopped half way and resumed; AdamW, for Muon is refused."""
    changes = ["train.optimizer=adamw", "train.eval_steps=2", "train.save_steps=3"]
    # Batches of an evaluation in training, and at the end, that two processes cannot share evenly.
    changes += ["evaluate.batch_size=2", "evaluate.max_examples_in_training=5", "evaluate.max_examples=6"]
    one = pretrain(
        tiny(
            corpus,
            corpus.parent / "unsharded",
            *changes,
            "train.max_steps=6",
            "train.per_device_train_batch_size=8",
        )
    )
    words = [*TINY, f"data.source={corpus}", f"data.cache_dir={corpus.parent / 'cache'}", *changes,
             "train.per_device_train_batch_size=4", f"output_dir={corpus.parent / 'sharded'}"]  # fmt: skip
    config = Path(__file__).parent.parent / "configs/accelerate-fsdp.yaml"
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        f"--config_file={config}",
        "-m",
        "textdae",
        "pretrain",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def launch(*more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*command, *words, *more],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    process = launch("train.max_steps=6")
    assert process.returncode == 0, process.stderr[-3000:]
    metrics = json.loads((corpus.parent / "sharded/metrics.json").read_text())
    assert metrics["hardware"].startswith("2 x")
    mine, theirs = files(one.output_dir), files(corpus.parent / "sharded")
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-5)

    shutil.rmtree(corpus.parent / "sharded/checkpoints/step-00000006")
    process = launch("train.max_steps=6", "--resume")
    assert process.returncode == 0, process.stderr[-3000:]
    assert "step 3)" in process.stdout
    again = files(corpus.parent / "sharded")
    assert all(torch.equal(theirs[name], again[name]) for name in theirs)


def test_muon_under_fsdp_is_refused_before_anything_is_removed(corpus, monkeypatch):
    first = pretrain(tiny(corpus, corpus.parent / "kept", "train.max_steps=2"))
    before = files(first.output_dir)
    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda self: DistributedType.FSDP))
    with pytest.raises(SettingsError, match="muon needs whole matrices"):
        pretrain(
            tiny(corpus, corpus.parent / "kept", "train.max_steps=3", "train.optimizer=muon"), overwrite=True
        )
    assert (first.output_dir / "checkpoints/step-00000002").is_dir()
    assert all(torch.equal(before[name], value) for name, value in files(first.output_dir).items())


def test_files_that_a_run_would_write_over_are_named(corpus, tmp_path):
    (tmp_path / "own/best").mkdir(parents=True)
    (tmp_path / "own/README.md").write_text("mine")
    with pytest.raises(SettingsError, match=r"own already holds a run \(best\)"):
        pretrain(tiny(corpus, tmp_path / "own"))
    assert (tmp_path / "own/README.md").read_text() == "mine"
    with pytest.raises(SettingsError, match="--resume and --overwrite exclude each other"):
        pretrain(tiny(corpus, tmp_path / "own"), resume=True, overwrite=True)


def test_blocks_longer_than_a_checkpoint_takes_are_refused(corpus, tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    tokenizer = load_text(
        str(pretrain(tiny(corpus, tmp_path / "one", "train.max_steps=1")).output_dir)
    ).tokenizer
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes)
    ).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    words = [
        f"data.source={corpus}",
        f"output_dir={tmp_path / 'run'}",
        f"model.from_pretrained={tmp_path / 'bert'}",
        "data.block_size=64",
    ]
    with pytest.raises(
        SettingsError, match=r"data\.block_size: 64 positions are more than the 32 that bert takes"
    ):
        pretrain(load(PretrainSettings, None, words))
