"""Fine-tuning: every task and model through the one loop, and what others can do with what comes out."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from labelled import image_checkpoint, rows_of, text_checkpoint, write_table
from PIL import Image
from records import heard
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer

import textdae
from textdae.cli.app import main
from textdae.commands import finetune as module
from textdae.commands.finetune import finetune, with_length
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.downstream import FinetuneSettings, FinetuneTrainSettings
from textdae.core.settings.reader import load
from textdae.downstream.best import Best
from textdae.downstream.label_noise import LabelNoise
from textdae.downstream.predict import predict
from textdae.downstream.task import labelled_task
from textdae.image.classifier import ImageClassifier
from textdae.image.data.corpus import prepare_images
from textdae.text.classifier import TextClassifier
from textdae.training import checkpoint
from textdae.training.log import read_log

QUICK = ["train.max_steps=120", "train.learning_rate=5e-3", "train.precision=fp32", "train.compile=never",
         "train.per_device_train_batch_size=16", "train.logging_steps=5"]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, wordpiece):
    return text_checkpoint(tmp_path_factory.mktemp("encoder"), wordpiece)


def settings_of(folder, source, modality="text", *overrides):
    given = [f"modality={modality}", f"data.source={source}", f"output_dir={folder}",
             f"data.cache_dir={folder.parent / 'cache'}", *QUICK, *overrides]  # fmt: skip
    return load(FinetuneSettings, None, given)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder, corpus_texts):
    """A run of each task, made when it is first asked for."""
    work, kept = tmp_path_factory.mktemp("finetune"), {}

    def run(kind):
        if kind not in kept:
            source = write_table(work / f"{kind}.jsonl", rows_of(corpus_texts, kind))
            extra = {"pairs": ["data.text_pair_column=other"], "regression": ["data.task=regression"]}
            settings = settings_of(work / kind, source, "text", *extra.get(kind, []))
            with heard() as said:
                kept[kind] = (finetune(encoder, settings), said, source)
        return kept[kind]

    return run


@pytest.mark.parametrize(
    ("kind", "measure", "enough"),
    [
        ("single", "accuracy", 0.85),
        pytest.param("pairs", "accuracy", 0.8, marks=pytest.mark.slow),
        pytest.param("multi_label", "micro_f1", 0.8, marks=pytest.mark.slow),
        ("regression", "r2", 0.6),
    ],
)  # fmt: skip
def test_every_task_is_learnt(kind, measure, enough, finished):
    result, said, _ = finished(kind)
    table = result.metrics["test"]
    assert table["model"][measure] > enough
    assert table["baseline: majority"][measure] < table["model"][measure] - 0.1
    assert not any(line.startswith("warning") for line in result.closing)
    assert "test" in said[0]
    assert "train" in said[0]


def test_the_figures_are_those_of_the_stock_model_on_the_test_side(finished, encoder):
    result, _, source = finished("single")
    model = AutoModelForSequenceClassification.from_pretrained(result.output_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(result.output_dir)
    corpus = labelled_task("text", encoder, settings_of(result.output_dir, source).data).corpus
    guesses = []
    for text in corpus.test.examples:
        with torch.no_grad():
            guesses.append(int(model(**tokenizer(text, return_tensors="pt")).logits.argmax()))
    row = result.metrics["test"]["model"]
    assert row["accuracy"] == pytest.approx(accuracy_score(corpus.test.labels, guesses))
    assert row["macro_f1"] == pytest.approx(f1_score(corpus.test.labels, guesses, average="macro"))
    with open(result.output_dir / "classes.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["noun.animal", "noun.plant", "verb.motion"]
    assert sum(int(row["examples"]) for row in rows) == len(corpus.test)


def test_everything_promised_lies_in_the_output_folder(finished):
    folder = finished("single")[0].output_dir
    for name in (
        "settings.yaml",
        "metrics.json",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ):
        assert (folder / name).is_file(), name
    for name in ("loss.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
    assert (folder / "best" / "manifest.json").is_file()
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "noun.animal", "1": "noun.plant", "2": "verb.motion"}
    assert config["problem_type"] == "single_label_classification"


@pytest.mark.slow
def test_a_machine_that_has_never_heard_of_textdae_classifies(finished):
    code = (
        "import sys; sys.modules['textdae'] = None\n"
        "from transformers import pipeline\n"
        "print(pipeline('text-classification', sys.argv[1])('the ash of the hill')[0]['label'])"
    )
    command = [sys.executable, "-c", code, str(finished("single")[0].output_dir)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "noun.plant"


def test_what_is_kept_is_the_best_evaluation(finished):
    result, _, _ = finished("single")
    values = [
        entry["eval_accuracy"]
        for entry in read_log(result.output_dir / "log.jsonl")
        if "eval_accuracy" in entry
    ]
    assert len(values) == result.metrics["best_of"]
    assert result.metrics["held_out"]["accuracy"] == pytest.approx(max(values))


def test_it_stops_when_nothing_better_comes(tmp_path, encoder, corpus_texts):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:120], "single"))
    # Nothing is learnt at this rate, so the first evaluation is as good as any.
    settings = settings_of(
        tmp_path / "run",
        source,
        "text",
        "train.learning_rate=1e-12",
        "train.eval_steps=5",
        "train.early_stopping_patience=2",
    )
    assert finetune(encoder, settings).fit.cursor.step == 15


def test_stopped_and_resumed_is_the_same_model(tmp_path, encoder, corpus_texts, monkeypatch):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:150], "single"))
    overrides = ["train.max_steps=20", "train.eval_steps=4", "train.save_steps=4"]
    whole = finetune(encoder, settings_of(tmp_path / "whole", source, "text", *overrides))

    class Stopped(Exception):
        pass

    real, calls = module.predict, []

    def stop_in_the_fourth(*given):
        calls.append(given)
        if len(calls) == 4:
            raise Stopped
        return real(*given)

    monkeypatch.setattr(module, "predict", stop_in_the_fourth)
    with pytest.raises(Stopped):
        finetune(encoder, settings_of(tmp_path / "parts", source, "text", *overrides))
    monkeypatch.undo()
    parts = finetune(encoder, settings_of(tmp_path / "parts", source, "text", *overrides), resume=True)
    assert parts.metrics["test"] == whole.metrics["test"]
    one, other = (load_file(run.output_dir / "model.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    evaluations = [
        [
            entry["eval_accuracy"]
            for entry in read_log(run.output_dir / "log.jsonl")
            if "eval_accuracy" in entry
        ]
        for run in (whole, parts)
    ]
    assert evaluations[0] == evaluations[1]


@pytest.mark.slow
def test_resuming_a_finished_run_keeps_the_best(tmp_path, encoder, corpus_texts):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:200], "single"))
    # After the middle of the run the weights are thrown about, so that the last are not the best.
    overrides = [
        "train.max_steps=60",
        "train.learning_rate=0.05",
        "train.lr_scheduler_type=constant",
        "train.early_stopping_patience=0",
    ]
    settings = settings_of(tmp_path / "run", source, "text", *overrides)
    first = finetune(encoder, settings)
    log = read_log(tmp_path / "run/log.jsonl")
    values = [entry["eval_accuracy"] for entry in log if "eval_accuracy" in entry]
    assert values.index(max(values)) < len(values) - 1
    assert first.metrics["held_out"]["accuracy"] == pytest.approx(max(values))
    last = max((tmp_path / "run/checkpoints").iterdir())
    kept, best, late = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "run", tmp_path / "run/best", last)
    )
    assert all(torch.equal(kept[name], best[name]) for name in kept)
    assert not all(torch.equal(kept[name], late[name]) for name in kept)
    again = finetune(encoder, settings, resume=True)
    assert again.metrics["test"] == first.metrics["test"]
    assert again.metrics["held_out"] == first.metrics["held_out"]
    (tmp_path / "run/best/score.json").write_text("{}")  # damaged: then the last are what there is
    said = finetune(encoder, settings, resume=True).closing
    assert "the last weights are kept" in said[0]


def test_weights_that_were_beaten_are_not_the_best(tmp_path):
    """As where a run was killed between an evaluation and the writing of its weights."""
    kept = Best(tmp_path, "accuracy", 0, until=0)
    assert kept.add(0.5)
    model = torch.nn.Linear(1, 1)

    def write(place):
        save_file(dict(model.state_dict()), place / "model.safetensors")
        (place / "score.json").write_text('{"accuracy": 0.5}')

    checkpoint.write_whole(kept.folder, write)
    assert kept.is_there()
    assert not kept.add(0.4)
    assert kept.is_there()
    assert kept.add(0.6)
    assert not kept.is_there()


def test_a_run_that_stopped_early_does_not_go_on_when_it_is_resumed(tmp_path, encoder, corpus_texts):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:120], "single"))
    overrides = ["train.learning_rate=1e-12", "train.eval_steps=5", "train.early_stopping_patience=2"]
    settings = settings_of(tmp_path / "run", source, "text", *overrides)
    finetune(encoder, settings)
    assert finetune(encoder, settings, resume=True).fit.cursor.step == 15


def test_overwrite_removes_nothing_for_a_run_that_is_refused(finished, encoder, monkeypatch):
    result, _, source = finished("single")
    monkeypatch.setattr(
        "textdae.training.trackers.find_spec", lambda name: None
    )  # as if the extra were not installed
    before = {path: path.stat().st_mtime_ns for path in result.output_dir.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match=r"'textdae\[tensorboard\]'"):
        finetune(
            encoder,
            settings_of(result.output_dir, source, "text", "train.report_to=tensorboard"),
            overwrite=True,
        )
    assert {p: p.stat().st_mtime_ns for p in result.output_dir.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("change", ["metric_for_best_model=macro_f1", "data.max_length=16"])
def test_another_run_is_not_gone_on_with(change, finished, encoder):
    result, _, source = finished("single")
    with pytest.raises(SettingsError, match="differ"):
        finetune(encoder, settings_of(result.output_dir, source, "text", change), resume=True)


@pytest.mark.slow
def test_a_regression_does_not_mind_the_unit_of_its_labels(tmp_path, encoder, corpus_texts):
    rows = rows_of(corpus_texts, "regression")
    found = {}
    for unit, shift in ((1.0, 0.0), (1024.0, 4096.0)):
        scaled = [{**row, "label": unit * row["label"] + shift} for row in rows]
        source = write_table(tmp_path / f"{unit}.jsonl", scaled)
        settings = settings_of(
            tmp_path / f"run{unit}", source, "text", "data.task=regression", "train.max_steps=60"
        )
        found[unit] = finetune(encoder, settings)
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / f"run{unit}").eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / f"run{unit}")
        with torch.no_grad():
            value = float(model(**tokenizer(scaled[0]["text"], return_tensors="pt")).logits)
        assert shift - unit < value < shift + 3 * unit  # the stock model gives the labels' own unit
    one, other = (found[unit].metrics["test"]["model"] for unit in (1.0, 1024.0))
    assert other["r2"] == pytest.approx(one["r2"], abs=0.02)
    assert other["mse"] == pytest.approx(1024**2 * one["mse"], rel=0.05)


def test_a_checkpoint_without_its_tokenizer_is_refused(tmp_path, wordpiece, corpus_texts):
    checkpoint = tmp_path / "bert"
    text_checkpoint(checkpoint, wordpiece, "bert")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:60], "single"))
    with pytest.raises(SettingsError, match="no tokenizer"):
        finetune(str(checkpoint), settings_of(tmp_path / "run", source))


def test_resuming_another_task_is_refused(finished, encoder):
    result, _, source = finished("single")
    other = settings_of(result.output_dir, source, "text", "data.test=0.3")
    with pytest.raises(SettingsError, match="data differ"):
        finetune(encoder, other, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "enough"), [("autoencoder", 0.75), ("conv", 0.75), ("unet", 0.75), ("vit", 0.3)]
)
def test_every_image_model_becomes_a_classifier(name, enough, tmp_path):
    checkpoint = image_checkpoint(tmp_path / "encoder", name)
    overrides = ["train.max_steps=200", "train.learning_rate=3e-3"]
    settings = settings_of(tmp_path / "run", "digits", "image", *overrides)
    result = finetune(checkpoint, settings)
    assert result.metrics["test"]["model"]["accuracy"] > enough
    model = AutoModelForImageClassification.from_pretrained(result.output_dir).eval()
    assert model.config.id2label[3] == "3"
    images = prepare_images(settings.data).held_out
    with torch.no_grad():
        colour = images.batch(range(len(images)))["pixel_values"].expand(-1, 3, -1, -1)
        right = model(colour).logits.argmax(1) == images.labels
    assert right.float().mean() > enough


@pytest.mark.slow
def test_a_picture_file_is_classified_through_the_pipeline(tmp_path):
    from PIL import Image
    from transformers import pipeline

    checkpoint = image_checkpoint(tmp_path / "encoder", "vit")
    settings = settings_of(tmp_path / "run", "digits", "image", "train.max_steps=100")
    finetune(checkpoint, settings)
    images = prepare_images(settings.data).held_out
    Image.fromarray(np.asarray(images.pixels[0, 0])).save(tmp_path / "one.png")
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "run").eval()
    with torch.no_grad():
        wanted = model(images.batch([0])["pixel_values"].expand(-1, 3, -1, -1)).logits.softmax(1).max()
    got = pipeline("image-classification", str(tmp_path / "run"))(str(tmp_path / "one.png"))[0]
    assert got["score"] == pytest.approx(float(wanted), abs=1e-4)


def test_a_model_of_grey_images_sees_the_luminance_of_colour_ones(tmp_path):
    colour = torch.rand(4, 3, 8, 8)
    red, green, blue = colour.unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    for name in ("vit", "unet", "conv"):
        checkpoint = image_checkpoint(tmp_path / name, name)
        classifier = ImageClassifier.from_encoder(
            checkpoint, "single_label_classification", ("a", "b", "c"), 0
        ).eval()
        with torch.no_grad():
            one, other = (classifier.encode({"pixel_values": pixels}) for pixels in (colour, grey))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        if name == "vit":  # the pretrained layer itself, on grey pixels
            from transformers import ViTForMaskedImageModeling

            stock = ViTForMaskedImageModeling.from_pretrained(checkpoint).vit.embeddings.patch_embeddings
            mine = classifier.model.vit.embeddings.patch_embeddings
            torch.testing.assert_close(mine(colour), stock(grey), atol=1e-5, rtol=1e-4)


def test_the_body_is_the_checkpoints_and_the_head_a_function_of_the_seed(encoder):
    classes = ("a", "b")

    def build(seed, scratch=False):
        return TextClassifier.from_encoder(encoder, "single_label_classification", classes, seed, scratch)

    stock = load_file(f"{encoder}/model.safetensors")
    first, again, other, scratch = build(1), build(1), build(2), build(1, True)
    own = dict(first.model.named_parameters())
    shared = [name for name in own if name in stock]
    assert len(shared) > 5
    assert all(torch.equal(own[name], stock[name]) for name in shared)
    assert torch.equal(first.model.classifier.weight, again.model.classifier.weight)
    assert not torch.equal(first.model.classifier.weight, other.model.classifier.weight)
    fresh = dict(scratch.model.named_parameters())
    assert not any(torch.equal(fresh[name], stock[name]) for name in shared if "norm" not in name)


def test_batches_change_nothing_but_rounding(encoder, tmp_path, corpus_texts):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:60], "single"))
    work = labelled_task("text", encoder, settings_of(tmp_path / "run", source).data)
    examples, classifier = (
        work.batches(work.corpus.train),
        work.classifier(work.corpus.train.labels, 0).eval(),
    )
    noise, draw = LabelNoise(), Draw(0, *torch.zeros(2, 1, dtype=torch.long))
    with torch.no_grad():
        together = classifier(noise(examples.batch(torch.arange(len(examples))), draw))
        alone = [classifier(noise(examples.batch([number]), draw)) for number in range(len(examples))]
    torch.testing.assert_close(
        together.embedding, torch.cat([one.embedding for one in alone]), atol=1e-5, rtol=1e-4
    )
    guesses, loss = predict(classifier, examples, work.corpus.schema)
    assert guesses.tolist() == together.embedding.argmax(1).tolist()
    assert loss == pytest.approx(float(together.loss_sum) / len(examples), rel=1e-4)


@pytest.mark.slow
def test_bert_too_with_its_own_segments(tmp_path, wordpiece, corpus_texts):
    checkpoint = text_checkpoint(tmp_path / "bert", wordpiece, "bert")
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:200], "pairs"))
    settings = settings_of(
        tmp_path / "run",
        source,
        "text",
        "data.text_pair_column=other",
        "train.max_steps=5",
        "train.early_stopping_patience=0",
    )
    work = labelled_task("text", checkpoint, settings.data)
    batch = work.batches(work.corpus.train).batch([0, 1])
    one, other = work.corpus.train.examples[1]
    wanted = AutoTokenizer.from_pretrained(checkpoint)(one, other)
    length = len(wanted["input_ids"])
    assert "token_type_ids" in batch
    for name in ("input_ids", "token_type_ids"):
        assert batch[name][1, :length].tolist() == wanted[name]
    assert finetune(checkpoint, settings).metrics["steps"] == 5


def test_noise_may_corrupt_the_inputs_and_never_the_labels(tmp_path, encoder, corpus_texts):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:60], "single"))
    settings = settings_of(
        tmp_path / "run",
        source,
        "text",
        "noise.rate=0.5",
        "noise.final_rate=0.5",
        "noise.mask_share=1",
        "noise.random_share=0",
    )
    work = labelled_task("text", encoder, settings.data)
    clean = work.batches(work.corpus.train).batch(torch.arange(20))
    indices = torch.arange(20)
    corrupted = LabelNoise(work.noise(settings.noise))(clean, Draw(0, torch.zeros_like(indices), indices))
    hidden = corrupted.inputs["input_ids"] == work.tokenizer.mask_token_id
    share = hidden.sum() / (clean["attention_mask"].sum() - 2 * 20)
    assert 0.4 < share < 0.6
    assert torch.equal(corrupted.target, clean["labels"])
    assert "labels" not in corrupted.inputs


def test_a_run_lasts_five_epochs_or_two_hundred_steps():
    train = FinetuneTrainSettings()
    assert with_length(train, 100, 32).max_steps == 200
    assert with_length(train, 32_000, 32).num_train_epochs == 5
    assert with_length(train, 1280, 32).num_train_epochs == 5
    assert with_length(train, 1280, 64).max_steps == 200
    assert with_length(FinetuneTrainSettings(num_train_epochs=2), 100, 32).max_steps is None


def test_long_texts_are_cut_and_counted(tmp_path, encoder, corpus_texts):
    rows = rows_of(corpus_texts[:60], "single")
    for row in rows[:7]:
        row["text"] = " ".join([row["text"]] * 30)
    source = write_table(tmp_path / "t.jsonl", rows)
    with heard() as said:
        finetune(encoder, settings_of(tmp_path / "run", source, "text", "train.max_steps=1"))
    cut = next(line for line in said if "cut off" in line)
    assert cut.startswith("texts cut off after 64 tokens")
    assert int(cut.rpartition(" ")[2]) == 7
    assert len([line for line in said if "cut off" in line]) == 1
    assert cut in (tmp_path / "run/README.md").read_text()


def test_a_long_second_text_counts_too(tmp_path, encoder, corpus_texts):
    rows = rows_of(corpus_texts[:60], "pairs")
    for row in rows[:5]:
        row["other"] = " ".join([row["other"]] * 40)
    source = write_table(tmp_path / "t.jsonl", rows)
    settings = settings_of(tmp_path / "run", source, "text", "data.text_pair_column=other")
    notes = labelled_task("text", encoder, settings.data).corpus.summary
    assert "texts cut off after 64 tokens: 5" in notes


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["metric_for_best_model=f1"], "metric_for_best_model: a single_label_classification task has auto, loss, accuracy"),
        (["data.label_column=klass"], "no column 'klass'; it has: text, label; set data.label_column"),
        (["data.task=regression"], "needs a finite number"),
        (["train.target=noisy"], "the target is the label"),
        (["data.document=paragraph"], "data.document: "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(overrides, problem, tmp_path, encoder, corpus_texts, capsys, monkeypatch):
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:60], "single"))
    words = [f"data.source={source}", f"output_dir={tmp_path / 'run'}", *overrides]
    monkeypatch.setattr(sys, "argv", ["textdae", "finetune", encoder, *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "settings.yaml").exists()


@pytest.mark.parametrize("again", ["regression", "classes"])
def test_what_was_fine_tuned_begins_with_a_fresh_last_layer(tmp_path, again):
    checkpoint = image_checkpoint(tmp_path / "it", "autoencoder")
    chance = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    rows = ["file_name,label"]
    for number in range(60):
        level = number % 6
        pixels = (chance.integers(0, 40, (8, 8)) + 35 * level).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{number}.png")
        rows.append(f"{number}.png,{1000 + 3 * level if again == 'regression' else 'ab'[level > 2]}")
    (tmp_path / "pictures/metadata.csv").write_text("\n".join(rows))
    task = {"task": "regression"} if again == "regression" else {}
    train = {"max_steps": 60, "compile": "never"}
    for source, folder in ((checkpoint, "first"), (str(tmp_path / "first"), "second")):
        run = textdae.finetune(
            source, source=tmp_path / "pictures", data=task, train=train, output_dir=tmp_path / folder
        )
    if again == "regression":
        table = run.metrics["test"]
        constant = next(row for name, row in table.items() if name != "model")
        assert table["model"]["mse"] < constant["mse"]

    else:

        def last_layer(model):
            return torch.cat([p.detach().flatten() for p in model.parameters() if p.shape[0] == 2])

        first = str(tmp_path / "first")
        kind = ("single_label_classification", ("a", "b"))
        fresh = last_layer(ImageClassifier.from_encoder(first, *kind, 0).model)
        assert torch.equal(fresh, last_layer(ImageClassifier.from_encoder(first, *kind, 0).model))
        assert not torch.equal(fresh, last_layer(ImageClassifier.from_encoder(first, *kind, 1).model))
        assert not torch.isclose(fresh, last_layer(ImageClassifier.load_stock(first))).any()
