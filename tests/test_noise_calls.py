"""Noises on plain tensors: `GaussianNoise(0.25)(pixels)`, `WordNoise(0.3)(batch, tokenizer=tokenizer)`."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import textdae
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.registry import noise_classes
from textdae.image.noises import ImageNoise
from textdae.text.noises import TextNoise
from textdae.text.tokens.vocabulary import vocabulary_of

PIXELS = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_every_registered_noise_is_a_public_name_without_a_list():
    kinds = [*TextNoise.kinds.values(), *ImageNoise.kinds.values()]
    assert {"WordNoise", "SpanNoise", "DeleteNoise", "GaussianNoise", "PatchNoise"} <= set(dir(textdae))
    for kind in kinds:
        assert getattr(textdae, kind.__name__) is noise_classes()[kind.__name__] is kind
    with pytest.raises(AttributeError, match="no attribute 'NoSuchNoise'"):
        _ = textdae.NoSuchNoise


def test_the_dial_is_set_by_its_position():
    assert textdae.GaussianNoise(0.5) == textdae.GaussianNoise(sigma=0.5)
    assert textdae.SpanNoise(0.2, mean_length=3) == textdae.SpanNoise(rate=0.2, mean_length=3)
    assert textdae.WordNoise(0.3).final_rate is None  # as written: it stays there


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: textdae.GaussianNoise(-1), "GaussianNoise: sigma: input should be greater than 0, got -1"),
        (lambda: textdae.GaussianNoise(64), "set sigma=0.251"),
        (lambda: textdae.WordNoise(rat=0.3), "WordNoise: rat: no such key; did you mean `rate`"),
        (lambda: textdae.WordNoise(0.3, rate=0.2), "WordNoise: rate is given twice, 0.3 and 0.2"),
        (lambda: textdae.NoNoise(1.0), "NoNoise: has no level, got 1.0"),
        (lambda: textdae.GaussianNoise(0.1)((PIXELS * 255).byte()), "divided by 255"),
        (lambda: textdae.GaussianNoise(0.1)(PIXELS, tokenizer=1), "takes no tokenizer"),
        (lambda: textdae.PatchPcaNoise(0.1)(PIXELS), "call it with fitted_on=pixels"),
        (
            lambda: textdae.PatchPcaNoise(0.1, components=17)(PIXELS, fitted_on=PIXELS),
            "patches of 4 x 4 have 16 values; keep fewer than 17",
        ),
        (lambda: textdae.GaussianNoise(0.1)(PIXELS, index=[1, 2]), "index: one whole number for each of 6"),
        (lambda: textdae.GaussianNoise(0.1)(PIXELS, epoch=0.5), "epoch: one whole number"),
        (lambda: textdae.WordNoise(0.3)({"input_ids": PIXELS}), "needs the tokenizer of the batch"),
    ],
)
def test_a_mistake_is_one_line(make, message):
    with pytest.raises(SettingsError) as raised:
        make()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ImageNoise.kinds.values(), ids=ImageNoise.kinds)
def test_a_call_is_the_noise_of_a_run_with_these_numbers(kind):
    numbers, epochs = torch.tensor([5, 3, 9, 0, 1, 2]), torch.full((6,), 2)
    clean = {"pixel_values": PIXELS}
    if kind.__name__ == "PairsNoise":
        clean["noisy_values"] = PIXELS / 2
    fitted_on = {"fitted_on": PIXELS} if kind.__name__ == "PatchPcaNoise" else {}
    noisy = kind()(clean, seed=7, epoch=2, index=numbers, **fitted_on)
    expected = kind().build(*fitted_on.values())(clean, Draw(7, epochs, numbers))
    assert torch.equal(noisy.inputs["pixel_values"], expected.inputs["pixel_values"])
    assert torch.equal(noisy.loss_mask, expected.loss_mask)
    assert torch.equal(noisy.target, expected.target)
    assert torch.equal(noisy.target, PIXELS) or kind.__name__ == "NeighbourNoise"  # whose target is noisy too


def test_without_numbers_a_picture_has_its_own_noise_in_any_batch_and_alone():
    noise = textdae.GaussianNoise(0.25)
    whole = noise(PIXELS, seed=1).inputs["pixel_values"]
    assert torch.equal(noise(PIXELS[[4, 2]], seed=1).inputs["pixel_values"], whole[[4, 2]])
    alone = noise(PIXELS[3], seed=1)
    assert torch.equal(alone.inputs["pixel_values"], whole[3])
    assert alone.target.shape == alone.loss_mask.shape == (1, 8, 8)
    difference = whole - PIXELS
    assert abs(difference.std() - 0.25) < 0.03
    assert len({row.numpy().tobytes() for row in difference}) == 6
    for other in (noise(PIXELS, seed=2), noise(PIXELS, seed=1, epoch=1)):
        assert not torch.equal(other.inputs["pixel_values"], whole)


class Pictures(Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, number):
        return self.transform(PIXELS[number])


@pytest.mark.parametrize("persistent", [False, True])
def test_a_transform_of_a_dataset_hears_of_the_epoch_in_its_workers(persistent):
    transform = textdae.NoiseTransform(textdae.GaussianNoise(0.25), seed=3)
    loader = DataLoader(Pictures(transform), 3, num_workers=2, persistent_workers=persistent)
    for epoch in range(2):
        transform.set_epoch(epoch)
        noisy = torch.cat([corrupted.inputs["pixel_values"] for corrupted in loader])
        expected = textdae.GaussianNoise(0.25)(PIXELS, seed=3, epoch=epoch).inputs["pixel_values"]
        assert torch.equal(noisy, expected)


@pytest.mark.parametrize("kind", TextNoise.kinds.values(), ids=TextNoise.kinds)
def test_a_text_noise_takes_what_the_tokenizer_gives(kind, tokenizer, corpus_texts):
    batch = tokenizer(corpus_texts[:8], padding=True, return_tensors="pt")
    numbers = torch.arange(8)
    corrupted = kind(0.3)(batch, tokenizer=tokenizer, seed=4, index=numbers)
    word_start = torch.tensor(
        [
            [n == 0 or w is None or w != words[n - 1] for n, w in enumerate(words)]
            for words in (batch.word_ids(row) for row in range(8))
        ]
    )
    clean = {**batch, "word_start": word_start, "document": batch["attention_mask"] - 1}
    expected = kind(0.3).build(vocabulary_of(tokenizer))(clean, Draw(4, torch.zeros(8).long(), numbers))
    assert torch.equal(corrupted.inputs["input_ids"], expected.inputs["input_ids"])
    assert torch.equal(corrupted.loss_mask, expected.loss_mask)
    assert set(corrupted.inputs) == set(batch)  # as any masked language model takes them
    assert torch.equal(corrupted.target, batch["input_ids"])


def test_one_text_alone_has_the_noise_that_it_has_in_a_batch(wordpiece, corpus_texts):
    noise = textdae.WordNoise(0.3)
    batch = wordpiece(corpus_texts[:4], padding=True, return_tensors="pt")
    whole = noise(batch, tokenizer=wordpiece)
    for row, text in enumerate(corpus_texts[:4]):
        alone = noise(torch.tensor(wordpiece(text)["input_ids"]), tokenizer=wordpiece)
        assert torch.equal(alone.inputs["input_ids"], whole.inputs["input_ids"][row, : len(alone.target)])


def test_word_starts_may_be_given(bpe):
    ids = bpe("some words of a text that is not long", return_tensors="pt")["input_ids"]
    one_word = torch.zeros_like(ids, dtype=torch.bool)
    corrupted = textdae.WordNoise(0.9)({"input_ids": ids, "word_start": one_word}, tokenizer=bpe, index=[0])
    assert corrupted.loss_mask.sum() == ids.shape[1] - 2  # all but the special tokens
    with pytest.raises(SettingsError, match="takes tensors, got list; tokenize with padding=True"):
        textdae.WordNoise(0.9)(bpe(["a", "few words"]), tokenizer=bpe)
