"""The baselines of images against other people's implementations, or against their formulas written out."""

import builtins
import math
import tracemalloc

import numpy as np
import pytest
import torch
from noises import image_noise
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.decomposition import PCA

from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted, Noise
from textdae.core.noise_kind import build_noise
from textdae.core.settings.reader import load
from textdae.image import baselines as image
from textdae.image.baselines import Quality, image_baselines, require_images_extra, score_rebuilds
from textdae.image.noise import ImageNoise
from textdae.image.noises.changing import GaussianNoise, SpeckleNoise
from textdae.image.noises.hiding import PatchNoise
from textdae.image.noises.none import NoNoise
from textdae.image.settings import ImagePretrainSettings
from textdae.training.evaluation import corrupt_for_evaluation, subsample

SIZE = 4


class Waves:
    """Smooth images, a pure function of their number; the last column is always black, as in many real sets."""

    def __init__(self, images: int, size: int = SIZE, channels: int = 1) -> None:
        generator = torch.Generator().manual_seed(images)
        count = min(images, 5000)
        coarse = torch.rand(count, 3 * channels, 2, 2, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
        pixels = smooth.view(count, 3, channels, size, size).prod(1) * 1.5
        pixels = (pixels + 0.05 * torch.rand(pixels.shape, generator=generator)).clamp(0, 1)
        pixels[..., -1] = 0
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, examples: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.pixels[examples]}

    @property
    def flat(self) -> np.ndarray:
        return self.pixels.flatten(1).double().numpy()


TRAIN, HELD_OUT = Waves(300), Waves(40)


def asked(noise: Noise, examples: Waves = HELD_OUT) -> Corrupted:
    return corrupt_for_evaluation(examples, noise, torch.arange(len(examples)))


def noisy_of(corrupted: Corrupted) -> np.ndarray:
    return corrupted.inputs["pixel_values"].flatten(1).double().numpy()


def baseline(name: str, noise: Noise, kind: str, code_size: int | None = None, train: Waves = TRAIN):
    """A baseline's images on the held-out ones, flat, in float64; and what was asked."""
    corrupted = asked(noise, HELD_OUT if train is TRAIN else train)
    rebuilt = image_baselines(train, noise, [kind], code_size)[name](corrupted)
    assert rebuilt.shape == corrupted.target.shape
    return rebuilt.reshape(len(rebuilt), -1).astype(np.float64), corrupted


def test_which_baselines_there_are():
    def names(noise, *kinds, code_size=None):
        return list(image_baselines(TRAIN, noise, kinds, code_size))

    always = ["noisy", "clipped", "median 3x3"]
    found = names(image_noise(GaussianNoise, 0.2), "gaussian", code_size=5)
    assert found[:3] == always
    assert found[3].startswith("blur ")
    assert found[4:] == ["linear denoiser", "PCA 5"]
    assert names(image_noise(SpeckleNoise, 0.2), "speckle")[4:] == ["linear denoiser"]
    for kind in ("pixels", "patches", "blocks"):
        assert names(image_noise(PatchNoise, 0.5, patch_size=2), kind)[4:] == ["linear-Gaussian"]
    both = image_noise(PatchNoise, 0.5, patch_size=2) | image_noise(GaussianNoise, 0.1)
    assert names(both, "patches", "gaussian")[4:] == ["linear denoiser"]
    assert names(image_noise(NoNoise), "none", code_size=3) == ["mean image", "PCA 3"]
    assert names(image_noise(NoNoise), "none", code_size=16) == [
        "mean image"
    ]  # as many numbers as pixels say everything


# Counted on the training images.


def test_mean_image_baseline_is_the_mean_of_the_training_images():
    rebuilt, corrupted = baseline("mean image", image_noise(NoNoise), "none")
    assert len(rebuilt) == len(HELD_OUT)
    np.testing.assert_allclose(rebuilt, np.tile(TRAIN.flat.mean(0), (len(HELD_OUT), 1)), atol=1e-7)
    assert torch.equal(corrupted.target, corrupted.inputs["pixel_values"])


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_the_linear_denoiser_is_wieners(sigma):
    """In the eigenvectors of the covariance each coordinate shrinks by its variance over variance plus noise."""
    rebuilt, corrupted = baseline("linear denoiser", image_noise(GaussianNoise, sigma), "gaussian")
    mean = TRAIN.flat.mean(0)
    _, singular, directions = np.linalg.svd(TRAIN.flat - mean, full_matrices=False)
    variance = singular**2 / len(TRAIN)
    coordinates = (noisy_of(corrupted) - mean) @ directions.T
    expected = mean + (coordinates * (variance / (variance + sigma**2))) @ directions
    np.testing.assert_allclose(rebuilt, expected.clip(0, 1), atol=1e-6)
    assert expected.min() < 0  # the clipping is not idle


def test_the_linear_denoiser_is_ridge_regression_of_the_images_on_themselves():
    """Averaged over the noise, least squares from x + n to x is ridge regression from x to x with penalty M sigma^2."""
    from sklearn.linear_model import Ridge

    rebuilt, corrupted = baseline("linear denoiser", image_noise(GaussianNoise, 0.3), "gaussian")
    ridge = Ridge(alpha=len(TRAIN) * 0.3**2).fit(TRAIN.flat, TRAIN.flat)
    np.testing.assert_allclose(rebuilt, ridge.predict(noisy_of(corrupted)).clip(0, 1), atol=1e-6)


def affine_of(rebuild, shape=(1, SIZE, SIZE), probe=1e-3):
    """The matrix and the offset of a rebuilder near a point where nothing is clipped."""
    width = math.prod(shape)
    center = np.full(width, 0.5)
    points = np.concatenate([center[None], center + probe * np.eye(width)])

    def at(flat):
        pixels = torch.from_numpy(flat.reshape(-1, *shape))
        where = torch.ones_like(pixels, dtype=torch.bool)
        return rebuild(Corrupted({"pixel_values": pixels}, pixels, where)).reshape(len(flat), -1)

    values = at(points)
    matrix = (values[1:] - values[0]) / probe
    return matrix, values[0] - center @ matrix


def test_no_affine_map_is_better_on_the_training_images():
    """The expected error of x -> b + (x + n) A on the training images, and of its neighbours in random directions."""
    sigma = 0.3
    inner = Waves(300)
    inner.pixels = 0.4 + 0.2 * inner.pixels  # so that nothing is clipped
    matrix, offset = affine_of(
        image_baselines(inner, image_noise(GaussianNoise, sigma), ["gaussian"], None)["linear denoiser"]
    )

    def error(matrix, offset):
        left = inner.flat @ matrix + offset - inner.flat
        return np.square(left).sum(1).mean() + sigma**2 * np.square(matrix).sum()

    best = error(matrix, offset)
    chance = np.random.default_rng(0)
    for scale in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            turned = matrix + scale * chance.normal(size=matrix.shape)
            moved = offset + scale * chance.normal(size=offset.shape)
            assert error(turned, offset) > best
            assert error(matrix, moved) > best
    assert error(np.eye(16), np.zeros(16)) > best


def test_linear_denoiser_of_mixed_noises_is_ridge_regression():
    """Exactly ridge regression with the tiny penalty, hence numpy's least squares where pixels vary."""
    noise = image_noise(SpeckleNoise, 0.4) | image_noise(GaussianNoise, 0.1)
    corrupted, learned = asked(noise), asked(noise, TRAIN)
    rebuild = image_baselines(TRAIN, noise, ["speckle", "gaussian"], None)["linear denoiser"]
    rebuilt = rebuild(corrupted).reshape(len(HELD_OUT), -1)
    seen, clean = noisy_of(learned), TRAIN.flat
    ones = np.ones((len(seen), 1))
    fitted = np.linalg.lstsq(np.hstack([seen, ones]), clean)[0]
    expected = np.hstack([noisy_of(corrupted), np.ones((len(rebuilt), 1))]) @ fitted
    np.testing.assert_allclose(rebuilt, expected.clip(0, 1), atol=0.01)
    # With the penalty as further rows of the same regression, around the means, it is the same map.
    penalty = np.sqrt(1e-4 * len(seen)) * np.eye(16)
    centred = np.vstack([seen - seen.mean(0), penalty])
    fitted = np.linalg.lstsq(centred, np.vstack([clean - clean.mean(0), 0 * penalty]))[0]
    expected = clean.mean(0) + (noisy_of(corrupted) - seen.mean(0)) @ fitted
    np.testing.assert_allclose(rebuilt, expected.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rate", [0.25, 0.75, 1.0])
def test_the_linear_gaussian_baseline_is_the_conditional_mean(channels, rate):
    """By the precision matrix instead of the covariance: E[h | s] = m_h - P_hh^-1 P_hs (s - m_s)."""
    train = Waves(200, channels=channels)
    noise = image_noise(PatchNoise, rate, patch_size=2)
    rebuilt, corrupted = baseline("linear-Gaussian", noise, "patches", train=train)
    mean = train.flat.mean(0)
    precision = np.linalg.inv(np.cov(train.flat.T, bias=True) + 1e-4 * np.eye(len(mean)))
    hidden = corrupted.inputs["hidden"].expand(corrupted.target.shape).flatten(1).numpy()
    for number in (0, 7, 31):
        missing, seen = np.nonzero(hidden[number])[0], np.nonzero(~hidden[number])[0]
        image_, expected = noisy_of(corrupted)[number], noisy_of(corrupted)[number].copy()
        expected[missing] = mean[missing]
        if len(seen):
            pull = precision[np.ix_(missing, seen)] @ (image_[seen] - mean[seen])
            expected[missing] -= np.linalg.solve(precision[np.ix_(missing, missing)], pull)
        np.testing.assert_allclose(rebuilt[number], expected.clip(0, 1), atol=1e-5)
        np.testing.assert_array_equal(rebuilt[number][seen], image_[seen].clip(0, 1))


@pytest.mark.parametrize("size", [1, 4, 9])
@pytest.mark.parametrize("noise", [image_noise(NoNoise), image_noise(GaussianNoise, 0.2)])
def test_pca_is_that_of_scikit_learn(size, noise):
    kind = "none" if str(noise) == "none" else "gaussian"
    rebuilt, corrupted = baseline(f"PCA {size}", noise, kind, size)
    pca = PCA(n_components=size, svd_solver="full").fit(TRAIN.flat)
    expected = pca.inverse_transform(pca.transform(noisy_of(corrupted)))
    np.testing.assert_allclose(rebuilt, expected.clip(0, 1), atol=1e-6)


# Filters.


@pytest.mark.parametrize("channels", [1, 3])
def test_the_filters_take_each_channel_of_each_image_by_itself(channels):
    train = Waves(30, size=6, channels=channels)
    noise = image_noise(GaussianNoise, 0.3)
    corrupted = asked(noise, train)
    baselines = image_baselines(train, noise, ["gaussian"], None)
    blur = next(name for name in baselines if name.startswith("blur "))
    sigma = float(blur.split()[1])
    noisy = corrupted.inputs["pixel_values"].numpy()
    np.testing.assert_array_equal(baselines["noisy"](corrupted), noisy)
    np.testing.assert_array_equal(baselines["clipped"](corrupted), np.clip(noisy, 0, 1))
    assert noisy.min() < 0 < 1 < noisy.max()
    median, blurred = baselines["median 3x3"](corrupted), baselines[blur](corrupted)
    for number in range(len(train)):
        for channel in range(channels):
            plane = np.clip(noisy[number, channel], 0, 1)
            np.testing.assert_array_equal(
                median[number, channel], ndimage.median_filter(plane, 3, mode="nearest")
            )
            expected = ndimage.gaussian_filter(plane, sigma, mode="nearest")
            np.testing.assert_allclose(blurred[number, channel], expected, atol=1e-6)


@pytest.mark.parametrize(
    "noise", [image_noise(GaussianNoise, 0.05), image_noise(GaussianNoise, 0.4), image_noise(PatchNoise, 0.3, patch_size=1)], ids=["weak", "strong", "pixels"]
)  # fmt: skip
def test_the_blur_is_the_best_of_several_on_the_training_images(noise):
    kind = "pixels" if str(noise) == "patches" else "gaussian"
    corrupted = corrupt_for_evaluation(TRAIN, noise, subsample(len(TRAIN), 256))
    clean, where = corrupted.target.numpy(), corrupted.loss_mask.numpy()
    errors = {}
    for sigma in image._BLURS:
        made = [
            ndimage.gaussian_filter(plane.clip(0, 1), sigma, mode="nearest")
            for plane in corrupted.inputs["pixel_values"][:, 0].numpy()
        ]
        errors[sigma] = np.square((np.stack(made)[:, None] - clean)[where]).mean()
    best = min(errors, key=errors.__getitem__)
    assert f"blur {best:g}" in image_baselines(TRAIN, noise, [kind], None)


def test_stronger_noise_takes_a_wider_blur():
    def width(sigma):
        names = image_baselines(TRAIN, image_noise(GaussianNoise, sigma), ["gaussian"], None)
        return next(float(name.split()[1]) for name in names if name.startswith("blur "))

    assert width(0.02) < width(0.15) < width(0.8)


# The ends of the scale.


def test_images_of_many_values_have_no_linear_baselines(monkeypatch):
    monkeypatch.setattr(image, "MOST_VALUES", 15)
    assert len(image_baselines(TRAIN, image_noise(GaussianNoise, 0.2), ["gaussian"], 5)) == 4
    assert list(image_baselines(TRAIN, image_noise(NoNoise), ["none"], 5)) == ["mean image"]
    monkeypatch.setattr(image, "MOST_VALUES", 16)
    assert len(image_baselines(TRAIN, image_noise(GaussianNoise, 0.2), ["gaussian"], 5)) == 6


def test_only_so_many_training_images_are_looked_at(monkeypatch):
    monkeypatch.setattr(image, "_MOST_IMAGES", 50)
    few = Waves(300)
    few.pixels = few.pixels[subsample(300, 50)]
    looked = affine_of(
        image_baselines(TRAIN, image_noise(GaussianNoise, 0.3), ["gaussian"], None)["linear denoiser"]
    )
    given = affine_of(
        image_baselines(few, image_noise(GaussianNoise, 0.3), ["gaussian"], None)["linear denoiser"]
    )
    for mine, theirs in zip(looked, given, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)


# The measures.


def rows_of(noise: Noise, examples: Waves, batch_size: int = 128):
    def dimmed(corrupted: Corrupted) -> np.ndarray:
        return corrupted.inputs["pixel_values"].numpy().clip(0, 1) * np.float32(0.9)

    rows, scored = score_rebuilds(
        {"dimmed": dimmed}, examples, noise, torch.arange(len(examples)), batch_size
    )
    corrupted = asked(noise, examples)
    return rows["dimmed"], scored, corrupted, dimmed(corrupted)


@pytest.mark.parametrize(
    ("size", "window", "channels"), [(12, 7, 3), (8, 7, 1), (6, 5, 1), (4, 3, 3), (3, 3, 1)]
)
def test_quality_is_that_of_scikit_image(size, window, channels):
    examples = Waves(20, size, channels)
    row, scored, corrupted, made = rows_of(image_noise(GaussianNoise, 0.2), examples)
    clean = corrupted.target.numpy()
    assert scored == clean.size
    assert row["mse"] == row["loss"] == pytest.approx(np.square(clean.astype(float) - made).mean(), rel=1e-6)
    assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(clean, made, data_range=1), rel=1e-6)
    similar = [
        structural_similarity(one, other, win_size=window, data_range=1, channel_axis=0)
        for one, other in zip(clean, made, strict=True)
    ]
    assert row["ssim"] == pytest.approx(np.mean(similar), rel=1e-6)


def test_what_is_not_scored_is_left_as_it_is_seen():
    examples = Waves(20, 8)
    row, scored, corrupted, made = rows_of(image_noise(PatchNoise, 0.5, patch_size=2, fill=0.3), examples)
    clean, where = corrupted.target.numpy(), corrupted.loss_mask.numpy()
    assert scored == where.sum() < where.size
    assert row["mse"] == pytest.approx(np.square(clean[where].astype(float) - made[where]).mean(), rel=1e-6)
    shown = np.where(where, made, clean)
    similar = [
        structural_similarity(a, b, data_range=1, channel_axis=0) for a, b in zip(clean, shown, strict=True)
    ]
    assert row["ssim"] == pytest.approx(np.mean(similar), rel=1e-6)


def test_unscored_pixels_that_are_noisy_stay_noisy_in_ssim():
    corrupted = asked(image_noise(GaussianNoise, 0.3), Waves(20, 8))
    where = torch.zeros_like(corrupted.loss_mask)
    where[..., :4] = True
    quality = Quality()
    quality.add(corrupted._replace(loss_mask=where), corrupted.target.numpy())
    clean, noisy = corrupted.target.numpy(), corrupted.inputs["pixel_values"].numpy()
    shown = np.where(where.numpy(), clean, noisy)
    similar = [
        structural_similarity(a, b, data_range=1, channel_axis=0) for a, b in zip(clean, shown, strict=True)
    ]
    assert quality.row()["mse"] == 0
    assert quality.row()["ssim"] == pytest.approx(np.mean(similar), rel=1e-6)
    assert quality.row()["ssim"] < 0.99


def test_quality_of_a_perfect_reconstruction_is_zero_error_and_120_db():
    quality = Quality()
    corrupted = asked(image_noise(GaussianNoise, 0.2))
    quality.add(corrupted, corrupted.target.numpy())
    assert quality.row() == {"loss": 0, "mse": 0, "psnr": 120, "ssim": pytest.approx(1)}


def test_nothing_scored_is_no_nan():
    corrupted = asked(image_noise(GaussianNoise, 0.2))
    quality = Quality()
    quality.add(corrupted._replace(loss_mask=torch.zeros_like(corrupted.loss_mask)), corrupted.target.numpy())
    assert quality.row()["mse"] == 0


def test_batches_change_nothing():
    for noise in (image_noise(GaussianNoise, 0.2), image_noise(PatchNoise, 0.5, patch_size=2)):
        whole, scored, *_ = rows_of(noise, HELD_OUT)
        for size in (1, 7):
            parts, again, *_ = rows_of(noise, HELD_OUT, size)
            assert again == scored
            assert parts == pytest.approx(whole, rel=1e-9)


def test_what_can_be_expected_of_gaussian_noise():
    """Noise of standard deviation 0.1 is an MSE of 0.01, hence 20 dB."""
    examples = Waves(500)
    baselines = image_baselines(TRAIN, image_noise(GaussianNoise, 0.1), ["gaussian"], None)
    rows, _ = score_rebuilds(baselines, examples, image_noise(GaussianNoise, 0.1), torch.arange(500))
    assert rows["noisy"]["psnr"] == pytest.approx(20, abs=0.3)
    order = ["noisy", "clipped", "linear denoiser"]
    assert sorted(order, key=lambda name: rows[name]["psnr"]) == order


def test_the_settings_name_the_kinds_that_the_baselines_know():
    for kind in ImageNoise.kinds.keys() - {"pairs"}:  # whose pictures there are none of here
        settings = load(ImagePretrainSettings, None, [f"noise.kind={kind}", "data.source=digits"])
        if hasattr(settings.noise[0], "patch_size"):
            few = {"patch_size": 1} | ({"components": 1} if kind == "patch_pca" else {})
            settings = settings.noise[0].model_copy(update=few)
        else:
            settings = settings.noise[0]
        baselines = image_baselines(
            TRAIN, build_noise([settings], TRAIN), [settings.kind], None if kind == "neighbours" else 4
        )
        rows, _ = score_rebuilds(baselines, HELD_OUT, build_noise([settings], TRAIN), torch.arange(8))
        assert all(np.isfinite(value) for row in rows.values() for value in row.values())


def test_without_scikit_image_it_is_said_at_once(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "skimage":
            raise ModuleNotFoundError("No module named 'skimage'")
        return real(name, *rest)

    require_images_extra()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError) as raised:
        require_images_extra()
    assert str(raised.value) == "images are measured with scikit-image; run: pip install 'textdae[images]'"


class _Many:
    """Images that are made when they are asked for."""

    def batch(self, indices):
        draw = torch.Generator().manual_seed(int(indices[0]))
        return {"pixel_values": torch.rand(len(indices), 1, 16, 16, generator=draw)}


def test_the_linear_baselines_hold_only_a_batch_of_images_in_memory():
    indices = torch.arange(20_000)
    for count in (
        lambda: image._moments(_Many(), indices),
        lambda: image._least_squares(_Many(), build_noise((GaussianNoise(),)), indices),
    ):
        tracemalloc.start()
        count()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6  # all of them are 41 MB in float64
