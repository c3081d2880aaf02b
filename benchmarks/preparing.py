"""Tokens a second from text to blocks: ours, against `datasets.map` with the usual `group_texts`, and `tokenizers` alone.

`python benchmarks/preparing.py FILE.parquet [column]`: a table of texts; WordPiece of 8,192 entries trained on it beforehand.
All contenders use both cores; the time is that of a process that has the libraries loaded, to the end of what it writes.
"""

import os
import tempfile
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
from compare import Run, corpus_name, take_turns, timed

from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.tokenizer import train_tokenizer

BLOCK = 128


def main(run: Run) -> None:
    file, column = [*run.words, "text"][:2]
    texts = pq.read_table(file, columns=[column])[column].to_pylist()
    tokenizer = train_tokenizer(TokenizerSettings(), texts)
    whole = Path(tempfile.mkdtemp())
    amounts: list[int] = []

    def ours() -> float:
        folder = tempfile.mkdtemp(dir=whole)
        data = TextDataSettings(source=file, text_column=column, block_size=BLOCK, cache_dir=Path(folder))
        corpus = prepare_text(data, TokenizerSettings(), tokenizer)
        amounts.append(corpus.train.info.tokens + corpus.held_out.info.tokens)
        return amounts[-1]

    def stock() -> float:
        from datasets import load_dataset

        folder = tempfile.mkdtemp(dir=whole)
        rows = load_dataset("parquet", data_files=file, split="train", cache_dir=folder)

        def tokenize(batch):
            return tokenizer(batch[column], return_special_tokens_mask=True)

        def group_texts(batch):
            joined = {key: list(chain(*batch[key])) for key in batch}
            total = len(joined["input_ids"]) // BLOCK * BLOCK
            return {
                key: [values[begin : begin + BLOCK] for begin in range(0, total, BLOCK)]
                for key, values in joined.items()
            }

        cores = os.cpu_count()
        tokens = rows.map(tokenize, batched=True, num_proc=cores, remove_columns=rows.column_names)
        blocks = tokens.map(group_texts, batched=True, num_proc=cores)
        return len(blocks) * BLOCK

    def alone() -> float:
        backend, count = tokenizer.backend_tokenizer, 0
        for begin in range(0, len(texts), 1000):
            count += sum(len(one.ids) for one in backend.encode_batch(texts[begin : begin + 1000]))
        return count

    contenders = {
        "textdae": ours,
        "datasets.map and group_texts": stock,
        "tokenizers alone, nothing kept": alone,
    }
    turns = {name: timed(work) for name, work in contenders.items()}
    take_turns(run, f"text to blocks, {corpus_name(file)}", turns, 3, "tokens/s")


if __name__ == "__main__":
    with Run(__doc__, 1) as run:
        main(run)
