"""Blocks a second that one worker collates: `textdae.MaskingCollator` against `DataCollatorForLanguageModeling`.

`python benchmarks/collating.py [BATCH ...]`: the sources of textdae in blocks of 128, lists of numbers as a `datasets.Dataset` gives
them, batches of so many (32 and 256). 15% hidden, of which 80% show the mask and 10% a random token; ours also whole words, which the
stock collator can only guess.
"""

import torch
from compare import ROOT, Run, take_turns, timed
from transformers import DataCollatorForLanguageModeling

import textdae
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.tokenizer import train_tokenizer

BLOCKS, LENGTH = 1024, 128


def main(run: Run) -> None:
    torch.set_num_threads(1)
    texts = [path.read_text() for path in sorted((ROOT / "textdae").rglob("*.py"))]
    tokenizer = train_tokenizer(TokenizerSettings(vocab_size=4096), texts)
    ids = [token for text in texts for token in tokenizer(text, verbose=False)["input_ids"]]
    ids = (ids * -(-BLOCKS * LENGTH // len(ids)))[: BLOCKS * LENGTH]
    rows = [{"input_ids": ids[at : at + LENGTH]} for at in range(0, len(ids), LENGTH)]
    collators = {
        "textdae.MaskingCollator": textdae.MaskingCollator(tokenizer, textdae.TokenNoise(0.15)),
        "textdae.MaskingCollator, whole words": textdae.MaskingCollator(tokenizer, textdae.WordNoise(0.15)),
        "DataCollatorForLanguageModeling": DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
    }
    for size in [int(word) for word in run.words] or [32, 256]:

        def collate(collator, size=size):
            def work() -> float:
                for begin in range(0, BLOCKS, size):
                    collator(rows[begin : begin + size])
                return BLOCKS

            return timed(work)

        for collator in collators.values():
            collator(rows[:size])
        take_turns(
            run, f"collating batches of {size}", {n: collate(c) for n, c in collators.items()}, 7, "blocks/s"
        )


if __name__ == "__main__":
    with Run(__doc__) as run:
        main(run)
