"""The documentation is built without a broken link, and every block of its code runs, in the order of the pages."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import textdae
from textdae.app import export
from textdae.cli.app import main
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings

DOCS = Path(__file__).parent.parent / "docs"
TINY = {
    "text": ["data.max_bytes=600KB", "tokenizer.vocab_size=400", "model.hidden_size=32", "model.num_hidden_layers=1",
             "model.num_attention_heads=2", "model.intermediate_size=32", "train.compile=never"],
    "image": ["model.hidden_size=16", "train.time_budget=null"],
    "other": [],
}  # fmt: skip
"""Settings that make a run of the documentation a small one."""


def pages() -> list[Path]:
    """The README, then the pages that people write, in the order of the table of contents."""
    config = tomllib.loads((DOCS / "zensical.toml").read_text())

    def files(entries):
        for entry in entries:
            for value in entry.values():
                yield from files(value) if isinstance(value, list) else [value]

    generated = ("reference/settings", "reference/python", "reference/results")
    written = [name for name in files(config["project"]["nav"]) if not name.startswith(generated)]
    return [DOCS.parent / "README.md", *(DOCS / "pages" / name for name in written)]


def code(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"```(bash|python)\n(.*?)```", page.read_text(), re.DOTALL)


def kind_of(line: str) -> str:
    if "demo sentence" in line or "demo language" in line:
        return "text"
    if " demo " in line or any(part in line for part in ("digits", "photos")):
        return "image"
    return "text"


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link(tmp_path):
    pytest.importorskip("zensical", reason="pip install 'textdae[docs]'")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("site", ".cache"))
    (tmp_path / "benchmarks").symlink_to(DOCS.parent / "benchmarks")
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent), "PYTHONWARNINGS": "ignore"}
    for words in (["docs/generate.py"], ["-m", "zensical", "build", "--strict", "-f", "docs/zensical.toml"]):
        process = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
    site = tmp_path / "docs/site"
    assert "train.time_budget" in (site / "reference/settings-text/index.html").read_text()
    assert "pretrain" in (site / "reference/python/index.html").read_text()
    shown = re.findall(r'<img[^>]*src="([^"]+)"', (site / "idea/index.html").read_text())
    assert len(shown) >= 3
    assert all((site / "idea" / name).resolve().is_file() for name in shown)
    outside = {
        address
        for page in site.rglob("*.html")
        for address in re.findall(
            r'(?:src|href)="(https?://[^"]+\.(?:js|css|png|svg|woff2?))"', page.read_text()
        )
    }
    assert outside == set()  # it opens without a network


@pytest.fixture
def folder(tmp_path, monkeypatch, corpus_texts):
    """A folder with what the pages take for granted: texts, photographs, a table with labels."""
    (tmp_path / "configs").symlink_to(DOCS.parent / "configs")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("\n\n".join(corpus_texts))
    (tmp_path / "photos").mkdir()
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 40, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"photos/{number}.png")
    PIL.Image.fromarray(pixels).save(tmp_path / "photo.png")
    PIL.Image.fromarray(pixels[:8, :8, 0]).save(tmp_path / "digit.png")
    PIL.Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "hole.png")
    rows = ["text,label", *(f'"{text}",{"odd" if len(text) % 2 else "even"}' for text in corpus_texts[:80])]
    (tmp_path / "labelled.csv").write_text("\n".join(rows))
    tagged = [
        "\n".join(f"{word} {'B-NAME' if word.istitle() else 'O'}" for word in text.split())
        for text in corpus_texts
    ]
    (tmp_path / "tagged.conll").write_text("\n\n".join(tagged))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    return tmp_path


SAID = {
    "OWNER/": "tester/", "step-1000": "step-2", "./scripts/textdae": "textdae", "--workers 64": "--workers 2", "--workers 16": "--workers 2",
    "--budget 1h": "--budget 4s",
    "--executor slurm": "--executor local", " slurm.partition=cpu": "", "--nproc-per-node=8": "--nproc-per-node=1",
    "accelerate launch": "accelerate launch --num_processes=1 --num_machines=1 --mixed_precision=no --dynamo_backend=no --cpu",
}  # fmt: skip
"""What stands in the pages, and what is run in its place: a Hub and a store on loopback, two workers, processes on the CPU."""


def run_processes(line: str) -> None:
    """Run what launches processes; several hosts are as many launchers on this one."""
    words = shlex.split(line)
    at = words.index("textdae") + 2
    words[at:at] = [*TINY["text"], "train.max_steps=4"]
    program = {"torchrun": "torch.distributed.run", "accelerate": "accelerate.commands.accelerate_cli"}[
        words[0]
    ]
    hosts = next((int(word.split("=")[1]) for word in words if word.startswith("--nnodes=")), 1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", program, *words[1:]]
    logs = [Path(f"host-{host}.log") for host in range(hosts)]
    launched = [
        subprocess.Popen(command, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT)
        for log in logs
    ]
    try:
        for process, log in zip(launched, logs, strict=True):
            assert process.wait(timeout=300) == 0, f"{line}\n{log.read_text()[-3000:]}"
    finally:
        for process in launched:
            process.kill()


def open_page(words: list[str]) -> None:
    """Run `textdae app` until it has said its address."""
    command = [sys.executable, "-m", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        late, said = threading.Timer(120, process.kill), []
        late.start()
        while not any("http://127.0.0.1:" in each for each in said):
            said.append(process.stdout.readline())
            assert said[-1], "".join(said)
        late.cancel()
        process.terminate()


def run_line(line: str, monkeypatch, capsys) -> None:
    if line == "./scripts/test":
        return
    for said, meant in SAID.items():
        line = line.replace(said, meant)
    words = shlex.split(line)
    if words[:2] == ["pip", "install"]:
        extras = re.fullmatch(r"textdae\[([a-z,]+)\]", words[2])[1].split(",")
        known = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"][
            "optional-dependencies"
        ]
        assert set(extras) <= set(known)
        return
    if words[0] in ("torchrun", "accelerate"):
        return run_processes(line)
    assert words[0] == "textdae", line
    if words[1] == "app" and "--export" not in words:
        return open_page(words)
    command, settings = words[1], TINY[kind_of(line)]
    if "data.source=s3://" in line:
        settings = [word for word in settings if not word.startswith(("data.", "tokenizer."))]
    if command == "demo" and words[2] in ("score", "clean-or-noise"):  # which train no model of ours
        words += ["max_steps=4"]
    elif command == "plan" or "--budget" in line:
        words += settings
    elif command in ("pretrain", "demo"):
        words += settings + ([] if "train.max_steps" in line else ["train.max_steps=4"])
        if "plan.yaml" in line:
            words.append("train.time_budget=null")
    elif command == "evaluate" and kind_of(line) == "text":
        words += ["data.max_bytes=600KB", "evaluate.max_examples=8"]
    elif command in ("finetune", "label-curve"):
        words += ["train.max_steps=3", *(["draws=1", "labels=[20]"] if command == "label-curve" else [])]
    if "model.from_pretrained" in line:
        words = [
            word
            for word in words
            if not word.startswith(("tokenizer.", "model.hidden", "model.num", "model.inter"))
        ]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, f"{line}\n{capsys.readouterr().err}"


def shorter(function, small):
    """A call of the API with a smaller run; what the call says itself stays, but for its time."""

    def call(*args, **keywords):
        if function.__name__ == "plan":
            return function("4s", **keywords, **small)
        of_pictures = keywords.get("source") == "photos/"
        for name, values in (small | {"model": {"hidden_size": 16}} if of_pictures else small).items():
            if name != "tokenizer" or not of_pictures:
                keywords[name] = {**keywords.get(name, {}), **values} if isinstance(values, dict) else values
        return function(*args, **keywords)

    return call


SMALL = {
    "pretrain": {"train": {"time_budget": None, "max_steps": 4, "compile": "never"}, "tokenizer": {"vocab_size": 400},
                 "model": {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}},
    "plan": {"tokenizer": {"vocab_size": 400}, "model": {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}},
    "finetune": {"train": {"max_steps": 3, "compile": "never"}},
    "label_curve": {"train": {"max_steps": 3, "compile": "never"}, "labels": [20], "draws": 1},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries that the pages use
def test_every_block_of_code_runs(folder, hub, s3, monkeypatch, capsys):
    import s3fs

    s3fs.S3FileSystem().put(str(folder / "texts"), f"{s3.bucket}/texts", recursive=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        places = {"s3://BUCKET": f"s3://{s3.bucket}", "HOST:29500": f"127.0.0.1:{free.getsockname()[1]}"}
    prepare = (
        f"textdae prepare data.source=texts/ output_dir=s3://{s3.bucket}/prepared tokenizer.vocab_size=400"
    )
    run_line(prepare, monkeypatch, capsys)
    monkeypatch.setattr(export, "_KINDS", 1)  # of noise, on an exported page
    monkeypatch.setattr(export, "_EVERY", 6)
    for name, small in SMALL.items():
        monkeypatch.setattr(textdae, name, shorter(getattr(textdae, name), small), raising=False)
    for page in pages():
        scope: dict = {"__name__": page.stem}
        if page.stem == "index":  # the documentation begins anew, after the README
            shutil.rmtree("runs")
        for language, block in code(page):
            for said, meant in places.items():
                block = block.replace(said, meant)
            if language == "python":
                block = block.replace('"OWNER/', '"tester/')
                exec(compile(block, str(page), "exec"), scope)
            else:
                for line in block.replace("\\\n", " ").splitlines():
                    if line.split("  #")[0].strip():
                        run_line(line.split("  #")[0].strip(), monkeypatch, capsys)


def test_no_block_of_code_is_of_a_kind_that_is_not_run():
    fences = [
        fence for page in pages() for fence in re.findall(r"^ *```(.*)$", page.read_text(), re.MULTILINE)
    ]
    kinds = {"bash", "python", "yaml", "text"}  # the last one is what is printed
    assert set(fences[::2]) == kinds
    assert set(fences[1::2]) == {""}


def test_every_block_of_settings_is_one(tmp_path):
    blocks = [
        block for page in pages() for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    assert blocks
    for block in blocks:
        (tmp_path / "block.yaml").write_text(block)
        load(PretrainSettings, tmp_path / "block.yaml")


def test_the_pages_have_code_of_both_kinds():
    kinds = [language for page in pages() for language, _ in code(page)]
    assert kinds.count("bash") > 10
    assert kinds.count("python") > 5


def test_the_ten_usual_tasks_take_five_lines_and_public_names():
    blocks = [block for _, block in code(DOCS / "pages/how-to/ten.md")][1:]  # after the imports
    assert len(blocks) == 10
    assert max(len(block.splitlines()) for block in blocks) <= 5
    assert not any("import" in block for block in blocks)
    used = {name for block in blocks for name in re.findall(r"textdae\.(\w+)", block)}
    assert used <= set(dir(textdae))
