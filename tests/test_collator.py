"""The masking collator: as the noise of a run, whatever the workers; in a real `Trainer`; beside the stock collator."""

import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    DataCollatorForLanguageModeling,
    ModernBertConfig,
    Trainer,
    TrainingArguments,
)

import textdae
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.text.collator import MaskingCollator
from textdae.text.tokens.vocabulary import vocabulary_of


def rows(tokenizer, texts, **more) -> list[dict]:
    """Tokenized examples with their numbers."""
    return [{"input_ids": tokenizer(t)["input_ids"], "index": n, **more} for n, t in enumerate(texts)]


def shown(batches) -> dict[tuple, tuple]:
    """Of each example, by its clean tokens, what is shown of it."""
    found = {}
    for batch in batches:
        clean = torch.where(batch["labels"] >= 0, batch["labels"], batch["input_ids"])
        for ids, masked, inside in zip(clean, batch["input_ids"], batch["attention_mask"] == 1, strict=True):
            found[tuple(ids[inside].tolist())] = tuple(masked[inside].tolist())
    return found


@pytest.mark.parametrize("kind", ["WordNoise", "SpanNoise", "TokenNoise", "ShuffleNoise"])
def test_a_batch_is_the_noise_of_a_run_with_these_numbers(kind, tokenizer, corpus_texts):
    noise = getattr(textdae, kind)(0.3)
    examples = rows(tokenizer, corpus_texts[:12])
    collator = MaskingCollator(tokenizer, noise, seed=5)
    collator.set_epoch(2)
    batch = collator(examples)
    clean = tokenizer(corpus_texts[:12], padding=True, return_tensors="pt")
    words = [clean.word_ids(row) for row in range(12)]
    starts = [[n == 0 or w is None or w != row[n - 1] for n, w in enumerate(row)] for row in words]
    expected = noise.build(vocabulary_of(tokenizer))(
        {
            "input_ids": clean["input_ids"],
            "document": clean["attention_mask"] - 1,
            "word_start": torch.tensor(starts),
        },
        Draw(5, torch.full((12,), 2), torch.arange(12)),
    )
    assert torch.equal(batch["input_ids"], expected.inputs["input_ids"])
    assert torch.equal(batch["labels"], clean["input_ids"].masked_fill(~expected.loss_mask, -100))
    assert torch.equal(batch["attention_mask"], clean["attention_mask"])
    # Given as columns, words are the same.
    columns = [
        {**one, "word_ids": row[: len(one["input_ids"])]} for one, row in zip(examples, words, strict=True)
    ]
    assert torch.equal(collator(columns)["input_ids"], batch["input_ids"])
    columns = [
        {**one, "word_start": np.array(row[: len(one["input_ids"])])}
        for one, row in zip(examples, starts, strict=True)
    ]
    assert torch.equal(collator(columns)["input_ids"], batch["input_ids"])


@pytest.mark.parametrize("numbered", [True, False])
def test_masks_are_the_same_for_any_workers_order_and_batches(numbered, wordpiece, corpus_texts):
    examples = rows(wordpiece, corpus_texts[:40])
    if not numbered:
        examples = [example["input_ids"] for example in examples]
    collator = MaskingCollator(wordpiece, textdae.WordNoise(0.3), seed=1)
    collator.set_epoch(0)
    expected = shown([collator(examples)])
    for how in (
        {"batch_size": 7, "num_workers": 0, "shuffle": True},
        {"batch_size": 4, "num_workers": 1},
        {"batch_size": 5, "num_workers": 2, "shuffle": True, "persistent_workers": True},
    ):
        loader = DataLoader(examples, collate_fn=collator, **how)
        collator.set_epoch(0)
        assert shown(loader) == expected
        collator.set_epoch(1)  # the workers hear of it, also those that live on
        second = shown(loader)
        assert second.keys() == expected.keys()
        assert sum(second[ids] != expected[ids] for ids in expected) > 30
        collator.set_epoch(0)
        assert shown(loader) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_where_nobody_tells_the_epoch_every_batch_is_masked_anew(workers, wordpiece, corpus_texts):
    examples = rows(wordpiece, corpus_texts[:20])
    collator = MaskingCollator(wordpiece, textdae.WordNoise(0.3))
    loader = DataLoader(examples, 5, collate_fn=collator, num_workers=workers)
    torch.manual_seed(0)
    first, second = shown(loader), shown(loader)
    assert sum(first[ids] != second[ids] for ids in first) > 15
    if workers:  # torch draws their seed
        torch.manual_seed(0)
        assert shown(loader) == first
    told = MaskingCollator(wordpiece, textdae.WordNoise(0.3))
    with_epoch = [{**example, "epoch": 3} for example in examples]
    assert torch.equal(told(with_epoch)["input_ids"], told(with_epoch)["input_ids"])


@pytest.fixture(scope="module")
def long_rows(wordpiece, corpus_texts) -> list[dict]:
    """Rows of 64 tokens, special tokens within them too."""
    ids = np.concatenate([wordpiece(text)["input_ids"] for text in corpus_texts])
    return [{"input_ids": ids[at : at + 64].tolist()} for at in range(0, len(ids) - 64, 64)]


def test_rates_beside_the_stock_collator(wordpiece, long_rows):
    special = torch.tensor(wordpiece.all_special_ids)
    rates = {}
    torch.manual_seed(0)
    for collator in (
        MaskingCollator(wordpiece, textdae.TokenNoise(0.15)),
        DataCollatorForLanguageModeling(wordpiece, mlm_probability=0.15),
    ):
        batches = [collator(long_rows) for _ in range(4)]
        ids, labels = (torch.cat([batch[name] for batch in batches]) for name in ("input_ids", "labels"))
        hidden = labels >= 0
        clean = torch.where(hidden, labels, ids)
        assert not torch.isin(clean[hidden], special).any()
        maskable = ~torch.isin(clean, special)
        drawn = hidden & (ids != labels) & (ids != wordpiece.mask_token_id)
        rates[type(collator)] = [
            hidden.sum() / maskable.sum(),
            (ids[hidden] == wordpiece.mask_token_id).float().mean(),
            drawn.sum() / hidden.sum(),
        ]
        if type(collator) is MaskingCollator:  # the stock one draws special tokens too
            assert not torch.isin(ids[drawn], special).any()
            assert hidden.any(1).all()
    ours, stock = (torch.tensor(found) for found in rates.values())
    torch.testing.assert_close(ours, torch.tensor([0.15, 0.8, 0.1]), atol=0.012, rtol=0)
    torch.testing.assert_close(ours, stock, atol=0.02, rtol=0)


@pytest.mark.parametrize("text", ["北京是中国的首都,我们喜欢", "the unbelievable storekeeper doesn't sleep"])
def test_all_pieces_of_a_word_are_hidden_or_none(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    words = np.array([-1 if word is None else word for word in tokenizer(text).word_ids()])
    batch = MaskingCollator(tokenizer, textdae.WordNoise(0.4))(
        [{"input_ids": ids, "index": n} for n in range(50)]
    )
    hidden = (batch["labels"] >= 0).numpy()
    for word in set(words) - {-1}:
        share = hidden[:, words == word].mean(1)
        ordinary = ~np.isin(np.array(ids)[words == word], tokenizer.all_special_ids)
        assert set(share.tolist()) <= {0.0, ordinary.mean()}
    assert not hidden[:, words == -1].any()


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
FAMILIES = {
    "bert": lambda tokenizer: BertConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **SIZES),
    "modernbert": lambda tokenizer: ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=512, local_attention=8, pad_token_id=0,
        layer_types=["sliding_attention", "full_attention"], **SIZES,
    ),
}  # fmt: skip


def model_of(family, tokenizer):
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(FAMILIES[family](tokenizer))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_trainer_trains_with_it_and_tells_it_the_epoch(workers, wordpiece, corpus_texts, tmp_path):
    dataset = Dataset.from_list(rows(wordpiece, [text[:90] for text in corpus_texts[:30]]))
    collator = MaskingCollator(wordpiece, textdae.WordNoise(), seed=3)
    seen = []

    class Heard(MaskingCollator):
        def __call__(self, examples):
            batch = super().__call__(examples)
            seen.append((self._epoch.get(), float(self._progress), batch))
            return batch

    collator = Heard(wordpiece, textdae.WordNoise(), seed=3)
    arguments = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=6, num_train_epochs=2, dataloader_num_workers=workers,
        learning_rate=1e-2, report_to="none", save_strategy="no", logging_steps=1, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model_of("bert", wordpiece),
        arguments,
        data_collator=collator,
        train_dataset=dataset,
        callbacks=[collator],
    )
    losses = [entry["loss"] for entry in (trainer.train(), trainer.state)[1].log_history if "loss" in entry]
    assert len(losses) == 10
    assert np.isfinite(losses).all()
    assert collator._epoch.get() == 1
    if not workers:
        assert {epoch: progress for epoch, progress, _ in seen} == {0: 0.0, 1: 0.5}
        first = shown(batch for epoch, _, batch in seen if epoch == 0)
        fresh = MaskingCollator(wordpiece, textdae.WordNoise(), seed=3)
        fresh.set_epoch(0)
        assert first == shown([fresh([{"input_ids": row} for row in dataset["input_ids"]])])


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_examples_do_not_see_each_other(family, wordpiece, corpus_texts):
    model = model_of(family, wordpiece).eval()
    examples = rows(wordpiece, corpus_texts[:9], epoch=0)
    noise = textdae.WordNoise(0.3)
    padded = MaskingCollator(wordpiece, noise)(examples)
    longest = padded["input_ids"].shape[1]
    packed = MaskingCollator(wordpiece, noise, pack_for=model, block_size=3 * longest)(examples)
    assert packed["input_ids"].shape[1] == 3 * longest
    assert len(packed["input_ids"]) < len(examples)
    # The same tokens are hidden and shown, one example after the other.
    inside = padded["attention_mask"] == 1
    for name in ("input_ids", "labels"):
        flat = padded[name][inside]
        assert torch.equal(packed[name].flatten()[: len(flat)], flat)
        assert (packed[name].flatten()[len(flat) :] == (0 if name == "input_ids" else -100)).all()
    with torch.no_grad():
        alone = model(**padded).logits[inside]
        together = model(**packed).logits.flatten(0, 1)[: len(alone)]
    begins = torch.cat(
        [row[:1].new_tensor(range(int(n))) for row, n in zip(padded["input_ids"], inside.sum(1), strict=True)]
    )
    # An example that goes on in the next row begins anew there; the others are what they are alone.
    cut = {int(packed["input_ids"].shape[1]) * row for row in range(1, len(packed["input_ids"]))}
    starts = (begins == 0).nonzero().flatten().tolist()
    whole = torch.zeros(len(alone), dtype=torch.bool)
    for begin, end in zip(starts, [*starts[1:], len(alone)], strict=True):
        whole[begin:end] = not any(begin < at < end for at in cut)
    assert whole.sum() > len(alone) / 2
    torch.testing.assert_close(together[whole], alone[whole], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["bert", pytest.param("modernbert", marks=pytest.mark.slow)])
def test_a_trainer_takes_packed_batches(family, wordpiece, corpus_texts, tmp_path):
    model = model_of(family, wordpiece)
    collator = MaskingCollator(wordpiece, textdae.SpanNoise(0.3), pack_for=model, block_size=64)
    dataset = Dataset.from_list(rows(wordpiece, [text[:90] for text in corpus_texts[:24]]))
    arguments = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=8, max_steps=3, report_to="none", save_strategy="no", use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, data_collator=collator, train_dataset=dataset, callbacks=[collator])
    assert np.isfinite(trainer.train().training_loss)


def test_types_of_the_stock_batch_and_columns_that_are_not_read(wordpiece, corpus_texts, caplog):
    batch = wordpiece(corpus_texts[:4], return_token_type_ids=True, return_special_tokens_mask=True)
    examples = [{"text": "x", **{name: batch[name][row] for name in batch}} for row in range(4)]
    stock = DataCollatorForLanguageModeling(wordpiece, pad_to_multiple_of=8)(
        [{name: value for name, value in example.items() if name != "text"} for example in examples]
    )
    collator = MaskingCollator(wordpiece, textdae.TokenNoise(0.15), pad_to_multiple_of=8)
    with caplog.at_level(logging.WARNING):
        ours = collator(examples)
        collator(examples)
    assert [record.getMessage() for record in caplog.records] == [
        "MaskingCollator leaves out text of the examples"
    ]
    assert set(ours) == set(stock)
    assert all(
        ours[name].dtype == stock[name].dtype and ours[name].shape == stock[name].shape for name in stock
    )
    tensors = [{"input_ids": torch.tensor(example["input_ids"])} for example in examples]
    assert collator(tensors)["input_ids"].shape == ours["input_ids"].shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: MaskingCollator(t, 0.15), "noise is a noise of text, e.g. textdae.WordNoise"),
        (lambda t: MaskingCollator(t, textdae.GaussianNoise(0.1)), "noise is a noise of text"),
        (lambda t: MaskingCollator(t, textdae.DeleteNoise(0.3)), "delete changes the length"),
        (lambda t: MaskingCollator(t, textdae.WordNoise(0.3), block_size=8), "packing needs both pack_for=model"),
        (lambda t: MaskingCollator(t, textdae.WordNoise(0.3))([]), "an empty batch"),
        (lambda t: MaskingCollator(t, textdae.WordNoise(0.3))([{"text": "a"}]), "have no input_ids, but text"),
        (
            lambda t: MaskingCollator(t, textdae.WordNoise(0.3))([{"input_ids": [1], "index": 0}, {"input_ids": [1]}]),
            "some examples have 'index', others do not",
        ),
        (
            lambda t: MaskingCollator(t, textdae.TokenNoise(0.15))([{"input_ids": [2, 1.5, 3]}]),
            "lists of whole numbers",
        ),
        (
            lambda t: MaskingCollator(t, textdae.TokenNoise(0.15))([{"input_ids": [[2, 5, 3]]}]),
            "lists of whole numbers",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(make, message, wordpiece):
    with pytest.raises(SettingsError) as raised:
        make(wordpiece)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_lists_of_any_whole_numbers_and_booleans_are_taken(wordpiece):
    ids, starts = [2, 300, 301, 302, 3], [False, True, False, True, False]
    collator = MaskingCollator(wordpiece, textdae.WordNoise(0.5))
    collator.set_epoch(0)
    expected = collator(
        [{"input_ids": ids, "word_start": starts}] * 3 + [{"input_ids": [], "word_start": []}]
    )
    for kind in (np.int32, np.uint8, np.bool_):
        rows = [{"input_ids": ids, "word_start": [kind(each) for each in starts]}] * 3
        batch = collator([*rows, {"input_ids": [], "word_start": []}])
        assert torch.equal(batch["labels"], expected["labels"])


def test_several_noises_one_after_the_other(wordpiece, long_rows):
    collator = MaskingCollator(wordpiece, [textdae.ShuffleNoise(0.2), textdae.WordNoise(0.2)])
    batch = collator(long_rows[:20])
    hidden = batch["labels"] >= 0
    assert 0.25 < hidden.float().mean() < 0.45
