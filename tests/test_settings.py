"""Settings: what a person writes is what the program gets, or one line that says what would work."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from textdae.commands.keywords import read_settings
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.settings.downstream import FinetuneSettings, LabelCurveSettings
from textdae.core.settings.fields import explain
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EvaluateRunSettings, PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.core.settings.yaml_text import dump, parse_yaml
from textdae.image.settings import ImagePretrainSettings
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.learning_rates import rates_for
from textdae.text.model_settings import TextModelSettings
from textdae.text.settings import TextEvaluateSettings, TextPretrainSettings, TextTrainSettings

GENERAL = {name: getattr(TrainSettings(), name) for name in ("learning_rate", "muon_learning_rate")}


@pytest.fixture
def from_yaml(tmp_path):
    """Load settings from a YAML text and overrides."""

    def read(text: str, *overrides: str) -> PretrainSettings:
        path = tmp_path / "run.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return load(PretrainSettings, path, overrides)

    return read


def complaint(*overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(PretrainSettings, None, overrides)
    return str(caught.value)


def value_of(text: str, key: str = "v") -> Any:
    return parse_yaml(f"{key}: {text}", "here")[key]


# Values


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001), ("2E5", 2e5), ("1.5e+2", 150.0), ("-1.", -1.0), (".5", 0.5), ("-.inf", -math.inf),
        ("0", 0), ("-3", -3), ("+7", 7), ("1_000", 1000),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("Off", "Off"), ("y", "y"),
        ("0x1F", "0x1F"), ("1:30", "1:30"), ("2024-05-01", "2024-05-01"), ("'1'", "1"), ("10m", "10m"),
    ],
)  # fmt: skip
def test_yaml_is_read_as_people_mean_it(written, meant):
    value = value_of(written)
    assert (value, type(value)) == (meant, type(meant))


def test_words_that_yaml_takes_for_truth_values_stay_words_in_settings_too():
    read = load(PretrainSettings, None, ["data.text_column=no", "train.learning_rate=1e-3"])
    assert read.data.text_column == "no"
    assert read.train.learning_rate == 0.001


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 d", 172_800), ("10M", 600), ("1e3", 1000)],
)
def test_time_is_read_with_its_unit(written, seconds):
    assert load(TrainSettings, None, [f"time_budget={written}"]).time_budget == seconds


@pytest.mark.parametrize(
    ("written", "count"),
    [("5", 5), ("800KB", 800_000), ("40MB", 40_000_000), ("1.5gb", 1_500_000_000), ("2 TB", 2 * 10**12)],
)
def test_bytes_are_read_with_their_unit(written, count):
    read = load(TextDataSettings, None, [f"max_bytes={written}"]).max_bytes
    assert (read, type(read)) == (count, int)


@pytest.mark.parametrize(
    "written", ["10 parsecs", "m", "1.2.3m", ".", "-5m", "0", "[1]", "1m30s", "nan", ".inf", "{}"]
)
def test_what_is_no_quantity_is_refused_by_name(written):
    assert complaint(f"data.max_bytes={written}").startswith("data.max_bytes: ")


def test_a_wrong_unit_shows_how_to_write_it():
    assert complaint("train.time_budget=3x") == (
        "train.time_budget: not a quantity with a unit; write for instance 90s, 10m or 1.5h, got '3x'"
    )


@pytest.mark.parametrize(
    "override",
    [
        "noise.rate=0", "noise.rate=1.01", "noise.rate=nan", "noise.final_rate=-0.1", "data.block_size=7", "data.held_out=1",
        "data.document=sentence", "data.errors=ignore", "tokenizer.vocab_size=31", "tokenizer.algorithm=spm", "train.seed=-1",
        "train.seed=9223372036854775808", "train.max_steps=0", "train.max_steps=1.5", "train.max_steps=many", "train.adam_beta1=1",
        "train.learning_rate=0", "train.precision=fp16", "model.num_attention_heads=0", "evaluate.rate=0",
    ],
)  # fmt: skip
def test_an_impossible_value_is_named_with_what_was_given(override):
    key, _, value = override.partition("=")
    line = complaint(override)
    assert line.startswith(f"{key}: ")
    assert value in line
    assert "\n" not in line


def test_shares_of_masked_and_random_tokens_do_not_pass_the_whole():
    assert "must not pass 1, got 1.2" in complaint("noise.mask_share=0.9", "noise.random_share=0.3")
    load(PretrainSettings, None, ["noise.mask_share=0.9", "noise.random_share=0.1"])


def test_a_hidden_size_that_the_heads_do_not_divide_is_refused():
    assert complaint("model.num_attention_heads=3").startswith("model: hidden_size 128 is not a multiple")


def test_a_block_longer_than_the_model_takes_is_refused_unless_the_model_is_loaded():
    assert "data.block_size 1024 is longer than" in complaint("data.block_size=1024")
    load(PretrainSettings, None, ["data.block_size=1024", "model.from_pretrained=somewhere"])


def test_settings_do_not_change_once_read():
    with pytest.raises(ValueError, match="frozen"):
        load(PretrainSettings).train.seed = 3


# Names


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.max_stpes=1", "train.max_stpes: no such key; did you mean `max_steps`?"),
        ("trian.max_steps=1", "trian: no such key; did you mean `train`?"),
        ("noise.rat=1", "noise.rat: no such key; did you mean `rate`?"),
        ("noise.mean_lenght=1", "noise.mean_lenght: no such key;"),
        ("noise.kind=words,noise.mean_length=3", "noise.mean_length: no such key; known: rate, final_rate,"),
        ("noise.kind=token", "noise.kind: no kind `token`; did you mean `tokens`?"),
        ("noise.kind=zzz", "noise.kind: no kind `zzz`; known: tokens, words, spans"),
        ("data.qqq=1", "data.qqq: no such key; known: source, held_out,"),
        ("train=5", "train: holds further keys: max_steps, num_train_epochs,"),
        ("noise=5", "noise: holds further keys: rate, final_rate, schedule, mask_share, random_share, kind, mean_length"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_answered_with_the_right_one(override, says):
    assert complaint(*override.split(",")).startswith(says)


@pytest.mark.parametrize("override", ["train.seed", "=3", "train.=3", ".seed=3", "train..seed=3", "", "a b"])
def test_an_override_without_key_or_value_shows_how_to_write_one(override):
    assert complaint(override) == f"`{override}`: an override is written key=value, e.g. train.seed=1"


def test_every_problem_gets_a_line_of_its_own():
    assert len(complaint("train.seed=x", "data.block_size=1", "qqq=1").splitlines()) == 3


# Where it came from


def test_a_later_override_wins_over_an_earlier_one_and_over_the_file(from_yaml):
    text = "train: {seed: 1, max_steps: 5}"
    assert from_yaml(text).train.seed == 1
    read = from_yaml(text, "train.seed=2", "train.seed=3")
    assert (read.train.seed, read.train.max_steps) == (3, 5)


@pytest.mark.parametrize(
    ("text", "overrides", "blamed"),
    [
        ("train: {seed: x}", (), "{file}: train.seed: "),
        ("train: {seed: x}", ("train.max_steps=3",), "{file}: train.seed: "),
        ("train: {max_steps: 3}", ("train.seed=x",), "train.seed: "),
        ("train: {seed: 3}", ("train.seed=x",), "train.seed: "),
        ("train: {seed: 3}", ("train={seed: x}",), "train.seed: "),
        ("noise: [{kind: words}, {rate: 7}]", (), "{file}: noise.1.rate: "),
        ("noise: [{rate: 7}, {kind: words}]", ("noise.1.rate=0.5",), "{file}: noise.0.rate: "),
        ("noise: [{kind: words}, {kind: spans}]", ("noise.0.rate=7",), "noise.0.rate: "),
        ("noise: {kind: words}", ("noise.rate=7",), "noise.rate: "),
        ("model: {hidden_size: 255}", (), "{file}: model: "),
        ("model: {hidden_size: 256}", ("model.num_attention_heads=3",), "model: "),
    ],
)
def test_a_complaint_names_the_file_only_where_the_file_is_to_blame(
    from_yaml, tmp_path, text, overrides, blamed
):
    with pytest.raises(SettingsError) as caught:
        from_yaml(text, *overrides)
    assert str(caught.value).startswith(blamed.format(file=tmp_path / "run.yaml"))


# Files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train:\n  seed: 1\n  seed: 2\n", "line 3: not YAML: key `seed` is given twice"),
        ("a: 1\nb: 2\na: 3\n", "line 3: not YAML: key `a` is given twice"),
        ("train: {1: 2}", "line 1: not YAML: key 1 is not a word"),
        ("? [a]\n: 1\n", "line 1: not YAML: key (seq) is not a word"),
        ("a: [1\n", "not YAML: "),
        ("a: b: c", "line 1: not YAML: "),
        ("train: {seed: !!int ''}", "not YAML: "),
        ("data: {source: !!timestamp x}", "not YAML: "),
        ("data: {streaming: !!bool maybe}", "not YAML: "),
        ("data: {source: !!python/name:os.system x}", "not YAML: "),
        ("[" * 2000, "not YAML: "),
        ("- a\n- b\n", "settings are `key: value` lines, this is a list"),
        ("just a word", "settings are `key: value` lines, this is a str"),
    ],
    ids=lambda value: value[:30],
)
def test_a_file_that_cannot_be_read_as_settings_says_where(from_yaml, tmp_path, text, says):
    with pytest.raises(SettingsError) as caught:
        from_yaml(text)
    line = str(caught.value)
    assert line.startswith(str(tmp_path / "run.yaml"))
    assert says in line
    assert "\n" not in line


def test_an_empty_file_leaves_the_defaults(from_yaml):
    assert from_yaml("# nothing yet\n") == TextPretrainSettings()


def test_merge_keys_give_way_to_the_keys_beside_them(from_yaml):
    read = from_yaml(
        "train: &t {seed: 3, max_steps: 9}\nevaluate: {<<: {rate: 0.5, batch_size: 7}, rate: 0.2}\n"
    )
    assert (read.evaluate.rate, read.evaluate.batch_size) == (0.2, 7)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="no such settings file"):
        load(PretrainSettings, tmp_path / "none.yaml")


def test_a_folder_is_not_a_settings_file(tmp_path):
    with pytest.raises(SettingsError, match="a folder, not a settings file"):
        load(PretrainSettings, tmp_path)


def test_a_file_in_another_encoding_is_named_with_the_byte(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("data: {source: caf\u00e9}".encode("latin-1"))
    with pytest.raises(SettingsError, match="not UTF-8 at byte 18"):
        load(PretrainSettings, path)


def test_settings_errors_exit_with_2_and_others_with_1():
    assert (SettingsError.exit_code, TextdaeError.exit_code) == (2, 1)


WILD = st.one_of(
    st.text(max_size=60),
    st.text("abc: -?[]{}&*!|>'\"%@`#,\n\t01.eE~<=", max_size=60),
    st.lists(
        st.sampled_from(
            ["train", "noise", ": ", "{", "}", "[", "]", "&a ", "*a", "!!int ", "!!binary ", "!!set ", "!!omap ", "!!timestamp ",
             "rate", "kind", "- ", "\n", "  ", "'", '"', "1e-3", ".inf", ".nan", "null", "<<", ", ", "0", "data", "max_bytes", "model", "config"]
        ), max_size=14,
    ).map("".join),
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=WILD)
@example("noise: &a [*a]")
@example("train: {time_budget: .inf, seed: !!float ''}")
def test_no_file_whatever_is_in_it_gives_anything_but_a_settings_error(from_yaml, text):
    with suppress(SettingsError):
        from_yaml(text)


@settings(max_examples=300)
@given(
    overrides=st.lists(st.tuples(st.sampled_from(
        ["train.seed", "noise.rate", "noise.0.rate", "noise.²", "noise", "data.max_bytes", "model.config", "model.config.x", "qqq", "data.source.a"]
    ), WILD).map("=".join) | WILD, max_size=3)
)  # fmt: skip
@example(["noise=[{kind: words}]", "noise.².rate=1"])
@example(["data.max_bytes=.inf"])
@example(["data.max_bytes=" + "9" * 400 + "MB"])
def test_no_override_whatever_is_in_it_gives_anything_but_a_settings_error(overrides):
    with suppress(SettingsError):
        load(PretrainSettings, None, overrides)


# Noise


def test_one_noise_may_be_written_without_the_list_and_without_its_kind():
    read = load(PretrainSettings, None, ["noise.rate=0.4"]).noise
    assert [(n.kind, n.rate, n.final_rate) for n in read] == [("tokens", 0.4, None)]


def test_a_list_of_noises_keeps_its_order_and_can_be_overridden_entry_by_entry(from_yaml):
    text = "noise:\n- {kind: spans, rate: 0.2, mean_length: 3}\n- {rate: 0.1}\n"
    read = from_yaml(text, "noise.1.kind=words", "noise.0.max_length=4").noise
    assert [(n.kind, n.rate) for n in read] == [("spans", 0.2), ("words", 0.1)]
    assert (read[0].mean_length, read[0].max_length) == (3, 4)
    with pytest.raises(SettingsError, match="noise is a list of 2; name an entry"):
        from_yaml(text, "noise.rate=0.3")
    with pytest.raises(SettingsError, match="noise is a list of 2"):
        from_yaml(text, "noise.2.rate=0.3")


def test_an_empty_list_of_noises_is_refused():
    assert "an empty list; give at least one noise" in complaint("noise=[]")


@pytest.mark.parametrize(
    ("overrides", "rates"),
    [
        ([], (0.3, None)),
        (["noise.rate=0.2"], (0.2, None)),
        (["noise.final_rate=0.2"], (0.3, 0.2)),
        (["noise.schedule=uniform"], (0.3, None)),
    ],
)
def test_three_tenths_are_hidden_throughout_unless_something_else_is_said(overrides, rates):
    (noise,) = load(PretrainSettings, None, overrides).noise
    assert (noise.rate, noise.final_rate) == rates


@pytest.mark.parametrize("limit", ["max_steps=5", "num_train_epochs=2", "time_budget=9m"])
def test_three_minutes_are_the_end_where_no_other_end_is_given(limit):
    assert load(TrainSettings).time_budget == 215
    assert load(TrainSettings, None, ["max_steps=null"]).time_budget == 215
    read = load(TrainSettings, None, [limit])
    given = {
        name for name in ("max_steps", "num_train_epochs", "time_budget") if getattr(read, name) is not None
    }
    assert given == {limit.partition("=")[0]}


# Out again


def round_trip(read: PretrainSettings, folder: Path) -> PretrainSettings:
    path = folder / "dumped.yaml"
    path.write_text(dump(read), encoding="utf-8")
    return load(PretrainSettings, path)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["noise.kind=words", "noise.rate=0.2"],
        ["noise=[{kind: spans, mean_length: 3}, {rate: 0.1, final_rate: 0.1}, {schedule: uniform}]"],
        ["train.max_steps=3"],
        ["train.num_train_epochs=0.5", "train.time_budget=1h"],
        [
            "train.learning_rate=1e-5",
            "train.weight_decay=1e-20",
            "data.max_bytes=3GB",
            "data.cache_dir=/a b/c",
        ],
        ["model.config={a: null, b: [1, 2.5, no], c: {d: true}, e: '1e3'}", "tokenizer.lowercase=false"],
    ],
    ids=str,
)
def test_what_is_dumped_loads_as_the_same_settings(overrides, tmp_path):
    read = load(PretrainSettings, None, overrides)
    assert round_trip(read, tmp_path) == read


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text()
    | st.from_regex(r"[0-9+.e_:x-]{1,6}", fullmatch=True)
    | st.sampled_from(["no", "null", "~", "1e5", "1234e56", "=", "<<"])
)
def test_any_word_survives_dumping(tmp_path, word):
    read = TextPretrainSettings(data=TextDataSettings(source=word), model={"config": {"x": word}})
    assert round_trip(read, tmp_path) == read
    assert yaml.safe_load(dump(read))["data"]["source"] == word  # for readers other than ours too


@pytest.mark.parametrize("cls", [TextPretrainSettings, ImagePretrainSettings, TextEvaluateSettings])
def test_every_key_is_explained_with_a_type_a_default_and_a_meaning(cls):
    rows = list(explain(cls))
    assert len({key for key, *_ in rows}) == len(rows)
    for key, kind, default, meaning in rows:
        assert kind, key
        assert len(meaning) > 10, key
        assert "\n" not in meaning + default, key


def test_of_several_kinds_the_default_comes_first_and_all_values_are_listed():
    table = {key: row for key, *row in explain(ImagePretrainSettings)}
    for prefix in ("noise", "evaluate.noise"):
        assert table[f"{prefix}.kind"][:2] == [table[f"{prefix}.kind"][0], "gaussian"]
        assert table[f"{prefix}.kind"][0].startswith("gaussian | ")
        assert table[f"{prefix}.schedule"][0] == "linear | cosine | uniform | log_uniform"
        assert table[f"{prefix}.rate"][2].endswith(
            "blind_spots: 0.05; salt_and_pepper: 0.25; pixels: 0.25; patches: 0.75; blocks: 0.4."
        )


def test_the_table_of_keys_is_complete_and_its_defaults_are_those_of_the_settings():
    table = {key: default for key, _, default, _ in explain(TextPretrainSettings)}

    def leaves(value: Any, prefix: str = ""):
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix.rstrip("."), value

    resolved = dict(leaves(TextPretrainSettings().model_dump(mode="json")))
    assert resolved.keys() <= table.keys()
    of_a_list = {key for key in table if key.startswith(("data.sources.", "train.phases."))}
    assert {key.rpartition(".")[2] for key in table.keys() - resolved.keys() - of_a_list} == {
        "mean_length",
        "max_length",
        "window",
        "code_size",
        "decoder_rate",
        "decoder_share",
        "masked_weight",
        "contrast_weight",
        "code_weights",
    }
    settled_later = {"train.time_budget", "noise.final_rate", "noise.kind"}
    for key, value in resolved.items():
        if key not in settled_later:
            assert value_of(table[key]) == value or table[key] == str(value), key
    load(
        PretrainSettings,
        None,
        [
            f"{key}={value}"
            for key, value in table.items()
            if value and "noise" not in key and key not in of_a_list
        ],
    )


@pytest.mark.parametrize("modality", ["text", "image"])
def test_label_curves_train_as_finetune_does(modality):
    curve, finetune = (
        load(kind, None, [f"modality={modality}"]) for kind in (LabelCurveSettings, FinetuneSettings)
    )
    assert curve.train == finetune.train
    # What a gradient of a rare word was is not to be forgotten before the word comes again; pixels have no such words.
    assert (curve.train.adam_beta2 == 0.999) == (modality == "text")


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        (["model.hidden_size=256"], rates_for(256)),
        (["model.hidden_size=768", "model.num_attention_heads=12"], rates_for(768)),
        (["model.hidden_size=32"], rates_for(128)),
        ([], rates_for(128)),
        (["train.max_steps=200"], rates_for(128, 200)),
        (["train.max_steps=200.0"], rates_for(128, 200)),
        (["model.config.hidden_size=256"], rates_for(256)),
        (
            ["model.hidden_size=256", "train.learning_rate=0.5"],
            rates_for(256) | {"learning_rate": 0.5},
        ),
        (["model.from_pretrained=owner/name", "model.hidden_size=768"], GENERAL),
        (["train.optimizer=adamw", "model.hidden_size=768"], GENERAL),
    ],
)
def test_learning_rates_of_text_follow_the_width_unless_they_are_given(words, rates):
    train = load(PretrainSettings, None, ["data.source=docstrings", *words]).train
    assert {name: getattr(train, name) for name in rates} == rates


def test_sections_that_are_objects_have_the_rates_of_their_width():
    model, train = TextModelSettings(hidden_size=256), TrainSettings(max_steps=300, learning_rate=0.5)
    found = TextPretrainSettings(model=model, train=train).train
    assert (found.learning_rate, found.muon_learning_rate) == (0.5, rates_for(256, 300)["muon_learning_rate"])


def test_rates_of_ready_settings_follow_what_is_changed():
    def muon(*given, **more):
        return read_settings(PretrainSettings, *given, **more).train.muon_learning_rate

    short, long = (rates_for(128, steps)["muon_learning_rate"] for steps in (200, 3000))
    for train in (TrainSettings(max_steps=200), TextTrainSettings(max_steps=200), {"max_steps": 200}):
        assert muon(source="docstrings", train=train) == short
    ready = read_settings(PretrainSettings, source="docstrings", train={"max_steps": 200})
    assert muon(ready, output_dir="runs/other") == short
    assert muon(ready, train={"max_steps": 3000}) == long
    given = read_settings(PretrainSettings, ready, train={"muon_learning_rate": short})
    assert muon(given, train={"max_steps": 3000}) == short
    assert load(PretrainSettings, base=parse_yaml(dump(ready), "it")) == ready


def test_longer_runs_have_lower_rates_of_muon_between_the_lengths_that_were_measured():
    rates = [rates_for(128, steps)["muon_learning_rate"] for steps in (10, 150, 600, 1000, 4000, 10**6)]
    assert rates[0] == rates[1] > rates[2] > rates[3] > rates[4] == rates[5]


def test_wider_models_have_lower_rates():
    rates = [rates_for(width) for width in (128, 192, 256, 384, 768, 4096)]
    for name in GENERAL:
        values = [each[name] for each in rates]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)


def test_the_default_limit_gives_way_to_one_that_is_told_later():
    ready = load(PretrainSettings)
    assert ready.train.time_budget == 215
    told = read_settings(PretrainSettings, ready, train={"max_steps": 1000}).train
    assert (told.max_steps, told.time_budget) == (1000, None)


def test_a_folder_may_begin_with_the_home_of_a_user():
    assert load(PretrainSettings, None, ["output_dir=~/runs/h"]).output_dir == Path.home() / "runs/h"
    assert load(PretrainSettings, None, ["output_dir=~nobody-here/h"]).output_dir == Path("~nobody-here/h")


@pytest.mark.parametrize(
    "word", ["train.num_train_epochs=.inf", "data.source=[{source: a, max_epochs: .inf}]"]
)
def test_without_end_is_no_number(word):
    with pytest.raises(SettingsError, match="finite"):
        load(PretrainSettings, None, [word])


def test_settings_of_another_command_are_refused():
    with pytest.raises(
        SettingsError, match="those of textdae pretrain are needed here, got TextEvaluateRunSettings"
    ):
        read_settings(PretrainSettings, load(EvaluateRunSettings))
