"""The image corpus: source -> pictures -> pixels on disk, cached by its content.

N images of one side, C channels.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from textdae.core.cache import cache_root, cached, digest
from textdae.core.errors import SettingsError
from textdae.core.logs import cautions
from textdae.core.progress import Progress
from textdae.core.split import check_apart, is_held_out, named_as, other_source, share_for_both_sides
from textdae.image.data.data_settings import ImageCorpusSettings, ImageDataSettings
from textdae.image.data.images import Images
from textdae.image.data.pairs import Partners, check_sizes
from textdae.image.data.photographs import Photographs
from textdae.image.data.pictures import UnusablePicture, fit, whole
from textdae.image.data.sources import ImageSource, open_images

logger = logging.getLogger(__name__)

_VERSION = 3
_SKIPPED, _NAMED = "pictures skipped, not usable", 3
"""The note of such pictures, and how many are named when they are met."""


class ImageCorpus(NamedTuple):
    """A corpus that is ready to train on."""

    train: Images
    held_out: Images
    fingerprint: dict[str, Any]
    """Values that determine the images, by setting: equal fingerprints mean equal pixels on the same sides."""
    summary: list[str]
    """Lines on what was read, changed and left out."""

    @property
    def unit(self) -> str:
        """The unit of the training speed."""
        return "images"

    @property
    def units_per_example(self) -> int:
        """One."""
        return 1


def prepare_images(data: ImageDataSettings, whole: bool = False) -> ImageCorpus:
    """Read and resize a corpus, or open it from the cache.

    Args:
        whole: leave it undivided: all of it in `train`, the other side empty.

    Raises:
        SettingsError: the corpus cannot be read, or one side of it is empty.
    """
    source, other, share = (open_images(data), None, 0.0) if whole else _sources(data)
    fingerprint = _fingerprint(data, source, other, share)
    folder = _folder(data, fingerprint)
    cached(folder, lambda temporary: _write(temporary, source, other, share, data))

    crop, flips = _crop(data)
    train, held_out = (
        Photographs(folder / side, crop, flips) if crop else Images(folder / side)
        for side in ("train", "held_out")
    )
    for side, name in (
        (train, "data.source"),
        (held_out, "data.held_out_source" if other else "data.held_out"),
    ):
        if not len(side) and not (whole and side is held_out):
            why = "no image could be used" if other or not len(held_out) + len(train) else f"none of {len(train) + len(held_out)} images fell to this side; give more, another share, or data.held_out_source"  # fmt: skip
            raise SettingsError(f"{name}: {why}")
    notes = source.left_out + (other.left_out if other else Counter())
    notes += Counter(json.loads((folder / "notes.json").read_text()))
    size = f"{train.sizes}, {'grey' if train.channels == 1 else 'colour'}"
    labels = f", {len(train.classes)} classes" if train.has_labels else ", no labels"
    noisy = getattr(data, "noisy_source", None)
    return ImageCorpus(
        train,
        held_out,
        fingerprint
        | {"data.image_size": train.image_size, "data.channels": train.channels}
        | ({"data.crop": crop, "data.flips": flips} if crop else {}),
        [
            f"{source.name}: {len(train):,} images, {size}{labels}; held out {len(held_out):,}"
            + (f" of {other.name}" if other else "")
            + (f"; each with its noisy partner in {noisy}" if noisy else ""),
            *cautions(notes),
        ],
    )


def is_prepared(data: ImageDataSettings) -> bool:
    """Return whether this corpus is in the cache."""
    return _folder(data, _fingerprint(data, *_sources(data))).is_dir()


def _sources(data: ImageDataSettings) -> tuple[ImageSource, ImageSource | None, float]:
    """Return the training source, the held-out source if it is another one, and the held-out share otherwise."""
    source, other_data = open_images(data), other_source(data)
    with named_as("held_out"):
        other = open_images(other_data) if other_data else None
    check_apart(data, {"train": source.fingerprint} | ({"held_out": other.fingerprint} if other else {}))
    return source, other, 0.0 if other else data.held_out


def _crop(data: ImageDataSettings) -> tuple[int | None, bool]:
    """Return the side of the crops, None if pictures are resized, and whether crops are flipped."""
    return (data.crop, data.flips) if isinstance(data, ImageCorpusSettings) else (None, False)


def _fingerprint(
    data: ImageDataSettings, source: ImageSource, other: ImageSource | None, share: float
) -> dict[str, Any]:
    crop, _ = _crop(data)
    reading = data.model_dump(include={"image_size", "channels", "background", "on_error", "max_images"})
    return {
        "data.source": source.fingerprint,
        "data.held_out": other.fingerprint if other else share,
        **{f"data.{key}": value for key, value in reading.items()},
        **({"pictures": "whole", "data.crop": crop} if crop else {}),  # smaller pictures are not used
        **{f"data.{key}": each.fingerprint for key, each in _noisy_sources(data).items()},
    }


def _noisy_sources(data: ImageDataSettings) -> dict[str, ImageSource]:
    """Return the sources of the noisy pictures of pairs, by setting."""
    keys = ("noisy_source", "held_out_noisy_source") if isinstance(data, ImageCorpusSettings) else ()
    names = {key: name for key in keys if (name := getattr(data, key))}
    own = {"subset": None, "revision": None, "label_column": ""}
    sources = {}
    for key, name in names.items():
        try:
            sources[key] = open_images(data.model_copy(update={**own, "source": name}))
        except SettingsError as error:
            raise SettingsError(str(error).replace("data.source", f"data.{key}")) from None
    return sources


def _folder(data: ImageDataSettings, fingerprint: dict[str, Any]) -> Path:
    """Return the folder of the prepared corpus."""
    return cache_root(data.cache_dir) / f"images-{digest('images', _VERSION, fingerprint)}"


def _write(
    folder: Path, source: ImageSource, other: ImageSource | None, share: float, data: ImageDataSettings
) -> None:
    notes: Counter[str] = Counter()
    contents = (image.picture.tobytes() for image in Reader(data, Counter({_SKIPPED: _NAMED})).read(source))
    if (used := share_for_both_sides(contents, share)) != share:
        notes[f"examples put on a side that data.held_out={share:g} left empty"], share = 1, used
    partners = {key: Partners(each) for key, each in _noisy_sources(data).items()}
    reader = Reader(data, notes, partners.get("noisy_source"))
    labels: dict[str, list[Any]] = {"train": [], "held_out": []}
    shapes: dict[str, list[tuple[int, ...]]] = {"train": [], "held_out": []}
    streams = {}
    for side in labels:
        (folder / side).mkdir()
        streams[side] = open(folder / side / "pixels.bin", "wb")  # noqa: SIM115
    try:
        for origin in (source, other) if other else (source,):
            reader.partners = partners.get("held_out_noisy_source" if origin is other else "noisy_source")
            with Progress("reading images", origin.size, "images") as progress:
                for image in progress.over(reader.read(origin)):
                    # By the original picture, so that it falls on the same side at any size.
                    apart = origin is other or is_held_out(image.picture.tobytes(), share)
                    side = "held_out" if apart else "train"
                    streams[side].write(image.pixels.tobytes())
                    labels[side].append((origin is other, image.label))
                    shapes[side].append(image.pixels.shape)
    finally:
        for stream in streams.values():
            stream.close()
    found = {pair for pairs in labels.values() for pair in pairs}
    name = {
        is_other: _names_of({label for apart, label in found if apart == is_other}, origin.class_names)
        for is_other, origin in ((False, source), (True, other))
        if origin
    }
    named = {side: [name[is_other](label) for is_other, label in pairs] for side, pairs in labels.items()}
    number, classes = _classes({label for side in named.values() for label in side}, source.class_names)
    for side, values in named.items():
        info = {
            "images": len(values),
            "image_size": reader.size or 0,
            "channels": reader.channels or 0,
            "classes": classes,
            **({"planes": 2 * (reader.channels or 0)} if partners else {}),
        }
        (folder / side / "info.json").write_text(json.dumps(info))
        numbers = [-1 if label is None else number[label] for label in values]
        np.save(folder / side / "labels.npy", np.array(numbers, np.int64))
        if reader.crop:
            np.save(folder / side / "shapes.npy", np.array(shapes[side], np.int64).reshape(-1, 3))
    (folder / "notes.json").write_text(json.dumps(notes))


def _names_of(labels: set[Any], names: list[str] | None) -> Callable[[Any], Any]:
    """Return what names a class by its number in its own source: another may have another order. Names that do not fit are passed over."""
    if not names or not all(isinstance(label, int) and label < len(names) for label in labels - {None}):
        return lambda label: label
    return lambda label: None if label is None or label < 0 else names[label]


def _classes(labels: set[Any], names: list[str] | None) -> tuple[dict[Any, int], list[str]]:
    """Return the index of each class, and the class names, in the order of the training source where it has one."""
    known = labels - {None}
    if names and known <= set(names):
        return {name: index for index, name in enumerate(names)}, names
    # Numbers in numeric order, names in alphabetic order.
    ordered = sorted(known, key=lambda label: (isinstance(label, str), label))
    return {label: index for index, label in enumerate(ordered)}, [str(label) for label in ordered]


class Found(NamedTuple):
    """A usable picture."""

    row: int
    """Index in the source."""
    picture: Image.Image
    """The original."""
    pixels: np.ndarray
    """The resized pixels, for pairs followed by the noisy ones. (C or 2 C, H, W), uint8."""
    label: Any
    """None if it has none."""


class Reader:
    """Convert every picture to one size and number of channels; the first picture decides open settings.

    Args:
        partners: what opens the noisy picture of each pair, see `Partners`; each picture is then read with its own.
    """

    def __init__(
        self, data: ImageDataSettings, notes: Counter[str], partners: Partners | None = None
    ) -> None:
        self.data, self.notes, self.partners = data, notes, partners
        self.crop, _ = _crop(data)
        self.size: int | None = data.image_size
        self.channels: int | None = data.channels
        self._first = ""

    def read(self, source: ImageSource) -> Iterator[Found]:
        """Yield every usable picture."""
        count = 0
        for row, (name, open_picture, label) in enumerate(source):
            if self.data.max_images and count >= self.data.max_images:
                self.notes[f"stopped at data.max_images = {self.data.max_images:,}"] = 1
                return
            try:
                open_noisy = self.partners.of(name) if self.partners else None
                picture = open_picture(self.notes)
                pixels = self._bring(picture, name)
                if open_noisy:
                    noisy = open_noisy(self.notes)
                    check_sizes(picture, noisy, name)
                    pixels = np.concatenate([pixels, self._bring(noisy, f"the noisy partner of {name}")])
            except UnusablePicture as error:
                if self.data.on_error == "stop":
                    raise SettingsError(f"{error}; or set data.on_error=skip") from None
                if self.notes[_SKIPPED] < _NAMED:
                    logger.warning(f"skipped: {error}")
                self.notes[_SKIPPED] += 1
                continue
            count += 1
            yield Found(row, picture, pixels, label)
        if self.partners is not None:
            self.partners.count_unused(self.notes)

    def _bring(self, picture: Any, name: str) -> np.ndarray:
        width, height = picture.size
        if self.crop:
            if min(width, height) < self.crop:
                raise UnusablePicture(
                    f"{name}: {width} x {height}, smaller than a crop of {self.crop} x {self.crop}; set a smaller data.crop"
                )
            if self.channels is None:
                self.channels = 1 if picture.mode == "L" else 3
            return whole(picture, self.channels or 1, self.notes)
        if self.size is None:
            if width != height:
                raise UnusablePicture(
                    f"{name}: {width} x {height}, not square; set data.image_size=64, or another size, to resize and crop it"
                )
            self.size, self._first = width, name
        if self.data.image_size is None and (width, height) != (self.size, self.size):
            raise UnusablePicture(
                f"{name}: {width} x {height}, but {self._first} is {self.size} x {self.size}; "
                f"set data.image_size={self.size}, and all are resized and cropped"
            )
        if self.channels is None:
            self.channels = 1 if picture.mode == "L" else 3
        return fit(picture, self.size, self.channels, self.notes)
