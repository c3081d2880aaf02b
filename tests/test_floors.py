"""The floors against brute force: dictionaries of counts, one question at a time."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from textdae.data.in_order import InOrder
from textdae.data.packing import Blocks, Packer, StreamWriter
from textdae.data.tokenizer import vocabulary_of
from textdae.floors import text
from textdae.floors.text import text_floors
from textdae.noise import TokenNoise
from textdae.training.evaluation import frozen, spread


@pytest.fixture
def sides(tmp_path, wordpiece, corpus_texts):
    for name, texts in (("train", corpus_texts[:200]), ("held_out", corpus_texts[200:230])):
        writer = StreamWriter(tmp_path / name, InOrder(Packer(wordpiece)))
        for one in texts:
            writer.add(one)
        writer.close()
    return [Blocks(tmp_path / name, 32, wordpiece.pad_token_id) for name in ("train", "held_out")]


def questions(held_out, noise, mask_id):
    batch = frozen(held_out, noise, spread(len(held_out), 10))
    for shown, target, where in zip(
        batch.inputs["input_ids"].tolist(), batch.target.tolist(), batch.where.tolist(), strict=True
    ):
        seen = [-1] + [-1 if token == mask_id else token for token in shown] + [-1]
        for place, hidden in enumerate(where):
            if hidden:
                yield target[place], seen[place], seen[place + 2]


@pytest.fixture
def floors(sides, wordpiece):
    vocabulary = vocabulary_of(wordpiece)
    noise = TokenNoise(vocabulary, 0.15)
    found = text_floors(*sides, noise, vocabulary, spread(len(sides[1]), 10))
    return found, list(questions(sides[1], noise, vocabulary.mask_id)), vocabulary


def test_unigram(floors, sides):
    found, asked, vocabulary = floors
    counts = Counter(sides[0].ids.tolist())
    ordinary = [i for i in range(vocabulary.size) if i not in vocabulary.special_ids]
    total = sum(counts[i] + 1 for i in ordinary)
    losses = [-np.log((counts[target] + 1) / total) for target, _, _ in asked]
    commonest = max(ordinary, key=lambda i: counts[i])
    assert found["unigram"].loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["unigram"].accuracy == pytest.approx(
        np.mean([target == commonest for target, _, _ in asked])
    )


def test_neighbours(floors, sides):
    found, asked, vocabulary = floors
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
        for target, left, right in asked:
            c_l = row("l", left) if left >= 0 else np.zeros(len(ordinary))
            c_r = row("r", right) if right >= 0 else np.zeros(len(ordinary))
            c_b = row("b", left, right) if min(left, right) >= 0 else np.zeros(len(ordinary))
            back = (c_l + one * p_u) / (c_l.sum() + one) * (c_r + one * p_u) / (c_r.sum() + one) / p_u
            p = (c_b + two * back / back.sum()) / (c_b.sum() + two)
            assert p.sum() == pytest.approx(1)
            losses.append(-np.log(p[ordinary.index(target)]))
            hits.append(ordinary[p.argmax()] == target)
        return np.mean(losses), np.mean(hits)

    best = min(
        (score(one, two) for one in (2.0, 8.0, 32.0) for two in (1.0, 4.0, 16.0)), key=lambda pair: pair[0]
    )
    assert found["neighbours"].loss == pytest.approx(best[0], rel=1e-5)
    assert found["neighbours"].accuracy == pytest.approx(best[1], abs=0.005)
    assert found["neighbours"].loss < found["unigram"].loss


def test_chunks_change_nothing(floors, sides, wordpiece, monkeypatch):
    found, _, vocabulary = floors
    monkeypatch.setattr(text, "_CHUNK", 97)
    again = text_floors(*sides, TokenNoise(vocabulary, 0.15), vocabulary, spread(len(sides[1]), 10))
    assert again["unigram"] == pytest.approx(found["unigram"])
    assert again["neighbours"] == pytest.approx(found["neighbours"])


def test_the_questions_are_always_the_same(sides, wordpiece):
    noise = TokenNoise(vocabulary_of(wordpiece), 0.15)
    numbers = torch.arange(8)
    whole = frozen(sides[1], noise, numbers)
    for start in (0, 3, 7):
        part = frozen(sides[1], noise, numbers[start:])
        assert torch.equal(part.where, whole.where[start:])
        assert torch.equal(part.inputs["input_ids"], whole.inputs["input_ids"][start:])
