"""Packing: blocks hold every token of every document, and remember where words and documents begin."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from textdae.core.in_order import InOrder
from textdae.text.data import packing
from textdae.text.data.packing import Blocks, Packer, StreamWriter

WILD = [
    "", "a", " leading and trailing \n", "the [MASK] sat [SEP][CLS] on [UNK] [PAD]", "two  spaces\n\nand\tlines", "Ünïcode naïve",
    "我昨天在北京看见了三只猫。", "🙂👩‍👩‍👧 ok", "1234567890" * 5, "\u200b\ufeff", "...!?", "wa " * 200,
]  # fmt: skip


def pack(tokenizer, texts, folder: Path, block_size: int = 32) -> Blocks:
    writer = StreamWriter(folder, InOrder(Packer(tokenizer)))
    for text in texts:
        writer.add(text)
    writer.close()
    return Blocks(folder, block_size, tokenizer.pad_token_id)


def stream(blocks: Blocks) -> tuple[list[int], list[bool], list[int]]:
    """Ids and word starts without the padding, and the places where documents begin, from the blocks."""
    batch = blocks.batch(range(len(blocks)))
    real = batch["document"] >= 0
    ids, start = batch["input_ids"][real].tolist(), batch["word_start"][real].tolist()
    begins = (batch["document"][:, 1:] != batch["document"][:, :-1]) & real[:, 1:]
    places = [row * blocks.block_size + column + 1 for row, column in begins.nonzero().tolist()]
    return ids, start, places


def expected(tokenizer, texts) -> tuple[list[int], list[bool], list[int]]:
    """The same from the stock tokenizer, one document at a time."""
    ids, start, places = [], [], []
    for text in texts:
        encoding = tokenizer(text, return_special_tokens_mask=True)
        places.append(len(ids))
        ids += encoding["input_ids"]
        words = encoding.word_ids()
        length = len(words)
        for at, word in enumerate(words):
            framing = at in (0, length - 1)
            start.append(not framing and (word is None or word != words[at - 1]))
    return ids, start, places


def check(blocks: Blocks, tokenizer, texts) -> None:
    ids, start, places = stream(blocks)
    wanted = expected(tokenizer, texts)
    assert ids == wanted[0]
    assert start == wanted[1]
    size = blocks.block_size
    assert places == [
        place for place in wanted[2] if place % size
    ]  # at a block's edge numbering begins anew anyway
    assert blocks.info.tokens == len(ids)
    assert blocks.info.documents == len(texts)
    assert blocks.info.special == 2 * len(texts)
    assert blocks.info.bytes == len("".join(texts).encode())
    assert blocks.padding == -len(ids) % size


@pytest.mark.parametrize("block_size", [8, 32, 1000, 65536])
def test_nothing_is_lost_and_words_and_documents_begin_where_they_did(
    tokenizer, corpus_texts, tmp_path, block_size
):
    texts = [*WILD, *corpus_texts[:60], *WILD]
    check(pack(tokenizer, texts, tmp_path / "packed", block_size), tokenizer, texts)


@settings(max_examples=40)
@given(
    texts=st.lists(st.text(max_size=20) | st.sampled_from(WILD), min_size=1, max_size=8),
    limit=st.sampled_from([1, 30, 1 << 20]),
)
def test_any_documents_come_back_whatever_is_tokenized_together(tokenizers, tmp_path_factory, texts, limit):
    for tokenizer in tokenizers.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packing, "_BATCH_CHARACTERS", limit)
            check(pack(tokenizer, texts, tmp_path_factory.mktemp("any") / "packed", 16), tokenizer, texts)


def test_a_long_document_is_tokenized_in_pieces_with_the_same_result(
    tokenizer, corpus_texts, tmp_path, monkeypatch
):
    long = "\n\n".join(" ".join(corpus_texts[n : n + 9]) + "  " for n in range(0, 90, 9))
    texts = ["wa", long, "", long[:1000]]
    whole = stream(pack(tokenizer, texts, tmp_path / "whole"))
    monkeypatch.setattr(packing, "_PIECE_CHARACTERS", 200)
    monkeypatch.setattr(packing, "_BATCH_CHARACTERS", 1000)
    blocks = pack(tokenizer, texts, tmp_path / "pieces")
    assert stream(blocks) == whole
    assert blocks.info.documents == 4
    assert stream(blocks)[0] == expected(tokenizer, texts)[0]


def test_text_without_spaces_is_cut_without_loss(bpe, tmp_path, monkeypatch):
    text = "我昨天在北京看见了三只猫" * 40
    monkeypatch.setattr(packing, "_PIECE_CHARACTERS", 50)
    ids, start, places = stream(pack(bpe, [text, "wa"], tmp_path / "packed", 4096))
    assert bpe.decode(ids[: places[0]], skip_special_tokens=True) == text
    assert len(places) == 1
    assert sum(start[: places[0]]) == len(text) // 50 + 1


def test_documents_are_numbered_from_zero_within_each_block(wordpiece, tmp_path):
    texts = ["wa wa wa wa wa wa wa"] * 5  # nine tokens each
    batch = pack(wordpiece, texts, tmp_path / "packed", 16).batch([0, 1, 2])
    numbers = torch.arange(45) // 9
    assert batch["document"][0].tolist() == numbers[:16].tolist()
    assert batch["document"][1].tolist() == (numbers[16:32] - 1).tolist()
    assert batch["document"][2].tolist() == [*(numbers[32:] - 3).tolist(), -1, -1, -1]
    assert batch["input_ids"][2, -3:].tolist() == [wordpiece.pad_token_id] * 3
    assert not batch["word_start"][2, -3:].any()
    assert {name: value.dtype for name, value in batch.items()} == {
        "input_ids": torch.int64, "word_start": torch.bool, "document": torch.int64,
    }  # fmt: skip


def test_blocks_are_had_in_any_order_and_number(tokenizer, corpus_texts, tmp_path):
    blocks = pack(tokenizer, corpus_texts[:40], tmp_path / "packed", 16)
    everything = blocks.batch(range(len(blocks)))
    for rows in ([3], [len(blocks) - 1, 0, 0, 5], torch.tensor([7, 2]), np.array([1]), []):
        batch = blocks.batch(rows)
        for name, value in batch.items():
            assert torch.equal(value, everything[name][torch.as_tensor(np.asarray(rows), dtype=torch.long)])


def test_the_stream_on_disk_does_not_depend_on_the_block_size_and_is_mapped_not_read(
    wordpiece, corpus_texts, tmp_path
):
    blocks = pack(wordpiece, corpus_texts[:40], tmp_path / "packed", 16)
    assert isinstance(blocks.ids, np.memmap)
    assert blocks.ids.dtype == np.uint16
    assert (tmp_path / "packed" / "ids.bin").stat().st_size == 2 * blocks.info.tokens
    assert (tmp_path / "packed" / "flags.bin").stat().st_size == blocks.info.tokens
    assert stream(Blocks(tmp_path / "packed", 50, 0))[:2] == stream(blocks)[:2]
    batch = blocks.batch([0])
    batch["input_ids"][:] = 1  # a batch is a copy
    assert stream(blocks)[0] == expected(wordpiece, corpus_texts[:40])[0]


def word_level(size: int, **special) -> PreTrainedTokenizerFast:
    words = {"[UNK]": 0, "[MASK]": 1, "[PAD]": 2, **{f"w{n}": n for n in range(3, size)}}
    backend = Tokenizer(models.WordLevel(words, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", mask_token="[MASK]", pad_token="[PAD]"
    )


def test_a_tokenizer_without_framing_tokens_still_gives_documents(tmp_path):
    texts = ["w3 w4", "w5", "w6 w7 w8"]
    batch = pack(word_level(9), texts, tmp_path / "packed", 8).batch([0])
    assert batch["input_ids"].tolist() == [[3, 4, 5, 6, 7, 8, 2, 2]]
    assert batch["document"].tolist() == [[0, 0, 1, 2, 2, 2, -1, -1]]
    assert batch["word_start"].tolist() == [[True] * 6 + [False] * 2]


def test_ids_past_65535_are_kept_whole(tmp_path):
    blocks = pack(word_level(70_000), ["w69999 w65536 w65535"], tmp_path / "packed", 8)
    assert blocks.ids.dtype == np.uint32
    assert blocks.batch([0])["input_ids"][0, :3].tolist() == [69999, 65536, 65535]


def test_truncation_and_padding_left_switched_on_do_not_cut(wordpiece, corpus_texts, tmp_path):
    text = " ".join(corpus_texts[:20])
    whole = wordpiece(text)["input_ids"]
    wordpiece.backend_tokenizer.enable_truncation(10)
    wordpiece.backend_tokenizer.enable_padding(length=5000)
    try:
        ids, _, _ = stream(pack(wordpiece, [text], tmp_path / "packed"))
    finally:
        wordpiece.backend_tokenizer.no_truncation()
        wordpiece.backend_tokenizer.no_padding()
    assert ids == whole


def test_no_documents_make_no_blocks(wordpiece, tmp_path):
    blocks = pack(wordpiece, [], tmp_path / "packed")
    assert (len(blocks), blocks.padding, blocks.info.documents) == (0, 0, 0)
    assert blocks.batch([])["input_ids"].shape == (0, 32)


def test_bytes_per_token_counts_the_text_only(wordpiece, tmp_path):
    blocks = pack(wordpiece, ["wa wa wa", "wa"], tmp_path / "packed")
    assert blocks.bytes_per_token == (8 + 2) / 4


def test_every_token_stands_in_exactly_one_block(tokenizer, corpus_texts, tmp_path):
    blocks = pack(tokenizer, corpus_texts[:30], tmp_path / "packed", 24)
    rows = [blocks.batch([n])["input_ids"][0].tolist() for n in range(len(blocks))]
    flat = list(itertools.chain(*rows))
    assert flat[: blocks.info.tokens] == blocks.ids.tolist()
    assert flat[blocks.info.tokens :] == [tokenizer.pad_token_id] * blocks.padding
