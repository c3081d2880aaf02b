"""The level of the noise as an input: estimated, given, and a model without biases that needs neither."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import convolve2d

from textdae.cli.app import main
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.image.building import build_image_denoiser, save_image_processor
from textdae.image.denoise import denoise_pictures
from textdae.image.model import as_denoiser
from textdae.image.model_settings import UNetSettings
from textdae.image.models.level import as_map, estimate_level
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.noises.changing import BlurNoise, GaussianNoise, SpeckleNoise
from textdae.image.task import ImageEvaluation


def unet(**given) -> UNet:
    torch.manual_seed(0)
    model = UNet(UNetConfig(16, 1, 8, 1, **given)).eval()
    for name, parameter in model.named_parameters():  # the last convolutions begin at zero
        torch.nn.init.normal_(parameter, std=0.1 if "weight" in name else 0.05)
    return model


def smooth(rows: int = 3, side: int = 128) -> torch.Tensor:
    small = torch.rand(rows, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(small, side, mode="bicubic")


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3])
def test_the_level_is_estimated_from_the_picture(sigma):
    noise = torch.randn(3, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    found = estimate_level(smooth() + sigma * noise)
    assert found.shape == (3, 1)
    # Five standard errors of a median: 1.17 sigma over the square root of some independent pixels.
    assert (found - sigma).abs().max() < 5 * 1.4 * sigma / 128


def test_the_estimate_is_the_median_after_the_filter():
    picture = np.random.default_rng(0).normal(size=(12, 9))
    kernel = np.outer([1, -2, 1], [1, -2, 1])
    expected = np.median(np.abs(convolve2d(picture, kernel, "valid") / np.linalg.norm(kernel)))
    found = estimate_level(torch.from_numpy(picture)[None, None])
    # torch takes the lower of the two in the middle
    assert float(found) * 0.6744897501960817 == pytest.approx(expected, rel=0.05)
    for size in ((1, 1), (2, 3)):
        assert torch.isfinite(estimate_level(torch.rand(1, 1, *size))).all()


def test_the_level_matters_and_a_number_is_a_map():
    model, pixels = unet(condition="level"), smooth(2, 18)
    with torch.no_grad():
        one, other = (model(pixels, level=torch.tensor([[s], [s]])).reconstruction for s in (0.1, 0.2))
        assert not torch.allclose(one, other)
        assert torch.equal(one, model(pixels, level=torch.full((2, 1, 18, 18), 0.1)).reconstruction)
        mixed = model(pixels, level=torch.tensor([0.1, 0.2])).reconstruction
        assert torch.allclose(mixed, torch.stack([one[0], other[1]]), atol=1e-6)
        estimated = model(pixels, level=estimate_level(pixels)).reconstruction
        assert torch.equal(model(pixels).reconstruction, estimated)
    assert as_map(torch.tensor(0.3), pixels).shape == (2, 1, 18, 18)


def test_training_tells_the_level_of_each_picture():
    noise = GaussianNoise(sigma=0.4, final_sigma=0.0, schedule="uniform").build()
    examples = torch.arange(2)
    corrupted = noise({"pixel_values": smooth(2)}, Draw(0, torch.zeros_like(examples), examples))
    told = corrupted.inputs["level"]
    measured = (corrupted.inputs["pixel_values"] - corrupted.target).flatten(1).std(1, keepdim=True)
    assert torch.allclose(told, measured, rtol=0.03)
    denoiser = as_denoiser(unet(condition="level"))
    with torch.no_grad():
        given = denoiser(corrupted).reconstruction
        expected = denoiser.model(corrupted.inputs["pixel_values"], level=told).reconstruction
    assert torch.equal(given, expected)


DEVIATION = 0.25


def test_before_training_a_model_of_all_levels_is_the_wiener_filter():
    model = build_image_denoiser(UNetSettings(hidden_size=8, condition="level"), 16, 1, 0).model
    assert model.config.data_deviation == DEVIATION
    pixels, levels = smooth(3, 16), torch.tensor([0.01, 0.25, 20.0])
    with torch.no_grad():
        found = model(pixels, level=levels).reconstruction
    share = DEVIATION**2 / (DEVIATION**2 + levels**2)
    assert torch.allclose(found, 0.5 + share.view(-1, 1, 1, 1) * (pixels - 0.5), atol=1e-6)


def test_the_convolutions_see_and_give_numbers_of_one_size_at_every_level():
    """Karras et al. 2022, table 1: c_skip x + c_out F(c_in x, ln(level) / 4), with the F of a model that is without all that."""
    model = unet(condition="level", data_deviation=DEVIATION)
    plain = unet(condition="level")
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.nn.init.zeros_(plain.head.bias)
    pixels, level = smooth(2, 18) - 0.5, torch.tensor([0.03, 3.0]).view(2, 1, 1, 1)
    total = (level**2 + DEVIATION**2).sqrt()
    with torch.no_grad():
        found = model(pixels + 0.5, level=level.flatten()).reconstruction
        inner = plain(pixels / total + 0.5, level=(level.log() / 4).flatten()).reconstruction
        F = inner - 0.5 - pixels / total
    expected = 0.5 + (DEVIATION / total) ** 2 * pixels + level * DEVIATION / total * F
    assert F.abs().mean() > 0.01
    assert torch.allclose(found, expected, atol=2e-6)


def test_each_level_weighs_as_much_in_training():
    denoiser = as_denoiser(unet(condition="level", data_deviation=DEVIATION))
    noise = GaussianNoise(sigma=2, final_sigma=0.01, schedule="log_uniform").build()
    examples = torch.arange(4)
    corrupted = noise({"pixel_values": smooth(4, 16)}, Draw(0, torch.zeros_like(examples), examples))
    output = denoiser.train()(corrupted)
    errors = (output.reconstruction - corrupted.target).square().sum((1, 2, 3))
    weights = 1 + (DEVIATION / corrupted.inputs["level"][:, 0]) ** 2
    assert output.loss_sum.item() == pytest.approx((weights * errors).sum().item(), rel=1e-4)
    assert output.loss.item() == pytest.approx(output.loss_sum.item() / corrupted.target.numel())
    evaluated = denoiser.eval()(corrupted)
    assert evaluated.loss_sum.item() == pytest.approx(errors.sum().item(), rel=1e-4)


def test_a_level_may_be_uniform_in_its_logarithm():
    noise = GaussianNoise(sigma=20, schedule="log_uniform")
    assert noise.level == (20, 0.02, "log_uniform")
    assert noise.at_end() is noise
    count = 2000
    levels = noise.level.at(0.3, Draw(0, torch.zeros(count, dtype=torch.long), torch.arange(count)))
    share = ((levels / 0.02).log() / np.log(1000)).flatten().sort().values.numpy()
    assert np.abs(share - (np.arange(count) + 0.5) / count).max() < 1.63 / count**0.5  # Kolmogorov, 1%
    assert noise.in_words() == "gaussian, sigma 20 to 0.02 (log_uniform)"
    draw = Draw(0, torch.zeros(3, dtype=torch.long), torch.arange(3))
    assert noise.at_level(5.0).level.at(0.5, draw).flatten().tolist() == pytest.approx([5.0] * 3)
    with pytest.raises(SettingsError, match=r"leaves nothing of a picture"):
        GaussianNoise(sigma=1, schedule="uniform").at_level(5.0)
    given = ["data.source=digits", "noise.sigma=20"]
    load(PretrainSettings, None, [*given, "noise.schedule=log_uniform"])
    with pytest.raises(SettingsError, match=r"leaves nothing of a picture"):
        load(PretrainSettings, None, [*given, "noise.schedule=uniform"])
    with pytest.raises(SettingsError, match=r"draws no level of 0; set final_sigma=0.01"):
        load(PretrainSettings, None, [*given, "noise.schedule=log_uniform", "noise.final_sigma=0"])


def test_where_a_file_has_cut_the_noise_off_it_is_not_estimated():
    noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    dark = smooth(1) * 0.5 + 0.25
    dark[..., :80, :] = 0.0  # most of it is black, where half of the noise is cut off
    files = ((dark + 0.1 * noise).clamp(0, 1) * 255).round() / 255
    assert float(estimate_level(files)) == pytest.approx(0.1, rel=0.1)
    assert float(estimate_level(torch.zeros(1, 1, 16, 16))) == 0.0


def test_a_blur_is_not_told_as_a_level_and_tiles_share_the_estimate(monkeypatch):
    examples = torch.arange(1)
    draw = Draw(0, torch.zeros_like(examples), examples)
    clean = {"pixel_values": smooth(1, 90)}
    blurred = BlurNoise(sigma=1.0).build()(clean, draw)
    assert "level" not in blurred.inputs
    noisy = SpeckleNoise(sigma=0.5).build()(clean, draw)
    assert "level" not in noisy.inputs
    evaluation = object.__new__(ImageEvaluation)
    evaluation.denoiser = as_denoiser(unet(condition="level"))
    whole = evaluation.rebuild(noisy)
    monkeypatch.setattr("textdae.image.models.tiles.TILE", 32)
    np.testing.assert_allclose(evaluation.rebuild(noisy), whole, atol=2e-6)


@pytest.mark.parametrize("condition", [None, "level"])
def test_without_biases_brightness_carries_over(condition):
    model, pixels = unet(condition=condition, bias=False), smooth(1, 21)
    assert not [name for name, _ in model.named_parameters() if "bias" in name]
    level = torch.tensor([[0.2]]) if condition else None
    with torch.no_grad():
        once = model(pixels, level=level).reconstruction
        thrice = model(3 * pixels, level=None if level is None else 3 * level).reconstruction
    assert not torch.allclose(once, pixels)
    assert torch.allclose(thrice, 3 * once, rtol=1e-4, atol=1e-5)


def test_settings_make_such_models_and_older_ones_stay_as_they_were():
    model = build_image_denoiser(UNetSettings(hidden_size=8, condition="level", bias=False), 16, 3, 0).model
    assert (model.config.condition, model.config.bias) == ("level", False)
    assert model.stem.weight.shape[1] == 16
    assert UNetSettings().model_dump(mode="json").keys() == {
        "type",
        "hidden_size",
        "num_hidden_layers",
        "from_pretrained",
    }
    assert UNetSettings(bias=False).model_dump(mode="json")["bias"] is False
    assert UNetConfig().bias
    assert UNetConfig().condition is None


def test_a_checkpoint_keeps_its_condition(tmp_path):
    model = unet(condition="level", bias=False)
    model.save_pretrained(tmp_path)
    again = UNet.from_pretrained(tmp_path)
    pixels = smooth(1, 16)
    with torch.no_grad():
        assert torch.equal(again(pixels).reconstruction, model(pixels).reconstruction)


def test_only_a_noise_whose_level_is_known_can_be_a_condition():
    given = ["data.source=digits", "model.type=unet", "model.condition=level"]
    load(PretrainSettings, None, [*given, "noise.schedule=uniform"])
    with pytest.raises(SettingsError, match=r"one noise of kind gaussian, whose level can be told; got blur"):
        load(PretrainSettings, None, [*given, "noise.kind=blur"])


def test_tiles_see_the_level_of_the_whole_picture(monkeypatch):
    denoiser = as_denoiser(unet(condition="level"))
    noisy = np.random.default_rng(0).normal(0.5, 0.2, (70, 90)).astype(np.float32)
    noisy[:30] = 0.5  # a part without noise
    whole = denoiser.denoise(noisy)
    monkeypatch.setattr("textdae.image.models.tiles.TILE", 32)

    np.testing.assert_allclose(denoiser.denoise(noisy), whole, atol=2e-6)
    given = float(estimate_level(torch.from_numpy(noisy)[None, None]))
    np.testing.assert_allclose(denoiser.denoise(noisy, strength=given), whole, atol=2e-6)
    assert not np.allclose(denoiser.denoise(noisy, strength=0.01), whole)


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["textdae", "denoise", *map(str, words)])
        with pytest.raises(SystemExit) as raised:
            main()
        return int(raised.value.code or 0), "".join(capsys.readouterr())

    return run


def test_strength_on_the_command_line(tmp_path, command):
    for name, given in (("own", {}), ("told", {"condition": "level"})):
        unet(**given).save_pretrained(tmp_path / name)
        save_image_processor(tmp_path / name, 16, 1)
    pixels = (smooth(1, 40)[0, 0] * 255).clamp(0, 255).byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "in.png")
    told, own = (
        [tmp_path / name, tmp_path / "in.png", "-o", tmp_path / f"{name}.png"] for name in ("told", "own")
    )
    assert command(*told, "--strength", 0.2)[0] == 0
    with Image.open(tmp_path / "told.png") as picture:
        strong = np.asarray(picture)
    expected = as_denoiser(unet(condition="level")).denoise(pixels / 255, strength=0.2)
    assert np.array_equal((expected.clip(0, 1) * 255).round(), strong)
    code, said = command(*told)
    assert code == 0
    assert "as estimated" in said
    for wrong, says in ((25, "25 of 255 steps is 0.098"), (-1, "from 0 to 2")):
        code, said = command(*told, "--strength", wrong)
        assert code
        assert says in said
    code, said = command(*own, "--strength", 0.2)
    assert code
    assert "model.condition=level" in said
    with pytest.raises(SettingsError, match="strength"):
        denoise_pictures(tmp_path / "own", tmp_path / "in.png", tmp_path / "out.png", strength=0.2)
