"""`textdae denoise`: give back what the masks of a text hide, or the clean picture behind a noisy one."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from textdae.checkpoints import LoadedText
from textdae.data.pictures import fit, read_picture
from textdae.errors import SettingsError
from textdae.models.image import ImageDenoiser
from textdae.models.unet import UNet
from textdae.settings import ImageDataSettings
from textdae.settings.runs import IMAGE_SUFFIXES


class Candidate(NamedTuple):
    """A guess for one mask."""

    token: str
    probability: float


class Denoised(NamedTuple):
    """A text with its masks filled."""

    text: str
    candidates: list[list[Candidate]]
    """For each mask, from left to right, the best guesses given the text as it came."""
    order: list[list[str]]
    """What was filled in each round, the surest first."""


@torch.no_grad()
def denoise_text(loaded: LoadedText, text: str, steps: int = 1, top: int = 5) -> Denoised:
    """Fill the masks of a text in `steps` rounds; each fixes the surest guesses and looks again at the rest.

    The schedule is that of Mask-Predict turned round (Ghazvininejad et al. 2019): equal shares a round, never undone.

    Args:
        text: holds the tokenizer's mask token, or [MASK].
        steps: rounds; 1 fills all masks at once.
        top: candidates listed for each mask.

    Raises:
        SettingsError: no mask in the text, or the text is longer than the model takes.
    """
    denoiser, tokenizer = loaded
    mask = str(tokenizer.mask_token)
    ids = tokenizer(text.replace("[MASK]", mask), return_tensors="pt")["input_ids"]
    limit = getattr(denoiser.model.config, "max_position_embeddings", None) or ids.shape[1]
    if ids.shape[1] > limit:
        raise SettingsError(
            f"denoise: the text has {ids.shape[1]} tokens, the model takes {limit}; shorten it"
        )
    masks = (ids[0] == tokenizer.mask_token_id).nonzero().squeeze(1)
    if not len(masks):
        raise SettingsError(f'denoise: no mask in the text; write one, e.g. "the {mask} sat"')

    forbidden = torch.tensor(sorted(tokenizer.all_special_ids))
    candidates: list[list[Candidate]] = []
    order: list[list[str]] = []
    left = masks
    for round_ in range(min(steps, len(masks))):
        logits = denoiser.decode(denoiser.encode({"input_ids": ids})[0, left]).float()
        logits[:, forbidden] = -torch.inf
        logits[:, len(tokenizer) :] = -torch.inf  # rows that pad the embedding stand for nothing
        best = logits.softmax(-1).topk(min(top, len(tokenizer)))
        if not candidates:
            candidates = [
                [Candidate(_text(tokenizer, i), p) for i, p in zip(row_ids, row, strict=True)]
                for row_ids, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
        count = -(-len(left) // (min(steps, len(masks)) - round_))
        surest = best.values[:, 0].topk(count).indices.sort().values
        ids[0, left[surest]] = best.indices[surest, 0]
        order.append([_text(tokenizer, i) for i in best.indices[surest, 0].tolist()])
        kept = torch.ones(len(left), dtype=torch.bool)
        kept[surest] = False
        left = left[kept]
    return Denoised(str(tokenizer.decode(ids[0], skip_special_tokens=True)), candidates, order)


def _text(tokenizer: object, token: int) -> str:
    return str(tokenizer.decode([token])).strip()  # type: ignore[attr-defined]


@torch.no_grad()
def denoise_pictures(denoiser: ImageDenoiser, source: Path, output: Path) -> Iterator[str]:
    """Write the clean version of a picture, or of every picture in a folder; yield a line for each.

    A U-Net keeps the picture's size. An autoencoder or a ViT has one size of its own, to which the picture is brought.
    A grey model takes the channels of a colour picture one by one.

    Raises:
        SettingsError: no such picture, or one that cannot be used.
    """
    if source.is_dir():
        files = sorted(
            f for f in source.rglob("*") if f.name.lower().endswith(IMAGE_SUFFIXES) and f.is_file()
        )
        if not files:
            raise SettingsError(f"denoise: no picture in the folder {source} ({', '.join(IMAGE_SUFFIXES)})")
        if output.resolve().is_relative_to(source.resolve()):
            raise SettingsError(f"denoise: {output} lies inside {source}; give another place with -o")
        targets = [(output / file.relative_to(source)).with_suffix(".png") for file in files]
        twice = [target for target, count in Counter(targets).items() if count > 1]
        if twice:
            raise SettingsError(f"denoise: several pictures would be written to {twice[0]}; rename one")
    elif source.is_file():
        files, targets = [source], [output / f"{source.stem}.png" if output.is_dir() else output]
        if targets[0].suffix.lower() not in IMAGE_SUFFIXES:
            raise SettingsError(f"denoise: -o {output} names no picture; end it in .png")
    else:
        raise SettingsError(f"denoise: no such picture or folder: {source}")
    for file, target in zip(files, targets, strict=True):
        if target.exists() and target.samefile(file):
            raise SettingsError(f"denoise: {file} would be written over; give another place with -o")
    config, keeps_size = denoiser.model.config, isinstance(denoiser.model, UNet)
    for file, target in zip(files, targets, strict=True):
        notes: Counter[str] = Counter()
        try:
            content = file.read_bytes()
            picture = read_picture(content, str(file), ImageDataSettings(background="white"), notes)
        except OSError as error:
            raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
        if keeps_size:
            pixels = np.asarray(picture, np.uint8)
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        else:
            pixels = fit(picture, config.image_size, 1 if picture.mode == "L" else 3, notes)
        if len(pixels) < config.num_channels:
            pixels = np.repeat(pixels, config.num_channels, 0)
            notes["grey pictures given three equal channels"] += 1
        clean = torch.from_numpy(np.array(pixels, order="C")).float() / 255  # a copy: Pillow lends its own
        # A grey model sees a colour picture as a batch of its channels.
        split = len(pixels) > config.num_channels
        rebuilt = denoiser.rebuild({"pixel_values": clean[:, None] if split else clean[None]})
        rebuilt = rebuilt[:, 0] if split else rebuilt[0]
        values = (rebuilt * 255).round().byte().numpy()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0)).save(target)
        except (OSError, ValueError) as error:
            raise SettingsError(f"denoise: {target}: cannot be written: {error}") from None
        change = float((rebuilt - clean).square().mean()) ** 0.5
        said = [f"{'; '.join(notes)}"] if notes else []
        yield "; ".join([f"{file} -> {target} ({values.shape[2]} x {values.shape[1]}, root mean square change {change:.3f})", *said])  # fmt: skip
