"""The noises of cameras and files: photons, compression, lost resolution."""

import io

import numpy as np
import pytest
import torch
from noises import image_noise
from PIL import Image
from scipy import stats
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.image.noises.downsample import DownsampleNoise
from textdae.image.noises.jpeg import JpegNoise
from textdae.image.noises.poisson import PoissonNoise

NOISES = {
    "poisson": image_noise(PoissonNoise, 20.0, 5.0),
    "jpeg": image_noise(JpegNoise, 30.0, 5.0, "uniform"),
    "downsample": image_noise(DownsampleNoise, factor=3),
}
every_noise = pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)


def draw(rows: int, epoch: int = 0) -> Draw:
    return Draw(0, torch.full((rows,), epoch), torch.arange(rows))


def pictures(rows: int = 4, channels: int = 1, height: int = 24, width: int = 19) -> dict[str, Tensor]:
    smooth = np.random.default_rng(0).random((rows, channels, 4, 4), np.float32)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(smooth), (height, width), mode="bilinear")
    return {"pixel_values": enlarged}


def noisy(noise, clean: dict[str, Tensor], progress: float = 0.0) -> Tensor:
    corrupted = noise(clean, draw(len(clean["pixel_values"])), progress)
    assert torch.equal(corrupted.target, clean["pixel_values"])
    assert corrupted.loss_mask.all()
    return corrupted.inputs["pixel_values"]


@every_noise
@pytest.mark.parametrize("channels", [1, 3])
def test_what_becomes_of_a_picture_depends_on_no_other(noise, channels):
    clean = pictures(4, channels)["pixel_values"]
    together = noisy(noise, {"pixel_values": clean}, 0.5)
    assert together.shape == clean.shape
    part = {"pixel_values": clean[2:]}
    alone = noise(part, Draw(0, torch.zeros(2, dtype=torch.long), torch.tensor([2, 3])), 0.5)
    assert torch.equal(together[2:], alone.inputs["pixel_values"])


@pytest.mark.parametrize("peak", [2.0, 300.0])
def test_photons_are_poisson_numbers(peak):
    clean = {"pixel_values": torch.full((3, 1, 80, 80), 0.4)}
    counts = noisy(image_noise(PoissonNoise, peak), clean).numpy().ravel() * peak
    assert np.allclose(counts, counts.round(), atol=1e-3)
    mean = 0.4 * peak
    assert counts.mean() == pytest.approx(mean, abs=5 * (mean / counts.size) ** 0.5)
    values, found = np.unique(counts.round(), return_counts=True)
    common = found > 20
    expected = stats.poisson.pmf(values[common], mean) * counts.size
    assert (np.abs(found[common] - expected) < 5 * expected**0.5).all()


def test_no_light_comes_from_black_or_below():
    clean = {"pixel_values": torch.tensor([-0.5, 0.0]).view(1, 1, 1, 2)}
    assert not noisy(image_noise(PoissonNoise, 1e6), clean).any()


def test_photons_of_other_epochs_are_others():
    clean, noise = pictures(), NOISES["poisson"]
    first, second = (noise(clean, draw(4, epoch)).inputs["pixel_values"] for epoch in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("channels", "quality"), [(1, 5), (3, 40)])
def test_jpeg_is_that_of_pillow(channels, quality):
    clean = pictures(2, channels)
    found = noisy(image_noise(JpegNoise, float(quality)), clean)
    for image, result in zip(clean["pixel_values"], found, strict=True):
        rounded = (image * 255).round().byte().numpy().transpose(1, 2, 0).squeeze()
        stream = io.BytesIO()
        Image.fromarray(rounded).save(stream, "JPEG", quality=quality)
        expected = np.asarray(Image.open(stream)).reshape(24, 19, channels)
        assert np.array_equal((result * 255).round().byte().numpy().transpose(1, 2, 0), expected)


def test_a_lower_quality_is_a_stronger_noise():
    clean = pictures()
    errors = [float((noisy(image_noise(JpegNoise, q), clean) - clean["pixel_values"]).square().mean()) for q in (80.0, 20.0, 3.0)]  # fmt: skip
    assert errors == sorted(errors)


@pytest.mark.parametrize("factor", [2, 5])
def test_downsampling_is_that_of_pillow(factor):
    clean = pictures(2)
    found = noisy(image_noise(DownsampleNoise, factor=factor), clean)
    small = (-(-19 // factor), -(-24 // factor))
    for image, result in zip(clean["pixel_values"], found, strict=True):
        picture = Image.fromarray(image[0].numpy())
        expected = picture.resize(small, Image.Resampling.BICUBIC).resize((19, 24), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(result[0].numpy(), np.asarray(expected), atol=2e-5)


@pytest.mark.parametrize("dial", ["poisson.peak", "jpeg.quality"])
def test_a_uniform_schedule_needs_both_ends(dial):
    kind, name = dial.split(".")
    given = ["data.source=digits", f"noise.kind={kind}", "noise.schedule=uniform"]
    with pytest.raises(SettingsError, match=f"give final_{name} too"):
        load(PretrainSettings, None, given)
    load(PretrainSettings, None, [*given, f"noise.final_{name}=50"])
