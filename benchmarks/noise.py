"""Blocks a second that one thread reads, hides tokens in and puts together: ours, against `DataCollatorForLanguageModeling`.

`python benchmarks/noise.py [BATCH ...]`: docstrings in blocks of 128, batches of so many in a shuffled order (32 and 256), 15%
hidden, of which 80% show the mask and 10% a random token. The stock collator once with the rows of a `datasets.Dataset`, as a
`DataLoader` hands them to it, and once with rows that lie in memory already.
"""

import torch
from compare import Run, take_turns, timed
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling

from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.model_settings import TokenizerSettings
from textdae.text.noises.masking import TokenNoise
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.training.batches import Batches, BatchSpec

BLOCKS = 6400


def main(run: Run) -> None:
    torch.set_num_threads(1)
    data = TextDataSettings(source="docstrings", max_bytes="6MB", block_size=128)
    corpus = prepare_text(data, TokenizerSettings())
    batches = Batches(corpus.train, TokenNoise(rate=0.15).build(vocabulary_of(corpus.tokenizer)), 0)

    ids = corpus.train.batch(range(len(corpus.train)))["input_ids"].tolist()
    table = Dataset.from_dict({"input_ids": ids})
    at_hand = [{"input_ids": row} for row in ids]
    collator = DataCollatorForLanguageModeling(corpus.tokenizer, mlm_probability=0.15)
    for size in [int(word) for word in run.words] or [32, 256]:
        compare(run, size, batches, table, at_hand, collator)


def compare(run: Run, size: int, batches: Batches, table: Dataset, at_hand: list[dict], collator) -> None:
    order = batches.order.epoch(0)[: BLOCKS // size * size].view(-1, size).tolist()

    def ours() -> float:
        for number in range(len(order)):
            batches[BatchSpec(number * size, size, None, 0.5)]
        return len(order) * size

    def stock() -> float:
        for indices in order:
            collator(table.__getitems__(indices))
        return len(order) * size

    def collator_alone() -> float:
        for indices in order:
            collator([at_hand[number] for number in indices])
        return len(order) * size

    ours()
    contenders = {
        "textdae": ours,
        "datasets, DataCollatorForLanguageModeling": stock,
        "DataCollatorForLanguageModeling alone": collator_alone,
    }
    what = f"making batches of {size}"
    take_turns(run, what, {name: timed(work) for name, work in contenders.items()}, 7, "blocks/s")


if __name__ == "__main__":
    with Run(__doc__) as run:
        main(run)
