"""Bad input through the command line: either it is used and what was done is counted, or it is refused in one line."""

import csv
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelled import image_checkpoint, text_checkpoint
from PIL import Image

from textdae.cli.app import main
from textdae.core import cache, lock, source_files
from textdae.hub import push
from textdae.text.data import decode_bytes as decoding
from textdae.training import checkpoint

TINY = [
    "train.max_steps=1", "train.per_device_train_batch_size=4", "train.eval_steps=0", "train.compile=never",
    "evaluate.max_examples=4", "train.precision=fp32",
]  # fmt: skip
TEXT = [
    *TINY, "data.block_size=8", "tokenizer.vocab_size=64", "model.hidden_size=8", "model.num_hidden_layers=1",
    "model.intermediate_size=8", "data.held_out=0.3",
]  # fmt: skip
PROSE = "\n\n".join(
    f"the {word} sat on the {word}s mat number {n}" for n, word in enumerate(["cat", "dog", "owl"] * 20)
)


def parquet(**columns) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def rows(*fields: str) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([field.split("|") for field in fields])
    return out.getvalue().encode()


def lines(*objects) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in objects).encode()


MANY = [{"text": text} for text in PROSE.split("\n\n")]
USED, REFUSED = 0, 2

# name of the file, content, settings, how the command ends, and what it says then
TEXTS = {
    "empty": ("a.txt", b"", [], REFUSED, "is empty (0 bytes)"),
    "only-white-space": ("a.txt", b" \n\t\n\xe2\x80\x83\n" * 50, [], REFUSED, "holds no words"),
    "one-word": ("a.txt", b"word", [], REFUSED, "holds no words"),
    "nul-bytes": ("a.txt", (PROSE.replace("cat", "c\0t")).encode(), [], USED, "documents"),
    "only-nul-bytes": ("a.txt", b"\0" * 5000, [], None, ""),
    "invalid-utf8": ("a.txt", PROSE.encode() + b"\xff\xfe\n", [], REFUSED, "not utf-8 at byte"),
    "invalid-utf8-replaced": ("a.txt", PROSE.encode() + b"\n\n\xff\xfe", ["data.errors=replace"], USED, "documents"),
    "invalid-utf8-skipped": (
        "a.txt", PROSE.encode() + b"\n\nbad \xff", ["data.errors=skip"], USED, "documents skipped, not decodable: 1",
    ),
    "utf16-as-utf8": ("a.txt", PROSE.encode("utf-16"), [], REFUSED, "set data.encoding"),
    "unknown-encoding": ("a.txt", PROSE.encode(), ["data.encoding=klingon"], REFUSED, "Python knows no encoding"),
    "an-encoding-of-no-text": ("a.txt", PROSE.encode(), ["data.encoding=base64"], REFUSED, "Python knows no encoding"),
    "right-to-left": ("a.txt", ("\u202eשלום עולם العربية " * 40 + "\n\n" + PROSE).encode(), [], USED, "documents"),
    "combining-marks": ("a.txt", ("a" + "\u0301" * 3000 + "\n\n" + PROSE).encode(), [], USED, "documents"),
    "private-and-unassigned": ("a.txt", ("\ue000\U0010ffff\u0378 " * 50 + "\n\n" + PROSE).encode(), [], USED, "documents"),
    "only-special-tokens": ("a.txt", b"[MASK] [PAD] [SEP]\n\n" * 60, [], None, ""),
    "special-tokens-in-prose": ("a.txt", PROSE.replace("cat", "[MASK]").encode(), [], USED, "documents"),
    "old-mac-line-ends": ("a.txt", PROSE.replace("\n", "\r").encode(), ["data.document=paragraph"], None, ""),
    "a-line-of-a-megabyte": ("a.txt", (PROSE.replace("\n", " ") * 400 + "\n\n" + PROSE).encode(), [], USED, "documents"),
    "a-word-of-a-megabyte": ("a.txt", b"x" * 1_000_000 + b"\n\n" + PROSE.encode(), [], USED, "documents"),
    "one-word-documents": ("a.txt", b"\n\n".join([b"cat", b"dog", b"owl"] * 3000), [], None, ""),
    "gzip-cut-short": ("a.txt.gz", gzip.compress(PROSE.encode())[:-20], [], REFUSED, "not a whole gzip file"),
    "no-gzip": ("a.txt.gz", PROSE.encode(), [], REFUSED, "not a whole gzip file"),
    "gzip-of-a-bad-checksum": (
        "a.txt.gz", gzip.compress(PROSE.encode())[:-8] + b"\1" * 8, [], REFUSED, "not a whole gzip file",
    ),
    "gzip-bomb": ("a.txt.gz", gzip.compress(b"\n\n" + b"a " * 10_000_000), [], REFUSED, "unpacks to more than"),
    "json-cut-short": ("a.jsonl", lines(*MANY)[:-9], [], REFUSED, "line 60: not JSON"),
    "json-half-a-surrogate": ("a.jsonl", lines(*MANY) + b'{"text": "\\ud83d"}', [], REFUSED, "half a surrogate pair"),
    "json-half-a-surrogate-replaced": (
        "a.jsonl", lines(*MANY) + b'{"text": "\\ud83d"}', ["data.errors=replace"], USED, "documents",
    ),
    "json-deep": ("a.jsonl", b'{"text":' * 99_999, [], REFUSED, "line 1: not JSON"),
    "json-list": ("a.jsonl", b"[1, 2]", [], REFUSED, "a list, not a JSON object"),
    "json-number": ("a.jsonl", lines(*MANY, {"text": 3}), [], REFUSED, "holds a int, not text"),
    "json-null": ("a.jsonl", lines(*MANY, {"text": None}), [], USED, "blank documents left out: 1"),
    "json-other-columns": ("a.jsonl", lines({"body": "x"}), [], REFUSED, "no column 'text'; it has: body"),
    "json-huge-number": ("a.jsonl", lines(*MANY) + b'{"text": "a", "n": ' + b"9" * 5000 + b"}", [], None, ""),
    "json-nan": ("a.jsonl", lines(*MANY) + b'{"text": NaN}', [], REFUSED, "holds a float, not text"),
    "csv-ragged": ("a.csv", rows("text|n", "a|1", "b"), [], REFUSED, "line 3: 1 fields, the header names 2"),
    "csv-never-closed": ("a.csv", b'text\n"never closed\n' * 3, [], REFUSED, "not CSV"),
    "csv-nul": ("a.csv", b"text\na\0b\n" * 30, [], None, ""),
    "csv-header-only": ("a.csv", b"text\n", [], REFUSED, "holds no words"),
    "csv-two-columns-of-one-name": ("a.csv", rows("text|text", *["a cat|b dog"] * 60), [], None, ""),
    "parquet-of-numbers": ("a.parquet", parquet(text=[1, 2, 3]), [], REFUSED, "holds int64, not text"),
    "parquet-of-another-schema": ("a.parquet", parquet(body=["x"]), [], REFUSED, "no column 'text'"),
    "parquet-cut-short": ("a.parquet", parquet(text=[PROSE])[:-9], [], REFUSED, "not a Parquet file"),
    "parquet-of-bytes": ("a.parquet", parquet(text=[b"\xff"]), [], REFUSED, "holds binary, not text"),
    "parquet-empty": ("a.parquet", parquet(text=pa.array([], pa.string())), [], REFUSED, "holds no words"),
    "parquet-of-nothing": ("a.parquet", parquet(text=pa.nulls(9)), [], REFUSED, "holds no words"),
    "no-such-ending": ("a.docx", b"PK", [], REFUSED, "is none of .txt"),
    "picture-as-text": ("a.txt", zlib.compress(bytes(range(256)) * 50), [], REFUSED, "not utf-8"),
}  # fmt: skip


def png(width: int, height: int) -> bytes:
    """The head of a picture of this size, without its pixels."""

    def part(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0" * 100)) + part(b"IEND", b"")


def picture(mode: str = "L", size: tuple[int, int] = (12, 12), kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


PICTURES = {
    "empty-picture": ("bad.png", b"", [], REFUSED, "bad.png: empty (0 bytes)"),
    "no-picture": ("bad.png", b"not a picture", [], REFUSED, "bad.png: not a picture"),
    "skipped": ("bad.png", b"not a picture", ["data.on_error=skip"], USED, "pictures skipped, not usable: 1"),
    "cut-short": ("bad.png", picture()[:-40], [], REFUSED, "bad.png: damaged or cut short"),
    "jpeg-cut-short": (
        "bad.jpg",
        picture("RGB", kind="JPEG")[:-200],
        [],
        REFUSED,
        "bad.jpg: damaged or cut short",
    ),
    "bomb": ("bad.png", png(60_000, 60_000), [], REFUSED, "bad.png: "),
    "no-pixels": ("bad.png", png(0, 0), [], REFUSED, "bad.png: not a picture"),
    "one-pixel": ("bad.png", picture(size=(1, 1)), [], USED, "images"),
    "a-line": ("bad.png", picture(size=(3000, 1)), [], USED, "images"),
    "sixteen-bits": ("bad.png", picture("I;16"), [], REFUSED, "more than 8 bits a channel"),
    "four-inks": ("bad.jpg", picture("CMYK", kind="JPEG"), [], USED, "images"),
    "another-ending": ("bad.jpg", picture(), [], USED, "images"),
    "html-as-picture": ("bad.gif", b"<html></html>", [], REFUSED, "bad.gif: not a picture"),
}

LABELLED = {
    "no-labels-at-all": (lines(*({"text": f"cat {n}", "label": None} for n in range(60))), [], "unlabelled"),
    "one-class": (lines(*({"text": f"cat {n}", "label": "a"} for n in range(60))), [], "one class only"),
    "fractions": (lines(*({"text": f"cat {n}", "label": n / 7} for n in range(60))), [], "data.task=regression"),
    "mixed": (lines(*({"text": f"cat {n}", "label": ["a", 0.5][n % 2]} for n in range(60))), [], "holds fractions such as 0.5"),
    "objects": (lines(*({"text": f"cat {n}", "label": {"a": n}} for n in range(60))), [], "a dict, not a class"),
    "a-class-each": (lines(*({"text": f"cat {n}", "label": f"c{n}"} for n in range(3000))), [], "hardly classes"),
    "words-for-numbers": (
        lines(*({"text": f"cat {n}", "label": "abc"[n % 3]} for n in range(60))), ["data.task=regression"], "finite number",
    ),
    "no-such-column": (lines(*MANY), [], "no column 'label'; it has: text"),
}  # fmt: skip

SETTINGS = {
    "no-yaml": ("a: [", "run.yaml"), "a-list": ("- 1", "run.yaml"), "a-tab": ("train:\n\tmax_steps: 1", "run.yaml"),
    "misspelt": ("train: {max_stepz: 1}", "did you mean `max_steps`"), "two-types": ("train: 3", "train"),
    "negative": ("train: {max_steps: -1}", "train.max_steps"), "word-for-number": ("train: {max_steps: many}", "train.max_steps"),
    "python-object": ("train: !!python/object/apply:os.system ['true']", "run.yaml"), "nan": ("train: {learning_rate: .nan}", "learning_rate"),
    "endless-alias": ("a: &a [*a]", "run.yaml"), "billion-laughs": ("a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]", "a"),
    "unknown-noise": ("noise: {kind: rain}", "noise"), "rate-over-one": ("noise: {rate: 1.5}", "rate"),
    "a-list-of-lists-of-lists": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)), "more than 100,000 values",
    ),
    "beyond-64-bits": (f"train: {{max_steps: {10**30}}}", "beyond 64 bits"), "thousands-of-digits": (f"train: {{seed: {'9' * 5000}}}", "run.yaml"),
    "huge": ("# " + "x" * 2_000_000, "2,000,002 bytes"), "binary": ("\x00\x01", "run.yaml"), "twice": ("train: {max_steps: 1, max_steps: 2}", "max_steps"),
}  # fmt: skip


def outcome(words: list[str], monkeypatch, capsys) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["textdae", *map(str, words)])
    status: object = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code or 0
    out, err = capsys.readouterr()
    assert isinstance(status, int)
    return status, out, err


def check(found: tuple[int, str, str], status: int | None, says: str) -> None:
    ended, out, err = found
    assert "Traceback" not in out + err
    assert ended in ((0, 2) if status is None else (status,)), err[-2000:]
    if ended == USED:
        assert says in out + err
    else:
        said = [line for line in err.splitlines() if line.startswith("textdae: ")]
        assert len(said) == 1 or (said and "run.yaml" in said[0]), err  # of settings a line each
        assert says in said[0]


@pytest.mark.parametrize("case", TEXTS)
def test_bad_text_is_refused_in_one_line_or_counted(case, tmp_path, monkeypatch, capsys):
    name, content, overrides, status, says = TEXTS[case]
    monkeypatch.setattr(decoding, "_TRUSTED", 1_000_000)
    (tmp_path / name).write_bytes(content)
    where = [
        f"data.source={tmp_path / name}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"output_dir={tmp_path / 'run'}",
    ]
    check(outcome(["pretrain", *TEXT, *where, *overrides], monkeypatch, capsys), status, says)


@pytest.mark.parametrize("case", PICTURES)
def test_bad_pictures_are_refused_in_one_line_or_counted(case, tmp_path, monkeypatch, capsys):
    name, content, overrides, status, says = PICTURES[case]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (12, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / name).write_bytes(content)
    where = [
        f"data.source={folder}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"output_dir={tmp_path / 'run'}",
    ]
    sizes = [
        "modality=image",
        "data.image_size=8",
        "data.channels=1",
        "data.held_out=0.3",
        "model.hidden_size=8",
    ]
    check(outcome(["pretrain", *TINY, *sizes, *where, *overrides], monkeypatch, capsys), status, says)


@pytest.mark.parametrize("case", LABELLED)
def test_bad_labels_are_refused_in_one_line(case, tmp_path, monkeypatch, capsys, wordpiece):
    content, overrides, says = LABELLED[case]
    (tmp_path / "a.jsonl").write_bytes(content)
    encoder = text_checkpoint(tmp_path / "encoder", wordpiece)
    where = [
        f"data.source={tmp_path / 'a.jsonl'}",
        f"output_dir={tmp_path / 'run'}",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]
    check(outcome(["finetune", encoder, *where, *overrides], monkeypatch, capsys), REFUSED, says)


@pytest.mark.parametrize("case", SETTINGS)
def test_bad_settings_are_refused_in_one_line(case, tmp_path, monkeypatch, capsys):
    content, says = SETTINGS[case]
    (tmp_path / "run.yaml").write_text(content)
    check(outcome(["pretrain", tmp_path / "run.yaml"], monkeypatch, capsys), REFUSED, says)


@pytest.mark.parametrize(
    "word",
    [
        "train.max_steps",
        "=3",
        "train..x=1",
        "train.max_steps=1e400",
        "noise[9]=1",
        "\x00=1",
        "a=" + "[" * 5000,
        "train.seed=" + "9" * 5000,
        f"train.max_steps={10**30}",
        f"train.seed={10**400}",
        "a=&a [*a]",
    ],
)
def test_bad_overrides_are_refused_in_one_line(word, monkeypatch, capsys):
    check(outcome(["pretrain", word], monkeypatch, capsys), REFUSED, "")


def test_settings_from_a_pipe_are_not_waited_for(tmp_path, monkeypatch, capsys):
    os.mkfifo(tmp_path / "run.yaml")
    found = outcome(["pretrain", tmp_path / "run.yaml"], monkeypatch, capsys)
    check(found, REFUSED, "run.yaml is a pipe, not a file")


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    "read",
    [
        lambda folder: checkpoint.fault(folder) is None,
        checkpoint.identity,
        lambda folder: lock.holder(folder / "manifest.json") != "another process",
        lambda folder: push._read_notes(folder / "manifest.json"),
        lambda folder: source_files._read_index(folder / "manifest.json"),
        lambda folder: cache._fault(folder) is None,
    ],
)
def test_json_nested_without_end_is_as_good_as_none(read, tmp_path):
    for name in ("manifest.json", cache._CONTENTS, "manifest." + push.PUSHED):
        (tmp_path / name).write_text(NESTED)
    assert not read(tmp_path)


@pytest.mark.parametrize("command", ["finetune", "probe", "label-curve", "embed", "evaluate", "denoise"])
@pytest.mark.parametrize("bad", ["nowhere/at/all", ".", "/", "no such name", "a/b/c/d"])
def test_checkpoints_that_are_not_there(command, bad, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    extra = {"embed": ["x.txt", "-o", "v.npy"], "denoise": ["a [MASK]"]}.get(command, [])
    check(outcome([command, bad, *extra], monkeypatch, capsys), REFUSED, "")


def test_a_picture_cannot_be_read_as_text_nor_the_other_way(tmp_path, monkeypatch, capsys, wordpiece):
    text, image = text_checkpoint(tmp_path / "text", wordpiece), image_checkpoint(tmp_path / "image", "unet")
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.txt").write_text(PROSE)
    for words in (
        ["denoise", image, tmp_path / "a.txt", "-o", tmp_path / "b.png"],
        ["embed", text, tmp_path / "a.png", "-o", tmp_path / "v.npy"],
    ):
        check(outcome(words, monkeypatch, capsys), REFUSED, "")


def test_there_are_enough():
    assert len(TEXTS) + len(PICTURES) + len(LABELLED) + len(SETTINGS) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("target", ["files", "settings", "values", "checkpoints"])
def test_fuzzing_finds_nothing(target, tmp_path):
    pytest.importorskip("atheris")
    program = str(Path(__file__).with_name("fuzz.py"))
    command = [
        sys.executable,
        program,
        target,
        "-max_total_time=30",
        "-seed=1",
        f"-artifact_prefix={tmp_path}/",
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    print(target, process.stderr.splitlines()[-1])


LARGE = """
import resource, sys
from pathlib import Path
from textdae.cli import main
folder, kind, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with open(folder / "a.txt", "w") as stream:
    for _ in range(number):
        stream.write("the cat sat on a mat " * 10_000 if kind == "line" else "".join(f"cat{n}\\n\\n" for n in range(10_000)))
    stream.write("\\n\\n" + "".join(f"the owl sat there {n} times\\n\\n" for n in range(200)))
sys.argv = ["textdae", "pretrain", f"data.source={folder / 'a.txt'}", f"data.cache_dir={folder / 'cache'}",
            f"output_dir={folder / 'run'}", *sys.argv[4:]]
try:
    main()
except SystemExit:
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


MEMORY = {"all": [("line", 1000, 2_000_000), ("documents", 1000, 1_200_000)]}.get(
    os.environ.get("TEXTDAE_TESTS", ""), [("line", 300, 1_000_000), ("documents", 300, 900_000)]
)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number", "most"), MEMORY)
def test_memory_stays_within_bounds(kind, number, most, tmp_path):
    """A line of 63 MB, which is one document and has to be held whole; three million documents of one word (kB)."""
    command = [sys.executable, "-c", LARGE, str(tmp_path), kind, str(number), *TEXT]
    process = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "every token is in a block" in process.stdout
    print(process.stdout.splitlines()[-1], "kB")
    assert int(process.stdout.splitlines()[-1]) < most
