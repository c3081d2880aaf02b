"""Tokens a second embedded: `textdae embed`'s encoder against a plain padded `pipeline("feature-extraction")`.

`python benchmarks/embedding.py CHECKPOINT FILE.parquet [column]`: the first 400 texts of a table, of whatever lengths they
have, the mean over the tokens of each. Both multiply in bf16 where that is faster.
"""

import pyarrow.parquet as pq
import torch
from compare import Run, corpus_name, take_turns, timed
from transformers import AutoModel, AutoTokenizer, pipeline

from textdae.text.encoder import TextEncoder

COUNT = 400


def main(run: Run) -> None:
    checkpoint, file, column = [*run.words, "text"][:3]
    texts = pq.read_table(file, columns=[column])[column].to_pylist()[:COUNT]
    encoder = TextEncoder(checkpoint)
    lengths = [min(len(ids), encoder.limit) for ids in encoder.tokenizer(texts)["input_ids"]]
    print(f"{len(texts):,} texts, {sum(lengths):,} tokens, {min(lengths)} to {max(lengths)} each")

    def ours() -> float:
        encoder(texts)
        return sum(lengths)

    def stock(batch_size: int, dtype: torch.dtype):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, model_max_length=encoder.limit)
        model = AutoModel.from_pretrained(checkpoint, dtype=dtype)
        extract = pipeline("feature-extraction", model=model, tokenizer=tokenizer)

        def embed() -> float:
            found = extract(texts, batch_size=batch_size, truncation=True, return_tensors=True)
            [one[0].float().mean(0) for one in found]
            return sum(lengths)

        return timed(embed)

    contenders = {"textdae": timed(ours)}
    for batch_size in (1, 32):
        for dtype in (torch.float32, torch.bfloat16):
            name = f"pipeline, batches of {batch_size}, {str(dtype).removeprefix('torch.')}"
            contenders[name] = stock(batch_size, dtype)
    what = f"embedding {len(texts):,} texts of {corpus_name(file)}"
    take_turns(run, what, contenders, 3, "tokens/s")


if __name__ == "__main__":
    with Run(__doc__, 2) as run:
        main(run)
