"""Runs from Python: keywords, rows of `datasets`, and results that hold what was made."""

import json
from typing import Literal

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from records import heard

import textdae
from textdae.commands.keywords import read_settings
from textdae.core import registry
from textdae.core.settings.base import Settings
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.evaluation import EvaluateSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.source_dataset import as_parquet

datasets.disable_progress_bars()

TINY = {
    "tokenizer": {"vocab_size": 400},
    "model": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16},
    "train": {"max_steps": 2, "compile": "never"},
    "evaluate": {"max_examples": 16},
}


@pytest.fixture(scope="module")
def rows(corpus_texts):
    labels = ["odd" if len(text) % 2 else "even" for text in corpus_texts]
    table = datasets.Dataset.from_dict({"text": corpus_texts, "label": labels})
    return table.class_encode_column("label")


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    data = {"cache_dir": folder / "cache"}
    return textdae.pretrain(dataset=rows, output_dir=folder / "run", data=data, **TINY)


def fill_mask(run):
    ids = run.tokenizer("a [MASK] here", return_tensors="pt")
    with torch.no_grad():
        return run.model(**ids).logits


def test_a_result_holds_the_model_and_its_tokenizer(run):
    assert type(run.model).__name__ == "ModernBertForMaskedLM"
    assert not run.model.training
    assert fill_mask(run).shape[2] == len(run.tokenizer)
    assert run.model is run.model
    assert run.metrics == json.loads((run.output_dir / "metrics.json").read_text())
    assert [entry["step"] for entry in run.log if "eval_loss" in entry][-1] == 2
    with pytest.raises(textdae.TextdaeError, match=r"no preprocessor_config\.json"):
        _ = run.image_processor


def test_rows_are_read_as_the_same_rows_in_a_file(run, corpus_texts, tmp_path):
    """The independent way: the rows as JSON lines, by the command line's settings."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in corpus_texts))
    again = textdae.pretrain(source=file, output_dir=tmp_path / "run", **TINY)
    assert again.metrics["held_out"] == run.metrics["held_out"]


def test_a_run_on_rows_resumes_exactly_from_python_and_from_its_settings(run, rows, tmp_path):
    data = {"cache_dir": tmp_path / "cache"}
    whole = textdae.pretrain(dataset=rows, output_dir=tmp_path / "whole", data=data, **TINY)
    short = TINY | {"train": TINY["train"] | {"max_steps": 1, "lr_scheduler_type": "constant"}}
    long = TINY | {"train": TINY["train"] | {"lr_scheduler_type": "constant"}}
    textdae.pretrain(dataset=rows, output_dir=tmp_path / "a", data=data, **short)
    stream = rows.to_iterable_dataset()  # the same rows, otherwise at hand
    parts = textdae.pretrain(dataset=stream, output_dir=tmp_path / "a", data=data, resume=True, **long)
    assert parts.fit.cursor.step == whole.fit.cursor.step == 2
    straight = textdae.pretrain(dataset=rows, output_dir=tmp_path / "b", data=data, **long)
    assert parts.metrics["held_out"] == straight.metrics["held_out"]
    by_file = load(PretrainSettings, tmp_path / "a" / "settings.yaml")
    assert textdae.pretrain(by_file, resume=True).fit.cursor.step == 2
    others = rows.select(range(1, len(rows)))
    with pytest.raises(textdae.SettingsError, match=r"data\.source, .* differ"):
        textdae.pretrain(dataset=others, output_dir=tmp_path / "a", data=data, resume=True, **long)


def test_the_name_of_the_file_is_the_content_however_the_rows_lie_in_memory(rows, tmp_path):
    half = len(rows) // 2
    pieces = [rows.select(range(half)), rows.select(range(half, len(rows)))]
    many = [rows, rows.to_iterable_dataset(), datasets.concatenate_datasets(pieces), rows.with_format("torch"),
            rows.select(range(half, len(rows))), pieces[1].flatten_indices()]  # fmt: skip
    names = [as_parquet(each, tmp_path).name for each in many]
    assert len(set(names[:4])) == 1
    assert names[4] == names[5] != names[0]
    assert as_parquet(rows.rename_column("label", "other"), tmp_path).name not in names
    assert not list(tmp_path.glob(".*"))
    assert datasets.Dataset.from_parquet(str(tmp_path / names[0])).to_list() == rows.to_list()


def test_more_rows_than_a_piece_are_all_there(tmp_path):
    many = datasets.Dataset.from_dict({"text": [f"row {number}" for number in range(2503)]})
    assert datasets.Dataset.from_parquet(str(as_parquet(many, tmp_path)))["text"][:] == many["text"][:]


def test_rows_made_by_a_generator_need_no_features(tmp_path):
    def make():
        for number in range(120):
            yield {"image": Image.fromarray(np.full((4, 4), number, np.uint8)), "label": number % 2}

    stream = datasets.IterableDataset.from_generator(make)
    found = datasets.Dataset.from_parquet(str(as_parquet(stream, tmp_path)))
    assert [np.asarray(picture).max() for picture in found["image"]] == list(range(120))


def unhelpful(number):
    return {"text": "a" if number < 1000 else None, "x": None if number < 1000 else 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ["a text"], "got list; datasets.Dataset.from_dict makes one"),
        (lambda: datasets.Dataset.from_dict({"text": []}), "dataset=: it has no rows"),
        (lambda: datasets.Dataset.from_dict({"text": ["a"]}).with_transform(dict), "dataset.map keeps"),
        (lambda: datasets.IterableDataset.from_generator(lambda: map(unhelpful, range(1001))), "give the dataset its `features`"),
        (lambda: datasets.DatasetDict(a=datasets.Dataset.from_dict({"text": ["a"]})), "no split 'train'; it has a; set data.split"),
        (lambda: datasets.Dataset.from_dict({"body": ["a b c"]}), r"no column 'text'; it has: body; set data.text_column"),
    ],
)  # fmt: skip
def test_a_dataset_that_cannot_be_used_is_one_line(make, message, tmp_path):
    with pytest.raises(textdae.SettingsError, match=message) as raised:
        textdae.pretrain(dataset=make(), output_dir=tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_the_splits_of_a_dictionary_are_the_sides_and_none_is_dropped_in_silence(run, rows, tmp_path):
    parts = rows.train_test_split(0.4, seed=0)
    parts = datasets.DatasetDict(
        train=parts["train"], test=parts["test"], validation=rows.select(range(9)), more=rows
    )
    data = {"cache_dir": tmp_path / "cache"}
    with heard() as said:
        tuned = textdae.finetune(
            str(run.output_dir), dataset=parts, data=data, output_dir=tmp_path / "tuned",
            train={"max_steps": 1, "compile": "never"},
        )  # fmt: skip
    assert any(line.endswith("splits that are not read: more") for line in said)
    assert any("240 train, 9 held out, 160 test" in line for line in said)
    assert tuned.model.config.label2id == {"even": 0, "odd": 1}
    settings = load(FinetuneSettings, tmp_path / "tuned" / "settings.yaml")
    assert settings.data.held_out_source != settings.data.test_source
    with heard() as said:
        vectors = textdae.embed(
            str(run.output_dir), dataset=parts, output=tmp_path / "v.npy", data={**data, "split": "test"}
        ).vectors
    assert vectors.shape == (160, 16)
    assert any("not read: train, validation, more" in line for line in said)


def test_pictures_take_the_same_road(tmp_path):
    def picture(number):
        return Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8))

    table = datasets.Dataset.from_dict(
        {"image": [picture(n) for n in range(60)], "label": [n % 2 for n in range(60)]}
    )
    few = {"train": {"max_steps": 1, "compile": "never", "time_budget": None}}
    run = textdae.pretrain(dataset=table, output_dir=tmp_path / "run", model={"hidden_size": 8}, **few)
    assert type(run.model).__name__ == "Autoencoder"
    assert run.image_processor(picture(0), return_tensors="pt").pixel_values.shape == (1, 1, 8, 8)
    found = textdae.evaluate(str(run.output_dir))
    assert found.metrics["model"]["mse"] == pytest.approx(
        run.metrics["held_out"]["model"]["mse"], rel=2e-3
    )  # bf16
    other = datasets.Dataset.from_dict({"image": [picture(n) for n in range(100, 140)]})
    assert textdae.evaluate(str(run.output_dir), dataset=other).metrics != found.metrics


class SoundData(Settings):
    source: str = "tones"


class SoundPretrainSettings(PretrainSettings):
    modality: Literal["sound"] = "sound"
    data: SoundData = SoundData()
    model: int = 0
    noise: int = 0
    evaluate: EvaluateSettings = EvaluateSettings()


def test_a_third_modality_reads_rows_with_nothing_but_its_source(tmp_path, monkeypatch):
    """A modality knows its columns, takes the file as its source, and need not know of splits."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setenv("TEXTDAE_CACHE", str(tmp_path))
    sound = registry.Modality(
        name="sound", settings={"pretrain": f"{__name__}:SoundPretrainSettings"}, pretraining="", evaluation="",
        recognizes_features=lambda features: "samples" in features,
    )  # fmt: skip
    registry.register(sound)
    rows = datasets.Dataset.from_dict({"samples": [[0.0, 1.0], [1.0, 0.0]]})
    for dataset in (rows, datasets.DatasetDict(train=rows, test=rows)):
        settings = read_settings(PretrainSettings, dataset=dataset)
        assert type(settings) is SoundPretrainSettings
        assert datasets.Dataset.from_parquet(settings.data.source).to_list() == rows.to_list()


def test_ready_settings_a_file_and_keywords_say_the_same(tmp_path, run):
    words = ["data.source=texts.txt", "train.max_steps=3"]
    ready = load(PretrainSettings, None, words)
    assert read_settings(PretrainSettings, ready) is ready
    keywords = read_settings(PretrainSettings, source="texts.txt", train={"max_steps": 3})
    (tmp_path / "s.yaml").write_text("data: {source: texts.txt}\ntrain: {max_steps: 3}\n")
    assert keywords == ready == read_settings(PretrainSettings, tmp_path / "s.yaml")
    changed = read_settings(PretrainSettings, ready, noise=ready.noise, output_dir=tmp_path)
    assert changed == ready.model_copy(update={"output_dir": tmp_path})
    with pytest.raises(
        textdae.SettingsError, match=r"train\.max_step: no such key; did you mean `max_steps`"
    ):
        textdae.pretrain(tmp_path / "s.yaml", train={"max_step": 3})
    (tmp_path / "s.yaml").write_text("data: {sorce: texts.txt}\n")
    with pytest.raises(textdae.SettingsError, match=r"s\.yaml: data\.sorce"):
        textdae.pretrain(tmp_path / "s.yaml", train={"max_steps": 3})
    with pytest.raises(textdae.SettingsError, match="exclude each other"):
        textdae.finetune(str(run.output_dir), source="a", dataset=1)


def test_push_and_the_doctor_from_python(run, hub):
    pushed = textdae.push(run.output_dir, "tester/from-python")
    assert pushed.files > 3
    assert textdae.push(str(run.output_dir), "tester/from-python").files == 0
    findings = textdae.doctor("tester/from-python", quick=True)
    assert "model" in [finding.what for finding in findings]
    with pytest.raises(textdae.SettingsError, match="write OWNER/NAME"):
        textdae.push(run.output_dir, "name")
