"""Write the two sides of a stream of documents, train and held out."""

from collections.abc import Callable, Iterable
from pathlib import Path

from textdae.core.in_order import InOrder
from textdae.text.packing import Packer, StreamInfo, StreamWriter


def write_sides(
    folder: Path, packer: Packer, texts: Iterable[str], is_held_out: Callable[[str], bool]
) -> dict[str, StreamInfo]:
    """Tokenize and pack documents into `folder/train` and `folder/held_out`, in this process."""
    with InOrder(packer, 1) as pack:
        writers = {
            side: StreamWriter(folder / side, pack, with_words=side == "held_out")
            for side in ("train", "held_out")
        }
        for text in texts:
            writers["held_out" if is_held_out(text) else "train"].add(text)
        return {side: writer.close() for side, writer in writers.items()}
