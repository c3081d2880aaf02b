"""Noise in the space of patch-wise principal components, against scikit-learn."""

import numpy as np
import pytest
import torch
from records import heard
from sklearn.decomposition import PCA

import textdae
from textdae.commands.evaluate import evaluate
from textdae.commands.pretrain import pretrain
from textdae.core.draw import Draw
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.image.noises.patch_pca import PatchPcaNoise, principal_components

GENERATOR = torch.Generator().manual_seed(0)
WAVES = torch.rand(300, 3, 1, 1, generator=GENERATOR) * torch.linspace(0, 1, 8) + 0.1 * torch.rand(
    300, 3, 8, 8, generator=GENERATOR
)


def as_patches(pixels: torch.Tensor, size: int) -> np.ndarray:
    rows = []
    for image in pixels.numpy():
        for top in range(0, image.shape[1], size):
            for left in range(0, image.shape[2], size):
                rows.append(image[:, top : top + size, left : left + size].flatten())
    return np.array(rows)


def draw(rows: int, first: int = 0) -> Draw:
    return Draw(0, torch.zeros(rows, dtype=torch.long), torch.arange(first, first + rows))


def test_the_components_are_those_of_scikit_learn():
    found = principal_components(WAVES, 4, 5)
    patches = as_patches(WAVES, 4)
    expected = PCA(5, svd_solver="full").fit(patches.astype(np.float64))
    np.testing.assert_allclose(found.mean, expected.mean_, atol=1e-5)
    overlap = (expected.components_ @ found.directions.numpy().astype(np.float64)).__abs__()
    np.testing.assert_allclose(overlap, np.eye(5), atol=1e-3)
    variance = patches.astype(np.float64) @ expected.components_.T
    assert found.deviation == pytest.approx(float(np.sqrt(variance.var(0).mean())), rel=1e-5)


def test_without_noise_it_is_the_projection_and_all_components_leave_everything():
    for count in (3, 48):
        noise = PatchPcaNoise(components=count).build(WAVES)
        tiny = noise.corrupt({"pixel_values": WAVES[:9]}, draw(9), torch.zeros(9, 1))[0]["pixel_values"]
        pca = PCA(count, svd_solver="full").fit(as_patches(WAVES, 4).astype(np.float64))
        expected = pca.inverse_transform(pca.transform(as_patches(WAVES[:9], 4)))
        np.testing.assert_allclose(as_patches(tiny, 4), expected, atol=2e-3)


def test_at_another_level_it_keeps_its_components():
    """As a phase with a `noise_level` asks of a noise that is fitted."""
    turned = PatchPcaNoise(0.7, components=3).build(WAVES).at_level(0.3)
    expected = PatchPcaNoise(0.3, components=3).build(WAVES)
    found, wanted = (
        noise({"pixel_values": WAVES[:9]}, draw(9)).inputs["pixel_values"] for noise in (turned, expected)
    )
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("count", [2, 48])
def test_the_noise_is_normal_lies_in_the_components_and_has_its_strength(count):
    kind = PatchPcaNoise(0.7, components=count)
    corrupted = kind.build(WAVES)({"pixel_values": WAVES}, draw(300))
    clean = kind.build(WAVES).corrupt({"pixel_values": WAVES}, draw(300), torch.zeros(300, 1))[0]
    mean, directions, deviation = principal_components(WAVES, 4, count)
    difference = torch.from_numpy(as_patches(corrupted.inputs["pixel_values"] - clean["pixel_values"], 4))
    latent = difference @ directions
    np.testing.assert_allclose(latent @ directions.T, difference, atol=1e-4)
    size = latent.numel()
    assert float(latent.std()) / (0.7 * deviation) == pytest.approx(1, abs=5 / (2 * size) ** 0.5)
    among = np.corrcoef(latent.T.numpy()) - np.eye(count)
    assert np.abs(among).max() < 6 / len(latent) ** 0.5
    assert torch.equal(corrupted.target, WAVES)
    assert corrupted.loss_mask.all()
    assert mean.shape == (48,)


def test_what_becomes_of_a_picture_depends_on_no_other():
    noise = PatchPcaNoise(0.5).build(WAVES)
    together = noise({"pixel_values": WAVES[:6]}, draw(6)).inputs["pixel_values"]
    alone = noise({"pixel_values": WAVES[4:6]}, draw(2, 4)).inputs["pixel_values"]
    torch.testing.assert_close(together[4:], alone, rtol=0, atol=1e-6)


def test_a_run_is_fitted_on_its_training_pictures_and_evaluated_alike(tmp_path):
    given = ["data.source=digits", "data.max_images=120", "noise.kind=patch_pca", "model.hidden_size=16", "train.max_steps=2",
             "evaluate.max_examples=20", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path / 'run'}"]  # fmt: skip
    with heard():
        result = pretrain(load(PretrainSettings, None, given))
        again = evaluate(str(tmp_path / "run"))
    assert again.metrics["model"]["loss"] == pytest.approx(
        result.metrics["held_out"]["model"]["loss"], rel=2e-3
    )  # bf16
    assert textdae.PatchPcaNoise is PatchPcaNoise
