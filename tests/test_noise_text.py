"""Noise on text: what is hidden, how often, and what it is never allowed to touch.

Tolerances are five standard errors, and every draw is seeded.
"""

import functools
import itertools
import math
import zlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noises import text_noise
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from textdae.core.draw import Draw
from textdae.core.in_order import InOrder
from textdae.core.noise import Corrupted, Level, Noise
from textdae.core.noise_kind import build_noise
from textdae.text import settings as s
from textdae.text.data.packing import Blocks, Packer, StreamWriter
from textdae.text.noise import Block, TextNoise
from textdae.text.noises.masking import MaskingNoise, SpanNoise, TokenNoise, WordNoise
from textdae.text.tokens.tokenizer import train_tokenizer
from textdae.text.tokens.vocabulary import Vocabulary, vocabulary_of

PAD, UNK, CLS, SEP, MASK = range(5)
WIDE = Vocabulary(50_000, MASK, (PAD, UNK, CLS, SEP, MASK))
NARROW = Vocabulary(8, MASK, (PAD, UNK, CLS, SEP, MASK))  # three ordinary ids
KINDS = [kind for kind in TextNoise.kinds.values() if issubclass(kind, MaskingNoise)]
every_kind = pytest.mark.parametrize("kind", KINDS)


def draw(rows: int, *, seed: int = 0, epoch: int = 0, first: int = 0) -> Draw:
    return Draw(seed, torch.full((rows,), epoch), torch.arange(first, first + rows))


def maskable(clean: dict[str, Tensor], vocabulary: Vocabulary = WIDE) -> Tensor:
    return ~torch.isin(clean["input_ids"], torch.tensor(vocabulary.special_ids)) & (clean["document"] >= 0)


def prose(rows: int) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in _prose(rows).items()}


@functools.cache
def _prose(rows: int, length: int = 128, vocabulary: Vocabulary = WIDE, seed: int = 0) -> dict[str, Tensor]:
    """Blocks as packing makes them: framed documents of words of 1 to 4 tokens, a special token here and there, padding."""
    generator = torch.Generator().manual_seed(seed)

    def below(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    ids = torch.randint(5, vocabulary.size, (rows, length), generator=generator)
    start = torch.zeros(rows, length, dtype=torch.bool)
    document = torch.zeros(rows, length, dtype=torch.long)
    for row in range(rows):
        at, number = 0, 0
        while at < length:
            end = min(length, at + 12 + below(40))
            document[row, at:end] = number
            ids[row, at], ids[row, end - 1] = CLS, SEP
            word = at + 1
            while word < end - 1:
                start[row, word] = True
                if below(15) == 0:
                    ids[row, word] = (UNK, MASK, SEP)[below(3)]
                word += 1 + below(4)
            at, number = end, number + 1
        if row % 3 == 0:
            pad = below(length // 2)
            ids[row, length - pad :] = PAD
            start[row, length - pad :] = False
            document[row, length - pad :] = -1
    return {"input_ids": ids, "word_start": start, "document": document}


def plain(rows: int, length: int = 100, vocabulary: Vocabulary = WIDE) -> dict[str, Tensor]:
    """One document of ordinary one-token words, nothing else."""
    ids = torch.randint(5, vocabulary.size, (rows, length), generator=torch.Generator().manual_seed(0))
    return {
        "input_ids": ids,
        "word_start": torch.ones_like(ids, dtype=torch.bool),
        "document": torch.zeros_like(ids),
    }


def words_of(clean: dict[str, Tensor], row: int) -> list[list[int]]:
    """The positions of each word of a block, in order; what stands between words goes with the word before."""
    start, document = clean["word_start"][row].tolist(), clean["document"][row].tolist()
    words: list[list[int]] = []
    for at in range(len(start)):
        if at and not start[at] and document[at] == document[at - 1]:
            words[-1].append(at)
        else:
            words.append([at])
    return words


# Which tokens


def chosen_by_hand(noise: Noise, clean: dict[str, Tensor], drawn: Draw, rate: float) -> Tensor:
    """Candidate runs of units in the order of their priority, until the rate is met: the definition, slowly."""
    length = clean["input_ids"].shape[1]
    priorities, lengths = drawn.uniform("priority", length), drawn.uniform("length", length)
    chance = drawn.uniform("last")
    where = torch.zeros_like(clean["input_ids"], dtype=torch.bool)
    for row in range(len(where)):
        allowed, document = maskable(clean)[row], clean["document"][row]
        units = (
            words_of(clean, row)
            if not isinstance(noise.settings, TokenNoise)
            else [[at] for at in range(length)]
        )
        runs = []
        for index, unit in enumerate(units):
            wanted = 1
            if isinstance(noise.settings, SpanNoise) and allowed[unit[0]]:
                wanted += sum(lengths[row, unit[0]].item() < (1 - 1 / 5) ** k for k in range(1, 10))
            run = [unit]
            for following in units[index + 1 : index + wanted]:
                if not allowed[following[0]] or document[following[0]] != document[unit[0]]:
                    break
                run.append(following)
            kept = [[at for at in unit if allowed[at]] for unit in run]
            runs.append((priorities[row, unit[0]].item(), index, [unit for unit in kept if unit]))
        total = int(allowed.sum())
        taken = 0
        for unit in (unit for _, _, run in sorted(runs) for unit in run):
            if where[row, unit[0]]:
                continue
            left = torch.tensor(rate) * total - taken
            if taken and not chance[row, 0] * len(unit) < left:
                break
            where[row, unit] = True
            taken += len(unit)
    return where


@every_kind
@pytest.mark.parametrize("rate", [0.01, 0.15, 0.4, 1.0])
def test_what_is_hidden_is_what_the_definition_says(kind, rate):
    clean = prose(60)
    noise = text_noise(kind, WIDE, rate)
    assert torch.equal(noise(clean, draw(60)).loss_mask, chosen_by_hand(noise, clean, draw(60), rate))


@every_kind
@pytest.mark.parametrize("rate", [0.1, 0.15, 0.3, 0.5, 0.9])
def test_the_expected_share_is_the_rate(kind, rate):
    clean = prose(800)
    hidden = text_noise(kind, WIDE, rate)(clean, draw(800)).loss_mask.sum(1)
    off = (hidden - rate * maskable(clean).sum(1)).double()
    should_stop = (
        maskable(clean).sum(1) * rate > 4
    )  # the first unit is hidden even if it is longer than the rate allows
    off = off[should_stop]
    assert len(off) > 600
    assert abs(off.mean()) < 5 * off.std() / len(off) ** 0.5 + 1e-6


@pytest.mark.parametrize("rate", [0.15, 0.37, 0.9])
def test_the_number_of_hidden_tokens_is_the_rate_rounded_up_or_down(rate):
    clean = prose(300)
    exact = rate * maskable(clean).sum(1)
    hidden = text_noise(TokenNoise, WIDE, rate)(clean, draw(300)).loss_mask.sum(1)
    assert (hidden >= exact.floor().clamp(min=1)).all()
    assert (hidden <= exact.ceil()).all()
    assert (hidden < exact).any()
    assert (hidden > exact).any()


def test_every_token_is_hidden_equally_often():
    clean = plain(4000, 50)
    shares = text_noise(TokenNoise, WIDE, 0.3)(clean, draw(4000)).loss_mask.double().mean(0)
    assert ((shares - 0.3).abs() < 5 * (0.21 / 4000) ** 0.5).all()


@every_kind
def test_a_rate_of_one_hides_everything_that_may_be_hidden(kind):
    clean = prose(50)
    assert torch.equal(text_noise(kind, WIDE, 1.0)(clean, draw(50)).loss_mask, maskable(clean))


@every_kind
def test_every_block_with_something_to_hide_hides_something(kind):
    clean = prose(300)
    hidden = text_noise(kind, WIDE, 1e-6)(clean, draw(300)).loss_mask
    assert torch.equal(hidden.any(1), maskable(clean).any(1))
    if kind is not WordNoise:
        assert hidden.sum(1).max() <= 4


@every_kind
def test_a_block_of_one_token_hides_exactly_it(kind):
    clean = plain(20, 40)
    clean["input_ids"][:] = SEP
    places = torch.arange(20) * 2
    clean["input_ids"][torch.arange(20), places] = 77
    corrupted = text_noise(kind, WIDE, 0.15)(clean, draw(20))
    assert corrupted.loss_mask.sum(1).eq(1).all()
    assert corrupted.loss_mask[torch.arange(20), places].all()


@every_kind
@pytest.mark.parametrize("length", [1, 2])
def test_blocks_of_one_or_two_positions_work(kind, length):
    assert text_noise(kind, WIDE, 0.15)(plain(9, length), draw(9)).loss_mask.sum(1).eq(1).all()


@every_kind
def test_a_block_of_special_tokens_or_padding_is_left_alone(kind):
    clean = plain(6, 16)
    clean["input_ids"] = torch.randint(0, 5, (6, 16), generator=torch.Generator().manual_seed(0))
    clean["document"][3:] = -1
    clean["input_ids"][5] = 999  # ordinary ids, but no document: padding all the same
    corrupted = text_noise(kind, WIDE, 0.5)(clean, draw(6))
    assert not corrupted.loss_mask.any()
    assert torch.equal(corrupted.inputs["input_ids"], clean["input_ids"])


def test_a_vocabulary_without_ordinary_ids_is_refused():
    with pytest.raises(ValueError, match="special tokens only"):
        Vocabulary(2, 1, (0, 1))


@st.composite
def wild_blocks(build) -> dict[str, Tensor]:
    rows, length = build(st.integers(1, 4)), build(st.integers(1, 24))
    shape = st.lists(st.integers(0, NARROW.size - 1), min_size=rows * length, max_size=rows * length)
    ids = torch.tensor(build(shape)).reshape(rows, length)
    document = torch.tensor(build(shape)).reshape(rows, length) - 2
    start = torch.tensor(build(shape)).reshape(rows, length) > 3
    return {"input_ids": ids, "word_start": start, "document": document.clamp(min=-1)}


@settings(max_examples=150)
@given(clean=wild_blocks(), kind=st.sampled_from(KINDS), rate=st.floats(1e-6, 1), seed=st.integers(0, 2**62))
def test_whatever_the_block_the_rules_hold(clean, kind, rate, seed):
    before = {name: value.clone() for name, value in clean.items()}
    allowed = maskable(clean, NARROW)
    inputs, target, where = text_noise(kind, NARROW, rate)(clean, draw(len(allowed), seed=seed))
    assert not (where & ~allowed).any()
    assert torch.equal(where.any(1), allowed.any(1))
    assert torch.equal(inputs["input_ids"][~where], before["input_ids"][~where])
    assert torch.isin(inputs["input_ids"][where], torch.tensor([MASK, 5, 6, 7])).all()
    assert torch.equal(target, before["input_ids"])
    assert all(torch.equal(clean[name], before[name]) for name in before)


# What hidden tokens show


@every_kind
@pytest.mark.parametrize("shares", [(0.8, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.5), (0.2, 0.3)])
def test_hidden_tokens_show_mask_random_or_themselves_in_the_shares_asked_for(kind, shares):
    clean = prose(400)
    inputs, target, where = text_noise(kind, WIDE, 0.3, mask_share=shares[0], random_share=shares[1])(
        clean, draw(400)
    )
    shown, original = inputs["input_ids"], target
    kinds = torch.stack([shown == MASK, (shown != MASK) & (shown != original), shown == original])
    per_block = (kinds & where).sum(2).double() / where.sum(1)
    for share, expected in zip(per_block, (*shares, 1 - sum(shares)), strict=True):
        tolerance = 5 * share.std() / len(share) ** 0.5 + 1e-4
        assert abs(share.mean() - expected) < tolerance


@every_kind
def test_random_replacements_are_ordinary_tokens_only_each_equally_often(kind):
    vocabulary = Vocabulary(12, 9, (0, 3, 9, 11))  # special ids between the others
    ordinary = torch.tensor([1, 2, 4, 5, 6, 7, 8, 10])
    clean = plain(600, 64)
    clean["input_ids"][:] = 5
    shown = text_noise(kind, vocabulary, 0.5, mask_share=0.0, random_share=1.0)(clean, draw(600))
    drawn = shown.inputs["input_ids"][shown.loss_mask]
    assert torch.isin(drawn, ordinary).all()
    shares = torch.bincount(drawn, minlength=12)[ordinary] / len(drawn)
    assert ((shares - 1 / 8).abs() < 5 * (7 / 64 / len(drawn)) ** 0.5).all()


def test_with_few_distinct_ids_and_much_padding_replacements_still_come_from_the_whole_vocabulary():
    clean = plain(400, 64)
    clean["input_ids"][:] = 7
    clean["input_ids"][:, 6:] = PAD
    clean["document"][:, 6:] = -1
    corrupted = text_noise(TokenNoise, WIDE, 0.5, mask_share=0.0, random_share=1.0)(clean, draw(400))
    drawn = corrupted.inputs["input_ids"][corrupted.loss_mask].double()
    assert abs(drawn.mean() - 25_000) < 5 * 50_000 / 12**0.5 / len(drawn) ** 0.5
    assert (corrupted.inputs["input_ids"][:, 6:] == PAD).all()


def test_an_ordinary_id_zero_is_hidden_and_scored_like_any_other():
    vocabulary = Vocabulary(10, 9, (8, 9))
    clean = plain(200, 40)
    clean["input_ids"][:] = 0
    inputs, target, where = text_noise(TokenNoise, vocabulary, 0.25)(clean, draw(200))
    assert where.sum(1).eq(10).all()
    assert (inputs["input_ids"][where] == 9).double().mean() > 0.7
    assert (target == 0).all()


def test_the_special_tokens_of_the_text_stay_as_they_are():
    clean = prose(300)
    special = torch.isin(clean["input_ids"], torch.tensor([UNK, MASK]))
    assert special.sum() > 500  # they do stand in the text
    for kind in KINDS:
        corrupted = text_noise(kind, WIDE, 0.9)(clean, draw(300))
        assert not (corrupted.loss_mask & special).any()
        assert torch.equal(corrupted.inputs["input_ids"][special], clean["input_ids"][special])


# Words


def packed(tokenizer, texts: list[str], folder, block_size: int) -> dict[str, Tensor]:
    writer = StreamWriter(folder, InOrder(Packer(tokenizer)))
    for text in texts:
        writer.add(text)
    writer.close()
    blocks = Blocks(folder, block_size, tokenizer.pad_token_id)
    return blocks.batch(range(len(blocks)))


def words_by_the_tokenizer(tokenizer, texts: list[str], block_size: int) -> list[tuple[int, int, int]]:
    """(block, document, word) of each token of the stream; word -1 where there is none."""
    names = [
        (document, -1 if word is None else word)
        for document, text in enumerate(texts)
        for word in tokenizer(text).word_ids()
    ]
    return [(at // block_size, *name) for at, name in enumerate(names)]


def torn_words(tokenizer, texts, folder, noise: Noise) -> tuple[int, int]:
    """How many words of several tokens are hidden, and how many of these only in part."""
    clean = packed(tokenizer, texts, folder, 512)
    where = noise(clean, draw(len(clean["input_ids"]))).loss_mask.flatten().tolist()
    allowed = maskable(clean, vocabulary_of(tokenizer)).flatten().tolist()
    groups: dict[tuple[int, int, int], list[bool]] = {}
    for name, hidden, ok in zip(words_by_the_tokenizer(tokenizer, texts, 512), where, allowed, strict=False):
        if name[2] >= 0 and ok:
            groups.setdefault(name, []).append(hidden)
    several = [hidden for hidden in groups.values() if len(hidden) > 1 and any(hidden)]
    return len(several), sum(not all(hidden) for hidden in several)


@pytest.mark.parametrize("kind", [WordNoise, SpanNoise])
def test_words_are_hidden_whole_or_not_at_all_under_every_tokenizer(kind, tokenizer, corpus_texts, tmp_path):
    noise = text_noise(kind, vocabulary_of(tokenizer), 0.2)
    words, torn = torn_words(tokenizer, corpus_texts[:80], tmp_path / "packed", noise)
    assert words > 50
    assert torn == 0


def test_hiding_tokens_does_tear_words(tokenizer, corpus_texts, tmp_path):
    noise = text_noise(TokenNoise, vocabulary_of(tokenizer), 0.2)
    assert torn_words(tokenizer, corpus_texts[:80], tmp_path / "packed", noise)[1] > 10


@pytest.mark.parametrize("kind", [WordNoise, SpanNoise])
def test_chinese_words_of_byte_tokens_are_hidden_whole(kind, tmp_path):
    texts = [
        f"{'我们昨天在北京'[n % 3 :]},看见了{'三五七九'[n % 4]}只猫。它们在 {n} 号房间里睡觉!"
        for n in range(60)
    ]
    tokenizer = train_tokenizer(s.TokenizerSettings(algorithm="bpe", vocab_size=270), texts)
    words, torn = torn_words(
        tokenizer, texts, tmp_path / "packed", text_noise(kind, vocabulary_of(tokenizer), 0.3)
    )
    assert words > 30
    assert torn == 0


def test_an_unknown_piece_stays_but_does_not_cut_its_word_in_two():
    clean = plain(400, 30)
    clean["word_start"] = (torch.arange(30) % 3 == 0).expand(400, 30).clone()
    clean["input_ids"][:, 4] = UNK
    where = text_noise(WordNoise, WIDE, 0.3)(clean, draw(400)).loss_mask
    assert torch.equal(where[:, 3], where[:, 5])
    assert 0 < where[:, 3].sum() < 400
    assert not where[:, 4].any()


# Spans


def priorities(noise: Noise, clean: dict[str, Tensor]) -> Tensor:
    block = Block.of(clean, WIDE)
    return torch.from_numpy(noise.settings.priority(block, block.words(), draw(len(block.maskable))))


def first_run_lengths(noise: Noise, rows: int, length: int) -> list[int]:
    """The length of the run that goes first, where neither end of the block cuts it."""
    priority = priorities(noise, plain(rows, length))
    lowest = priority == priority.min(1, keepdim=True).values
    begin = lowest.long().argmax(1)
    return lowest.sum(1)[begin <= length - noise.settings.max_length].tolist()


@pytest.mark.parametrize(("mean", "longest"), [(5.0, 10), (2.0, 4), (1.0, 10), (3.0, 1)])
def test_run_lengths_are_geometric_and_clipped(mean, longest):
    lengths = first_run_lengths(text_noise(SpanNoise, WIDE, mean_length=mean, max_length=longest), 4000, 80)
    assert len(lengths) > 3000
    for k in range(1, longest + 1):
        stop = 1 / mean if k < longest else 1.0
        expected = (1 - 1 / mean) ** (k - 1) * stop
        share = lengths.count(k) / len(lengths)
        assert abs(share - expected) <= 5 * (expected * (1 - expected) / len(lengths)) ** 0.5
    assert max(lengths) <= longest


def test_runs_do_not_cross_documents_or_special_tokens():
    clean = plain(500, 60)
    clean["document"] = (torch.arange(60) // 20).expand(500, 60).clone()
    clean["input_ids"][:, 30] = UNK
    noise = text_noise(SpanNoise, WIDE, mean_length=50.0, max_length=60)
    priority = priorities(noise, clean)
    region = torch.tensor([0] * 20 + [1] * 10 + [9] + [2] * 9 + [3] * 20)
    for row in priority:
        owners = [set(row[region == number].tolist()) for number in range(4)]
        assert all(a.isdisjoint(b) for a, b in itertools.combinations(owners, 2))


def runs_of(where: Tensor, document: Tensor) -> list[tuple[int, list[int]]]:
    """(row, positions) of each unbroken stretch of hidden positions within one document."""
    runs: list[tuple[int, list[int]]] = []
    for row, at in where.nonzero().tolist():
        if (
            runs
            and runs[-1] == (row, runs[-1][1])
            and runs[-1][1][-1] == at - 1
            and document[row, at] == document[row, at - 1]
        ):
            runs[-1][1].append(at)
        else:
            runs.append((row, [at]))
    return runs


def test_a_run_shows_masks_random_tokens_or_itself_as_a_whole():
    clean = prose(400)
    noise = text_noise(SpanNoise, WIDE, 0.3, mask_share=0.4, random_share=0.3)
    inputs, target, where = noise(clean, draw(400))
    fates = []
    for row, run in runs_of(where, clean["document"]):
        shown, original = inputs["input_ids"][row, run], target[row, run]
        if (shown == MASK).any():
            assert (shown == MASK).all()
            fates.append("mask")
        elif (shown == original).any():
            assert (shown == original).all()
            fates.append("kept")
        else:
            fates.append("random")
    for fate, expected in (("mask", 0.4), ("random", 0.3), ("kept", 0.3)):
        share = fates.count(fate) / len(fates)
        assert abs(share - expected) < 5 * (expected * (1 - expected) / len(fates)) ** 0.5


def test_runs_of_neighbouring_documents_have_fates_of_their_own():
    clean = plain(400, 20)
    clean["document"] = (torch.arange(20) // 10).expand(400, 20).clone()  # nothing stands between the two
    corrupted = text_noise(SpanNoise, WIDE, 1.0, mask_share=0.5, random_share=0.0)(clean, draw(400))
    masked = corrupted.inputs["input_ids"] == MASK
    assert torch.equal(masked, masked[:, [0, 10]].repeat_interleave(10, 1))
    differ = (masked[:, 0] != masked[:, 10]).double().mean()
    assert abs(differ - 0.5) < 5 * (0.25 / 400) ** 0.5


# A pure function


def same(a: Corrupted, b: Corrupted) -> bool:
    return (
        torch.equal(a.loss_mask, b.loss_mask)
        and torch.equal(a.target, b.target)
        and all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
    )


def rows_of(batch: dict[str, Tensor], rows: Any) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in batch.items()}


@every_kind
def test_the_target_is_the_original_and_nothing_is_changed_in_place(kind):
    clean = prose(40)
    before = {name: value.clone() for name, value in clean.items()}
    noise = text_noise(kind, WIDE, 0.5) | text_noise(kind, WIDE, 0.5)
    corrupted = noise(clean, draw(40))
    assert all(torch.equal(clean[name], before[name]) for name in before)
    assert torch.equal(corrupted.target, before["input_ids"])
    assert not torch.equal(corrupted.inputs["input_ids"], before["input_ids"])
    assert corrupted.inputs.keys() == clean.keys()


@every_kind
def test_what_a_block_hides_does_not_depend_on_the_batch_it_is_in(kind):
    clean = prose(24)
    noise = text_noise(kind, WIDE, 0.2) | text_noise(kind, WIDE, 0.1, 0.3, "uniform")
    whole = noise(clean, draw(24), 0.4)
    for rows in ([5], [20, 3, 11], list(range(8, 24))):
        part = noise(
            rows_of(clean, rows), Draw(0, torch.zeros(len(rows), dtype=torch.long), torch.tensor(rows)), 0.4
        )
        assert torch.equal(part.loss_mask, whole.loss_mask[rows])
        assert torch.equal(part.inputs["input_ids"], whole.inputs["input_ids"][rows])


class Corruptions(Dataset[Corrupted]):
    """Batches of four blocks, corrupted wherever they are asked for; the rate depends on what is asked."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.clean = noise, prose(24)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Corrupted:
        rows = slice(4 * index, 4 * index + 4)
        return self.noise(rows_of(self.clean, rows), draw(4, epoch=2, first=4 * index), index / 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_hide_the_same_as_the_main_process_epoch_after_epoch(workers):
    data = Corruptions(text_noise(TokenNoise, WIDE, 0.4, 0.1) | text_noise(SpanNoise, WIDE, 0.2))
    expected = [data[index] for index in range(6)]
    loader = DataLoader(data, batch_size=None, num_workers=workers)
    for _ in range(2):
        assert all(same(a, b) for a, b in zip(loader, expected, strict=True))
    assert expected[0].loss_mask.sum() > 1.3 * expected[5].loss_mask.sum()  # the rate fell


@every_kind
@pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 1}, {"first": 1000}], ids=str)
def test_another_epoch_seed_or_block_hides_independently(kind, other):
    clean = plain(1000, 100)
    noise = text_noise(kind, WIDE, 0.2)
    a, b = noise(clean, draw(1000)).loss_mask, noise(clean, draw(1000, **other)).loss_mask
    overlap = (a & b).sum(1).double() / 100
    assert same(noise(clean, draw(1000)), noise(clean, draw(1000)))
    expected = (
        a.double().mean(0) * b.double().mean(0)
    ).mean()  # the ends of a block are hidden less often by runs
    assert abs(overlap.mean() - expected) < 5 * overlap.std() / 1000**0.5


def test_corrupted_batches_move_as_a_whole():
    corrupted = text_noise(TokenNoise, WIDE)(prose(4), draw(4))
    moved = corrupted.to(torch.device("meta"))
    assert {t.device.type for t in (*moved.inputs.values(), moved.target, moved.loss_mask)} == {"meta"}
    assert same(corrupted, corrupted.to(torch.device("cpu")))


@pytest.mark.parametrize(
    ("kind", "digest"), [(TokenNoise, 2123251806), (WordNoise, 2224968528), (SpanNoise, 64223218)]
)
def test_masks_are_those_of_earlier_versions(kind, digest):
    """A run is resumed, and an evaluation repeated, with the masks that it had."""
    noise = text_noise(kind, WIDE, 0.3, 0.1) | text_noise(kind, WIDE, 0.2, schedule="uniform")
    inputs, _, where = noise(prose(50), draw(50, seed=7, epoch=2, first=3), 0.4)
    assert zlib.crc32(inputs["input_ids"].numpy().tobytes() + where.numpy().tobytes()) == digest


# Combinations


def test_a_chain_applies_one_noise_after_the_other_and_scores_where_either_was():
    clean = prose(50)
    a, b = text_noise(TokenNoise, WIDE, 0.2), text_noise(SpanNoise, WIDE, 0.3)
    first = a(clean, draw(50).child(0))
    second = b(first.inputs, draw(50).child(1))
    both = (a | b)(clean, draw(50))
    assert torch.equal(both.loss_mask, first.loss_mask | second.loss_mask)
    assert torch.equal(both.inputs["input_ids"], second.inputs["input_ids"])
    assert torch.equal(both.target, clean["input_ids"])


def test_the_parts_of_a_chain_draw_independently():
    clean = plain(2000, 100)
    noise = text_noise(
        TokenNoise, WIDE, 0.3, mask_share=0.0, random_share=0.0
    )  # leaves the ids, so both see the same tokens
    hidden = (noise | noise)(clean, draw(2000)).loss_mask.sum(1).double()
    assert abs(hidden.mean() - 100 * (1 - 0.7**2)) < 5 * hidden.std() / 2000**0.5


def test_chains_of_chains_are_flat():
    a, b, c = (
        text_noise(TokenNoise, WIDE, 0.1),
        text_noise(WordNoise, WIDE, 0.2),
        text_noise(SpanNoise, WIDE, 0.3),
    )
    clean = prose(30)
    assert same(((a | b) | c)(clean, draw(30)), (a | (b | c))(clean, draw(30)))


def test_noises_on_different_fields_do_not_combine():
    other = text_noise(TokenNoise, WIDE)
    other.field = "pixel_values"
    with pytest.raises(ValueError, match="different fields do not combine"):
        text_noise(TokenNoise, WIDE) | other


# Levels


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 0.75, 1.0])
def test_levels_follow_their_closed_forms(progress):
    linear, cosine = (Level(0.3, 0.1, schedule).at(progress, draw(3)) for schedule in ("linear", "cosine"))
    torch.testing.assert_close(linear, torch.full((3, 1), 0.3 - 0.2 * progress))
    torch.testing.assert_close(cosine, torch.full((3, 1), 0.1 + 0.2 * math.cos(math.pi * progress / 2) ** 2))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_levels_stay_at_their_ends_outside_the_run(schedule):
    level = Level(0.3, 0.1, schedule)
    assert level.at(-1.0, draw(1)).item() == pytest.approx(0.3)
    assert level.at(1.5, draw(1)).item() == pytest.approx(0.1)


def test_a_uniform_level_is_drawn_per_block_and_does_not_move():
    level = Level(0.9, 0.1, "uniform")
    drawn = level.at(0.0, draw(3000))
    assert torch.equal(drawn, level.at(1.0, draw(3000)))
    assert drawn.min() >= 0.1
    assert drawn.max() < 0.9
    assert abs(drawn.mean() - 0.5) < 5 * 0.8 / 12**0.5 / 3000**0.5
    assert abs(drawn.std() - 0.8 / 12**0.5) < 0.01
    assert not torch.equal(drawn, level.at(0.0, draw(3000, epoch=1)))


@every_kind
def test_the_share_hidden_falls_with_the_run(kind):
    clean = plain(300, 100)
    noise = text_noise(kind, WIDE, 0.4, 0.1)
    shares = [noise(clean, draw(300), progress).loss_mask.double().mean().item() for progress in (0, 0.5, 1)]
    assert shares == pytest.approx([0.4, 0.25, 0.1], abs=1e-3)


def test_a_uniform_rate_hides_from_almost_nothing_to_everything():
    shares = (
        text_noise(TokenNoise, WIDE, 1.0, schedule="uniform")(plain(2000, 100), draw(2000))
        .loss_mask.double()
        .mean(1)
    )
    assert shares.min() == pytest.approx(0.01)
    assert shares.max() == 1.0
    assert abs(shares.mean() - 0.5) < 5 * 12**-0.5 / 2000**0.5 + 1e-3


@pytest.mark.parametrize(
    ("noises", "expected"),
    [
        ([TokenNoise(rate=0.2)], text_noise(TokenNoise, WIDE, 0.2)),
        ([WordNoise()], text_noise(WordNoise, WIDE, 0.3)),
        ([TokenNoise(schedule="uniform", mask_share=1, random_share=0)], text_noise(TokenNoise, WIDE, 0.3, 0.0, "uniform", mask_share=1.0, random_share=0.0)),
        ([SpanNoise(mean_length=2, max_length=3)], text_noise(SpanNoise, WIDE, 0.3, mean_length=2, max_length=3)),
        ([TokenNoise(rate=0.1), SpanNoise(rate=0.2)], text_noise(TokenNoise, WIDE, 0.1) | text_noise(SpanNoise, WIDE, 0.2)),
    ],
)  # fmt: skip
def test_settings_become_the_noise_they_describe(noises, expected):
    clean = prose(30)
    for progress in (0.0, 0.7):
        assert same(build_noise(noises, WIDE)(clean, draw(30), progress), expected(clean, draw(30), progress))
