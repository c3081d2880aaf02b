"""The command line: what is wrong is said in one line, with exit code 2, before anything slow begins."""

import subprocess
import sys

import pytest
import yaml

from textdae.cli.app import main
from textdae.cli.settings import COMMANDS
from textdae.core.registry import modalities
from textdae.text.settings import TextPretrainSettings


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; return its exit code, output and errors."""

    def run(*words: str):
        monkeypatch.setattr(sys, "argv", ["textdae", *map(str, words)])
        with pytest.raises(SystemExit) as raised:
            main()
        said = capsys.readouterr()
        return raised.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def corpus(tmp_path, corpus_texts):
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(corpus_texts))
    return path


@pytest.fixture
def bad_files(tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text(" \n\n \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 50)
    (tmp_path / "tiny.txt").write_text("one two three\n\nfour five\n\nsix seven")
    (tmp_path / "rows.csv").write_text("title,body\na,b\n")
    (tmp_path / "bad.yaml").write_text("train: {max_steps: 3\n")
    (tmp_path / "twice.yaml").write_text("output_dir: a\noutput_dir: b\n")
    (tmp_path / "typo.yaml").write_text("train:\n  learing_rate: 1e-3\n")
    (tmp_path / "notes.pdf").write_text("x")
    (tmp_path / "taken").write_text("a file where a folder should be")
    (tmp_path / "nothing").mkdir()
    return tmp_path


BAD = {
    "misspelled key": (["train.learing_rate=1"], "train.learing_rate: no such key; did you mean `learning_rate`?"),
    "misspelled key in a file": (["{here}/typo.yaml"], "typo.yaml: train.learing_rate: no such key"),
    "wrong type": (["train.max_steps=many"], "train.max_steps: input should be a valid integer"),
    "impossible value": (["noise.rate=1.5"], "noise.rate: input should be less than or equal to 1, got 1.5"),
    "unknown kind": (["noise.kind=word"], "noise.kind: no kind `word`; did you mean `words`?"),
    "no such settings file": (["nowhere.yaml"], "nowhere.yaml: no such settings file"),
    "broken YAML": (["{here}/bad.yaml"], "bad.yaml, line"),
    "a key twice": (["{here}/twice.yaml"], "key `output_dir` is given twice"),
    "not key=value": (["output_dir=x", "train.seed"], "`train.seed`: an override is written key=value"),
    "missing file": (["data.source={here}/none.txt"], "data.source: no such file or folder"),
    "empty file": (["data.source={here}/empty.txt"], "is empty (0 bytes)"),
    "blank file": (["data.source={here}/blank.txt"], "no words"),
    "not UTF-8": (["data.source={here}/latin.txt"], "latin.txt: not utf-8 at byte 3; set data.encoding"),
    "unknown encoding": (["data.source={here}/latin.txt", "data.encoding=klingon"], "knows no encoding 'klingon'"),
    "no such column": (["data.source={here}/rows.csv"], "no column 'text'; it has: title, body"),
    "too small": (["data.source={here}/tiny.txt", "tokenizer.vocab_size=40"], "too small for one block"),
    "unknown kind of file": (["data.source={here}/notes.pdf"], "is none of .txt"),
    "folder without text": (["data.source={here}/nothing"], "no text file in the folder"),
    "output is a file": (["output_dir={here}/taken", "data.source={here}/tiny.txt"], "taken cannot be written"),
    "block longer than the model": (["data.block_size=1024"], "longer than model.max_position_embeddings 512"),
    "--resume and --overwrite": (["--resume", "--overwrite"], "exclude each other"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(run, bad_files, monkeypatch, case):
    words, message = BAD[case]
    monkeypatch.chdir(bad_files)
    code, _, errors = run("pretrain", *(word.format(here=bad_files) for word in words))
    assert code == 2
    assert message in errors
    lines = [line for line in errors.splitlines() if line.startswith("textdae:")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors


def test_an_output_folder_with_another_run_is_refused(run, tmp_path, corpus):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/settings.yaml").write_text("x")
    code, _, errors = run("pretrain", f"output_dir={tmp_path / 'run'}", f"data.source={corpus}")
    assert code == 2
    assert "already holds a run (settings.yaml); --resume goes on with it" in errors
    assert (tmp_path / "run/settings.yaml").read_text() == "x"


def test_overwrite_removes_nothing_before_the_new_run_can_start(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/settings.yaml").write_text("x")
    code, _, errors = run(
        "pretrain", "--overwrite", f"output_dir={tmp_path / 'run'}", f"data.source={tmp_path}/none.txt"
    )
    assert code == 2
    assert "no such file or folder" in errors
    assert (tmp_path / "run/settings.yaml").read_text() == "x"


def test_settings_prints_every_key_with_its_meaning(run):
    code, out, _ = run("settings", "pretrain")
    assert code == 0
    for key in (
        "output_dir",
        "data.source",
        "noise.rate",
        "model.hidden_size",
        "train.time_budget",
        "evaluate.rate",
    ):
        assert f"\n{key}=" in f"\n{out}"
    assert run("settings", "pretrian")[0] == 2


@pytest.mark.parametrize("modality", sorted(modalities()))
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_settings_of_every_modality(command, modality, run):
    if command == "prepare" and modality != "text":  # shards are of text
        assert run("settings", command, "-m", modality)[0] == 2
        return
    code, out, _ = run("settings", command, "-m", modality)
    assert code == 0
    assert f"\nmodality={modality}" in f"\n{out}"


def test_show_prints_what_would_be_used(run):
    code, out, _ = run("show", "train.max_steps=7", "noise.kind=spans")
    assert code == 0
    shown = TextPretrainSettings(**yaml.safe_load(out))
    assert shown.train.max_steps == 7
    assert shown.noise[0].kind == "spans"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["denoise", "/nowhere/run", "a [MASK]"], "/nowhere/run: no such folder"),
        (["evaluate", "/nowhere/run"], "/nowhere/run: no such folder"),
        (["evaluate", "x", "--levels", "often"], "--levels: numbers above 0 with commas between"),
        (["evaluate", "x", "--levels", "0.1,-7"], "--levels: numbers above 0 with commas between"),
        (["evaluate", "{here}", "data.sorce=docstrings"], "data.sorce: no such key; did you mean `source`?"),
        (["denoise", "{here}/image", "photo.png"], "name the file for the clean picture, e.g. -o clean.png"),
        (["demo", "bottelneck"], "demo: no demo `bottelneck`; known: bottleneck, target, noise-matrix"),
        (["settings", "pretrain", "-m", "sound"], "--modality: text or image, got 'sound'"),
    ],
)
def test_other_commands_are_as_plain(run, words, message, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "modernbert"}')
    (tmp_path / "image").mkdir()
    (tmp_path / "image/config.json").write_text('{"model_type": "textdae_unet"}')
    code, _, errors = run(*(word.replace("{here}", str(tmp_path)) for word in words))
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors


def test_a_folder_that_is_no_checkpoint(run, tmp_path):
    (tmp_path / "checkpoints/step-00000004").mkdir(parents=True)
    code, _, errors = run("denoise", tmp_path, "a [MASK]")
    assert code == 2
    assert "no config.json, so not a checkpoint; its newest checkpoint is" in errors


@pytest.mark.parametrize("command", [["-m", "textdae"], ["-c", "from textdae.cli import main; main()"]])
def test_help_lists_the_commands(command):
    process = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, check=True)
    for name in ("pretrain", "evaluate", "denoise", "settings"):
        assert f"  {name} " in process.stdout
