"""Peak memory while a large corpus is prepared: `python benchmarks/memory.py [GIGABYTES] [SOURCE]`.

Writes a text file of that size by repeating SOURCE (default: the docstrings), trains the tokenizer on it, packs it,
and prints time, tokens/s and the peak resident memory of the whole process.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from textdae.data.sources import open_source
from textdae.data.text import prepare_text
from textdae.settings import TextDataSettings, TokenizerSettings


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    source = sys.argv[2] if len(sys.argv) > 2 else "docstrings"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, size = folder / "large.txt", 0
        texts = [" ".join(text.split()) for text in open_source(TextDataSettings(source=source), folder)]
        with open(path, "w", encoding="utf-8") as file:
            while size < gigabytes * 1e9:
                for text in texts:
                    file.write(f"{text}\n\n")
                    size += len(text.encode()) + 2
        del texts
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        began = time.monotonic()
        corpus = prepare_text(TextDataSettings(source=str(path), cache_dir=folder), TokenizerSettings())
        seconds = time.monotonic() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        tokens = corpus.train.info.tokens + corpus.held_out.info.tokens
        print("\n".join(corpus.notes))
        print(
            f"{size / 1e6:,.0f} MB of text, {tokens:,} tokens in {seconds:.0f} s: {tokens / seconds:,.0f} tokens/s"
        )
        print(f"peak resident memory {peak:,.0f} MB ({before:,.0f} MB before preparing)")


if __name__ == "__main__":
    main()
