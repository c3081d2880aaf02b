"""Blocks a second that one thread reads, hides tokens in and puts together: ours, against `DataCollatorForLanguageModeling`.

`python benchmarks/noise.py`: docstrings in blocks of 128, batches of 32 in a shuffled order, 15% hidden, of which 80% show the
mask and 10% a random token. The stock collator once with the rows of a `datasets.Dataset`, as a `DataLoader` hands them to it,
and once with rows that lie in memory already.
"""

import torch
from compare import take_turns, timed
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling

from textdae.data.text import prepare_text
from textdae.data.tokenizer import vocabulary_of
from textdae.noise import TokenNoise
from textdae.settings import TextDataSettings, TokenizerSettings
from textdae.training.batches import Batches, Ticket

BATCH, COUNT = 32, 200


def main() -> None:
    torch.set_num_threads(1)
    data = TextDataSettings(source="docstrings", max_bytes="6MB", block_size=128)
    corpus = prepare_text(data, TokenizerSettings())
    batches = Batches(corpus.train, TokenNoise(vocabulary_of(corpus.tokenizer), 0.15), 0)

    def ours() -> float:
        for number in range(COUNT):
            batches[Ticket(number * BATCH, BATCH, None, 0.5)]
        return COUNT * BATCH

    ids = corpus.train.batch(range(len(corpus.train)))["input_ids"].tolist()
    table = Dataset.from_dict({"input_ids": ids})
    at_hand = [{"input_ids": row} for row in ids]
    collator = DataCollatorForLanguageModeling(corpus.tokenizer, mlm_probability=0.15)
    order = batches.order.epoch(0)[: BATCH * COUNT].view(COUNT, BATCH).tolist()

    def stock() -> float:
        for numbers in order:
            collator(table.__getitems__(numbers))
        return COUNT * BATCH

    def collator_alone() -> float:
        for numbers in order:
            collator([at_hand[number] for number in numbers])
        return COUNT * BATCH

    ours()
    rivals = {
        "textdae": ours,
        "datasets, DataCollatorForLanguageModeling": stock,
        "DataCollatorForLanguageModeling alone": collator_alone,
    }
    take_turns({name: timed(work) for name, work in rivals.items()}, 7, "blocks/s")


if __name__ == "__main__":
    main()
