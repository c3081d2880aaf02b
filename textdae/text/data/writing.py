"""Write the two sides of a stream of documents, train and held out."""

from collections.abc import Iterable
from pathlib import Path

from textdae.core.in_order import InOrder
from textdae.text.data.packing import Packer, StreamInfo, StreamWriter

SIDES = ("train", "held_out")


def write_sides(
    folder: Path, packer: Packer, documents: Iterable[tuple[bool, str]], processes: int | None = 1
) -> dict[str, StreamInfo]:
    """Tokenize and pack documents into `folder/train` and `folder/held_out`.

    Args:
        documents: whether each is held out, and its text.
        processes: that tokenize; default: this one; None: one a core.
    """
    with InOrder(packer, processes) as pack:
        writers = {side: StreamWriter(folder / side, pack, with_words=side == "held_out") for side in SIDES}
        for held_out, text in documents:
            writers[SIDES[held_out]].add(text)
        return {side: writer.close() for side, writer in writers.items()}
