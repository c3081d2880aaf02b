"""Fuzzing of what reads things from outside: `python fuzz.py TARGET -max_total_time=60` (libFuzzer's options).

Whatever the bytes are, there is a result or a `SettingsError` of one line.
"""

import gzip
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import atheris
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

with atheris.instrument_imports(include=["textdae"]):
    from textdae.core.errors import SettingsError
    from textdae.core.settings.reader import load
    from textdae.core.settings.runs import PretrainSettings
    from textdae.core.settings.yaml_text import parse_yaml
    from textdae.hub.vetting.folder import vet
    from textdae.text.data.data_settings import TextDataSettings
    from textdae.text.data.reading import SUFFIXES, read_rows

FOLDER = Path(tempfile.mkdtemp())


def refused_in_one_line(error: SettingsError) -> None:
    text = str(error)
    lines = [line for line in text.split("\n") if not line.startswith("`") and "run.yaml" not in line]
    if not text or len(lines) > 1:  # of settings there may be a line a problem
        raise AssertionError(repr(text))


def files(content: bytes) -> None:
    """The first bytes say the kind of file and how bad bytes are dealt with."""
    given = atheris.FuzzedDataProvider(content)
    path = FOLDER / f"a{SUFFIXES[given.ConsumeIntInRange(0, len(SUFFIXES) - 1)]}"
    errors = ("strict", "replace", "skip")[given.ConsumeIntInRange(0, 2)]
    path.write_bytes(given.ConsumeBytes(1 << 16))
    for text in read_rows(path, TextDataSettings(errors=errors), Counter()):
        assert isinstance(text[0], str)
        text[0].encode()


def settings(content: bytes) -> None:
    given = atheris.FuzzedDataProvider(content)
    path = FOLDER / "run.yaml"
    path.write_text(given.ConsumeUnicodeNoSurrogates(1 << 12))
    load(PretrainSettings, path, [given.ConsumeUnicodeNoSurrogates(200) for _ in range(2)])


def values(content: bytes) -> None:
    parse_yaml(atheris.FuzzedDataProvider(content).ConsumeUnicode(1 << 12), "here")


def checkpoints(content: bytes) -> None:
    given = atheris.FuzzedDataProvider(content)
    (FOLDER / "model.safetensors").write_bytes(given.ConsumeBytes(given.ConsumeIntInRange(0, 1 << 12)))
    (FOLDER / "config.json").write_bytes(given.ConsumeBytes(1 << 12))
    vet(FOLDER)


def seeds(target: str) -> Iterator[bytes]:
    """Good input to begin with; what is consumed as a number stands at the end."""
    if target == "files":
        table = io.BytesIO()
        pq.write_table(pa.table({"text": ["a cat", None, "b"]}), table)
        text = "a cat\n\na d\u00f6g \U0001f642\n".encode()
        contents = [
            text,
            gzip.compress(text, mtime=0),
            b'{"text": "a \\ud83d"}\n{"text": null}\n',
            b'text,n\n"a\nb",1\n',
            table.getvalue(),
        ]
        yield from (
            content + bytes([errors, kind]) for kind, content in enumerate(contents) for errors in range(3)
        )
    if target in ("settings", "values"):
        yield b"\x01train: {max_steps: 1e3, time_budget: 5m}\nnoise: [{kind: words, rate: 0.3}]\ndata: {max_bytes: 4MB}\n"
    if target == "checkpoints":
        weights = save({"a.weight": np.zeros((4, 2), np.float32)})
        config = b'{"model_type": "bert", "hidden_size": 2, "num_hidden_layers": 1}'
        yield weights + config.replace(b"2", b"9" * 9) + len(weights).to_bytes(2, "big")
        yield weights + config + len(weights).to_bytes(2, "big")


def main() -> None:
    name = sys.argv.pop(1)
    target = {"files": files, "settings": settings, "values": values, "checkpoints": checkpoints}[name]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(seed)
    sys.argv.append(str(corpus))

    def one(content: bytes) -> None:
        try:
            target(content)
        except SettingsError as error:
            refused_in_one_line(error)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
