"""Noise on images: what each does to the pixels, what is hidden and scored, and what they are never allowed to touch.

Tolerances are five standard errors, and every draw is seeded.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noises import image_noise
from scipy import ndimage, stats
from torch import Tensor

from textdae.core.changing import normal
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted, Noise
from textdae.core.noise_kind import build_noise
from textdae.image.noises.changing import BlurNoise, GaussianNoise, SaltAndPepperNoise, SpeckleNoise
from textdae.image.noises.hiding import BlockNoise, PatchNoise, PixelNoise
from textdae.image.noises.none import NoNoise

NOISES = {
    "none": image_noise(NoNoise),
    "gaussian": image_noise(GaussianNoise, 0.3),
    "speckle": image_noise(SpeckleNoise, 0.3, 0.1),
    "blur": image_noise(BlurNoise, 1.3, 0.4, "uniform"),
    "salt_and_pepper": image_noise(SaltAndPepperNoise, 0.3, schedule="uniform"),
    "pixels": image_noise(PatchNoise, 0.3, patch_size=1, scored="everywhere"),
    "patches": image_noise(PatchNoise, 0.6, 0.2, "cosine", patch_size=2),
    "blocks": image_noise(BlockNoise, 0.4, patch_size=2, fill=0.5),
    "chain": image_noise(GaussianNoise, 0.2) | image_noise(BlockNoise, 0.3, patch_size=2) | image_noise(BlurNoise, 0.7) | image_noise(PatchNoise, 0.2, patch_size=4),
}  # fmt: skip
every_noise = pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
HIDING = {
    "pixels": lambda rate, **how: image_noise(PatchNoise, rate, patch_size=1, **how),
    "patches": lambda rate, **how: image_noise(PatchNoise, rate, patch_size=2, **how),
    "blocks": lambda rate, **how: image_noise(BlockNoise, rate, patch_size=2, **how),
}
every_hiding = pytest.mark.parametrize("hiding", HIDING.values(), ids=HIDING)


def draw(rows: int, *, seed: int = 0, epoch: int = 0, first: int = 0) -> Draw:
    return Draw(seed, torch.full((rows,), epoch), torch.arange(first, first + rows))


def pictures(rows: int, channels: int = 1, height: int = 8, width: int = 8) -> dict[str, Tensor]:
    """Pixels that are neither black nor white."""
    generator = torch.Generator().manual_seed(0)
    return {"pixel_values": 0.1 + 0.8 * torch.rand(rows, channels, height, width, generator=generator)}


def shown(corrupted: Corrupted) -> Tensor:
    return corrupted.inputs["pixel_values"]


def same(a: Corrupted, b: Corrupted) -> bool:
    return (
        torch.equal(a.loss_mask, b.loss_mask)
        and torch.equal(a.target, b.target)
        and a.inputs.keys() == b.inputs.keys()
        and all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
    )


# Normal noise


def test_normal_numbers_are_the_quantiles_of_the_uniform_ones():
    u = draw(50).uniform("normal", 48).double().numpy()
    expected = stats.norm.ppf(u + 2.0**-25)
    np.testing.assert_allclose(
        normal(draw(50), "normal", torch.Size([50, 3, 4, 4])).flatten(1), expected, rtol=1e-5, atol=1e-6
    )


def test_the_outermost_normal_numbers_are_finite_and_mirror_each_other():
    class Outermost:
        def uniform(self, name: str, n: int) -> Tensor:
            steps = torch.tensor([0, 1, 2, 2**23 - 1], dtype=torch.float32) * 2.0**-24
            return torch.cat([steps, 1 - 2.0**-24 - steps])[None]

    low, high = normal(Outermost(), "normal", torch.Size([1, 8]))[0].chunk(2)
    assert torch.equal(low, -high)
    assert high[0] == pytest.approx(stats.norm.isf(2.0**-25), rel=1e-5)
    assert (high.diff() < 0).all()


@pytest.mark.parametrize("sigma", [0.05, 0.25, 2.0])
def test_gaussian_noise_adds_sigma_times_a_standard_normal_number(sigma):
    clean = pictures(500, 3)
    corrupted = image_noise(GaussianNoise, sigma)(clean, draw(500))
    normals = normal(draw(500), "normal", clean["pixel_values"].shape)
    assert torch.equal(shown(corrupted), clean["pixel_values"] + sigma * normals)
    noise = (shown(corrupted) - clean["pixel_values"]).double().flatten()
    assert abs(noise.mean()) < 5 * sigma / len(noise) ** 0.5
    assert abs(noise.std() / sigma - 1) < 5 / (2 * len(noise)) ** 0.5
    assert stats.kstest(noise / sigma, "norm").pvalue > 1e-3
    assert corrupted.loss_mask.all()
    assert "hidden" not in corrupted.inputs


def test_the_noise_of_pixels_channels_and_examples_is_independent():
    normals = normal(draw(4000), "normal", torch.Size([4000, 3, 4, 4])).flatten(1).double()
    among_values = torch.corrcoef(normals.T) - torch.eye(48)
    assert among_values.abs().max() < 5 / 4000**0.5
    neighbours = (normals[1:] * normals[:-1]).flatten()
    assert abs(neighbours.mean()) < 5 / len(neighbours) ** 0.5


def test_nothing_is_clipped():
    white = {"pixel_values": torch.ones(20, 1, 8, 8)}
    above = shown(image_noise(GaussianNoise, 0.3)(white, draw(20))) > 1
    assert abs(above.double().mean() - 0.5) < 5 * (0.25 / above.numel()) ** 0.5


def test_speckle_multiplies_by_one_plus_sigma_times_a_standard_normal_number():
    clean = pictures(300, 3)
    clean["pixel_values"][:, :, 0] = 0.0
    factor = 1 + 0.4 * normal(draw(300), "normal", clean["pixel_values"].shape)
    corrupted = image_noise(SpeckleNoise, 0.4)(clean, draw(300))
    assert torch.equal(shown(corrupted), clean["pixel_values"] * factor)
    assert (shown(corrupted)[:, :, 0] == 0).all()
    ratio = (shown(corrupted) / clean["pixel_values"])[:, :, 1:].double().flatten()
    assert abs(ratio.mean() - 1) < 5 * 0.4 / len(ratio) ** 0.5
    assert stats.kstest((ratio - 1) / 0.4, "norm").pvalue > 1e-3
    assert corrupted.loss_mask.all()


# Blur


def blurred_by_scipy(pixels: Tensor, sigmas: Tensor, **how) -> np.ndarray:
    return np.stack(
        [
            ndimage.gaussian_filter(image.double().numpy(), (0, sigma, sigma), mode="nearest", **how)
            for image, sigma in zip(pixels, sigmas.tolist(), strict=True)
        ]
    )


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 12), (1, 2, 1)], ids=str)
def test_blur_is_that_of_scipy(sigma, shape):
    clean = pictures(4, *shape)
    corrupted = image_noise(BlurNoise, sigma)(clean, draw(4))
    sigmas = torch.full((4,), sigma)
    same_reach = blurred_by_scipy(clean["pixel_values"], sigmas, radius=max(1, math.ceil(4 * sigma)))
    np.testing.assert_allclose(shown(corrupted), same_reach, atol=2e-6)
    far_reach = blurred_by_scipy(clean["pixel_values"], sigmas, truncate=10)
    np.testing.assert_allclose(shown(corrupted), far_reach, atol=2e-4)
    assert corrupted.loss_mask.all()


def test_blur_of_a_width_drawn_by_each_image_is_that_of_scipy():
    clean, noise = pictures(12, 3), image_noise(BlurNoise, 3.0, 0.2, "uniform")
    sigmas = noise.level.at(0.0, draw(12))[:, 0]
    assert sigmas.max() - sigmas.min() > 1
    np.testing.assert_allclose(
        shown(noise(clean, draw(12))), blurred_by_scipy(clean["pixel_values"], sigmas, radius=12), atol=2e-6
    )


def test_a_blur_of_no_width_changes_nothing_and_one_colour_stays():
    clean = pictures(3)
    torch.testing.assert_close(
        shown(image_noise(BlurNoise, 2.0, 0.0)(clean, draw(3), 1.0)), clean["pixel_values"], rtol=0, atol=1e-7
    )
    flat = {"pixel_values": torch.full((2, 1, 6, 6), 0.3)}
    torch.testing.assert_close(shown(image_noise(BlurNoise, 5.0)(flat, draw(2))), flat["pixel_values"])


# Salt and pepper


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_salt_and_pepper_turn_their_share_of_whole_pixels_half_of_them_white(rate):
    clean = pictures(600, 3)
    corrupted = image_noise(SaltAndPepperNoise, rate)(clean, draw(600))
    salt, pepper = shown(corrupted) == 1, shown(corrupted) == 0
    kept = ~(salt | pepper)
    assert torch.equal(shown(corrupted)[kept], clean["pixel_values"][kept])
    for turned in (salt, pepper):
        assert torch.equal(turned.all(1), turned.any(1))  # all channels together
        share = turned[:, 0].double().mean()
        assert abs(share - rate / 2) < 5 * (rate / 2 * (1 - rate / 2) / turned[:, 0].numel()) ** 0.5
    per_pixel = (salt | pepper)[:, 0].double().mean(0)
    assert ((per_pixel - rate).abs() <= 5 * (rate * (1 - rate) / 600) ** 0.5 + 1e-9).all()
    assert corrupted.loss_mask.all()


# Hiding


def hidden_by_hand(noise: Noise, rows: int, columns: int, drawn: Draw, rate: float) -> Tensor:
    """Candidate rectangles in the order of their priority, until the share is met: the definition, slowly."""
    n = rows * columns
    priority, chance = drawn.uniform("priority", n), drawn.uniform("last")
    tall = wide = torch.ones_like(priority, dtype=torch.long)
    if isinstance(noise.settings, BlockNoise):
        sides = noise.settings.max_side - noise.settings.min_side + 1
        tall, wide = (
            noise.settings.min_side + drawn.integers(name, n, sides) for name in ("height", "width")
        )
    hidden = torch.zeros(len(priority), rows, columns, dtype=torch.bool)
    for image in range(len(hidden)):
        taken, full = 0, False
        for corner in sorted(range(n), key=priority[image].tolist().__getitem__):
            top, left = divmod(corner, columns)
            for row in range(top, min(rows, top + int(tall[image, corner]))):
                for column in range(left, min(columns, left + int(wide[image, corner]))):
                    if full or hidden[image, row, column]:
                        continue
                    full = taken > 0 and not chance[image, 0] < torch.tensor(rate) * n - taken
                    hidden[image, row, column] = not full
                    taken += not full
    return hidden


def by_patch(corrupted: Corrupted, size: int) -> Tensor:
    """What is hidden, by patch; every patch is hidden whole or not at all. *Shape:* (B, rows, columns)."""
    hidden = corrupted.inputs["hidden"]
    patches = hidden[:, 0].unfold(1, size, size).unfold(2, size, size).flatten(3)
    assert torch.equal(patches.all(3), patches.any(3))
    return patches.all(3)


@every_hiding
@pytest.mark.parametrize("rate", [0.01, 0.3, 0.75, 1.0])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 14), (2, 2)])
def test_what_is_hidden_is_what_the_definition_says(hiding, rate, height, width):
    noise = hiding(rate)
    size = noise.settings.patch_size
    corrupted = noise(pictures(20, 3, height, width), draw(20))
    expected = hidden_by_hand(noise, height // size, width // size, draw(20), rate)
    assert torch.equal(by_patch(corrupted, size), expected)


@pytest.mark.parametrize(("shortest", "longest"), [(1, 1), (1, 3), (3, 3), (2, 64)])
def test_rectangles_of_all_sides_are_what_the_definition_says(shortest, longest):
    noise = image_noise(BlockNoise, 0.5, patch_size=1, min_side=shortest, max_side=longest)
    corrupted = noise(pictures(20, 1, 6, 9), draw(20))
    assert torch.equal(by_patch(corrupted, 1), hidden_by_hand(noise, 6, 9, draw(20), 0.5))


@every_hiding
@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.77, 0.9])
def test_the_expected_share_is_the_rate(hiding, rate):
    noise = hiding(rate)
    hidden = by_patch(noise(pictures(2000), draw(2000)), noise.settings.patch_size).flatten(1).sum(1)
    exact = rate * (8 // noise.settings.patch_size) ** 2
    assert set(hidden.tolist()) == {math.floor(exact), math.ceil(exact)}
    part = exact - math.floor(exact)
    assert abs(hidden.double().mean() - exact) <= 5 * (part * (1 - part) / 2000) ** 0.5 + 1e-6


@every_hiding
def test_every_image_hides_something_and_a_rate_of_one_hides_all(hiding):
    few = hiding(1e-6)
    assert by_patch(few(pictures(50), draw(50)), few.settings.patch_size).flatten(1).sum(1).eq(1).all()
    assert hiding(1.0)(pictures(50), draw(50)).inputs["hidden"].all()


@every_hiding
@pytest.mark.parametrize("channels", [1, 3])
def test_hidden_pixels_show_the_filling_and_all_others_themselves(hiding, channels):
    clean = pictures(40, channels)
    inputs, _, where = hiding(0.4, fill=0.25)(clean, draw(40))
    assert inputs["hidden"].shape == (40, 1, 8, 8)
    assert inputs["hidden"].dtype == where.dtype == torch.bool
    hidden = inputs["hidden"].expand_as(clean["pixel_values"])
    assert (inputs["pixel_values"][hidden] == 0.25).all()
    assert torch.equal(inputs["pixel_values"][~hidden], clean["pixel_values"][~hidden])
    assert torch.equal(where, hidden)
    assert (shown(hiding(0.4)(clean, draw(40)))[hidden] == 0).all()


@every_hiding
def test_scored_everywhere_hides_the_same_and_scores_all(hiding):
    clean = pictures(40, 3)
    everywhere = hiding(0.4, scored="everywhere")(clean, draw(40))
    only_hidden = hiding(0.4)(clean, draw(40))
    assert everywhere.loss_mask.shape == clean["pixel_values"].shape
    assert everywhere.loss_mask.all()
    assert not only_hidden.loss_mask.all()
    assert torch.equal(everywhere.inputs["hidden"], only_hidden.inputs["hidden"])
    assert torch.equal(shown(everywhere), shown(only_hidden))


def test_every_patch_is_hidden_equally_often():
    shares = (
        by_patch(image_noise(PatchNoise, 0.3, patch_size=2)(pictures(4000), draw(4000)), 2).double().mean(0)
    )
    assert ((shares - 0.3).abs() < 5 * (0.21 / 4000) ** 0.5).all()


def neighbours_alike(hidden: Tensor) -> float:
    """How often the right or the lower neighbour of a hidden patch is hidden too."""
    hidden = hidden.double()
    pairs = (hidden[:, 1:] * hidden[:, :-1]).sum() + (hidden[:, :, 1:] * hidden[:, :, :-1]).sum()
    return (pairs / (hidden[:, :-1].sum() + hidden[:, :, :-1].sum())).item()


def test_hidden_patches_lie_together_in_blocks_and_anywhere_otherwise():
    clean = pictures(300, 1, 16, 16)
    apart, together = (
        neighbours_alike(by_patch(image_noise(kind, 0.4, patch_size=1)(clean, draw(300)), 1))
        for kind in (PatchNoise, BlockNoise)
    )
    assert abs(apart - 0.4) < 0.01
    assert together > 0.7
    single = image_noise(BlockNoise, 0.4, patch_size=1, min_side=1, max_side=1)
    assert abs(neighbours_alike(by_patch(single(clean, draw(300)), 1)) - 0.4) < 0.01


@pytest.mark.parametrize(
    ("height", "width", "size"), [(8, 10, 4), (10, 8, 4), (3, 3, 2), (8, 8, 16), (28, 28, 8)]
)
def test_patches_that_do_not_cover_the_image_are_refused(height, width, size):
    for kind in (PatchNoise, BlockNoise):
        with pytest.raises(
            SettingsError,
            match=f"patches of {size} pixels do not cover an image of {height} x {width} pixels",
        ):
            image_noise(kind, 0.5, patch_size=size)(pictures(2, 1, height, width), draw(2))


def test_no_noise_leaves_the_image_and_scores_all_of_it():
    clean = pictures(5, 3)
    corrupted = image_noise(NoNoise)(clean, draw(5))
    assert torch.equal(shown(corrupted), clean["pixel_values"])
    assert corrupted.loss_mask.shape == clean["pixel_values"].shape
    assert corrupted.loss_mask.all()
    assert corrupted.inputs.keys() == clean.keys()


# A pure function


@every_noise
def test_the_target_is_the_original_and_nothing_is_changed_in_place(noise):
    clean = {**pictures(20, 3), "labels": torch.arange(20)}
    before = {name: value.clone() for name, value in clean.items()}
    corrupted = noise(clean, draw(20), 0.5)
    assert corrupted.target is clean["pixel_values"]
    assert clean.keys() == before.keys()
    assert all(torch.equal(clean[name], before[name]) for name in before)
    assert corrupted.inputs.keys() - {"hidden", "level"} == clean.keys()
    assert corrupted.inputs["labels"] is clean["labels"]
    assert shown(corrupted).shape == corrupted.loss_mask.shape == clean["pixel_values"].shape
    assert shown(corrupted).dtype == torch.float32


@settings(max_examples=120)
@given(
    name=st.sampled_from(sorted(NOISES)),
    channels=st.sampled_from([1, 3]),
    height=st.sampled_from([4, 8, 12]),
    width=st.sampled_from([4, 8, 20]),
    examples=st.lists(st.integers(0, 2**40), min_size=1, max_size=17),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 10**6),
    progress=st.floats(0, 1),
    order=st.randoms(use_true_random=False),
)
def test_what_becomes_of_an_image_does_not_depend_on_the_batch_it_is_in(
    name, channels, height, width, examples, seed, epoch, progress, order
):
    noise, clean = NOISES[name], pictures(len(examples), channels, height, width)
    epochs, indices = torch.full((len(examples),), epoch), torch.tensor(examples)
    whole = noise(clean, Draw(seed, epochs, indices), progress)
    shuffled = list(range(len(examples)))
    order.shuffle(shuffled)
    for rows in ([order.choice(shuffled)], shuffled, shuffled[: len(examples) // 2 + 1]):
        part = noise(
            {"pixel_values": clean["pixel_values"][rows]}, Draw(seed, epochs[rows], indices[rows]), progress
        )
        taken = {field: value[rows] for field, value in whole.inputs.items()}
        assert same(part, Corrupted(taken, whole.target[rows], whole.loss_mask[rows]))


@every_noise
@pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 1}, {"first": 1000}], ids=str)
def test_another_epoch_seed_or_example_is_noised_differently(noise, other):
    clean = {"pixel_values": pictures(1, 1, 20, 20)["pixel_values"].expand(30, -1, -1, -1)}
    a, b = noise(clean, draw(30)), noise(clean, draw(30, **other))
    assert same(a, noise(clean, draw(30)))
    if str(noise) == "none":
        assert same(a, b)
        return
    differ = (shown(a) != shown(b)).flatten(1).any(1)
    assert differ.all()
    assert len(shown(a).flatten(1).unique(dim=0)) == 30


@every_hiding
def test_masks_of_other_epochs_overlap_only_by_chance(hiding):
    noise = hiding(0.4)
    clean = pictures(2000)
    a, b = (
        by_patch(noise(clean, draw(2000, epoch=epoch)), noise.settings.patch_size).double()
        for epoch in (0, 1)
    )
    overlap = (a * b).flatten(1).mean(1)
    expected = (a.mean(0) * b.mean(0)).mean()  # blocks hide the middle more often than the edges
    assert abs(overlap.mean() - expected) < 5 * overlap.std() / 2000**0.5


# Combinations


def test_a_chain_applies_one_noise_after_the_other_and_scores_where_either_was():
    clean = pictures(50, 3)
    a, b, c = (
        image_noise(PatchNoise, 0.3, patch_size=4),
        image_noise(GaussianNoise, 0.2),
        image_noise(BlockNoise, 0.3, patch_size=2, fill=1.0),
    )
    first = a(clean, draw(50).child(0))
    second = c(first.inputs, draw(50).child(1))
    both = (a | c)(clean, draw(50))
    assert torch.equal(both.loss_mask, first.loss_mask | second.loss_mask)
    assert torch.equal(shown(both), shown(second))
    assert both.target is clean["pixel_values"]

    hidden_first, hidden_second = a(clean, draw(50).child(0)), c(clean, draw(50).child(1))
    either = hidden_first.inputs["hidden"] | hidden_second.inputs["hidden"]
    assert torch.equal(both.inputs["hidden"], either)
    assert torch.equal(both.loss_mask, either.expand_as(both.loss_mask))
    assert not torch.equal(either, hidden_first.inputs["hidden"])

    noisy = (a | b)(clean, draw(50))
    assert noisy.loss_mask.all()  # the second changes every pixel
    assert torch.equal(noisy.inputs["hidden"], hidden_first.inputs["hidden"])
    assert torch.equal(shown(noisy), shown(b(hidden_first.inputs, draw(50).child(1))))


def test_the_parts_of_a_chain_draw_independently():
    clean, noise = pictures(4000), image_noise(GaussianNoise, 0.3)
    spread = (shown((noise | noise)(clean, draw(4000))) - clean["pixel_values"]).std()
    assert spread == pytest.approx(0.3 * 2**0.5, rel=5 / (2 * 4000 * 64) ** 0.5)
    hidden = image_noise(PatchNoise, 0.5, patch_size=1) | image_noise(PatchNoise, 0.5, patch_size=1)
    shares = hidden(clean, draw(4000)).inputs["hidden"].double().flatten(1).mean(1)
    assert abs(shares.mean() - 0.75) < 5 * shares.std() / 4000**0.5


def test_chains_of_chains_are_flat():
    a, b, c = (
        image_noise(GaussianNoise, 0.1),
        image_noise(PatchNoise, 0.3, patch_size=2),
        image_noise(SaltAndPepperNoise, 0.2),
    )
    clean = pictures(20)
    assert same(((a | b) | c)(clean, draw(20)), (a | (b | c))(clean, draw(20)))


# Levels


def spreads(noise: Noise, progress: float) -> Tensor:
    """The standard deviation of each image's noise."""
    clean = pictures(200, 1, 40, 40)
    return (shown(noise(clean, draw(200), progress)) - clean["pixel_values"]).flatten(1).std(1)


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 1.0])
def test_strength_and_share_follow_the_run(progress):
    within = 5 / (2 * 200 * 1600) ** 0.5
    straight = 0.5 - 0.4 * progress
    bent = 0.1 + 0.4 * math.cos(math.pi * progress / 2) ** 2
    for schedule, level in (("linear", straight), ("cosine", bent)):
        sigmas = spreads(image_noise(GaussianNoise, 0.5, 0.1, schedule), progress)
        assert sigmas.square().mean().sqrt() == pytest.approx(level, rel=within)
        for kind in HIDING.values():
            hidden = kind(0.5, end=0.1, schedule=schedule)(pictures(1000), draw(1000), progress)
            assert hidden.inputs["hidden"].double().mean() == pytest.approx(level, abs=0.006)
    assert spreads(image_noise(GaussianNoise, 0.3), progress).mean() == pytest.approx(0.3, rel=0.01)


def test_with_a_uniform_schedule_each_image_has_a_level_of_its_own():
    for progress in (0.0, 1.0):
        sigmas = spreads(image_noise(GaussianNoise, 0.6, 0.2, "uniform"), progress)
        assert 0.19 < sigmas.min() < 0.25
        assert 0.55 < sigmas.max() < 0.62
        assert abs(sigmas.mean() - 0.4) < 5 * 0.4 / 12**0.5 / 200**0.5
        levels = image_noise(GaussianNoise, 0.6, 0.2, "uniform").level.at(progress, draw(200))[:, 0]
        torch.testing.assert_close(sigmas, levels, rtol=0.1, atol=0)
    shares = image_noise(PatchNoise, 1.0, schedule="uniform", patch_size=1)(pictures(2000), draw(2000))
    shares = shares.inputs["hidden"].double().flatten(1).mean(1)
    assert shares.min() == 1 / 64
    assert shares.max() == 1.0
    assert abs(shares.mean() - 0.5) < 5 * 12**-0.5 / 2000**0.5 + 1e-3


@pytest.mark.parametrize(
    ("noises", "expected"),
    [
        ([GaussianNoise()], image_noise(GaussianNoise, 0.25)),
        ([GaussianNoise(sigma=0.5, final_sigma=0.1, schedule="cosine")], image_noise(GaussianNoise, 0.5, 0.1, "cosine")),
        ([GaussianNoise(sigma=0.5, schedule="uniform")], image_noise(GaussianNoise, 0.5, 0.0, "uniform")),
        ([SpeckleNoise(sigma=0.3)], image_noise(SpeckleNoise, 0.3)),
        ([BlurNoise()], image_noise(BlurNoise, 1.0)),
        ([BlurNoise(sigma=2.0, final_sigma=0.0)], image_noise(BlurNoise, 2.0, 0.0)),
        ([SaltAndPepperNoise(rate=0.4, final_rate=0.1)], image_noise(SaltAndPepperNoise, 0.4, 0.1)),
        ([PixelNoise()], image_noise(PatchNoise, 0.25, patch_size=1, scored="everywhere")),
        ([PixelNoise(fill=0.5, scored="hidden")], image_noise(PatchNoise, 0.25, patch_size=1, fill=0.5)),
        ([PatchNoise()], image_noise(PatchNoise, 0.75, patch_size=4)),
        ([PatchNoise(rate=1, final_rate=0.5, schedule="uniform", patch_size=2)], image_noise(PatchNoise, 1.0, 0.5, "uniform", patch_size=2)),
        ([BlockNoise(patch_size=1)], image_noise(BlockNoise, 0.4, patch_size=1, min_side=2, max_side=4)),
        ([BlockNoise(patch_size=2, min_side=1, max_side=2, fill=1, scored="everywhere")],
         image_noise(BlockNoise, 0.4, patch_size=2, min_side=1, max_side=2, fill=1.0, scored="everywhere")),
        ([NoNoise()], image_noise(NoNoise)),
        ([PatchNoise(), GaussianNoise(sigma=0.1)], image_noise(PatchNoise, 0.75) | image_noise(GaussianNoise, 0.1)),
    ],
)  # fmt: skip
def test_settings_become_the_noise_they_describe(noises, expected):
    clean = pictures(30, 3)
    for progress in (0.0, 0.7):
        assert same(build_noise(noises)(clean, draw(30), progress), expected(clean, draw(30), progress))
