"""Labelled images: pictures with the classes of their table or folder."""

from collections import Counter

import numpy as np

from textdae.core.cache import digest
from textdae.core.logs import Caution
from textdae.core.split import check_apart, named_as, other_source
from textdae.downstream.labelled import SIDES, Entry, LabelledCorpus, divide, labelled_corpus
from textdae.image.data.corpus import Images, prepare_images
from textdae.image.data.data_settings import LabelledImageSettings
from textdae.image.data.sources import open_images


def labelled_images(data: LabelledImageSettings) -> LabelledCorpus:
    """Read pictures with labels.

    Raises:
        SettingsError: they cannot be read, or their labels make no task.
    """
    corpus = prepare_images(data)
    sides: dict[str, list[Images]] = {"train": [corpus.train], "held_out": [corpus.held_out], "test": []}
    tests, fingerprints = other_source(data, "test"), [corpus.fingerprint]
    if tests:
        apart = {"train": data, "held_out": other_source(data, "held_out"), "test": tests}
        with named_as("test"):  # the other two are open already
            opened = {side: open_images(other).fingerprint for side, other in apart.items() if other}
        check_apart(data, opened)
        size = {"image_size": corpus.train.image_size, "channels": corpus.train.channels}
        with named_as("test"):
            test_corpus = prepare_images(tests.model_copy(update=size), whole=True)
        sides["test"] = [test_corpus.train]
        fingerprints.append(test_corpus.fingerprint)
    entries: dict[str, list[Entry]] = {side: [] for side in SIDES}
    for side, parts in sides.items():
        for images in parts:
            for pixels, number in zip(images.pixels, images.labels.tolist(), strict=True):
                entries[side].append((pixels, images.classes[number] if number >= 0 else None))
    notes = Counter[str]()
    if not tests:
        entries |= divide(entries["train"], np.ndarray.tobytes, {"test": (b"test", data.test)}, notes)
    labelled = labelled_corpus(
        data, data.source, entries, corpus.train.classes, digest("labelled images", fingerprints), notes
    )
    changed = [
        *corpus.summary[1:],
        *(Caution(f"test: {note}") for note in (test_corpus.summary[1:] if tests else [])),
    ]
    return labelled._replace(summary=[*labelled.summary, *changed])
