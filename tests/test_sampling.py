"""From noise down a chain of levels: samples of a distribution that is known, and fillings of a hole."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from all_levels import save_unet_of_all_levels
from PIL import Image

import textdae
from textdae.cli.app import main
from textdae.core.errors import SettingsError
from textdae.image.building import save_image_processor
from textdae.image.model import ImageDenoiser, as_denoiser
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.sampling import Levels, karras_levels, run_chain

MEAN, DEVIATION = 0.4, 0.15


class Gaussian:
    """The exact denoiser of pictures whose pixels are all one number, normal around MEAN."""

    conditioned = True

    def restore(self, pixels: torch.Tensor, strength: float) -> torch.Tensor:
        share = DEVIATION**2 / (DEVIATION**2 + strength**2 / pixels[0].numel())
        middle = pixels.mean((1, 2, 3), keepdim=True)
        return (MEAN + share * (middle - MEAN)).expand_as(pixels)


def test_levels_are_those_of_karras():
    levels = karras_levels(Levels(2.0), 5)
    expected = [(2 ** (1 / 7) + i / 4 * (0.005 ** (1 / 7) - 2 ** (1 / 7))) ** 7 for i in range(5)]
    assert levels == pytest.approx([*expected, 0.0])
    low = karras_levels(Levels(0.004), 3)
    assert low == sorted(low, reverse=True)


def test_samples_have_the_distribution_that_the_denoiser_knows():
    count = 2000
    samples = run_chain(Gaussian(), (count, 1, 2, 2), Levels(1.0), steps=120)
    assert samples.std((1, 2, 3)).max() < 1e-5  # all pixels of a picture are one number
    numbers = samples[:, 0, 0, 0]
    # Besides chance, steps of finite length and the start, which is not quite the distribution at the highest level.
    assert float(numbers.mean()) == pytest.approx(MEAN, abs=5 * DEVIATION / count**0.5 + 0.01)
    assert float(numbers.std()) == pytest.approx(DEVIATION, rel=0.1)


class Correlated:
    """The exact denoiser of normal pictures with this mean and covariance."""

    conditioned = True

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.mean, self.covariance = mean, covariance

    def restore(self, pixels: torch.Tensor, strength: float) -> torch.Tensor:
        noisy = self.covariance + strength**2 * torch.eye(len(self.mean))
        gain = torch.linalg.solve(noisy, self.covariance).T
        return (self.mean + (pixels.flatten(1) - self.mean) @ gain.T).view_as(pixels)


def smooth_pictures(side: int) -> Correlated:
    """Pictures of `side` x `side`, dark, with a strong common brightness: their noise does not drown below a level of some units."""
    at = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float()
    return Correlated(torch.full((side**2,), 0.2), 0.04 * torch.exp(-torch.cdist(at, at) / (2 * side)))


def test_from_pure_noise_brightness_and_contrast_are_right():
    exact, count = smooth_pictures(8), 1500
    samples = run_chain(exact, (count, 1, 8, 8), Levels(20.0), steps=100)
    brightness = samples.mean((1, 2, 3))
    expected = float(exact.covariance.mean()) ** 0.5
    assert float(brightness.mean()) == pytest.approx(0.2, abs=0.02)
    assert float(brightness.std()) == pytest.approx(expected, rel=0.1)
    # A chain that begins where pictures still show through the noise leans towards grey, which is what the caution says.
    low = run_chain(exact, (200, 1, 8, 8), Levels(0.5), steps=50).mean((1, 2, 3))
    assert float(low.mean()) > 0.25


def test_a_hole_is_filled_as_the_known_pixels_say():
    exact, side = smooth_pictures(4), 4
    hole = torch.zeros(1, 1, side, side, dtype=torch.bool)
    hole[..., 1:3, 1:3] = True
    known = torch.full((1, 1, side, side), 0.5)
    filled = run_chain(exact, (1500, 1, side, side), Levels(20.0), steps=50, known=known, hole=hole)
    inside, outside = hole.flatten(), ~hole.flatten()
    cross = exact.covariance[inside][:, outside]
    gain = torch.linalg.solve(exact.covariance[outside][:, outside], cross.T).T
    mean = 0.2 + gain @ torch.full((int(outside.sum()),), 0.3)
    spread = (exact.covariance[inside][:, inside] - gain @ cross.T).diagonal().sqrt()
    found = filled.flatten(1)[:, inside]
    assert torch.allclose(found.mean(0), mean, atol=0.03)
    assert torch.allclose(found.std(0), spread, rtol=0.25)


def test_a_sample_is_a_pure_function_of_seed_and_number():
    many, few = (run_chain(Gaussian(), (n, 1, 2, 2), Levels(1.0), steps=5) for n in (6, 3))
    assert torch.equal(many[:3], few)
    assert not torch.equal(few, run_chain(Gaussian(), (3, 1, 2, 2), Levels(1.0), steps=5, seed=1))


def test_a_hole_is_filled_by_what_surrounds_it():
    hole = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hole[..., 1:3, 1:3] = True
    known = torch.full((1, 1, 4, 4), 0.7)
    filled = run_chain(Gaussian(), (5, 1, 4, 4), Levels(1.0), steps=60, known=known, hole=hole)
    assert torch.allclose(torch.where(hole, known, filled), known, atol=1e-5)
    assert (filled[:, :, 1:3, 1:3] - 0.7).abs().max() < 0.05


def unet(**given) -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(16, 1, 8, 1, **given)).eval()


def test_a_model_of_one_level_cannot_sample():
    with pytest.raises(SettingsError, match=r"model.condition=level"):
        run_chain(as_denoiser(unet()), (1, 1, 16, 16), Levels(1.0))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    unet(condition="level").save_pretrained(folder)
    save_image_processor(folder, 16, 1)

    def run(name: str, *words: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["textdae", name, str(folder), *map(str, words)])
        with pytest.raises(SystemExit) as raised:
            main()
        said = capsys.readouterr()
        return SimpleNamespace(code=raised.value.code or 0, out=said.out, err=said.err)

    return run


def test_samples_on_the_command_line(tmp_path, command):
    out = tmp_path / "samples.png"
    result = command("sample", "-o", out, "--count", 5, "--steps", 3, "--strength", 0.5)
    assert not result.code, result.err
    assert "5 samples of 16 x 16" in result.out
    assert "the chain starts at level 0.5, where pictures still show through the noise" in result.err
    with Image.open(out) as picture:
        assert picture.size == (3 * 18 - 2, 2 * 18 - 2)
    for words, says in (
        (["--strength", 0.5], "-o samples.png"),
        (["-o", out], "set the highest with strength (--strength)"),
        (["-o", tmp_path / "x.doc", "--strength", 0.5], "end it in .png"),
        (["-o", out, "--strength", 0.001], "0.01"),
    ):
        result = command("sample", *words)
        assert result.code
        assert says in result.err


def test_holes_on_the_command_line(tmp_path, command):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 26), dtype=np.uint8)
    hole = np.zeros_like(pixels)
    hole[5:9, 5:15] = 255
    for name, each in (("photo", pixels), ("hole", hole), ("none", 0 * hole), ("small", hole[:9])):
        Image.fromarray(each).save(tmp_path / f"{name}.png")
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    given = [photo, "-o", out, "--strength", 0.5, "--mask"]
    result = command("denoise", *given, tmp_path / "hole.png", "--draws", 3)
    assert not result.code, result.err
    found = {}
    for name in ("out", "out-draws", "out-spread"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            found[name] = np.asarray(picture)
    assert np.array_equal(found["out"][hole == 0], pixels[hole == 0])
    assert not np.array_equal(found["out"], pixels)
    assert not found["out-spread"][hole == 0].any()
    assert found["out-spread"][hole > 0].max() == 255
    for words, says in (
        ([*given, tmp_path / "none.png"], "make the hole white"),
        ([*given, tmp_path / "small.png"], "must be the same"),
        ([*given[:3], "--mask", tmp_path / "hole.png"], "set the highest with strength (--strength)"),
        ([*given[:3], "--draws", 2], "--mask hole.png"),
        ([*given[:3], "--strength", 0, "--mask", tmp_path / "hole.png"], "more than 0.005"),
        ([photo, "-o", photo, *given[3:], tmp_path / "hole.png"], "write over the picture itself"),
        ([tmp_path, *given[1:], tmp_path / "hole.png"], "takes one picture and one mask"),
    ):
        result = command("denoise", *words)
        assert result.code
        assert says in result.err


@pytest.fixture
def trained(tmp_path) -> Path:
    return save_unet_of_all_levels(tmp_path / "run", 16)


def test_samples_from_python_are_those_of_the_chain_of_the_training(trained):
    samples = textdae.sample_pictures(trained, count=3, steps=4, seed=1)
    assert samples.shape == (3, 1, 16, 16)
    expected = run_chain(
        ImageDenoiser.from_pretrained(trained), (3, 1, 16, 16), Levels.of(20, 20 / 1000), 4, 1
    )
    assert torch.equal(samples, expected.clamp(0, 1))
    assert torch.equal(textdae.sample_pictures(trained, count=1, steps=4, seed=1), samples[:1])
    assert not torch.equal(textdae.sample_pictures(trained, count=3, steps=4, seed=1, strength=10), samples)
    with pytest.raises(
        SettingsError, match=r"strength \(--strength\): 30, and .* trained on noise of up to 20"
    ):
        textdae.sample_pictures(trained, strength=30)


@pytest.mark.parametrize(
    ("given", "says"), [({"count": 0}, "number of pictures: at least 1"), ({"steps": 1}, "steps: at least 2")]
)
def test_too_few_are_refused(trained, given, says):
    with pytest.raises(SettingsError, match=says):
        textdae.sample_pictures(trained, **given)


def test_holes_from_python(trained):
    pictures = torch.rand(2, 1, 12, 20, generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(1, 1, 12, 20, dtype=torch.bool)
    holes[..., 3:7, 4:11] = True
    filled = textdae.fill_pictures(trained, pictures, holes, steps=3)
    known = ~holes.expand_as(pictures)
    assert torch.equal(filled[known], pictures[known])
    assert not torch.equal(filled, pictures)
    assert torch.equal(textdae.fill_pictures(trained, pictures, holes.expand(2, -1, -1, -1), steps=3), filled)
    for wrong, says in (
        ((pictures[0], holes), r"pictures of shape \(B, 1, H, W\), got \(1, 12, 20\)"),
        ((pictures.expand(-1, 3, -1, -1), holes), r"got \(2, 3, 12, 20\)"),
        (
            (pictures, holes[..., :5]),
            r"holes of shape \(B or 1, 1, 12, 20\), bool, got \(1, 1, 12, 5\), bool",
        ),
        ((pictures * 255, holes), r"floats from 0 to 1"),
        ((pictures.byte(), holes), r"floats from 0 to 1"),
        ((pictures / 0, holes), r"floats from 0 to 1"),
        ((pictures[:0], holes), r"number of pictures: at least 1, got 0"),
        ((pictures.numpy(), holes), r"tensors of torch"),
        ((pictures, holes.float()), r"got \(1, 1, 12, 20\), float32"),
    ):
        with pytest.raises(SettingsError, match=says):
            textdae.fill_pictures(trained, *wrong)
