"""Checkpoints that mean harm: each is refused in one line, before anything of it is allocated or run."""

import json
import os
import pickle
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelled import image_checkpoint, text_checkpoint
from safetensors.torch import load_file, save_file

import textdae
from textdae.core.errors import SettingsError
from textdae.hub.locate import locate
from textdae.hub.vetting.folder import vet
from textdae.text.classifier import TextClassifier
from textdae.text.encoder import TextEncoder


@pytest.fixture
def text(tmp_path, wordpiece):
    return Path(text_checkpoint(tmp_path / "text", wordpiece))


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


class Bomb:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def leave_a_pickle(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder.parent / "ran")))
    return "pytorch_model.bin is a pickle"


def promise_a_header_of_two_gigabytes(folder: Path) -> str:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2 * 10**9) + content[8:])
    return "promises a header of 2,000,000,000 bytes"


def cut_the_weights_short(folder: Path) -> str:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    return "promises more numbers than it holds"


def empty_the_weights(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes(b"")
    return "promises a header of 0 bytes in a file of 0"


def ask_for_a_layer_of_a_billion(folder: Path) -> str:
    change_config(folder, intermediate_size=10**9)
    return r"describes a model of more than [\d,]+ numbers, .*\(1000000000, 32\)|.*\(2000000000, 32\)"


def ask_for_a_million_layers(folder: Path) -> str:
    change_config(folder, num_hidden_layers=10**6)
    return r"num_hidden_layers = 1,000,000, which no model has"


def ask_for_a_billion_labels(folder: Path) -> str:
    change_config(folder, num_labels=10**9)
    return r"num_labels = 1,000,000,000, which no model has"


def ask_for_a_billion_layers_further_down(folder: Path) -> str:
    change_config(folder, model_type="gemma3", text_config={"num_hidden_layers": 10**9})
    return r"num_hidden_layers = 1,000,000,000, which no model has"


def ask_for_a_few_thousand_layers(folder: Path) -> str:
    change_config(folder, num_hidden_layers=9000, layer_types=["full_attention"] * 9000)
    return "num_hidden_layers = 9,000, which no model has"


def ask_for_what_is_wide_in_every_way(folder: Path) -> str:
    """No size is larger than one that the weights have, but all of them are as large."""
    size = json.loads((folder / "config.json").read_text())["vocab_size"] // 2 * 2
    change_config(
        folder,
        hidden_size=size,
        intermediate_size=size,
        num_hidden_layers=200,
        layer_types=["full_attention"] * 200,
    )
    return "describes a model of more than"


def hide_behind_an_empty_tensor(folder: Path) -> str:
    save_file(
        {**load_file(folder / "model.safetensors"), "none": torch.empty(10**12, 0)},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return ask_for_a_layer_of_a_billion(folder)


def hide_behind_other_weights(folder: Path) -> str:
    save_file({"a": torch.zeros(60_000_000, dtype=torch.uint8)}, folder / "other.safetensors")
    change_config(folder, hidden_size=4096, num_hidden_layers=8, layer_types=["full_attention"] * 8)
    return "describes a model of more than"


def leave_the_config_alone(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return ask_for_a_layer_of_a_billion(folder)


def name_a_pickle_as_a_shard(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "zz.safetensors")
    (folder / "weights.bin").write_bytes(pickle.dumps(Bomb(folder.parent / "ran")))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "weights.bin"}}))
    return "names 'weights.bin', which is no safetensors file"


def ask_for_less_than_nothing(folder: Path) -> str:
    change_config(folder, hidden_size=-6)
    return "config.json makes no model"


def ask_for_no_heads(folder: Path) -> str:
    change_config(folder, num_attention_heads=0)
    return "config.json makes no model"


def ask_for_a_word_of_width(folder: Path) -> str:
    change_config(folder, hidden_size="wide")
    return "config.json makes no model"


def ask_for_a_vocabulary_of_a_billion(folder: Path) -> str:
    change_config(folder, vocab_size=10**9)
    return r"more than [\d,]+ numbers, .*\(1000000000, 32\)"


def name_a_shard_elsewhere(folder: Path) -> str:
    index = {"weight_map": {"a": "model.safetensors", "b": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return r"names '\.\./\.\./secret\.safetensors'"


def name_a_shard_at_the_root(folder: Path) -> str:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "/etc/passwd"}}))
    return "names '/etc/passwd'"


def link_out_of_the_folder(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere.safetensors")
    return "model.safetensors is a link out of the folder"


def write_no_object(folder: Path) -> str:
    (folder / "config.json").write_text("[1]")
    return "config.json holds no JSON object"


def write_no_json(folder: Path) -> str:
    (folder / "config.json").write_text("{" * 5000)
    return "refused"


def nest_without_end(folder: Path) -> str:
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return "refused"


def put_a_pipe_for_the_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    return "config.json is a pipe, not a file"


def put_a_pipe_for_the_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    return "model.safetensors is a pipe, not a file"


def put_a_pipe_for_the_index(folder: Path) -> str:
    os.mkfifo(folder / "model.safetensors.index.json")
    return "model.safetensors.index.json is a pipe, not a file"


def put_a_folder_for_the_pictures(folder: Path) -> str:
    (folder / "preprocessor_config.json").mkdir()
    return "preprocessor_config.json is a folder, not a file"


def put_a_pipe_for_the_training_state(folder: Path) -> str:
    os.mkfifo(folder / "training_state.json")
    return "training_state.json is a pipe, not a file"


def put_a_pipe_further_down(folder: Path) -> str:
    (folder / "1_Pooling").mkdir()
    os.mkfifo(folder / "1_Pooling" / "config.json")
    return "1_Pooling/config.json is a pipe, not a file"


def ask_for_half_a_million_names(folder: Path) -> str:
    change_config(folder, id2label={str(number): "x" for number in range(500_000)})
    return "config.json has 500,000 entries in id2label"


def ask_for_a_list_without_end(folder: Path) -> str:
    change_config(folder, layer_types=["full_attention"] * 300_000)
    return "config.json has 300,000 entries in layer_types"


def hide_a_layer_count_in_a_list(folder: Path) -> str:
    change_config(folder, blocks=[{"num_layers": 10**9}])
    return "num_layers = 1,000,000,000, which no model has"


def write_a_large_config(folder: Path) -> str:
    (folder / "config.json").write_text(" " * 20_000_000 + "{}")
    return "config.json has 20,000,002 bytes"


def lay_tensors_over_each_other(folder: Path) -> str:
    content = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    header[names[0]]["data_offsets"] = [0, header[names[-1]]["data_offsets"][1]]
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + content[8 + length :])
    return "has tensors that lie over each other"


HARM = [
    put_a_pipe_for_the_config, put_a_pipe_for_the_weights, put_a_pipe_for_the_index, put_a_folder_for_the_pictures,
    put_a_pipe_for_the_training_state, put_a_pipe_further_down, ask_for_half_a_million_names, ask_for_a_list_without_end,
    hide_a_layer_count_in_a_list, write_a_large_config, lay_tensors_over_each_other,
    leave_a_pickle, promise_a_header_of_two_gigabytes, cut_the_weights_short, empty_the_weights,
    ask_for_a_layer_of_a_billion, ask_for_a_million_layers, ask_for_a_billion_labels, ask_for_a_billion_layers_further_down,
    ask_for_a_vocabulary_of_a_billion, name_a_shard_elsewhere,
    name_a_shard_at_the_root, link_out_of_the_folder, ask_for_a_few_thousand_layers, ask_for_what_is_wide_in_every_way,
    hide_behind_an_empty_tensor, hide_behind_other_weights, leave_the_config_alone, name_a_pickle_as_a_shard,
    ask_for_less_than_nothing, ask_for_no_heads, ask_for_a_word_of_width, write_no_object, write_no_json, nest_without_end,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_harm_is_refused_in_one_line_whoever_loads_it(harm, text):
    says = harm(text)
    loaders = [
        textdae.load_text,
        lambda name: TextEncoder(name),
        lambda name: TextClassifier.from_encoder(locate(name), "single_label_classification", ("a", "b"), 0),
        lambda name: textdae.ImageDenoiser.from_pretrained(name),
    ]
    for load in loaders:
        with pytest.raises(SettingsError, match=says) as caught:
            load(str(text))
        assert "\n" not in str(caught.value)
    assert not (text.parent / "ran").exists()


def test_the_bomb_would_go_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("model_type", ["modernbert", "of_its_own"])
def test_code_of_a_checkpoint_is_never_run(model_type, text):
    """Where the stock library knows the family its own class is taken, otherwise nobody's."""
    trace = text.parent / "ran"
    (text / "modeling_own.py").write_text(f"import pathlib; pathlib.Path({str(trace)!r}).touch()")
    (text / "own.py").write_text((text / "modeling_own.py").read_text())
    auto = dict.fromkeys(
        ("AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoTokenizer"), "modeling_own.Model"
    )
    change_config(text, model_type=model_type, auto_map=auto)
    tokenizer = json.loads((text / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": [None, "own.Tokenizer"]}
    (text / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    if model_type == "modernbert":
        assert type(textdae.load_text(str(text)).denoiser.model).__name__ == "ModernBertForMaskedLM"
    else:
        for load in (textdae.load_text, TextEncoder):
            with pytest.raises(SettingsError) as caught:
                load(str(text))
            assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.slow
def test_the_command_line_says_it_in_one_line(text, tmp_path):
    ask_for_a_layer_of_a_billion(text)
    process = subprocess.run(
        [sys.executable, "-m", "textdae", "denoise", str(text), "a [MASK]"], capture_output=True, text=True
    )
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "describes a model of more than" in process.stderr


MEMORY = """
import resource, sys, tracemalloc
import textdae.text.model, torch
from textdae.hub.locate import locate
from textdae.core.errors import SettingsError
from transformers import AutoModel, CONFIG_MAPPING
limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 400_000
try:
    locate(sys.argv[1])
except SettingsError as error:
    print(error)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < limit
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [ask_for_a_layer_of_a_billion, ask_for_what_is_wide_in_every_way, promise_a_header_of_two_gigabytes],
)
def test_nothing_is_allocated_for_it(harm, text):
    harm(text)
    process = subprocess.run(
        [sys.executable, "-c", MEMORY, str(text)], capture_output=True, text=True, timeout=100
    )
    assert process.returncode == 0, process.stderr
    assert "refused: " in process.stdout


@pytest.mark.parametrize("name", ["autoencoder", "conv", "unet", "vit"])
def test_honest_image_checkpoints_pass(name, tmp_path):
    vet(Path(image_checkpoint(tmp_path / name, name)))


def test_honest_text_checkpoints_pass(text, tmp_path, wordpiece):
    vet(text)
    vet(Path(text_checkpoint(tmp_path / "bert", wordpiece, "bert")))
    change_config(text, max_position_embeddings=10**7)  # rotary positions have no weights
    vet(text)


def test_the_cache_of_the_hub_is_made_of_links(text, tmp_path):
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(text.iterdir())):
        path.rename(repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert locate(str(snapshot)) == str(snapshot)
    textdae.load_text(str(snapshot))
    (snapshot / "README.md").symlink_to("/etc/passwd")
    with pytest.raises(SettingsError, match=r"README\.md is a link out of the folder"):
        locate(str(snapshot))


def test_shards_count_together(text):
    weights = load_file(text / "model.safetensors")
    names = sorted(weights)
    (text / "model.safetensors").unlink()
    files = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, text / file, {"format": "pt"})
        files |= dict.fromkeys(part, file)
    (text / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    vet(text)
    textdae.load_text(str(text))


@given(place=st.integers(0, 2000), value=st.integers(0, 255))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_changed_header_is_refused_or_harmless(text, place, value):
    """Whatever byte of the header is changed: no other kind of error, and no tensor beyond the file."""
    path = text / "model.safetensors"
    before = path.read_bytes()
    content = bytearray(before)
    content[place] = value
    path.write_bytes(content)
    try:
        with suppress(SettingsError):
            vet(text)
    finally:
        path.write_bytes(before)
