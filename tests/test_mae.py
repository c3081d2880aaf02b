"""Masked autoencoders against the stock model, and models that start from an encoder alone."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from records import heard
from transformers import (
    AutoModelForPreTraining,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTImageProcessorPil,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTMAEModel,
    ViTModel,
)
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

import textdae
from textdae.commands.finetune import finetune
from textdae.commands.pretrain import pretrain
from textdae.core.errors import SettingsError
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.downstream.encoder import View
from textdae.image.building import build_image_denoiser
from textdae.image.encoder import ImageEncoder
from textdae.image.model import ImageDenoiser, MaskedAutoencoder
from textdae.image.model_settings import ViTMAESettings
from textdae.image.models.mae import encode_visible, init_positions
from textdae.image.starting import load_start

SMALL = ViTMAESettings(
    hidden_size=16, num_hidden_layers=2, intermediate_size=24, patch_size=2, decoder_hidden_size=8
)


def pixels(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def mae(channels: int = 1) -> MaskedAutoencoder:
    """With no weight left at zero, for zeros would hide what they multiply."""
    denoiser = build_image_denoiser(SMALL, 8, channels, 0).eval()
    assert isinstance(denoiser, MaskedAutoencoder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return denoiser


def patches(hidden: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0, ::2, ::2].flatten(1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rate", [0.25, 0.75, 1.0])
def test_loss_and_pictures_are_those_of_the_stock_model_with_the_same_mask(channels, rate):
    denoiser = mae(channels)
    corrupted = textdae.PatchNoise(rate, patch_size=2)(pixels(5, channels, 8, 8), seed=3)
    denoiser.model.config.mask_ratio = rate
    hidden = patches(corrupted.inputs["hidden"])
    stock = denoiser.model(corrupted.target, noise=hidden.float())
    assert torch.equal(stock.mask.bool(), hidden)
    output = denoiser(corrupted)
    assert output.loss.item() == pytest.approx(stock.loss.item(), abs=1e-5, rel=1e-5)
    everywhere = denoiser.model.unpatchify(stock.logits)
    torch.testing.assert_close(output.reconstruction, everywhere, rtol=0, atol=1e-5)
    denoiser.optimize_for(torch.device("cpu"), compile=False)
    torch.testing.assert_close(denoiser(corrupted).reconstruction, everywhere, rtol=0, atol=1e-5)


def test_an_image_is_encoded_as_alone_whatever_number_the_others_hide():
    denoiser, seen = mae(), pixels(6, 1, 8, 8)
    hidden = pixels(6, 16, seed=4) < torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.1])[:, None]
    assert len(set(hidden.sum(1).tolist())) > 3
    together = encode_visible(denoiser.model, seen, hidden)
    assert torch.equal(together[:, 1:].any(2), ~hidden)
    for number in range(6):
        alone = encode_visible(denoiser.model, seen[number : number + 1], hidden[number : number + 1])
        torch.testing.assert_close(together[number], alone[0], rtol=0, atol=1e-5)
    others = torch.where(hidden.view(6, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3), 0.7, seen)
    torch.testing.assert_close(encode_visible(denoiser.model, others, hidden), together, rtol=0, atol=1e-6)


def test_fresh_positions_are_the_sines_and_cosines_of_the_paper_and_stay():
    denoiser = build_image_denoiser(SMALL, 8, 1, 0)
    again = build_image_denoiser(SMALL, 8, 1, 0)
    assert all(torch.equal(a, b) for a, b in zip(denoiser.parameters(), again.parameters(), strict=True))
    for found in (
        denoiser.model.vit.embeddings.position_embeddings,
        denoiser.model.decoder.decoder_pos_embed,
    ):
        width = found.shape[2]
        by_rows = build_2d_sinusoidal_position_embedding(4, 4, width, cls_token=True)
        expected = torch.cat([by_rows[:, width // 2 :], by_rows[:, : width // 2]], 1)
        torch.testing.assert_close(found[0].detach(), expected)
        assert not found.requires_grad
    corrupted = textdae.PatchNoise(0.5, patch_size=2)(pixels(3, 1, 8, 8))
    denoiser(corrupted).loss_sum.backward()
    still = [n for n, p in denoiser.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == ["model.vit.embeddings.position_embeddings", "model.decoder.decoder_pos_embed"]
    assert {p.shape for p in denoiser.hidden_matrices()} == {
        (16, 16), (24, 16), (16, 24), (8, 8), (32, 8), (8, 32),
    }  # fmt: skip


TINY = ["data.source=digits", "data.max_images=120", "model.hidden_size=16", "model.num_hidden_layers=1",
        "model.intermediate_size=24", "train.precision=fp32", "train.compile=never", "train.warmup_steps=0",
        "train.per_device_train_batch_size=16", "evaluate.max_examples=20"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mae")
    given = [*TINY, "model.type=vit_mae", "model.patch_size=2", "model.decoder_hidden_size=8", f"data.cache_dir={folder / 'cache'}"]  # fmt: skip
    steps = ["train.max_steps=8", "train.save_steps=4", "train.learning_rate=1e-2"]
    result = pretrain(load(PretrainSettings, None, [*given, *steps, f"output_dir={folder / 'run'}"]))
    return folder, given, result


@pytest.mark.slow
def test_a_run_hides_patches_by_itself_and_what_comes_out_is_stock(run):
    folder, _, result = run
    assert result.metrics["architecture"] == "ViTMAEForPreTraining"
    assert json.loads((folder / "run/config.json").read_text())["architectures"] == ["ViTMAEForPreTraining"]
    model, info = AutoModelForPreTraining.from_pretrained(folder / "run", output_loading_info=True)
    assert type(model) is ViTMAEForPreTraining
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    settings = yaml.safe_load((folder / "run/settings.yaml").read_text())
    assert (settings["noise"]["kind"], settings["noise"]["patch_size"]) == ("patches", 2)
    card = (folder / "run/README.md").read_text()
    assert "AutoModelForPreTraining" in card
    assert "import textdae" not in card
    clean = pixels(4, 1, 8, 8)
    corrupted = textdae.PatchNoise(0.75, patch_size=2)(clean)
    stock = model.eval()(clean, noise=patches(corrupted.inputs["hidden"]).float())
    ours = ImageDenoiser.from_pretrained(folder / "run")(corrupted)
    assert ours.loss.item() == pytest.approx(stock.loss.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("knows_its_run", [True, False])
def test_it_does_not_denoise_what_it_never_learned(run, tmp_path, knows_its_run):
    """Its loss is that of hidden patches, so what it says of visible ones means nothing."""
    shutil.copytree(
        run[0] / "run",
        tmp_path / "run",
        ignore=None if knows_its_run else shutil.ignore_patterns("settings.yaml"),
    )
    Image.new("L", (8, 8), 99).save(tmp_path / "a.png")
    with pytest.raises(
        SettingsError, match="learned to give back hidden parts of a picture, and nothing is hidden here"
    ):
        textdae.denoise_pictures(tmp_path / "run", tmp_path / "a.png", tmp_path / "b.png")


@pytest.mark.slow
def test_a_run_goes_on_exactly_where_it_was(run):
    folder, given, _ = run
    cut = [*given, f"output_dir={folder / 'cut'}", "train.save_steps=4", "train.learning_rate=1e-2", "train.lr_scheduler_type=constant"]  # fmt: skip
    whole = pretrain(
        load(PretrainSettings, None, [*cut, f"output_dir={folder / 'whole'}", "train.max_steps=8"])
    )
    pretrain(load(PretrainSettings, None, [*cut, "train.max_steps=4"]))
    resumed = pretrain(load(PretrainSettings, None, [*cut, "train.max_steps=8"]), resume=True)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("TEXTDAE_TESTS") != "all", reason="a minute of compiling; TEXTDAE_TESTS=all"
)
@pytest.mark.filterwarnings("ignore")  # dynamo's own, about itself
def test_compiled_it_learns_the_same(run):
    folder, given, plain = run
    steps = ["train.max_steps=8", "train.save_steps=4", "train.learning_rate=1e-2"]
    given = [each for each in given if not each.startswith("train.compile")]
    found = pretrain(
        load(
            PretrainSettings,
            None,
            [*given, *steps, "train.compile=always", f"output_dir={folder / 'compiled'}"],
        )
    )
    for ours, theirs in zip(found.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_encoder_sees_every_patch_in_its_place(run):
    folder, _, _ = run
    examples = (pixels(3, 1, 8, 8) * 255).byte().numpy()
    encoder = ImageEncoder(str(folder / "run"), precision="fp32")
    model = ViTMAEModel.from_pretrained(folder / "run", mask_ratio=0.0).eval()
    with torch.no_grad():
        order = torch.arange(16).expand(3, -1)
        expected = model(torch.from_numpy(examples).float() / 255, noise=order).last_hidden_state
    found = encoder.embed(examples, [View(None, "mean"), View(None, "cls"), View(None, "grid")])
    np.testing.assert_allclose(found[View(None, "mean")], expected[:, 1:].mean(1), atol=1e-5)
    np.testing.assert_allclose(found[View(None, "cls")], expected[:, 0], atol=1e-5)
    grid = expected[:, 1:].mT.flatten(1)
    np.testing.assert_allclose(found[View(None, "grid")], grid, atol=1e-5)


@pytest.mark.slow
def test_it_is_fine_tuned_as_the_vit_that_it_is(run):
    folder, _, _ = run
    given = ["data.source=digits", "data.max_images=120", f"data.cache_dir={folder / 'cache'}", "train.max_steps=2",
             f"output_dir={folder / 'tuned'}", "train.compile=never"]  # fmt: skip
    result = finetune(str(folder / "run"), load(FinetuneSettings, None, ["modality=image", *given]))
    assert type(result.model).__name__ == "ViTForImageClassification"
    config = json.loads((folder / "tuned/config.json").read_text())
    assert config["model_type"] == "vit"
    assert not [key for key in config if key.startswith(("decoder", "mask"))]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden_size": 6}, "hidden_size 6 is not a multiple of 4"),
        ({"decoder_hidden_size": 20, "num_attention_heads": 8}, "decoder_hidden_size 20 is not a multiple of num_attention_heads 8"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ViTMAESettings(**given)


def test_a_target_that_is_no_picture_is_refused():
    settings = SMALL.model_copy(update={"config": {"norm_pix_loss": True}})
    with pytest.raises(SettingsError, match="norm_pix_loss: the target is the picture itself"):
        build_image_denoiser(settings, 8, 1, 0)


# What begins with a checkpoint.

SIZES = {"image_size": 8, "patch_size": 2, "num_channels": 3, "hidden_size": 16, "num_hidden_layers": 1,
         "num_attention_heads": 2, "intermediate_size": 24}  # fmt: skip
DECODER = {"decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}  # fmt: skip
ENCODERS = {
    "vit": lambda: ViTModel(ViTConfig(**SIZES)),
    "vit_mae": lambda: ViTMAEModel(ViTMAEConfig(**SIZES, **DECODER)),
}
WHOLE = {
    "vit": lambda: ViTForMaskedImageModeling(ViTConfig(**SIZES, encoder_stride=2)),
    "vit_mae": lambda: ViTMAEForPreTraining(ViTMAEConfig(**SIZES, **DECODER)),
}
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def published(folder, model):
    model.eval().save_pretrained(folder)
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=MEAN, image_std=DEVIATION)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_alone_gets_a_decoder_and_takes_pixels_as_they_are(family, tmp_path):
    torch.manual_seed(0)
    model = ENCODERS[family]()
    name = published(tmp_path / "encoder", model)
    start, (line,) = load_start(name, seed=0)
    assert line.startswith("encoder has no decoder: one is added, ")
    assert "begin at random (decoder." in line
    again, _ = load_start(name, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), again.parameters(), strict=True))
    seen = pixels(3, 3, 8, 8)
    scaled = (seen - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    everything = {"noise": torch.arange(16).expand(3, -1)} if family == "vit_mae" else {}
    for each in (model, start.vit):
        each.config.mask_ratio = 0.0
    with torch.no_grad():
        expected = model(scaled, **everything).last_hidden_state
        found = start.eval().vit(seen, **everything).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if family == "vit_mae":
        positions = torch.zeros_like(start.decoder.decoder_pos_embed)
        init_positions(positions)
        assert torch.equal(start.decoder.decoder_pos_embed, positions)


@pytest.mark.parametrize("family", WHOLE)
def test_a_decoder_of_its_own_gives_pixels_as_they_are(family, tmp_path):
    torch.manual_seed(0)
    model = WHOLE[family]()
    name = published(tmp_path / "whole", model)
    start, summary = load_start(name, seed=0)
    assert summary == []
    for mine, right in zip(
        ImageDenoiser.from_pretrained(name).model.parameters(), start.parameters(), strict=True
    ):
        assert torch.equal(mine, right)
    seen = pixels(3, 3, 8, 8)
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
    scaled = (seen - mean) / deviation
    with torch.no_grad():
        if family == "vit":
            expected = model(scaled).reconstruction
            found = start(seen).reconstruction
        else:
            order = torch.arange(16).expand(3, -1)
            expected = model.unpatchify(model(scaled, noise=order).logits)
            found = start.unpatchify(start(seen, noise=order).logits)
    torch.testing.assert_close(found, expected * deviation + mean, rtol=1e-4, atol=1e-4)


def test_what_gives_no_picture_and_a_scale_of_other_channels_are_refused(tmp_path):
    published(
        tmp_path / "patches", ViTMAEForPreTraining(ViTMAEConfig(**SIZES, **DECODER, norm_pix_loss=True))
    )
    with pytest.raises(SettingsError, match="patches of mean 0 and deviation 1"):
        ImageDenoiser.from_pretrained(tmp_path / "patches")
    grey = SIZES | {"num_channels": 1}
    published(tmp_path / "grey", ViTForMaskedImageModeling(ViTConfig(**grey, encoder_stride=2)))
    with pytest.raises(SettingsError, match="scales 3 channels, and the model has 1"):
        ImageDenoiser.from_pretrained(tmp_path / "grey")


@pytest.mark.slow
def test_a_run_that_begins_with_an_encoder_says_so(tmp_path):
    torch.manual_seed(0)
    name = published(tmp_path / "encoder", ViTModel(ViTConfig(**SIZES)))
    given = [f"model.from_pretrained={name}", "data.source=digits", "data.max_images=60", "data.channels=3", "data.image_size=8",
             "train.max_steps=2", "train.compile=never", "evaluate.max_examples=5", f"output_dir={tmp_path / 'run'}",
             "noise.kind=patches", "noise.patch_size=2"]  # fmt: skip
    with heard() as said:
        result = pretrain(load(PretrainSettings, None, given))
    assert len([line for line in said if "has no decoder: one is added" in line]) == 1
    assert "one is added" in (tmp_path / "run/README.md").read_text()
    assert type(result.model) is ViTForMaskedImageModeling


def test_weights_without_an_encoder_are_refused(tmp_path):
    torch.manual_seed(0)
    ViTModel(ViTConfig(**SIZES)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(SettingsError, match=r"its weights lack vit\.layers\.1") as raised:
        load_start(str(tmp_path), 0)
    assert "\n" not in str(raised.value)
