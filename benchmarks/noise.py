"""Blocks a second that one process hides tokens in and puts together: ours against `DataCollatorForLanguageModeling`.

`python benchmarks/noise.py`: blocks of 128, batches of 32, 15% hidden, of which 80% show the mask and 10% a random token.
"""

import numpy as np
import torch
from compare import take_turns, timed
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from textdae.data.tokenizer import train_tokenizer, vocabulary_of
from textdae.noise import TokenNoise
from textdae.settings import TokenizerSettings
from textdae.training.batches import Batches

BATCH, LENGTH, COUNT = 32, 128, 200


class Blocks:
    """Random token ids, of documents of about 50 tokens, prepared as a run has them."""

    def __init__(self, size: int, tokenizer: PreTrainedTokenizerFast) -> None:
        chance = np.random.default_rng(0)
        self.ids = torch.from_numpy(chance.integers(5, len(tokenizer), (size, LENGTH)))
        self.word_start = torch.from_numpy(chance.random((size, LENGTH)) < 0.7)
        self.document = torch.from_numpy((chance.random((size, LENGTH)) < 0.02).cumsum(1))

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, examples: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "input_ids": self.ids[examples],
            "word_start": self.word_start[examples],
            "document": self.document[examples],
        }


def main() -> None:
    torch.set_num_threads(1)
    words = (f"{a}{b}{c}" for a in "bcdfgh" for b in "aeiou" for c in "lmnprst")
    tokenizer = train_tokenizer(TokenizerSettings(vocab_size=400), [" ".join(words)])
    blocks = Blocks(BATCH * COUNT, tokenizer)
    noise = TokenNoise(vocabulary_of(tokenizer), 0.15)
    batches = Batches(blocks, noise, 0)
    from textdae.training.batches import Ticket

    def ours() -> float:
        for number in range(COUNT):
            batches[Ticket(number * BATCH, BATCH, None, 0.5)]
        return COUNT * BATCH

    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    rows = [{"input_ids": ids} for ids in blocks.ids.tolist()]

    def stock() -> float:
        for number in range(COUNT):
            collator(rows[number * BATCH : (number + 1) * BATCH])
        return COUNT * BATCH

    ours()
    take_turns({"textdae": timed(ours), "DataCollatorForLanguageModeling": timed(stock)}, 5, "blocks/s")


if __name__ == "__main__":
    main()
