"""Settings of where images come from: files and datasets, photographs and their noisy twins, labelled pictures."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from textdae.core.settings.data import DataSettings
from textdae.core.settings.downstream import LabelledDataSettings


class ImageDataSettings(DataSettings):
    """Where the clean images come from, and what size they get."""

    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the examples kept for evaluation, chosen by a hash of their content."""
    source: str = "digits"
    """`digits` (scikit-learn's 8x8), `patterns` (generated, 3x3), an image, folder or glob, a Parquet file, or a Hub dataset id."""
    image_column: str = "image"
    """Column of a table that holds the image."""
    label_column: str = "label"
    """Column of a table that holds the class, kept where it is there; a folder's classes are those of its metadata.csv (or .jsonl, .parquet), else its subfolders."""
    image_size: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Height and width in pixels: the shorter side is resized, the middle cut out; default: the images' own, if all share one."""
    channels: Literal[1, 3] | None = None
    """1: grey, 3: colour; default: as the first image."""
    background: Literal["black", "white"] | None = None
    """What shows through transparent pixels; without it a transparent image is an error."""
    on_error: Literal["stop", "skip"] = "stop"
    """An image that cannot be used: stop and say which and why, or skip and count it."""
    max_images: Annotated[int, Field(ge=1)] | None = None
    """Stop reading after so many images."""


class ImageCorpusSettings(ImageDataSettings):
    """Where the clean images of a denoiser come from, and what it is shown of them."""

    crop: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Train on squares of this side, cut out at random from pictures of any size, and evaluate on whole pictures; instead of `image_size`. Then the default model is a unet, and a batch 8 crops of 64 x 64, or as many pixels."""
    flips: bool = True
    """Show a crop in any of its eight orientations: mirrored, and turned by quarter turns."""

    noisy_source: str | None = None
    """The pictures of `source` with a noise that was measured, matched by name; noise.kind=pairs learns to take it away. Default noise: pairs. Default model: unet."""
    held_out_noisy_source: str | None = None
    """The same for the pictures of `held_out_source`."""

    @model_validator(mode="after")
    def _one_size(self) -> "ImageCorpusSettings":
        if self.crop and self.image_size:
            raise ValueError(
                f"crop {self.crop} takes pictures as they are, image_size {self.image_size} resizes them; leave one out"
            )
        apart = bool(self.held_out_source or self.held_out_split)
        if bool(self.held_out_noisy_source) != (apart and bool(self.noisy_source)):
            raise ValueError(
                "noisy_source and held_out_source together need held_out_noisy_source, and only these"
            )
        return self


class LabelledImageSettings(LabelledDataSettings, ImageDataSettings):
    """Where labelled images come from."""

    label_column: str = "label"
    """Column of a table that holds the label; pictures in folders have their subfolder."""
    task: Literal["auto", "single_label", "regression"] = "auto"
    """regression must be set; an image has one label."""
