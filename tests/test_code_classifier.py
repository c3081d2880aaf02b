"""Fine-tuning of a code: it begins with the code, and what comes out loads, resumes and is exported as any classifier."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from labelled import rows_of, write_table
from safetensors.torch import load_file, save_file
from test_finetune import settings_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import textdae
from textdae.commands import finetune as module
from textdae.commands.evaluate import evaluate
from textdae.commands.export import export
from textdae.commands.finetune import finetune
from textdae.commands.pretrain import pretrain
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.downstream.encoder import LAST_MEAN, View
from textdae.downstream.task import labelled_task
from textdae.text.classifier import CodeClassifier, TextClassifier
from textdae.text.code.code_decoder import CodeDecoder
from textdae.text.data.data_settings import LabelledTextSettings
from textdae.text.encoder import CODE, TextEncoder
from textdae.text.labelled_task import LabelledTextTask
from textdae.text.loading import load_text
from textdae.text.own_classifiers import CodeForSequenceClassification, CodeModel
from textdae.text.pooling import weighted_mean

K = 40
"""Larger than the width of the model, 32."""
TINY = ["tokenizer.vocab_size=300", "model.hidden_size=32", "model.num_hidden_layers=2", "model.num_attention_heads=2",
        "model.intermediate_size=32", "train.compile=never", "data.block_size=64", "train.max_steps=3",
        f"model.code_size={K}"]  # fmt: skip
TEXTS = ["a short one", "an ash", "one cat and another, and the words between them", "run"]


def checkpoint_of(folder, texts, *options):
    (folder / "a.txt").write_text("\n\n".join(texts))
    given = [f"data.source={folder / 'a.txt'}", f"output_dir={folder / 'run'}", *TINY, *options]
    pretrain(load(PretrainSettings, None, given))
    return str(folder / "run")


@pytest.fixture(scope="module")
def code(tmp_path_factory, corpus_texts):
    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTDAE_CACHE", str(folder / "cache"))
        return checkpoint_of(folder, corpus_texts[:300])


@pytest.fixture(scope="module")
def table(tmp_path_factory, corpus_texts):
    return write_table(tmp_path_factory.mktemp("table") / "t.jsonl", rows_of(corpus_texts, "single"))


@pytest.fixture(scope="module")
def finished_and_trained(tmp_path_factory, code, table):
    """A run, and the model as it was in memory at its end."""
    real, trained = module.load_exported, []

    def keep(folder, classifier, weights):
        trained.append(classifier.model)
        return real(folder, classifier, weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_exported", keep)
        run = finetune(code, settings_of(tmp_path_factory.mktemp("finetune") / "run", table))
    return run, trained[0]


@pytest.fixture(scope="module")
def finished(finished_and_trained):
    return finished_and_trained[0]


def features(model, checkpoint, texts):
    inputs = AutoTokenizer.from_pretrained(checkpoint)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs)


@pytest.mark.filterwarnings("ignore")  # of the package, about itself
def test_it_begins_with_the_code(code, table):
    from sentence_transformers import SentenceTransformer

    work = labelled_task("text", code, LabelledTextSettings(source=str(table)))
    labels = work.corpus.train.labels
    classifier, again, other = (work.classifier(labels, seed) for seed in (0, 0, 1))
    assert type(classifier) is CodeClassifier
    begin = features(classifier.model.bottleneck, code, TEXTS).pooler_output
    assert begin.shape == (len(TEXTS), K)
    np.testing.assert_allclose(begin, TextEncoder(code, precision="fp32")(TEXTS), atol=1e-5)
    np.testing.assert_allclose(begin, SentenceTransformer(code, device="cpu").encode(TEXTS), atol=1e-5)
    one, same, another = (each.model.state_dict() for each in (classifier, again, other))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert [name for name in one if not torch.equal(one[name], another[name])] == [
        "classifier.weight",
        "classifier.bias",
    ]
    layer = classifier.model.bottleneck.to_code.weight
    assert not any(matrix is layer for matrix in classifier.hidden_matrices())
    # Weights drawn at random have no code.
    assert type(work.classifier(labels, 0, True).model).__name__ == "ModernBertForSequenceClassification"


def test_it_learns_and_says_how_to_load_it(finished):
    assert finished.metrics["test"]["model"]["accuracy"] > 0.8
    assert finished.metrics["architecture"] == "CodeForSequenceClassification"
    card = (finished.output_dir / "README.md").read_text()
    assert "import textdae  # makes transformers know this model\nfrom transformers import pipeline" in card
    assert type(finished.model) is CodeForSequenceClassification
    assert not (finished.output_dir / "decoder.safetensors").exists()


def test_the_pipeline_gives_the_answers_of_the_run(finished_and_trained):
    finished, trained = finished_and_trained
    folder = str(finished.output_dir)
    logits = features(AutoModelForSequenceClassification.from_pretrained(folder), folder, TEXTS).logits
    torch.testing.assert_close(logits, features(trained, folder, TEXTS).logits)
    script = (
        "import textdae; from transformers import pipeline;"
        f"p = pipeline('text-classification', model={folder!r}, device='cpu');"
        f"print([each['label'] for each in p({TEXTS!r})])"
    )
    process = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    names = finished.model.config.id2label
    assert process.stdout.strip() == str([names[int(best)] for best in logits.argmax(1)])
    # The encoder behind it is an `AutoModel` of textdae too, and goes on as one.
    encoder = TextEncoder(folder, precision="fp32")
    assert isinstance(encoder.model, CodeModel)
    codes = features(finished.model.bottleneck, folder, TEXTS).pooler_output
    np.testing.assert_allclose(encoder(TEXTS), codes, atol=1e-4)


def test_no_file_of_an_export_names_where_it_started(finished, code):
    files = [path for path in finished.output_dir.iterdir() if path.is_file()]
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in files}
    assert not [path.name for path in files if code.encode() in path.read_bytes()]


def test_a_fine_tuned_code_is_probed_at_every_view(tmp_path, finished, table):
    encoder = TextEncoder(str(finished.output_dir), precision="fp32")
    views = encoder.views()
    assert views == [CODE, *(View(layer, pooling) for layer in (2, 1, 0) for pooling in ("mean", "cls"))]
    vectors = encoder.embed(TEXTS, views)
    assert vectors[CODE].shape == (len(TEXTS), K)
    assert all(vectors[view].shape == (len(TEXTS), 32) for view in views[1:])
    assert len({vectors[view].tobytes() for view in views}) == len(views)
    # Weights drawn at random have no code.
    fresh = TextEncoder(str(finished.output_dir), pretrained=False)
    assert (fresh.view, CODE in fresh.views()) == (LAST_MEAN, False)
    probed = textdae.probe(str(finished.output_dir), source=table, output_dir=tmp_path)
    assert probed.encoder["encoder, logistic"]["accuracy"] > 0.8


def test_a_code_is_pooled_in_fp32_under_autocast(finished, code):
    """Against the same hidden states, pooled without autocast."""
    model = finished.model.bottleneck
    inputs = AutoTokenizer.from_pretrained(finished.output_dir)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model(**inputs)
    hidden, mask, ids = found.last_hidden_state, inputs["attention_mask"], inputs["input_ids"]
    assert found.pooler_output.dtype == torch.float32
    with torch.no_grad():
        expected = model.to_code(weighted_mean(hidden.float(), mask * model.token_weights[ids]))
    torch.testing.assert_close(found.pooler_output, expected)
    denoiser, document = load_text(code).denoiser, mask - 1
    embedding = hidden.bfloat16()
    with torch.no_grad():
        expected = denoiser.pool(embedding.float(), ids, document)
        with torch.autocast("cpu", torch.bfloat16):
            codes = denoiser.pool(embedding, ids, document)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes, expected)


def test_stopped_and_resumed_is_the_same_model(tmp_path, code, table, monkeypatch):
    overrides = ["train.max_steps=12", "train.eval_steps=4", "train.save_steps=4"]
    whole = finetune(code, settings_of(tmp_path / "whole", table, "text", *overrides))
    real, calls = module.predict, []

    def stop_in_the_second(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "predict", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        finetune(code, settings_of(tmp_path / "parts", table, "text", *overrides))
    monkeypatch.undo()
    parts = finetune(code, settings_of(tmp_path / "parts", table, "text", *overrides), resume=True)
    assert parts.metrics["test"] == whole.metrics["test"]
    one, other = (load_file(run.output_dir / "model.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_older_run_of_a_stock_class_is_not_resumed(tmp_path, code, table, monkeypatch):
    """It left the code out."""
    given = ["train.max_steps=2", "train.save_steps=1"]
    monkeypatch.setattr(LabelledTextTask, "class_for", lambda work, from_scratch: TextClassifier)
    finetune(code, settings_of(tmp_path / "run", table, "text", *given))
    finetune(code, settings_of(tmp_path / "run", table, "text", *given), resume=True)
    monkeypatch.undo()
    with pytest.raises(
        SettingsError, match="--resume: the class of the model differs from the run in"
    ) as error:
        finetune(code, settings_of(tmp_path / "run", table, "text", *given), resume=True)
    assert "\n" not in str(error.value)


def test_a_fine_tuned_code_is_fine_tuned_again_as_one(finished, table):
    work = labelled_task("text", str(finished.output_dir), LabelledTextSettings(source=str(table)))
    for from_scratch in (False, True):
        classifier = work.classifier(work.corpus.train.labels, 0, from_scratch)
        assert type(classifier) is CodeClassifier
        layer = classifier.model.bottleneck.to_code.weight
        assert not any(matrix is layer for matrix in classifier.hidden_matrices())
        assert torch.equal(layer, finished.model.bottleneck.to_code.weight) != from_scratch


def test_a_code_that_does_not_fit_its_encoder_is_refused(tmp_path, code, table):
    shutil.copytree(code, tmp_path / "run")
    decoder = CodeDecoder((16, K, 64, 32), 2, torch.ones(300))
    save_file(decoder.state_dict(), tmp_path / "run/decoder.safetensors", {"heads": "2"})
    work = labelled_task("text", str(tmp_path / "run"), LabelledTextSettings(source=str(table)))
    with pytest.raises(SettingsError, match="no classifier could be made of its code: ") as error:
        work.classifier(work.corpus.train.labels, 0)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_fine_tuned_code_is_fine_tuned_again(tmp_path, finished, table):
    again = finetune(
        str(finished.output_dir), settings_of(tmp_path / "run", table, "text", "train.max_steps=2")
    )
    assert type(again.model) is CodeForSequenceClassification


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_other_families_and_a_regression(tmp_path, corpus_texts, family):
    checkpoint = checkpoint_of(tmp_path, corpus_texts[:200], f"model.type={family}")
    rows = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:150], "regression"))
    options = ["data.task=regression", "train.max_steps=4"]
    run = finetune(checkpoint, settings_of(tmp_path / "tuned", rows, "text", *options))
    found = features(run.model.bottleneck, checkpoint, TEXTS).pooler_output
    assert found.shape == (len(TEXTS), K)
    work = labelled_task("text", checkpoint, LabelledTextSettings(source=str(rows), task="regression"))
    begin = features(work.classifier(work.corpus.train.labels, 0).model.bottleneck, checkpoint, TEXTS)
    np.testing.assert_allclose(
        begin.pooler_output, TextEncoder(checkpoint, precision="fp32")(TEXTS), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_is_the_same_in_onnx(tmp_path, finished):
    exported = export(str(finished.output_dir), output=tmp_path / "onnx")
    # After three steps the smallest directions of the code are scaled up a thousandfold, and rounding with them.
    assert exported.table["ONNX"]["difference"] < 0.05
    assert exported.table["ONNX"]["agreement"] == 1


def test_evaluate_says_that_it_is_no_denoiser(finished):
    with pytest.raises(SettingsError, match="a fine-tuned classifier, whose figures") as error:
        evaluate(str(finished.output_dir), source=textdae.__file__)
    assert "\n" not in str(error.value)
