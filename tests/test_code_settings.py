"""Settings of a text model with a code: what a checkpoint brings, what is refused, and what reaches the noise."""

import pytest
import torch
from safetensors.torch import load_file
from test_models_text import V, token_ids

from textdae.commands.pretrain import pretrain
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.text import task
from textdae.text.code.bottleneck import BottleneckDenoiser
from textdae.text.code.decoder_noise import DecoderNoise
from textdae.text.model_settings import TextModelSettings
from textdae.text.noises.masking import TokenNoise
from textdae.text.task import prepare_pretraining
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training.cursor import Cursor
from textdae.training.phases import Phases

K = 50
"""Larger than the width of the model, 32."""
TINY = ["tokenizer.vocab_size=300", "model.hidden_size=32", "model.num_hidden_layers=1", "model.num_attention_heads=2",
        "model.intermediate_size=32", "train.compile=never", "data.block_size=32", "train.max_steps=3"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, corpus_texts):
    """A run with a code, one without, and what both were given."""
    folder = tmp_path_factory.mktemp("codes")
    (folder / "a.txt").write_text("\n\n".join(text[:70] for text in corpus_texts))
    given = [f"data.source={folder / 'a.txt'}", *TINY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTDAE_CACHE", str(folder / "cache"))
        for name, code in (("code", [f"model.code_size={K}"]), ("plain", [])):
            pretrain(load(PretrainSettings, None, [*given, f"output_dir={folder / name}", *code]))
        yield folder / "code", folder / "plain", given


def going_on(runs, *options):
    return load(PretrainSettings, None, [*runs[2], f"model.from_pretrained={runs[0]}", *options])


def test_a_run_goes_on_with_the_code_of_its_checkpoint(runs, tmp_path):
    parts = prepare_pretraining(going_on(runs, "model.decoder_rate=0.9"))
    denoiser = parts.evaluation.denoiser
    assert isinstance(denoiser, BottleneckDenoiser)
    for name, value in load_file(runs[0] / "decoder.safetensors").items():
        assert torch.equal(denoiser.decoder.state_dict()[name], value), name
    assert isinstance(parts.noise, DecoderNoise)
    assert f"has a code of {K} numbers" in "".join(parts.evaluation.corpus.summary)
    given = [f"output_dir={tmp_path / 'run'}", "train.save_steps=2", "model.masked_weight=2"]
    whole = pretrain(going_on(runs, *given))
    assert whole.metrics["through_code"]["code_size"] == K
    for step in (tmp_path / "run/checkpoints").glob("step-*3"):
        assert step.rename(tmp_path / "last")
    # The settings beside the run have what it was given for the code, and resume it.
    (tmp_path / "run/decoder.safetensors").unlink()
    pretrain(load(PretrainSettings, tmp_path / "run/settings.yaml"), resume=True)
    again, before = (load_file(tmp_path / at / "decoder.safetensors") for at in ("run", "last"))
    assert all(torch.equal(again[name], before[name]) for name in ("place", "qkv.weight"))


@pytest.mark.parametrize("size", ["0", "null"])
def test_a_run_goes_on_without_the_code_of_its_checkpoint(runs, tmp_path, size):
    settings = going_on(runs, f"model.code_size={size}", f"output_dir={tmp_path}", "train.save_steps=2")
    parts = prepare_pretraining(settings)
    assert not isinstance(parts.evaluation.denoiser, BottleneckDenoiser)
    assert not isinstance(parts.noise, DecoderNoise)
    assert "has a code, which is left out (model.code_size=0)" in "".join(parts.evaluation.corpus.summary)
    # Its fingerprint is that of a run of before checkpoints brought their code.
    assert "code_size" not in parts.model.fingerprint()
    assert "through_code" not in pretrain(settings).metrics
    again = load(PretrainSettings, tmp_path / "settings.yaml")
    assert again.model.code_size == 0
    pretrain(again, resume=True)
    with pytest.raises(SettingsError, match=r"--resume: model\.code_size.* differ from"):
        pretrain(going_on(runs, f"output_dir={tmp_path}"), resume=True)


def test_without_a_checkpoint_a_code_of_no_size_is_none(runs):
    for size in ("0", "null"):
        model = load(PretrainSettings, None, [*runs[2], f"model.code_size={size}"]).model
        assert model.code_size is None
        assert "code_size" not in model.model_dump()
    with pytest.raises(SettingsError, match="decoder_rate is of a model with a code"):
        going_on(runs, "model.code_size=0", "model.decoder_rate=0.9")


def test_a_noise_of_another_length_needs_the_code_of_the_checkpoint(runs):
    assert isinstance(prepare_pretraining(going_on(runs, "noise.kind=delete")).noise, DecoderNoise)
    plain = load(PretrainSettings, None, [*runs[2], f"model.from_pretrained={runs[1]}", "noise.kind=delete"])
    with pytest.raises(SettingsError, match="has no code: noise delete changes the length") as error:
        prepare_pretraining(plain)
    assert "\n" not in str(error.value)
    with pytest.raises(SettingsError, match="noise delete changes the length"):
        going_on(runs, "noise.kind=delete", "model.code_size=0")


def test_tokens_are_counted_for_a_fresh_decoder_alone(runs, monkeypatch):
    counted, real = [], task.token_weights
    monkeypatch.setattr(task, "token_weights", lambda *given: counted.append(given) or real(*given))
    prepare_pretraining(going_on(runs))
    assert not counted
    prepare_pretraining(load(PretrainSettings, None, [*runs[2], "model.code_size=4"]))
    assert len(counted) == 1


def test_a_code_that_elbo_does_not_train_is_left_out_aloud(runs):
    parts = prepare_pretraining(going_on(runs, "train.loss_weight=elbo"))
    assert not isinstance(parts.evaluation.denoiser, BottleneckDenoiser)
    assert "has a code, which train.loss_weight=elbo does not train" in "".join(
        parts.evaluation.corpus.summary
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["model.code_size=9"], f"model.code_size: .* has a code of {K} numbers, got 9; .*model.code_size=0"),
        (
            ["data.block_size=64"],
            "data.block_size: the decoder of .* goes to 32 tokens, got 64; .*model.code_size=0",
        ),
        (["model.code_weights=even"], "model.code_weights: .* leave even out"),
    ],
)
def test_what_the_code_of_a_checkpoint_is_not_is_refused(runs, options, says):
    with pytest.raises(SettingsError, match=says):
        prepare_pretraining(going_on(runs, *options))


@pytest.mark.parametrize(
    "option",
    ["decoder_rate=0.9", "decoder_share=0.5", "contrast_weight=1", "masked_weight=0", "code_weights=even"],
)
def test_a_setting_of_a_code_needs_a_code(runs, option):
    name = option.partition("=")[0]
    with pytest.raises(
        SettingsError, match=f"{name} is of a model with a code; give model.code_size=64"
    ) as error:
        load(PretrainSettings, None, [f"model.{option}"])
    assert "\n" not in str(error.value)
    assert load(PretrainSettings, None, [f"model.{option}", "model.code_size=8"]).model.code_size == 8
    default = TextModelSettings.model_fields[name].default  # as in the table of `textdae settings`
    assert load(PretrainSettings, None, [f"model.{name}={default}"]).model.code_size is None
    plain = load(PretrainSettings, None, [*runs[2], f"model.from_pretrained={runs[1]}", f"model.{option}"])
    with pytest.raises(SettingsError, match=f"model.{name}: .* has no code"):
        prepare_pretraining(plain)


def test_settings_of_a_code_that_a_checkpoint_brings_are_written():
    settings = TextModelSettings(from_pretrained="runs/code", masked_weight=2, decoder_rate=1)
    assert settings.model_dump()["masked_weight"] == 2
    assert not {"code_size", "decoder_rate"} & settings.model_dump().keys()


def test_the_level_of_a_phase_reaches_the_encoder_of_a_code():
    vocabulary = Vocabulary(V, 3, (0, 1, 2, 3, 4))
    phases = [{"steps": 1}, {"noise_level": 0.8}]
    plan = Phases(TrainSettings(max_steps=2, phases=phases, per_device_train_batch_size=4), 1, Cursor())

    def noise(rate):
        return DecoderNoise(TokenNoise(rate=rate).build(vocabulary), vocabulary, 0.7, 0.5)

    (begin, first), (then, second) = plan.noises(noise(0.1))
    assert (begin, then) == (0, 4)
    ids, rows = token_ids(4, 20), torch.arange(4)
    clean = {"input_ids": ids, "document": torch.zeros_like(ids), "word_start": torch.ones_like(ids) == 1}
    for found, rate in ((first, 0.1), (second, 0.8)):
        corrupted, expected = (each(clean, Draw(0, rows, rows)) for each in (found, noise(rate)))
        assert torch.equal(corrupted.loss_mask, expected.loss_mask)
        for name, value in expected.inputs.items():
            assert torch.equal(corrupted.inputs[name], value), name
    one = TokenNoise(rate=0.1).build(vocabulary)
    with pytest.raises(SettingsError, match=r"train\.phases: noise_level is for a run with one noise"):
        plan.noises(DecoderNoise(one | one, vocabulary, 0.7))
    with pytest.raises(SettingsError, match="noise_level: rate of tokens"):
        second.at_level(1.5, "train.phases: noise_level")


def test_a_resume_names_the_settings_that_differ(runs):
    def refused(*options):
        given = [*runs[2], f"output_dir={runs[0]}", f"model.code_size={K}", *options]
        with pytest.raises(SettingsError) as error:
            pretrain(load(PretrainSettings, None, given), resume=True)
        return str(error.value).partition(" the run in ")[0]

    assert refused("model.decoder_rate=0.9") == "--resume: model.decoder_rate differs from"
    both = refused("model.decoder_rate=0.9", "noise.rate=0.4", "train.seed=3")
    assert both == "--resume: noise.rate, model.decoder_rate, train.seed differ from"
    assert refused("noise.kind=words") == "--resume: noise.kind differs from"
    assert refused("noise=[{kind: tokens}, {kind: words}]") == "--resume: noise differs from"
    assert refused(f"model.from_pretrained={runs[1]}").endswith(
        "model.from_pretrained, model.embeddings differ from"
    )
