"""Mixtures: which source a position of the run is drawn from, and what is scored of each."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from textdae.commands.provenance import comparable, with_absolute_paths
from textdae.core.errors import SettingsError
from textdae.core.examples import Concatenated, Questions, SourceWeight
from textdae.core.settings.paths import without_folders
from textdae.core.settings.reader import load
from textdae.core.settings.yaml_text import dump, from_anyone
from textdae.hub.upload import without_paths
from textdae.text.code.token_weights import token_weights
from textdae.text.data.corpus import prepare_text
from textdae.text.data.counting import token_counts
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.joined import Joined
from textdae.text.data.mixed import MixedBlocks, MixedQuestions, by_source
from textdae.text.model_settings import TokenizerSettings
from textdae.text.settings import TextPretrainSettings
from textdae.text.task import word_questions
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.training.batches import Batches
from textdae.training.mixture import MixtureSampler, period
from textdae.training.order import EpochSampler
from textdae.training.schedule import Schedule


def shares(*weights, most=None):
    most = most or [None] * len(weights)
    return [
        SourceWeight(f"source {n}", weight, cap)
        for n, (weight, cap) in enumerate(zip(weights, most, strict=True))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_every_beginning_has_the_share_of_each_source_to_less_than_one(seed):
    chance = np.random.default_rng(seed)
    counts = [int(count) for count in chance.integers(1, (60, 400)[seed % 2], size=1 + seed % 9)]
    order = np.array(period(counts))
    assert np.bincount(order, minlength=len(counts)).tolist() == counts
    ends = np.arange(1, len(order) + 1)
    for source, count in enumerate(counts):
        assert np.abs((order == source).cumsum() - ends * count / sum(counts)).max() < 1


@pytest.mark.parametrize(
    "weights", [(0.7, 0.3), (1, 1, 1), (0.333, 0.333, 0.334), (0.9, 0.05, 0.03, 0.02), (5,)]
)
def test_at_every_1000_blocks_the_share_is_that_of_the_weights_to_one_block(weights):
    sampler = MixtureSampler(0, [50] * len(weights), shares(*weights))
    drawn = sampler.sources(0, 50_000)
    exact = [Fraction(str(weight)) / sum(Fraction(str(each)) for each in weights) for weight in weights]
    for end in range(1000, 50_001, 1000):
        counts = np.bincount(drawn[:end], minlength=len(weights))
        assert all(abs(count - end * share) < 1 for count, share in zip(counts.tolist(), exact, strict=True))


def test_each_source_is_gone_through_in_its_own_order_and_any_position_can_be_asked_for():
    sizes, sampler = [40, 30, 7], MixtureSampler(3, [40, 30, 7], shares(0.5, 0.3, 0.2))
    epochs, examples = sampler.at(0, 1000)
    begin = 0
    for size in sizes:
        inside = (examples >= begin) & (examples < begin + size)
        expected_epochs, expected = EpochSampler(3, size).at(0, int(inside.sum()))
        assert torch.equal(examples[inside] - begin, expected)
        assert torch.equal(epochs[inside], expected_epochs)
        begin += size
    for start, count in [(0, 1), (1, 99), (500, 500), (999, 1)]:
        again = MixtureSampler(3, sizes, shares(0.5, 0.3, 0.2)).at(start, count)
        assert torch.equal(again[0], epochs[start : start + count])
        assert torch.equal(again[1], examples[start : start + count])


def test_a_source_that_is_used_up_leaves_its_weight_to_the_others():
    sampler = MixtureSampler(0, [100, 50, 50], shares(0.5, 0.3, 0.2, most=[None, 2, 1]))
    drawn = sampler.sources(0, 5000)
    assert np.bincount(drawn).tolist() == [4850, 100, 50]
    last = int(np.flatnonzero(drawn == 2)[-1])  # 50 / 0.2
    assert 245 <= last < 250
    between = drawn[last + 1 : int(np.flatnonzero(drawn == 1)[-1])]
    assert abs((between == 0).sum() - len(between) * 5 / 8) < 1
    assert sampler.end is None


def test_a_run_ends_where_all_sources_are_used_up():
    sampler = MixtureSampler(0, [100, 50], shares(0.5, 0.5, most=[1, 1.5]))
    assert sampler.end == 175
    assert np.bincount(sampler.sources(0, 175)).tolist() == [100, 75]
    settings = load(TextPretrainSettings, None, ["train.num_train_epochs=10"]).train
    assert Schedule(settings, 150, 16, sampler.end).last_example == 175
    settings = load(TextPretrainSettings, None, ["train.max_steps=1000"]).train
    assert Schedule(settings, 150, 16, sampler.end).max_steps == math.ceil(175 / 16)


def test_weights_of_too_many_digits_are_refused():
    with pytest.raises(SettingsError, match="fewer digits"):
        MixtureSampler(0, [10, 10], shares(0.333333333, 0.666666667))


def test_arrays_are_read_as_one():
    parts = [np.arange(5), np.arange(5, 5), np.arange(5, 12), np.arange(12, 13)]
    joined = Joined([len(part) for part in parts], parts.__getitem__, np.int64)
    whole = np.arange(13)
    assert len(joined) == 13
    for begin in range(14):
        for end in range(14):
            assert np.array_equal(joined[begin:end], whole[begin:end])
    places = np.random.default_rng(0).integers(0, 13, (4, 5))
    assert np.array_equal(joined[places], whole[places])


@pytest.fixture
def mixture(tmp_path, corpus_texts):
    half = len(corpus_texts) // 2
    for name, texts in (("a", corpus_texts[:half]), ("b", corpus_texts[half:])):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(texts))
    given = f"[{{source: {tmp_path}/a.txt, weight: 0.75}}, {{source: {tmp_path}/b.txt, weight: 0.25, max_epochs: 3}}]"
    words = [f"data.source={given}", "data.held_out=0.2", "data.block_size=32", "tokenizer.vocab_size=300"]
    return load(TextPretrainSettings, None, words)


def test_a_mixture_holds_the_blocks_of_its_sources(mixture):
    corpus = prepare_text(mixture.data, mixture.tokenizer)
    assert isinstance(corpus.train, MixedBlocks)
    single = [prepare_text(part, mixture.tokenizer, corpus.tokenizer) for part in mixture.data.parts()]
    assert len(corpus.train) == sum(len(each.train) for each in single)
    numbers = torch.randperm(len(corpus.train), generator=torch.Generator().manual_seed(0))[:20]
    rows = corpus.train.batch(numbers)["input_ids"]
    for row, number in zip(rows, numbers.tolist(), strict=True):
        part, inside = (0, number) if number < len(single[0].train) else (1, number - len(single[0].train))
        assert torch.equal(row, single[part].train.batch([inside])["input_ids"][0])
    assert corpus.summary[0] == "several sources: 75.0% a.txt, 25.0% b.txt"
    changed = [
        f"data.source=[{{source: {mixture.data.sources[0].source}}}, {{source: {mixture.data.sources[1].source}}}]"
    ]
    other = prepare_text(
        load(TextPretrainSettings, None, [*changed, "data.block_size=32"]).data, mixture.tokenizer
    )
    assert other.fingerprint["data.source"] != corpus.fingerprint["data.source"]


def test_tokens_are_counted_as_often_as_the_run_draws_them(mixture):
    corpus = prepare_text(mixture.data, mixture.tokenizer)
    size, counts = len(corpus.tokenizer), np.zeros(len(corpus.tokenizer))
    lengths = [part.info.tokens for part in corpus.train.parts]
    for part, weight, length in zip(corpus.train.parts, (0.75, 0.25), lengths, strict=True):
        for token in np.asarray(part.ids).tolist():
            counts[token] += weight * sum(lengths) / length
    np.testing.assert_allclose(token_counts(corpus.train, size), counts)
    assert token_counts(corpus.train.parts[0], size).sum() == lengths[0]
    weights = token_weights(corpus.train, size, vocabulary_of(corpus.tokenizer), "sif").numpy()
    ordinary = vocabulary_of(corpus.tokenizer).ordinary
    np.testing.assert_allclose(
        weights[ordinary], (1e-3 / (1e-3 + counts / sum(lengths)))[ordinary], rtol=1e-5
    )


def test_the_questions_of_all_sources_are_those_of_each_together(mixture):
    corpus = prepare_text(mixture.data, mixture.tokenizer)
    questions = word_questions(corpus.held_out, vocabulary_of(corpus.tokenizer), 0.3, 40)
    parts = by_source(questions)
    assert list(parts) == ["a.txt", "b.txt"]
    assert isinstance(questions.examples, MixedQuestions)
    assert questions.examples.words == sum(part.examples.words for part in parts.values())
    joined = torch.cat([part.examples.batch(part.indices)["scored"] for part in parts.values()])
    assert torch.equal(questions.examples.batch(questions.indices)["scored"], joined)
    assert by_source(Questions(corpus.held_out.parts[0], questions.noise, questions.indices)) == {}


def test_a_batch_of_a_mixture_depends_on_its_position_alone(mixture):
    corpus = prepare_text(mixture.data, mixture.tokenizer)
    order = Batches(corpus.train, object(), 0).order
    assert isinstance(order, MixtureSampler)
    assert order.size == len(corpus.train)


def test_the_settings_of_a_mixture_give_it_back_and_name_no_place(mixture):
    written = from_anyone(dump(mixture), "settings.yaml")
    assert load(TextPretrainSettings, base=written) == mixture
    assert load(TextPretrainSettings, None, ["data.source=other.txt"], written).data.sources is None
    sent = without_paths(written)["data"]["sources"]
    assert [each["source"] for each in sent] == ["./a.txt", "./b.txt"]
    summary = "; ".join(prepare_text(mixture.data, mixture.tokenizer).summary)
    folder = str(Path(mixture.data.sources[0].source).parent)
    assert folder in summary
    assert folder not in without_folders(summary, mixture.model_dump(mode="json"))


def test_one_source_may_be_embedded_and_another_is_named_over_all(tmp_path):
    settings = load(TextPretrainSettings, None, ["data.source=[{source: docstrings}, {source: ./texts/b}]"])
    first, second = with_absolute_paths(settings).data.sources
    assert (first.source, second.source) == ("docstrings", str(Path("texts/b").absolute()))
    again = load(TextPretrainSettings, None, ["data.source=docstrings"], from_anyone(dump(settings), "it"))
    assert (again.data.source, again.data.sources) == ("docstrings", None)


def test_hosts_may_have_the_sources_elsewhere_but_not_with_other_weights(mixture):
    def with_sources(**changes):
        changed = tuple(each.model_copy(update=changes) for each in mixture.data.sources)
        return comparable(
            mixture.model_copy(update={"data": mixture.data.model_copy(update={"sources": changed})})
        )

    assert with_sources(source="/elsewhere/a.txt") == with_sources() == comparable(mixture)
    assert with_sources(weight=9.0) != comparable(mixture)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("[]", "data: source holds no source"),
        ("[{source: a, weight: 0}]", "data.sources.weight: input should be greater than 0"),
        ("[{source: a}, {source: x/a}]", "two sources are called a"),
        ("[{weight: 1}]", "data.sources.source: field required"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_one_line(given, says):
    with pytest.raises(SettingsError, match=says) as error:
        load(TextPretrainSettings, None, [f"data.source={given}"])
    assert "\n" not in str(error.value)


def test_the_same_text_twice_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "texts.txt").write_text("one text\n\nanother")
    sources = [{"source": str(tmp_path / name / "texts.txt"), "name": name} for name in "ab"]
    with pytest.raises(SettingsError, match="holds the same text as"):
        prepare_text(TextDataSettings(source=sources), TokenizerSettings())


def test_concatenated_examples_keep_the_order_that_is_asked_for():
    class Numbers:
        def __init__(self, first, count):
            self.first, self.count = first, count

        def __len__(self):
            return self.count

        def batch(self, indices):
            return {"x": indices + self.first}

    both = Concatenated([Numbers(0, 3), Numbers(3, 4)], shares(1, 1))
    assert both.batch(torch.tensor([6, 0, 4, 2, 2]))["x"].tolist() == [6, 0, 4, 2, 2]
