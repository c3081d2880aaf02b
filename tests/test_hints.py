"""Hints name what was meant: unknown keys and words, and settings that are not what they look like."""

import sys

import pytest

from textdae.cli.app import main
from textdae.core.errors import SettingsError
from textdae.core.settings.downstream import FinetuneSettings, LabelCurveSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings


def complaint(cls, *overrides, path=None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(cls, path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("train.lr=1", "`learning_rate`"),
        ("train.batch_size=8", "`per_device_train_batch_size`"),
        ("train.epochs=3", "`num_train_epochs`"),
        ("train.learningrate=1", "`learning_rate`"),
        ("learning_rate=1", "`train.learning_rate`"),
        ("lr=1", "`train.learning_rate`"),
        ("max_steps=3", "`train.max_steps`"),
        ("vocab_size=300", "`tokenizer.vocab_size`"),
        ("source=a.txt", "`data.source` or `data.sources.source`"),
        ("rate=0.3", "`noise.rate` or `evaluate.rate`"),
        ("traim.seed=1", "`train`"),
    ],
)
def test_a_key_that_is_not_there_names_the_one_that_was_meant(override, meant):
    key = override.partition("=")[0]
    assert (
        complaint(PretrainSettings, override)
        == f"{key if key[:5] != 'traim' else 'traim'}: no such key; did you mean {meant}?"
    )


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
@pytest.mark.parametrize("name", ["texts", "file.csv", "notes.txt", "rows.jsonl", "not/there.parquet"])
def test_data_in_the_place_of_a_settings_file_names_the_key(
    command, name, tmp_path, monkeypatch, capsys, wordpiece
):
    from labelled import text_checkpoint

    (tmp_path / "texts").mkdir()
    (tmp_path / "file.csv").write_text("text,label\na,1\n")
    (tmp_path / "notes.txt").write_text("train: a word that is YAML\n")
    monkeypatch.chdir(tmp_path)
    checkpoint = [text_checkpoint(tmp_path / "encoder", wordpiece)] if command == "finetune" else []
    monkeypatch.setattr(sys, "argv", ["textdae", command, *checkpoint, name])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.count("\n") == 1
    assert f"data.source={name}" in said


@pytest.mark.parametrize("kind", ["gaussian", "speckle"])
@pytest.mark.parametrize("name", ["sigma", "final_sigma"])
def test_a_strength_in_units_of_255_is_told_the_unit_of_the_pixels(kind, name):
    said = complaint(PretrainSettings, "modality=image", f"noise.kind={kind}", f"noise.{name}=25")
    assert f"set {name}=0.098" in said
    assert "between 0 and 1" in said
    fits = load(PretrainSettings, None, ["modality=image", f"noise.kind={kind}", f"noise.{name}=2"])
    assert getattr(fits.noise[0], name) == 2
    load(PretrainSettings, None, ["modality=image", "noise.kind=blur", "noise.sigma=25"])  # in pixels


def test_one_entry_needs_no_list():
    settings = load(LabelCurveSettings, None, ["modality=text", "labels=100", "lines=probe"])
    assert settings.labels == (100,)
    assert settings.lines == ("probe",)
    assert load(LabelCurveSettings, None, ["modality=text", "labels=all"]).labels == ("all",)
    assert load(LabelCurveSettings, None, ["modality=text", "labels=[10,all]"]).labels == (10, "all")
    for wrong in ("labels=1", "labels=many", "labels=[10,many]", "lines=prob"):
        with pytest.raises(SettingsError, match=wrong.partition("=")[0]):
            load(LabelCurveSettings, None, ["modality=text", wrong])


def test_hints_are_for_labelled_tasks_too():
    assert complaint(FinetuneSettings, "modality=text", "train.lr=1").endswith(
        "did you mean `learning_rate`?"
    )
    assert complaint(FinetuneSettings, "modality=text", "text_column=a").endswith(
        "did you mean `data.text_column`?"
    )
