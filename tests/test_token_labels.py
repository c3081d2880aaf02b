"""Fine-tuning on tags of words: entities against seqeval, first tokens against the words, whole runs against stock."""

import json
import os
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from labelled import text_checkpoint
from records import heard
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from textdae.commands import finetune as module
from textdae.commands.finetune import finetune
from textdae.core.errors import SettingsError
from textdae.core.settings.downstream import FinetuneSettings, ProbeSettings
from textdae.core.settings.reader import load
from textdae.downstream import entities
from textdae.downstream.task import labelled_task
from textdae.text.token_task import UNSCORED, windows

QUICK = ["train.max_steps=60", "train.learning_rate=5e-3", "train.precision=fp32", "train.compile=never",
         "train.per_device_train_batch_size=16", "train.logging_steps=20", "train.eval_steps=0.5"]  # fmt: skip
NAMES = {"cat": "ANIMAL", "dog": "ANIMAL", "ash": "PLANT", "oak": "PLANT"}


def sentences(corpus_texts, count=150, seed=0):
    """Words of the corpus with names among them, of one word or of two."""
    chance = random.Random(seed)
    for text in corpus_texts[:count]:
        words, tags = text.split()[:7], ["O"] * len(text.split()[:7])
        name = chance.choice(list(NAMES))
        place, both = chance.randint(0, len(words)), chance.random() < 0.4
        words[place:place] = [name, "Junior"] if both else [name]
        tags[place:place] = [f"B-{NAMES[name]}", f"I-{NAMES[name]}"] if both else [f"B-{NAMES[name]}"]
        yield words, tags


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, wordpiece):
    return text_checkpoint(tmp_path_factory.mktemp("encoder"), wordpiece)


def settings_of(folder, source, *overrides):
    given = ["modality=text", "data.task=tokens", f"data.source={source}", f"output_dir={folder}",
             f"data.cache_dir={folder.parent / 'cache'}", *QUICK, *overrides]  # fmt: skip
    return load(FinetuneSettings, None, given)


def conll(path, rows):
    path.write_text("\n\n".join("\n".join(map(" ".join, zip(*row, strict=True))) for row in rows) + "\n")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder, corpus_texts):
    work = tmp_path_factory.mktemp("tags")
    source = conll(work / "names.conll", sentences(corpus_texts))
    with heard() as said:
        return finetune(encoder, settings_of(work / "run", source)), said, source


@pytest.mark.filterwarnings("ignore")  # of seqeval, about what it takes for tags
def test_entities_are_those_of_seqeval():
    from seqeval import metrics
    from seqeval.metrics.sequence_labeling import get_entities

    chance = random.Random(0)
    tags = ["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in ("PER", "LOC-X"))]

    def drawn(rows):
        return [[chance.choice(tags) for _ in range(length)] for length in rows]

    lengths = [chance.randint(1, 9) for _ in range(400)]
    true, guessed = drawn(lengths), drawn(lengths)
    for row in true:
        expected = [(kind, begin, end + 1) for kind, begin, end in get_entities(row)]
        assert sorted(entities.entities(row)) == sorted(expected)
    assert entities.f1(true, guessed) == pytest.approx(metrics.f1_score(true, guessed))
    assert entities.precision(true, guessed) == pytest.approx(metrics.precision_score(true, guessed))
    assert entities.recall(true, guessed) == pytest.approx(metrics.recall_score(true, guessed))
    assert entities.accuracy(true, guessed) == pytest.approx(metrics.accuracy_score(true, guessed))
    report = metrics.classification_report(true, guessed, output_dict=True)
    found = entities.scores(true, guessed)
    for kind in ("PER", "LOC-X"):
        assert found[kind].f1 == pytest.approx(report[kind]["f1-score"])
        assert found[kind].total == report[kind]["support"]


def test_entities_by_hand():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"]]
    guessed = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "O"]]  # one of three is right, of two
    assert entities.scores(true, guessed)[""] == (1 / 3, 1 / 2, 2 / 5, 2)
    assert entities.accuracy(true, guessed) == 4 / 6
    assert entities.entities(["U-A", "B-A", "L-A", "I-A"]) == [("A", 0, 1), ("A", 1, 3), ("A", 3, 4)]
    assert entities.f1([["O"]], [["O"]]) == 0  # there is none to find


@pytest.mark.parametrize("algorithm", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("limit", [64, 9])
def test_every_word_is_scored_at_its_first_token(algorithm, limit, request, tokenizers, corpus_texts):
    tokenizer = tokenizers[algorithm]
    rows = [[*text.split()[:12], "naïve", "日本", "don't", "cat"] for text in corpus_texts[:20]]
    notes, words, tokens = Counter(), [[] for _ in rows], [[] for _ in rows]
    for window in windows(tokenizer, rows, limit, notes):
        assert len(window.ids["input_ids"]) <= limit
        words[window.sentence] += window.words
        tokens[window.sentence] += [window.ids["input_ids"][first] for first in window.first]
    assert words == [list(range(len(row))) for row in rows]  # none is lost
    for row, found in zip(rows, tokens, strict=True):
        encoding = tokenizer(" ".join(row))
        starts = [len(" ".join([*row[:number], ""])) for number in range(len(row))]
        assert found == [encoding["input_ids"][encoding.char_to_token(start)] for start in starts]
    assert bool(notes["sentences of more than 9 tokens, divided between words"]) == (limit == 9)


def test_words_that_no_token_stands_for_and_words_too_long_are_counted(wordpiece):
    notes = Counter()
    found = windows(wordpiece, [["cat", " ", "dog"], ["a" * 20, "cat"]], 8, notes)
    assert [(part.sentence, part.words, len(part.ids["input_ids"])) for part in found[-2:]] == [
        (1, [0], 8),
        (1, [1], 4),
    ]
    assert notes == {
        "words that no token stands for; they count as O": 1,
        "sentences of more than 8 tokens, divided between words": 1,
        "words of more than 8 tokens, of which the model sees the beginning": 1,
    }


def test_what_is_learnt_stands_beside_its_baselines(finished):
    result, said, _ = finished
    table = result.metrics["test"]
    assert list(table) == ["model", "baseline: majority", "baseline: word's usual tag"]
    assert table["model"]["f1"] > 0.8
    assert table["baseline: majority"]["f1"] == 0
    assert 0.3 < table["baseline: word's usual tag"]["f1"] <= 1
    assert result.metrics["classes"] == ["O", "B-ANIMAL", "I-ANIMAL", "B-PLANT", "I-PLANT"]
    assert any("2 kinds of entity (ANIMAL, PLANT)" in line for line in said)
    rows = (result.output_dir / "classes.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["class", "ANIMAL", "PLANT"]
    card = (result.output_dir / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert 'aggregation_strategy="first"' in card


def test_the_figures_are_those_of_the_stock_model(finished, encoder):
    result, _, source = finished
    model = AutoModelForTokenClassification.from_pretrained(result.output_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(result.output_dir)
    corpus = labelled_task("text", encoder, settings_of(result.output_dir, source).data).corpus
    guessed = []
    for words in corpus.test.examples:
        encoding = tokenizer(" ".join(words), return_tensors="pt")
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
        with torch.no_grad():
            best = model(**encoding).logits[0].argmax(-1)
        guessed.append([model.config.id2label[int(best[encoding.char_to_token(int(at))])] for at in starts])
    true = [[corpus.schema.classes[tag] for tag in tags] for tags in corpus.test.labels]
    row = result.metrics["test"]["model"]
    assert row["f1"] == pytest.approx(entities.f1(true, guessed))
    assert row["accuracy"] == pytest.approx(entities.accuracy(true, guessed))


@pytest.mark.filterwarnings("ignore")  # of transformers' pipeline, about tokenizers without a prefix
def test_the_pipeline_finds_the_names(finished):
    find = pipeline(
        "token-classification", str(finished[0].output_dir), aggregation_strategy="first", device="cpu"
    )
    found = find("the dog Junior")
    assert [(each["entity_group"], each["word"]) for each in found] == [("ANIMAL", "dog Junior")]


def test_a_table_gives_what_a_conll_file_gives(finished, encoder, tmp_path, corpus_texts):
    rows = list(sentences(corpus_texts))
    _, _, source = finished
    expected = labelled_task("text", encoder, settings_of(tmp_path / "run", source).data).corpus
    table = pa.table({"words": [words for words, _ in rows], "tags": [tags for _, tags in rows]})
    pq.write_table(table, tmp_path / "names.parquet")
    (tmp_path / "names.csv").write_text(
        "words,tags\n" + "\n".join(f'"{" ".join(words)}",{" ".join(tags)}' for words, tags in rows)
    )
    (tmp_path / "names.jsonl").write_text(
        "\n".join(json.dumps({"words": words, "tags": tags}) for words, tags in rows)
    )
    for name in ("names.parquet", "names.csv", "names.jsonl"):
        given = settings_of(
            tmp_path / "run", tmp_path / name, "data.text_column=words", "data.label_column=tags"
        )
        corpus = labelled_task("text", encoder, given.data).corpus
        assert corpus.schema == expected.schema
        for side in ("train", "held_out", "test"):
            ours, others = getattr(corpus, side), getattr(expected, side)
            assert ours.examples == others.examples
            assert all((a == b).all() for a, b in zip(ours.labels, others.labels, strict=True))


def test_the_names_of_a_dataset_are_its_tags(encoder, tmp_path, corpus_texts):
    import datasets

    from textdae.core.source_dataset import as_parquet

    names = ["O", "B-PLANT", "I-PLANT", "B-ANIMAL", "I-ANIMAL"]
    rows = list(sentences(corpus_texts, 60))
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
        }
    )
    columns = {"tokens": [w for w, _ in rows], "ner_tags": [[names.index(tag) for tag in t] for _, t in rows]}
    file = as_parquet(datasets.Dataset.from_dict(columns, features), tmp_path)
    corpus = labelled_task("text", encoder, settings_of(tmp_path / "run", file).data).corpus
    assert corpus.schema.classes == tuple(names)


ROW = {"tokens": ["a", "cat"], "ner_tags": ["O", "B-X"]}


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        ([ROW, {"tokens": ["a", "cat"], "ner_tags": ["O"]}], [], "sentence 2: 2 words, but 1 tags"),
        ([{"tokens": ["a"], "ner_tags": ["NN"]}], [], "'NN' is not an IOB tag such as O, B-PER or I-PER; .* B-NN"),
        ([{"tokens": ["a"], "ner_tags": [3]}], [], "the tag 3 is a number without a name"),
        ([{"tokens": [7], "ner_tags": ["O"]}], [], "7 is a int, not a word"),
        ([{"tokens": {"a": 1}, "ner_tags": ["O"]}], [], "words are a list, or a text with spaces between"),
        ([{"words": ["a"], "ner_tags": ["O"]}], [], "no column 'tokens'; it has: words, ner_tags; set data.text_column"),
        ([{"tokens": ["a"], "tags": ["O"]}], [], "no column 'ner_tags'; it has: tokens, tags; set data.label_column"),
        ([ROW], ["data.text_pair_column=other"], "pairs of texts have no tags"),
        ([{"tokens": [f"a{n}"], "ner_tags": ["O"]} for n in range(60)], [], "the tag O only"),
        ([ROW], [], "no tagged sentence for the (train|test|held_out) side"),
        ("a O\ncat\n", [], "sentence 1: 'cat' has no tag; a line is a word and, last, its tag"),
    ],
)  # fmt: skip
def test_bad_input_is_said_in_one_line(encoder, tmp_path, content, overrides, message):
    lines = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
    source = tmp_path / ("a.conll" if isinstance(content, str) else "a.jsonl")
    source.write_text(lines)
    with pytest.raises(SettingsError, match=message) as refused:
        labelled_task("text", encoder, settings_of(tmp_path / "run", source, *overrides).data)
    assert "\n" not in str(refused.value)


def test_tags_that_training_does_not_have_are_refused(encoder, tmp_path, corpus_texts):
    source = conll(tmp_path / "a.conll", sentences(corpus_texts, 40))
    other = conll(tmp_path / "b.conll", [(["a", "b"], ["O", "B-ROCK"])])
    given = settings_of(tmp_path / "run", source, f"data.test_source={other}")
    with pytest.raises(
        SettingsError, match=r"data\.test_source: tags that .* does not have: B-ROCK; it has O, B-ANIMAL"
    ):
        labelled_task("text", encoder, given.data)


def test_noise_that_changes_the_length_and_other_commands_are_refused(encoder, tmp_path, corpus_texts):
    source = conll(tmp_path / "a.conll", sentences(corpus_texts, 40))
    with pytest.raises(SettingsError, match="it changes the length, so tags would lose their words"):
        finetune(encoder, settings_of(tmp_path / "run", source, "noise.kind=delete"))
    with pytest.raises(SettingsError, match=r"data\.task: .*single_label"):
        load(ProbeSettings, None, ["modality=text", "data.task=tokens"])


def test_marks_of_documents_and_blank_sentences_are_counted(encoder, tmp_path, corpus_texts):
    rows = [(["-DOCSTART-"], ["O"]), *sentences(corpus_texts, 40)]
    source = conll(tmp_path / "a.txt", rows)
    summary = labelled_task("text", encoder, settings_of(tmp_path / "run", source).data).corpus.summary
    assert "lines -DOCSTART- left out: 1" in summary


def test_only_first_tokens_have_a_tag(encoder, finished, tmp_path):
    work = labelled_task("text", encoder, settings_of(tmp_path / "run", finished[2]).data)
    batch = work.batches(work.corpus.test).batch(torch.arange(5))
    assert batch["labels"].shape == batch["input_ids"].shape
    scored = [(row != UNSCORED).sum() for row in batch["labels"]]
    assert scored == [len(words) for words in work.corpus.test.examples[:5]]
    assert batch["word_start"].dtype == torch.bool


@pytest.mark.slow
def test_stopped_and_resumed_is_the_same_model(tmp_path, encoder, finished, monkeypatch):
    overrides = ["train.max_steps=20", "train.eval_steps=4", "train.save_steps=4"]
    whole = finetune(encoder, settings_of(tmp_path / "whole", finished[2], *overrides))
    real, calls = module.predict, []

    def stop_in_the_fourth(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "predict", stop_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        finetune(encoder, settings_of(tmp_path / "parts", finished[2], *overrides))
    monkeypatch.undo()
    parts = finetune(encoder, settings_of(tmp_path / "parts", finished[2], *overrides), resume=True)
    assert parts.metrics["test"] == whole.metrics["test"]
    one, other = (load_file(run.output_dir / "model.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(tmp_path, encoder, finished):
    overrides = ["train.max_steps=12", "train.eval_steps=0"]
    one = finetune(encoder, settings_of(tmp_path / "one", finished[2], *overrides))
    words = ["modality=text", "data.task=tokens", f"data.source={finished[2]}", f"output_dir={tmp_path / 'two'}", *QUICK, *overrides,
             f"data.cache_dir={tmp_path / 'cache'}", "train.per_device_train_batch_size=8"]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", "-m", "textdae", "finetune", str(encoder), *words]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    two, whole = (load_file(folder / "model.safetensors") for folder in (tmp_path / "two", one.output_dir))
    for name, value in whole.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-4, msg=name)
    found = json.loads((tmp_path / "two/metrics.json").read_text())["test"]
    assert json.loads(json.dumps(one.metrics["test"])).keys() == found.keys()
    assert found["model"]["f1"] == pytest.approx(one.metrics["test"]["model"]["f1"])
    assert found["model"]["loss"] == pytest.approx(one.metrics["test"]["model"]["loss"], rel=1e-4)
