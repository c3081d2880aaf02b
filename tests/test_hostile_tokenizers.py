"""Tokenizers that mean harm: each is refused in one line, with little time and memory, before a text is given to it."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from textdae.core.errors import SettingsError
from textdae.hub.vetting.folder import vet_tokenizer
from textdae.hub.vetting.tokenizer import check_pipeline
from textdae.text.tokens.tokenizer import load_tokenizer, save_tokenizer
from textdae.text.tokens.tokenizing import TextTokenizer

REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
CATASTROPHE = "(((((a*)*)*)*)*)*$"


def change(folder: Path, **values) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def settings(folder: Path, **values) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replacements(folder: Path) -> str:
    change(folder, normalizer={"type": "Sequence", "normalizers": [REPLACE] * 40})
    return "can make texts 1.1e+12 times as long"


def replacements_within_sequences(folder: Path) -> str:
    nested = REPLACE
    for _ in range(30):
        nested = {"type": "Sequence", "normalizers": [nested, REPLACE]}
    change(folder, normalizer=nested)
    return "times as long"


def a_replacement_of_the_empty_match(folder: Path) -> str:
    step = {"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y" * 200}
    change(folder, normalizer=step)
    return "can make texts 201 times as long"


def a_ligature_and_its_parts(folder: Path) -> str:
    """One character for one, that compatibility forms make 18 of."""
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "\ufdfa"}
    change(folder, normalizer={"type": "Sequence", "normalizers": [step, {"type": "NFKD"}] * 5})
    return "times as long"


def bytes_of_bytes(folder: Path) -> str:
    step = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    change(folder, pre_tokenizer={"type": "Sequence", "pretokenizers": [step] * 30})
    return "times as long"


def a_table_of_long_entries(folder: Path) -> str:
    table = struct.pack("<I", 4) + b"\0" * 4 + b"x" * 5000 + b"\0"
    change(
        folder, normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    )
    return "can make texts 5e+03 times as long"


def a_template_of_many_texts(folder: Path) -> str:
    text = {"Sequence": {"id": "A", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [text] * 11, "pair": [text], "special_tokens": {}}
    change(folder, post_processor={"type": "Sequence", "processors": [template] * 8})
    return "times as long"


def decoders_that_grow(folder: Path) -> str:
    change(folder, decoder={"type": "Sequence", "decoders": [REPLACE] * 40})
    return "can make decoded texts 1.1e+12 times as long"


def many_steps(folder: Path) -> str:
    change(folder, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 5000})
    return "steps for texts, more than the 200 allowed"


def a_very_long_replacement(folder: Path) -> str:
    change(folder, normalizer=REPLACE | {"content": "a" * 1_000_000})
    return "an entry of 1,000,000 characters"


def padding_to_a_billion(folder: Path) -> str:
    change(folder, padding={"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None,
                            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"})  # fmt: skip
    return "padding.Fixed = 1,000,000,000"


def words_of_any_length(folder: Path) -> str:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    change(folder, model=model | {"max_input_chars_per_word": 10**9})
    return "max_input_chars_per_word = 1,000,000,000"


def eight_million_entries(folder: Path) -> str:
    entries = b",".join([b'"a":1'] * 8_000_000)
    (folder / "tokenizer.json").write_bytes(b'{"model":{"type":"WordPiece","vocab":{' + entries + b"}}}")
    return "some 8,000,000 entries"


def more_bytes_than_any(folder: Path) -> str:
    os.truncate(folder / "tokenizer.json", 2 * 10**9)
    return "tokenizer.json has 2,000,000,000 bytes"


def many_added_tokens(folder: Path) -> str:
    token = json.loads((folder / "tokenizer.json").read_text())["added_tokens"][0]
    change(folder, added_tokens=[token | {"id": number, "content": f"t{number}"} for number in range(60_000)])
    return "60,000 added tokens"


def many_special_tokens(folder: Path) -> str:
    settings(folder, extra_special_tokens=[f"t{number}" for number in range(60_000)])
    return "60,000 extra_special_tokens"


def depth(folder: Path) -> str:
    (folder / "tokenizer.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return "tokenizer.json is nested too deeply"


def a_little_depth(folder: Path) -> str:
    (folder / "tokenizer.json").write_text('{"a":' * 300 + "1" + "}" * 300)
    return "nested more than 100 levels deep"


def a_list_instead(folder: Path) -> str:
    (folder / "tokenizer.json").write_text("[1]")
    return "holds no JSON object"


def a_pipe(folder: Path) -> str:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    return "tokenizer.json is a pipe, not a file"


def a_pipe_of_settings(folder: Path) -> str:
    (folder / "tokenizer_config.json").unlink()
    os.mkfifo(folder / "tokenizer_config.json")
    return "tokenizer_config.json is a pipe, not a file"


def a_pipe_of_special_tokens(folder: Path) -> str:
    os.mkfifo(folder / "special_tokens_map.json")
    return "special_tokens_map.json is a pipe, not a file"


def a_folder_of_a_file(folder: Path) -> str:
    (folder / "vocab.txt").mkdir()
    return "vocab.txt is a folder, not a file"


def a_socket(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(folder, os.O_RDONLY)  # its name may only be short
        one.bind(f"/proc/self/fd/{here}/added_tokens.json")
        os.close(here)
    return "added_tokens.json is a socket, not a file"


def a_device(folder: Path) -> str:
    (folder / "merges.txt").symlink_to("/dev/zero")
    return "merges.txt is a link out of the folder"


def a_link_out(folder: Path) -> str:
    (folder / "tokenizer.json").rename(folder.parent / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to(folder.parent / "elsewhere.json")
    return "tokenizer.json is a link out of the folder"


def a_file_elsewhere(folder: Path) -> str:
    settings(folder, tokenizer_file="/etc/passwd")
    return "names '/etc/passwd'"


def a_version_elsewhere(folder: Path) -> str:
    settings(folder, fast_tokenizer_files=["../tokenizer.4.0.0.json"])
    return "names '../tokenizer.4.0.0.json'"


def another_version(folder: Path) -> str:
    shutil.copy(folder / "tokenizer.json", folder / "keep")
    says = replacements(folder)
    (folder / "tokenizer.json").rename(folder / "tokenizer.4.0.0.json")
    (folder / "keep").rename(folder / "tokenizer.json")
    settings(folder, fast_tokenizer_files=["tokenizer.4.0.0.json"])
    return says


def long_pieces(folder: Path) -> str:
    piece = b"\x0a" + bytes([0xD0, 0x86, 0x03]) + b"a" * 50_000
    (folder / "spiece.model").write_bytes(piece * 200)
    return "spiece.model has an entry of 50,000 characters"


def an_endless_line(folder: Path) -> str:
    (folder / "vocab.txt").write_bytes(b"a" * 10_000_000)
    return "vocab.txt has an entry of 10,000,000 characters"


ATTACKS = [
    replacements, replacements_within_sequences, a_replacement_of_the_empty_match, a_ligature_and_its_parts, bytes_of_bytes,
    a_table_of_long_entries, a_template_of_many_texts, decoders_that_grow, many_steps, a_very_long_replacement,
    padding_to_a_billion, words_of_any_length, eight_million_entries, more_bytes_than_any, many_added_tokens,
    many_special_tokens, depth, a_little_depth, a_list_instead, a_pipe, a_pipe_of_settings, a_pipe_of_special_tokens,
    a_folder_of_a_file, a_socket, a_device, a_link_out, a_file_elsewhere, a_version_elsewhere, another_version, long_pieces,
    an_endless_line,
]  # fmt: skip

PROGRAM = """
import json, os, resource, signal, sys
from textdae.text.tokens.tokenizer import load_tokenizer
from textdae.core.errors import SettingsError
def attempt(folder, out):
    signal.alarm(30)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 500_000_000,) * 2)
    try:
        says = f"loaded: {len(load_tokenizer(folder))} entries"
    except SettingsError as error:
        says = str(error)
    used = resource.getrusage(resource.RUSAGE_SELF)
    os.write(out, json.dumps([says, used.ru_utime + used.ru_stime]).encode())
for folder in sys.argv[1:]:
    here, there = os.pipe()
    if not (child := os.fork()):
        try:
            attempt(folder, there)
        finally:
            os._exit(0)
    os.close(there)
    os.waitpid(child, 0)
    print(os.read(here, 1 << 16).decode() or json.dumps(["died", 0]))
"""


@pytest.mark.slow
def test_each_is_refused_in_one_line_within_two_seconds_and_half_a_gigabyte(tmp_path, wordpiece):
    save_tokenizer(wordpiece, tmp_path / "honest")
    says = []
    for attack in ATTACKS:
        folder = tmp_path / attack.__name__ / "tokenizer"
        shutil.copytree(tmp_path / "honest", folder)
        says.append(attack(folder))
    folders = [
        str(tmp_path / "honest"),
        *(str(tmp_path / attack.__name__ / "tokenizer") for attack in ATTACKS),
    ]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *folders],
        capture_output=True, text=True, timeout=200, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    honest, *found = [json.loads(line) for line in process.stdout.splitlines()]
    assert honest[0].startswith("loaded: 400")
    for attack, expected, (said, seconds) in zip(ATTACKS, says, found, strict=True):
        assert expected in said, attack.__name__
        assert "\n" not in said
        assert seconds < 2, attack.__name__


def test_an_honest_pipeline_passes():
    """At their worst: compatibility forms, spaces, bytes."""
    tokenizer = Tokenizer(models.BPE())
    steps = [
        normalizers.Replace("``", '"'),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
    ]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.ByteLevel()]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    check_pipeline(json.loads(tokenizer.to_str()), "tokenizer.json")


def test_our_own_tokenizers_pass_vetting(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    vet_tokenizer(tmp_path)


def with_pattern(tokenizer, pattern: str, folder: Path) -> Path:
    save_tokenizer(tokenizer, folder)
    change(folder, normalizer={"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"})
    return folder


def test_a_panic_at_loading_is_one_line(wordpiece, tmp_path):
    folder = with_pattern(wordpiece, CATASTROPHE, tmp_path)
    with pytest.raises(SettingsError, match="retry-limit-in-match") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value)


def test_a_panic_in_the_midst_of_a_corpus_is_one_line(wordpiece, tmp_path):
    """It shows at one text of thousands only."""
    folder = with_pattern(wordpiece, CATASTROPHE.replace("a", "z"), tmp_path)
    tokenize = TextTokenizer(load_tokenizer(str(folder)))
    with pytest.raises(SettingsError, match=r"the tokenizer failed: .*retry-limit-in-match"):
        tokenize(["an honest text", "z" * 60 + "!"])


def test_the_command_line_says_a_panic_in_one_line(tmp_path, monkeypatch, capsys):
    """Whatever library it comes of: here one that no command expects."""
    from textdae.cli.app import main

    catastrophe = normalizers.Replace(Regex(CATASTROPHE), "x")
    monkeypatch.setattr(
        sys.modules["textdae.cli.app"], "app", lambda: catastrophe.normalize_str("a" * 60 + "b")
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("textdae: a library failed")
    ]
