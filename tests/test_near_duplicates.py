"""Near duplicates: against the Jaccard similarity by brute force, and the same whatever the workers."""

import json
import random

import numpy as np
import pytest

from textdae.commands.prepare import prepare
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.near_duplicates import (
    Signer,
    band_keys,
    bands_of,
    candidates,
    later_ones,
    split_by_shard,
)
from textdae.text.model_settings import TokenizerSettings
from textdae.text.settings import TextPrepareSettings

WORDS = [f"word{number}" for number in range(400)]


def document(chance, length=120):
    return " ".join(chance.choices(WORDS, k=length))


def changed(text, chance, share):
    """Another text with about this share of its words replaced."""
    return " ".join(chance.choice(WORDS) if chance.random() < share else word for word in text.split())


def runs(text):
    words = text.lower().split()
    return {tuple(words[begin : begin + 5]) for begin in range(max(1, len(words) - 4))}


def jaccard(one, other):
    return len(runs(one) & runs(other)) / len(runs(one) | runs(other))


def test_the_share_of_equal_minima_is_the_jaccard_similarity():
    chance, signer = random.Random(0), Signer()
    errors = []
    for number in range(120):
        one = document(chance)
        other = changed(one, chance, number / 120 * 0.15)
        minima = signer([one, other])
        errors.append(float((minima[0] == minima[1]).mean()) - jaccard(one, other))
    assert abs(np.mean(errors)) < 0.015  # no bias: 4 standard errors of the mean
    assert np.std(errors) < 0.05  # at most .044 in theory


def test_letters_in_capitals_and_punctuation_make_no_difference_and_short_ones_are_compared_whole():
    minima = Signer()(["One two, three!", "one two three", "one two four", "?", "!"])
    assert np.array_equal(minima[0], minima[1])
    assert not (minima[0] == minima[2]).any()
    assert not (minima[3] == minima[4]).any()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_a_pair_at_the_threshold_is_looked_at(threshold):
    bands, rows = bands_of(threshold)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


def test_pairs_of_one_key_are_all_there_or_chained_where_they_are_many():
    keys = np.array([5, 7, 5, 9, 5, *[8] * 30], np.uint64)
    pairs = {tuple(pair) for pair in candidates(keys).tolist()}
    assert {(0, 2), (0, 4), (2, 4)} <= pairs
    assert {(5, number) for number in range(6, 35)} | {
        (number, number + 1) for number in range(6, 34)
    } <= pairs
    assert len(pairs) == 3 + 29 + 28
    assert candidates(np.array([], np.uint64)).shape == (0, 2)


def test_of_each_group_the_first_stays():
    chance = random.Random(1)
    for _ in range(50):
        edges = [(chance.randrange(30), chance.randrange(30)) for _ in range(chance.randrange(25))]
        groups = [{number} for number in range(30)]  # by brute force
        for one, other in edges:
            first, second = (next(group for group in groups if each in group) for each in (one, other))
            if first is not second:
                groups.remove(second)
                first |= second
        expected = sorted(number for group in groups for number in group - {min(group)})
        assert later_ones(np.array(edges, np.int64).reshape(-1, 2)).tolist() == expected
    parts = split_by_shard(np.array([0, 3, 4, 9]), [4, 0, 5, 1])
    assert [part.tolist() for part in parts] == [[0, 3], [], [0], [0]]


def test_what_shares_a_band_holds_all_pairs_above_the_threshold():
    chance, signer = random.Random(2), Signer()
    texts = [document(chance) for _ in range(60)]
    texts += [changed(text, chance, chance.choice([0.0, 0.01, 0.02, 0.1])) for text in texts]
    keys = band_keys(signer(texts), 0.8)
    found = {tuple(pair) for band in keys for pair in candidates(band).tolist()}
    similar = {
        (number, number + 60) for number in range(60) if jaccard(texts[number], texts[number + 60]) >= 0.8
    }
    assert 20 < len(similar) < 60
    assert similar <= found


def corpus(folder):
    """Files with hand-made near duplicates, and the documents that must stay by brute force; none lies near the threshold."""
    chance, texts, stays = random.Random(4), [], []
    for _ in range(150):
        kind = chance.random()
        if kind < 0.25 and stays:
            texts.append(changed(chance.choice(stays), chance, 0.004))
        elif kind < 0.35 and stays:
            texts.append(changed(chance.choice(stays), chance, 0.3))
        else:
            texts.append(document(chance, chance.choice([4, 60, 120])))
        similar = [jaccard(texts[-1], text) for text in texts[:-1]]
        if any(0.6 < each < 0.9 for each in similar):
            texts.pop()
        elif not any(each >= 0.8 for each in similar):
            stays.append(texts[-1])
    folder.mkdir()
    for name, part in (("a.txt", texts[:70]), ("b.txt", texts[70:])):
        (folder / name).write_text("\n\n".join(part))
    return texts, stays


def settings(folder, output, **more):
    base = {"data": {"source": str(folder), "held_out": 0.1}, "output_dir": str(output), "shard_bytes": 6000, "tokenizer": {"vocab_size": 300}, "near_duplicates": 0.8}  # fmt: skip
    return load(TextPrepareSettings, base={**base, **more})


@pytest.mark.slow
def test_prepare_leaves_out_what_brute_force_does_and_says_how_many(tmp_path):
    texts, stays = corpus(tmp_path / "texts")
    prepare(settings(tmp_path / "texts", tmp_path / "one"), workers=1)
    counts = json.loads((tmp_path / "one" / "work" / "removed" / "done.json").read_text())
    assert 20 < len(texts) - len(stays) == counts["removed"]
    assert counts["documents"] == len(texts)
    found = prepare_text(TextDataSettings(source=str(tmp_path / "one")), TokenizerSettings())
    assert found.train.info.documents + found.held_out.info.documents == len(stays)
    assert f"near duplicates left out: {len(texts) - len(stays)}" in found.summary
    with pytest.raises(SettingsError, match="or of other settings"):
        prepare(settings(tmp_path / "texts", tmp_path / "one", near_duplicates=0.9))


@pytest.mark.slow
def test_what_stays_does_not_depend_on_the_workers_and_is_another_corpus_than_all(tmp_path):
    texts, _ = corpus(tmp_path / "texts")
    for workers in (1, 2, 7):
        prepare(settings(tmp_path / "texts", tmp_path / str(workers)), workers=workers)
        assert (tmp_path / f"{workers}/index.json").read_bytes() == (tmp_path / "1/index.json").read_bytes()
    found = prepare_text(TextDataSettings(source=str(tmp_path / "1")), TokenizerSettings())
    prepare(settings(tmp_path / "texts", tmp_path / "all", near_duplicates=None), workers=1)
    whole = prepare_text(TextDataSettings(source=str(tmp_path / "all")), TokenizerSettings())
    assert whole.fingerprint["data.source"] != found.fingerprint["data.source"]
    assert whole.train.info.documents + whole.held_out.info.documents == len(texts)
