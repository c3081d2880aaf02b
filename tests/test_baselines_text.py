"""The baselines against brute force: dictionaries of counts, one question at a time."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from noises import text_noise

from textdae.core.examples import Questions
from textdae.core.in_order import InOrder
from textdae.text import baselines as text
from textdae.text.baselines import TextBaselines
from textdae.text.data.packing import Blocks, Packer, StreamWriter
from textdae.text.noises.masking import TokenNoise
from textdae.text.task import word_questions
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.training.evaluation import corrupt_for_evaluation, subsample


@pytest.fixture
def sides(tmp_path, wordpiece, corpus_texts):
    for name, texts in (("train", corpus_texts[:200]), ("held_out", corpus_texts[200:230])):
        writer = StreamWriter(tmp_path / name, InOrder(Packer(wordpiece)), with_words=True)
        for one in texts:
            writer.add(one)
        writer.close()
    return [Blocks(tmp_path / name, 32, wordpiece.pad_token_id) for name in ("train", "held_out")]


def one_by_one(questions: Questions, mask_id):
    """Target, what is shown there, and its neighbours; -1 is a mask."""
    batch = corrupt_for_evaluation(*questions)
    for shown, target, where in zip(
        batch.inputs["input_ids"].tolist(), batch.target.tolist(), batch.loss_mask.tolist(), strict=True
    ):
        seen = [-1] + [-1 if token == mask_id else token for token in shown] + [-1]
        for place, hidden in enumerate(where):
            if hidden:
                yield target[place], seen[place + 1], seen[place], seen[place + 2]


@pytest.fixture(params=["words", "tokens"])
def baselines(request, sides, wordpiece):
    vocabulary = vocabulary_of(wordpiece)
    if request.param == "words":
        questions = word_questions(sides[1], vocabulary, 0.15, 10)
    else:
        questions = Questions(
            sides[1], text_noise(TokenNoise, vocabulary, 0.15), subsample(len(sides[1]), 10)
        )
    found = TextBaselines(sides[0], vocabulary, [questions]).score(questions)
    asked = list(one_by_one(questions, vocabulary.mask_id))
    shown = sum(here >= 0 for _, here, _, _ in asked)
    assert (shown > 0) == (request.param == "tokens")
    assert found["unigram"].scored == len(asked)
    return found, asked, vocabulary, questions


def after_seeing(p: np.ndarray, here: int, ordinary: list[int], kind: float = 0.1) -> np.ndarray:
    """Bayes: of the hidden tokens 80% are masked, 10% drawn from all, 10% left as they are."""
    if here < 0:
        return p
    likelihood = np.array([kind / len(ordinary) + kind * (token == here) for token in ordinary])
    return p * likelihood / (p * likelihood).sum()


def test_unigram_baseline_equals_counts(baselines, sides):
    found, asked, vocabulary, _ = baselines
    counts = Counter(sides[0].ids.tolist())
    ordinary = [i for i in range(vocabulary.size) if i not in vocabulary.special_ids]
    total = sum(counts[i] + 1 for i in ordinary)
    p_u = np.array([(counts[i] + 1) / total for i in ordinary])
    losses, hits = [], []
    for target, here, _, _ in asked:
        p = after_seeing(p_u, here, ordinary)
        losses.append(-np.log(p[ordinary.index(target)]))
        hits.append(ordinary[p.argmax()] == target)
    assert found["unigram"].loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["unigram"].accuracy == pytest.approx(np.mean(hits))


def test_neighbours_baseline_equals_brute_force(baselines, sides):
    found, asked, vocabulary, _ = baselines
    stream = sides[0].ids.tolist()
    ordinary = [i for i in range(vocabulary.size) if i not in vocabulary.special_ids]
    unigram = Counter(stream)
    total = sum(unigram[i] + 1 for i in ordinary)
    p_u = np.array([(unigram[i] + 1) / total for i in ordinary])
    tables = defaultdict(Counter)
    for left, token, right in zip(stream, stream[1:], stream[2:], strict=False):
        tables["l", left][token] += 1
        tables["r", token][left] += 1
        tables["b", left, right][token] += 1

    def row(*key):
        return np.array([tables[key][i] if key in tables else 0 for i in ordinary], float)

    def score(one, two):
        losses, hits = [], []
        for target, here, left, right in asked:
            c_l = row("l", left) if left >= 0 else np.zeros(len(ordinary))
            c_r = row("r", right) if right >= 0 else np.zeros(len(ordinary))
            c_b = row("b", left, right) if min(left, right) >= 0 else np.zeros(len(ordinary))
            back = (c_l + one * p_u) / (c_l.sum() + one) * (c_r + one * p_u) / (c_r.sum() + one) / p_u
            p = (c_b + two * back / back.sum()) / (c_b.sum() + two)
            assert p.sum() == pytest.approx(1)
            p = after_seeing(p, here, ordinary)
            losses.append(-np.log(p[ordinary.index(target)]))
            hits.append(ordinary[p.argmax()] == target)
        return np.mean(losses), np.mean(hits)

    best = min(
        (score(one, two) for one in (2.0, 8.0, 32.0) for two in (1.0, 4.0, 16.0)), key=lambda pair: pair[0]
    )
    assert found["neighbours"].loss == pytest.approx(best[0], rel=1e-5)
    assert found["neighbours"].accuracy == pytest.approx(best[1], abs=0.005)
    if len(asked) > 100:  # few questions decide nothing
        assert found["neighbours"].loss < found["unigram"].loss


def test_chunks_and_other_questions_change_nothing(baselines, sides, wordpiece, monkeypatch):
    found, _, vocabulary, questions = baselines
    monkeypatch.setattr(text, "_CHUNK", 97)
    monkeypatch.setattr(text, "_ROWS", 7)
    few = Questions(questions.examples, questions.noise, questions.indices[:3])
    again = TextBaselines(sides[0], vocabulary, [few, questions])
    for name, baseline in again.score(questions).items():
        assert baseline == pytest.approx(found[name]), name
    alone = TextBaselines(sides[0], vocabulary, [few]).score(few)
    for name, baseline in again.score(few).items():
        assert baseline == pytest.approx(alone[name]), name
    assert alone["unigram"].scored < found["unigram"].scored


def test_a_token_that_is_shown_helps_the_baselines_too(sides, wordpiece):
    """The tenth of the answers that the old convention shows."""
    vocabulary = vocabulary_of(wordpiece)
    indices = subsample(len(sides[1]), 10)
    losses = {}
    for kept in (0.1, 0.3):
        noise = text_noise(TokenNoise, vocabulary, 0.15, mask_share=0.9 - kept, random_share=0.1)
        questions = Questions(sides[1], noise, indices)
        losses[kept] = TextBaselines(sides[0], vocabulary, [questions]).score(questions)
    for name in ("unigram", "neighbours"):
        assert losses[0.3][name].loss < losses[0.1][name].loss - 0.3
        assert losses[0.3][name].accuracy > losses[0.1][name].accuracy + 0.1


def test_the_questions_are_always_the_same(sides, wordpiece):
    noise = text_noise(TokenNoise, vocabulary_of(wordpiece), 0.15)
    indices = torch.arange(8)
    whole = corrupt_for_evaluation(sides[1], noise, indices)
    for start in (0, 3, 7):
        part = corrupt_for_evaluation(sides[1], noise, indices[start:])
        assert torch.equal(part.loss_mask, whole.loss_mask[start:])
        assert torch.equal(part.inputs["input_ids"], whole.inputs["input_ids"][start:])
