"""Texts a second to vectors: `textdae.TextEncoder.encode` against sentence-transformers' `encode` of the same folder.

`python benchmarks/encoding.py CHECKPOINT COUNT FILE.parquet ...`: so many texts, in equal parts from the first of each file and
shuffled; the means over their tokens. One thread, or a GPU where there is one. In fp32 the vectors are compared too; bf16 is left
out, with a line, where the hardware does not multiply it.
"""

import random

import numpy as np
import pyarrow.parquet as pq
import torch
from compare import Run, take_turns, timed
from sentence_transformers import SentenceTransformer

import textdae
from textdae.training.hardware import autocast_dtype

ROUNDS = 3


def main(run: Run) -> None:
    torch.set_num_threads(1)
    checkpoint, count, *files = run.words
    texts = []
    for file in files:
        texts += pq.read_table(file, columns=["text"])["text"].to_pylist()[: -(-int(count) // len(files))]
    texts = random.Random(0).sample(texts, int(count))
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        ours = textdae.TextEncoder.from_pretrained(checkpoint, precision=precision)
        if precision == "bf16" and autocast_dtype("auto", ours.device) is None:
            print("bf16: not measured, this hardware does not multiply it")
            continue
        stock = SentenceTransformer(checkpoint, device=ours.device.type, model_kwargs={"dtype": dtype})
        found = ours.encode(texts[:500]), stock.encode(texts[:500])
        if precision == "fp32":
            difference = float(np.abs(found[0] - found[1]).max())
            print(f"largest difference of a number in 500 vectors: {difference:.2g}")
            run.add(
                f"encoding {len(texts):,} texts in fp32: largest difference from sentence-transformers",
                difference,
                "absolute",
            )

        def encode(model):
            def work() -> float:
                model.encode(texts)
                return len(texts)

            return timed(work)

        contenders = {"textdae": encode(ours), "sentence-transformers": encode(stock)}
        take_turns(run, f"encoding {len(texts):,} texts in {precision}", contenders, ROUNDS, "texts/s")


if __name__ == "__main__":
    with Run(__doc__, 3) as run:
        main(run)
