"""Questions about whole words that the text chooses: beside a small implementation of its own, for several tokenizers."""

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from textdae.core.errors import SettingsError
from textdae.core.in_order import InOrder
from textdae.text.data import packing
from textdae.text.data.packing import Blocks, Packer, StreamWriter
from textdae.text.data.questions import WordQuestions
from textdae.text.model_settings import TokenizerSettings
from textdae.text.task import word_questions
from textdae.text.tokens.tokenizer import train_tokenizer
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.text.tokens.words import STRETCH, words
from textdae.training.evaluation import corrupt_for_evaluation, evaluate

WILD = [
    "can't stop; the naïve café costs 1,000.50 today", "我昨天在北京看见了三只猫。 ok", "🙂👩‍👩‍👧 emoji here 🇩🇪🇫🇷 and there",
    "e\u0301tude Ünïcode ﬁne İstanbul", "L'été d'Élodie isn’t over_yet a.b:c", "", "...", "한국어 カタカナ ひらがな ไทย",
    "a\u200db the [MASK] and [UNK] of x", "\u00a0 tabs\tand\nlines \r\n end",
]  # fmt: skip

# By hand from the rules of UAX 29 (word boundaries): text -> the words, with what is no word left out.
CASES = {
    "can't stop": ["can't", "stop"],  # WB6, WB7: a quote between letters
    "'tis rock 'n' roll": ["tis", "rock", "n", "roll"],
    "isn’t": ["isn’t"],
    "1,000.50 and 3a": ["1,000.50", "and", "3a"],  # WB8 to WB12
    "U.S.A.": ["U.S.A"],
    "foo-bar/baz": ["foo", "bar", "baz"],
    "snake_case __init__ _ __": ["snake_case", "__init__"],  # WB13a, WB13b; underscores alone are no word
    "北京看见": ["北", "京", "看", "见"],  # WB999
    "カタカナ": ["カタカナ"],  # WB13
    "ひら": ["ひ", "ら"],
    "한국어": ["한국어"],
    "e\u0301a": ["e\u0301a"],  # WB4
    "a\u200db": ["a\u200db"],
    "🙂 👩‍👩‍👧 🇩🇪": [],
    "🙂ok": ["ok"],
    "a\r\nb": ["a", "b"],
    "": [],
    " \n": [],
    'ש"ש': ['ש"ש'],  # WB7b, WB7c
    "x² ½ Ⅳ": ["x", "²", "½", "Ⅳ"],
}


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_words_are_those_of_unicode(text, expected):
    assert [text[begin:end] for begin, end in words(text).tolist()] == expected


@settings(max_examples=40)
@given(st.text(max_size=40) | st.lists(st.sampled_from(WILD)).map(" ".join))
def test_words_hold_every_letter_and_digit_once(text):
    spans = words(text).tolist()
    assert all(a < b for a, b in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    inside = {place for begin, end in spans for place in range(begin, end)}
    assert {place for place, character in enumerate(text) if character.isalnum()} <= inside


# The choice, once more


def scramble(value: int) -> int:
    """SplitMix64, as its authors write it."""
    mask = 2**64 - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & mask
    return value ^ value >> 31


def chances(document: str) -> list[tuple[float, int]]:
    """Of each word, where it lies in [0, 1), and the hash of its stretch."""
    key = int.from_bytes(hashlib.blake2b(document.strip().encode(), digest_size=8).digest())
    found = []
    for number in range(len(words(document))):
        own = scramble((scramble(key) + number) % 2**64)
        stretch = scramble((scramble(key ^ 0x5354524554434845) + number // STRETCH) % 2**64)
        found.append(((own >> 11) / 2**53, stretch))
    return found


def expected(texts: list[str], tokenizer, rate: float, most: int, block_size: int):
    """Hidden and scored positions of the stream in the blocks that are looked at, words and bytes: one word at a time."""
    chance = [chances(text) for text in texts]
    hashes = sorted({stretch for document in chance for _, stretch in document})
    taken = set(hashes[:most])
    hidden, scored, count, size, unknown, place = set(), set(), 0, 0, 0, 0
    special = set(tokenizer.all_special_ids)
    for text, document in zip(texts, chance, strict=True):
        encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        bare = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        before = (len(encoding["input_ids"]) - bare) // 2
        for (begin, end), (own, stretch) in zip(words(text).tolist(), document, strict=True):
            if own >= rate:
                continue
            places = [
                place + at
                for at, (first, last) in enumerate(encoding["offset_mapping"])
                if before <= at < before + bare and first < end and last > begin
            ]
            hidden |= set(places)
            if stretch not in taken:
                continue
            if not places or any(encoding["input_ids"][at - place] in special for at in places):
                unknown += 1
                continue
            scored |= set(places)
            count += 1
            size += len(text[begin:end].encode())
        place += len(encoding["input_ids"])
    blocks = sorted({at // block_size for at in scored})
    return {at for at in hidden if at // block_size in blocks}, scored, blocks, (count, size, unknown)


def pack(tokenizer, texts, folder, block_size: int = 16, processes: int = 1) -> Blocks:
    with InOrder(Packer(tokenizer), processes) as work:
        writer = StreamWriter(folder, work, with_words=True)
        for text in texts:
            writer.add(text)
        writer.close()
    return Blocks(folder, block_size, tokenizer.pad_token_id)


def ask(tokenizer, blocks: Blocks, rate: float, most: int) -> WordQuestions:
    return WordQuestions(blocks, rate, most, vocabulary_of(tokenizer).special_ids)


def positions(questions: WordQuestions, mask: torch.Tensor) -> set[int]:
    rows, columns = mask.nonzero().T.numpy()
    return set((questions.blocks[rows] * questions.block_size + columns).tolist())


def stranger(*, unknown: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of whole lower-case words, most of which it does not know; without an unknown token it drops nothing but these."""
    known = ["[PAD]", "[MASK]", *(["[UNK]"] if unknown else []), "the", "and", "can't", "stop", "naïve", "ok"]
    backend = Tokenizer(models.WordLevel({token: at for at, token in enumerate(known)}, "[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"unk_token": "[UNK]"} if unknown else {}
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]", **names)


@pytest.fixture(scope="module")
def texts(corpus_texts) -> list[str]:
    long = " ".join(corpus_texts[:20])
    return [*WILD, *corpus_texts[:40], long, *WILD]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "stranger"])
@pytest.mark.parametrize(("rate", "most"), [(0.15, 8), (0.5, 3), (1.0, 10**6)])
def test_what_is_asked_is_what_one_word_at_a_time_gives(kind, rate, most, tokenizers, texts, tmp_path):
    tokenizer = stranger(unknown=True) if kind == "stranger" else tokenizers[kind]
    texts = list(dict.fromkeys(texts))  # of two copies the first would be taken, and both have the same hash
    blocks = pack(tokenizer, texts, tmp_path / "packed")
    if kind == "stranger":  # it knows few words
        most = 10**6
    questions = ask(tokenizer, blocks, rate, most)
    hidden, scored, rows, counts = expected(texts, tokenizer, rate, most, 16)
    assert (questions.words, questions.bytes, questions.unknown) == counts
    assert questions.blocks.tolist() == rows
    assert positions(questions, questions.scored) == scored
    assert positions(questions, questions.hidden) == hidden
    assert scored


@settings(max_examples=20)
@given(
    texts=st.lists(st.text(max_size=30) | st.sampled_from(WILD), min_size=1, max_size=6, unique_by=str.strip),
    limit=st.sampled_from([40, 1 << 20]),
)
def test_any_text_is_asked_as_one_word_at_a_time_gives(tokenizers, tmp_path_factory, texts, limit):
    for tokenizer in tokenizers.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packing, "_BATCH_CHARACTERS", limit)
            blocks = pack(tokenizer, texts, tmp_path_factory.mktemp("any") / "packed")
        hidden, scored, _, counts = expected(texts, tokenizer, 0.6, 10**6, 16)
        if not scored:
            with pytest.raises(SettingsError, match=r"evaluate\.rate: none of the .* held-out words"):
                ask(tokenizer, blocks, 0.6, 10**6)
            continue
        questions = ask(tokenizer, blocks, 0.6, 10**6)
        assert (questions.words, questions.bytes, questions.unknown) == counts
        assert positions(questions, questions.hidden) == hidden
        assert positions(questions, questions.scored) == scored


def test_every_tokenizer_is_asked_for_the_same_words(tokenizers, texts, tmp_path):
    """Accents, Chinese, emoji, apostrophes; byte-level tokenizers know every word, the others leave none out unseen."""
    texts = [text.replace("[MASK]", "mask").replace("[UNK]", "unk") for text in texts]
    finer = train_tokenizer(TokenizerSettings(algorithm="bpe", vocab_size=270), texts)
    spelt = train_tokenizer(TokenizerSettings(algorithm="wordpiece", vocab_size=2000), texts)
    asked = {}
    for name, tokenizer in {**tokenizers, "finer": finer, "spelt": spelt}.items():
        questions = ask(tokenizer, pack(tokenizer, texts, tmp_path / name, 32), 0.3, 20)
        asked[name] = (questions.words, questions.bytes, questions.unknown, int(questions.scored.sum()))
    words, size, unknown, tokens = asked["bpe"]
    assert unknown == 0
    assert asked["finer"][:3] == asked["spelt"][:3] == (words, size, 0)
    assert asked["finer"][3] > tokens > asked["spelt"][3] >= words
    assert {found[0] + found[2] for found in asked.values()} == {words}


def test_the_mask_stands_for_every_piece_and_nothing_else_changes(tokenizer, texts, tmp_path):
    blocks = pack(tokenizer, texts, tmp_path / "packed")
    vocabulary = vocabulary_of(tokenizer)
    questions = word_questions(blocks, vocabulary, 0.3, 20)
    shown = corrupt_for_evaluation(*questions)
    examples = questions.examples
    clean = blocks.batch(examples.blocks)["input_ids"]
    assert torch.equal(shown.target, clean)
    assert torch.equal(shown.loss_mask, examples.scored)
    assert (shown.inputs["input_ids"][examples.hidden] == vocabulary.mask_id).all()
    assert torch.equal(shown.inputs["input_ids"][~examples.hidden], clean[~examples.hidden])
    assert not (shown.loss_mask & ~examples.hidden).any()
    assert set(shown.inputs) == {"input_ids", "word_start", "document"}


def test_more_is_asked_at_a_higher_level_and_of_more_examples(tokenizer, texts, tmp_path):
    blocks = pack(tokenizer, texts, tmp_path / "packed")

    def asked(rate: float, most: int) -> tuple[set[int], set[int]]:
        questions = ask(tokenizer, blocks, rate, most)
        return positions(questions, questions.scored), positions(questions, questions.hidden)

    levels = [asked(rate, 30) for rate in (0.1, 0.15, 0.3, 0.8, 1.0)]
    for (few, few_hidden), (many, many_hidden) in pairwise(levels):
        assert few < many
        assert few_hidden < many_hidden
    sizes = [asked(0.3, most)[0] for most in (5, 20, 10**6)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_share_is_the_rate(bpe, tmp_path):
    blocks = pack(bpe, [f"{n} " + "wa " * 50 for n in range(200)], tmp_path / "packed")
    questions = ask(bpe, blocks, 0.15, 10**6)
    assert questions.words / blocks.info.words == pytest.approx(0.15, abs=0.015)


def test_blank_space_around_a_document_and_its_copies_change_nothing(bpe, corpus_texts, tmp_path):
    plain = pack(bpe, corpus_texts[:5], tmp_path / "plain").words
    spaced = pack(bpe, [f"\n {text}\t" for text in corpus_texts[:5]], tmp_path / "spaced").words
    assert plain.hash.tolist() == spaced.hash.tolist()
    assert plain.bytes.tolist() == spaced.bytes.tolist()
    other = pack(bpe, [text + " wa" for text in corpus_texts[:5]], tmp_path / "other").words
    assert not set(plain.hash.tolist()) & set(other.hash.tolist())


def test_a_document_in_pieces_has_the_same_words(tokenizer, corpus_texts, tmp_path, monkeypatch):
    long = " ".join(corpus_texts[:60])
    texts = ["wa", long, "", "wa wa"]
    whole = pack(tokenizer, texts, tmp_path / "whole")
    monkeypatch.setattr(packing, "_PIECE_CHARACTERS", 200)
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", 1000)
    pieces = pack(tokenizer, texts, tmp_path / "pieces")
    assert whole.ids.tolist() == pieces.ids.tolist()
    for one, other in zip(whole.words, pieces.words, strict=True):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_tokens_are_those_of_training_text_and_processes_change_nothing(
    kind, tokenizers, texts, tmp_path, monkeypatch
):
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", 700)
    tokenizer = tokenizers[kind]
    one = pack(tokenizer, texts * 3, tmp_path / "one")
    two = pack(tokenizer, texts * 3, tmp_path / "two", processes=2)
    writer = StreamWriter(tmp_path / "train", InOrder(Packer(tokenizer), 1))
    for text in texts * 3:
        writer.add(text)
    writer.close()
    train = Blocks(tmp_path / "train", 16, tokenizer.pad_token_id)
    assert train.ids.tolist() == one.ids.tolist() == two.ids.tolist()
    assert train.flags.tolist() == one.flags.tolist() == two.flags.tolist()
    assert train.info.words == 0
    for first, second in zip(one.words, two.words, strict=True):
        assert first.tolist() == second.tolist()


# How it is scored


def test_bits_per_byte_are_the_losses_over_the_bytes_of_the_words(wordpiece, texts, tmp_path):
    """A stock model, one position at a time."""
    from textdae.text.model import TextDenoiser

    blocks = pack(wordpiece, texts, tmp_path / "packed", 32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(wordpiece), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    questions = word_questions(blocks, vocabulary_of(wordpiece), 0.3, 5)
    found = evaluate(TextDenoiser(model).eval(), *questions, 4)
    total, count = 0.0, 0
    for row in range(len(questions.examples)):
        shown = corrupt_for_evaluation(questions.examples, questions.noise, torch.tensor([row]))
        document = shown.inputs["document"][0]
        for number in document.unique().tolist():
            inside = document == number
            with torch.no_grad():
                logits = model(shown.inputs["input_ids"][:, inside]).logits[0].log_softmax(-1)
            for place in shown.loss_mask[0, inside].nonzero()[:, 0].tolist():
                total -= float(logits[place, shown.target[0, inside][place]])
                count += 1
    assert found["scored"] == count == int(questions.examples.scored.sum())
    assert found["loss"] * found["scored"] / math.log(2) / questions.examples.bytes == pytest.approx(
        total / math.log(2) / questions.examples.bytes, rel=1e-5
    )


def test_where_no_word_is_chosen_the_error_says_what_to_do(bpe, tmp_path):
    blocks = pack(bpe, ["...", "🙂 !"], tmp_path / "packed")
    with pytest.raises(SettingsError, match=r"none of the 0 held-out words.*raise evaluate\.rate"):
        ask(bpe, blocks, 0.15, 5)
    blocks = pack(bpe, [f"wa {n}" for n in range(40)], tmp_path / "few")
    assert ask(bpe, blocks, 0.02, 1).words >= 1  # the first stretch has none, so more are looked at


def test_unknown_words_are_hidden_counted_and_not_scored(tmp_path):
    tokenizer = stranger(unknown=True)
    text = "the elephant can't stop"
    blocks = pack(tokenizer, [text], tmp_path / "packed", 8)
    questions = ask(tokenizer, blocks, 1.0, 1)
    assert (questions.words, questions.unknown, questions.bytes) == (3, 1, len("thecan'tstop"))
    assert questions.hidden.tolist() == [[True] * 4 + [False] * 4]
    assert questions.scored.tolist() == [[True, False, True, True] + [False] * 4]


def test_words_without_a_token_are_counted(tmp_path):
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "[MASK]": 2, "[PAD]": 3}, []))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]")
    blocks = pack(tokenizer, ["ab xyz b", "xyz", "a xyz"], tmp_path / "packed", 8)
    assert blocks.ids.tolist() == [0, 1, 1, 0]
    questions = ask(tokenizer, blocks, 1.0, 10)
    assert (questions.words, questions.unknown, questions.bytes) == (3, 3, 4)
    assert np.flatnonzero(questions.scored[0]).tolist() == [0, 1, 2, 3]
