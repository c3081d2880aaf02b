"""The registry of noises: one class is enough, and a noise may change the length."""

import subprocess
import sys
from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from noises import text_noise
from pydantic import Field
from signals import SignalDenoiser, Sines
from torch import Tensor

import textdae
from textdae.cli.app import main
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Example, Level, Noise
from textdae.core.noise_kind import NoiseKind, in_words, noise_list
from textdae.core.settings.fields import explain
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.core.settings.yaml_text import dump
from textdae.image.noise import ImageNoise, SigmaNoise
from textdae.image.noises.changing import BlurNoise, GaussianNoise
from textdae.image.noises.none import NoNoise
from textdae.text.noise import Block, ReplacingNoise, TextNoise
from textdae.text.noises.masking import TokenNoise
from textdae.text.settings import TextPretrainSettings
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training.batches import Batches, BatchSpec
from textdae.training.evaluation import evaluate
from textdae.training.loop import Trainer

# A new noise


@pytest.fixture
def swap_noise(monkeypatch):
    """A noise that only this test defines."""
    monkeypatch.setattr(TextNoise, "kinds", dict(TextNoise.kinds))

    class SwapNoise(ReplacingNoise):
        """Replace tokens by the next id."""

        kind: Literal["swap"] = "swap"
        step: Annotated[int, Field(ge=1)] = 1
        """How far to go in the vocabulary."""

        def replace(self, block: Block, draw: Draw, rate: Any, vocabulary: Vocabulary) -> Any:
            swapped = block.maskable & (draw.uniform("swap", block.ids.shape[1]).numpy() < rate)
            return block.ids + swapped * self.step * (block.ids + self.step < vocabulary.size), swapped

    return SwapNoise


def test_a_new_class_is_in_the_help_the_settings_and_the_errors(swap_noise, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["textdae", "settings"])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert "tokens, words, spans, shuffle, delete or swap." in printed
    assert "noise.step=1" in printed
    assert "How far to go in the vocabulary." in printed
    (tmp_path / "a.yaml").write_text("noise:\n  kind: swap\n  step: 3\n")
    read = load(PretrainSettings, tmp_path / "a.yaml", ["noise.rate=0.4"])
    assert read.noise == (swap_noise(step=3, rate=0.4),)
    (tmp_path / "b.yaml").write_text(dump(read))
    assert load(PretrainSettings, tmp_path / "b.yaml") == read
    with pytest.raises(SettingsError, match=r"noise.kind: no kind `swop`; did you mean `swap`"):
        load(PretrainSettings, None, ["noise.kind=swop"])
    with pytest.raises(SettingsError, match=r"noise.step: input should be greater than or equal to 1, got 0"):
        load(PretrainSettings, None, ["noise.kind=swap", "noise.step=0"])


@pytest.fixture
def command(monkeypatch):
    """Run a command of the command line."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def command(*words: str) -> None:
        monkeypatch.setattr("sys.argv", ["textdae", *words, "train.max_steps=3", "train.compile=never"])
        with pytest.raises(SystemExit) as raised:
            main()
        assert not raised.value.code

    return command


@pytest.fixture
def pretrain(command, tmp_path, corpus_texts):
    """Pretrain a tiny model with this noise; gives the model card."""
    (tmp_path / "a.txt").write_text("\n\n".join(corpus_texts[:120]))
    words = [
        f"data.source={tmp_path}/a.txt", f"data.cache_dir={tmp_path}/cache", "data.block_size=32", "tokenizer.vocab_size=200",
        "model.hidden_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2", "model.intermediate_size=16",
        "evaluate.max_examples=8", f"output_dir={tmp_path}/run",
    ]  # fmt: skip

    def pretrain(noise: str) -> str:
        command("pretrain", *words, noise)
        return (tmp_path / "run/README.md").read_text()

    return pretrain


def test_a_new_class_trains_and_is_on_the_card(swap_noise, pretrain):
    assert "- noise: swap, rate 0.3\n" in pretrain("noise.kind=swap")


def test_shuffle_pretrains_and_delete_finetunes(pretrain, command, tmp_path, corpus_texts):
    card = pretrain("noise=[{kind: shuffle, rate: 0.5}, {kind: words}]")
    assert "- noise: shuffle, rate 0.5; then words, rate 0.3\n" in card
    rows = ["text,label", *(f'"{text}",{"odd" if len(text) % 2 else "even"}' for text in corpus_texts[:60])]
    (tmp_path / "labelled.csv").write_text("\n".join(rows))
    command(
        "finetune", str(tmp_path / "run"), f"data.source={tmp_path}/labelled.csv", f"data.cache_dir={tmp_path}/cache",
        f"output_dir={tmp_path}/tuned", "noise.kind=delete",
    )  # fmt: skip
    assert "- noise: delete, rate 0.6\n" in (tmp_path / "tuned/README.md").read_text()


def test_images_recognize_each_of_their_noises_and_none_of_text():
    for kind, modality in [(kind, "image") for kind in ImageNoise.kinds] + [
        (kind, "text") for kind in TextNoise.kinds if TextNoise.kinds[kind].aligned
    ]:
        assert load(PretrainSettings, None, [f"noise.kind={kind}"]).modality == modality


@pytest.mark.parametrize("base", [TextNoise, ImageNoise])
def test_every_noise_says_what_it_does_and_what_its_settings_mean(base):
    for name, kind in base.kinds.items():
        assert kind().kind == name
        assert kind.__doc__
        assert all(meaning for *_, meaning in explain(kind) if _[0] != "kind")
        assert kind.dial is None or {kind.dial, f"final_{kind.dial}", "schedule"} <= kind.model_fields.keys()


# The dial


def test_the_dial_is_turned_and_told_in_words():
    noise = GaussianNoise(sigma=0.5, final_sigma=0.1, schedule="cosine")
    assert noise.level == Level(0.5, 0.1, "cosine")
    assert noise.at_end() == GaussianNoise(sigma=0.1, schedule="cosine")
    assert noise.at_level(0.3) == GaussianNoise(sigma=0.3)
    uniform = GaussianNoise(sigma=0.5, schedule="uniform")
    assert uniform.level == Level(0.5, 0.0, "uniform")
    assert uniform.at_end() is uniform
    assert TokenNoise(final_rate=0.15).at_end().level == Level(0.15, 0.15)
    assert NoNoise().at_end() == NoNoise()
    assert in_words((noise, NoNoise(), TokenNoise(final_rate=0.15))) == (
        "gaussian, sigma 0.5 to 0.1 (cosine); then none; then tokens, rate 0.3 to 0.15 (linear)"
    )


def test_a_dial_that_is_not_there_or_does_not_go_so_far_is_said():
    with pytest.raises(SettingsError, match=r"--levels: noise of kind none has no level"):
        NoNoise().at_level(0.1, "--levels")
    with pytest.raises(
        SettingsError, match=r"^level: sigma of blur: input should be less than or equal to 64, got 65$"
    ):
        BlurNoise().at_level(65)


def test_a_modality_with_one_noise_reads_it():
    class SignalNoise(NoiseKind):
        field: ClassVar[str] = "signal"

    class HalfNoise(SignalNoise):
        kind: Literal["half"] = "half"

        def corrupt(
            self, inputs: Example, draw: Draw, level: Tensor, *context: Any
        ) -> tuple[Example, Tensor]:
            return {"signal": inputs["signal"] / 2}, torch.ones_like(inputs["signal"]).bool()

    read = noise_list(SignalNoise, "half")[0].func
    assert read({}) == (HalfNoise(),)
    assert set(TextNoise.kinds).isdisjoint(SignalNoise.kinds)
    clean = {"signal": torch.ones(2, 3)}
    corrupted = HalfNoise().build()(clean, Draw(0, *torch.zeros(2, 2, dtype=torch.long)))
    assert corrupted.inputs["signal"].eq(0.5).all()
    assert corrupted.target is clean["signal"]


# A target of another shape


class ThinNoise(Noise):
    """Leave out every second value of a signal, so that the input is half as long as the target."""

    field, level, aligned = "signal", Level(0.0, 0.0), False

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        signal = inputs["signal"]
        return {"signal": signal[:, ::2]}, torch.ones_like(signal, dtype=torch.bool)


class ThickDenoiser(SignalDenoiser):
    """Gives back the whole signal from its half."""

    def __init__(self):
        super().__init__()
        self.model[0] = torch.nn.Linear(8, 32)

    def select(self, embedding, corrupted):
        assert embedding.shape == corrupted.target.shape
        return embedding, corrupted.target, corrupted.loss_mask

    def score(self, embedding, target, loss_mask):
        return F.mse_loss(embedding[loss_mask], target[loss_mask], reduction="sum"), embedding.detach()


def test_a_noise_that_changes_the_length_trains_a_denoiser_that_decodes_it(tmp_path):
    examples, noise, denoiser = Sines(50), ThinNoise(), ThickDenoiser()
    batch = Batches(examples, noise, 0)[BatchSpec(0, 4, 3, 0.0)]
    assert batch.inputs["signal"].shape == (4, 8)
    assert batch.target.shape == batch.loss_mask.shape == (4, 16)
    assert batch.loss_mask.sum(1).tolist() == [16, 16, 16, 0]  # the fourth example is past the end
    before = evaluate(denoiser, examples, noise, torch.arange(50), 16)
    assert before["scored"] == 50 * 16
    settings = TrainSettings(
        max_steps=100, per_device_train_batch_size=8, compile="never", optimizer="adamw", learning_rate=0.01
    )
    Trainer(denoiser, examples, noise, settings, tmp_path).fit()
    assert evaluate(denoiser.eval(), examples, noise, torch.arange(50), 16)["loss"] < 0.5 * before["loss"]


def test_the_noisy_input_is_no_target_where_the_length_changes():
    with pytest.raises(SettingsError, match=r"train.target: ThinNoise changes the length"):
        Batches(Sines(10), ThinNoise(), 0, target="noisy")


def test_text_noises_read_from_settings_are_those_built_by_hand():
    read = load(
        TextPretrainSettings, None, ["noise=[{kind: tokens, rate: .1}, {kind: shuffle, window: 4}]"]
    ).noise
    assert [each.kind for each in read] == ["tokens", "shuffle"]
    vocabulary = Vocabulary(30, 1, (0, 1))
    assert text_noise(TokenNoise, vocabulary, 0.1).level == read[0].build(vocabulary).level


class _NoKind(SigmaNoise):
    def change(self, pixels, draw, level):
        return pixels / 2


class _Derived(GaussianNoise):
    def change(self, pixels, draw, level):
        return pixels / 2


@pytest.mark.parametrize(
    "noise", [_NoKind(sigma=0.1), _Derived(sigma=0.1), [GaussianNoise(0.1), _Derived(0.2)]]
)
def test_a_noise_that_settings_cannot_name_is_not_replaced_by_another(noise, tmp_path):
    """By `kind` the settings would find the class that it derives from, or the default one."""
    with pytest.raises(SettingsError, match="has no kind of its own; add to the class: kind: Literal"):
        textdae.pretrain(source="digits", noise=noise, output_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        ("gaussian", "noise: a kind is written {kind: gaussian}, or noise.kind=gaussian"),
        (GaussianNoise, r"noise: give a noise, not its class: GaussianNoise\(\)"),
        (
            [{"kind": "mine"}],
            "no kind `mine`; known: .* once its module is imported .textdae --import MODULE",
        ),
    ],
)
def test_what_is_no_noise_says_how_one_is_written(noise, says, tmp_path):
    with pytest.raises(SettingsError, match=says):
        textdae.pretrain(source="digits", noise=noise, output_dir=tmp_path / "run")


@pytest.mark.parametrize("chained", [False, True])
def test_a_noise_that_changes_the_target_is_found_out(chained):
    class InPlace(GaussianNoise):
        def change(self, pixels, draw, level):
            return pixels.mul_(0.5)

    noise = InPlace(0.1).build()
    noise = noise | GaussianNoise(0.1).build() if chained else noise
    image, draw = {"pixel_values": torch.ones(2, 1, 4, 4)}, Draw(0, torch.zeros(2), torch.arange(2))
    with pytest.raises(
        SettingsError, match="noise gaussian: it changes what it is given in place, which may be the target"
    ):
        noise(image, draw)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda pixels: pixels[..., 1:], r"torch.float32 \(1, 1, 4, 3\)"),
        (lambda pixels: (pixels * 255).byte(), r"torch.uint8 \(1, 1, 4, 4\)"),
        (lambda pixels: pixels.numpy(), "ndarray"),
    ],
)
def test_what_a_noise_returns_is_checked(change, got):
    class Odd(GaussianNoise):
        def change(self, pixels, draw, level):
            return change(pixels)

    with pytest.raises(
        SettingsError, match=rf"Odd: change\(\) returned {got}, must return torch.float32 \(1, 1, 4, 4\)"
    ):
        Odd(0.1)(torch.ones(1, 1, 4, 4))


def test_a_module_with_a_noise_of_your_own_serves_every_command(tmp_path):
    (tmp_path / "my_noise.py").write_text(
        "from typing import Literal\n"
        "from textdae.image.noise import SigmaNoise\n\n\n"
        "class StripesNoise(SigmaNoise):\n"
        '    kind: Literal["stripes"] = "stripes"\n\n'
        "    def change(self, pixels, draw, level):\n"
        "        return pixels + level * (-1) ** pixels.new_ones(pixels.shape).cumsum(-1)\n"
    )

    def said(*words: str) -> str:
        command = [sys.executable, "-P", "-m", "textdae", *words]  # without the folder, as the script has it
        process = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        return process.stderr + process.stdout

    words = [
        "data.source=digits",
        "noise.kind=stripes",
        "output_dir=run",
        "train.max_steps=2",
        "train.compile=never",
    ]
    assert "2 steps in" in said("--import", "my_noise", "pretrain", *words)
    assert "PSNR" in said("--import", "my_noise", "evaluate", "run")
    assert "(textdae --import MODULE)" in said("evaluate", "run")
    assert said("--import", "no_noise", "evaluate", "run").startswith(
        "textdae: --import no_noise: ModuleNotFoundError: No module named 'no_noise'"
    )


def test_a_kind_of_ours_is_not_taken_over_and_an_older_class_says_so(monkeypatch):
    monkeypatch.setattr(ImageNoise, "kinds", dict(ImageNoise.kinds))
    with pytest.raises(
        SettingsError, match="Mine: gaussian is the kind of textdae's GaussianNoise; call yours otherwise"
    ):

        class Mine(SigmaNoise):
            kind: Literal["gaussian"] = "gaussian"

    def defined():  # as when a cell of a notebook runs again
        class Again(SigmaNoise):
            kind: Literal["again"] = "again"

        return Again

    older, newer = defined()(sigma=0.1), defined()(sigma=0.1)
    newer.check_kind()
    with pytest.raises(
        SettingsError, match="another Again of kind again was defined after this one; make the noise anew"
    ):
        older.check_kind()


def test_half_precision_stays_half():
    noisy = GaussianNoise(0.1)(torch.rand(1, 1, 4, 4).half()).inputs["pixel_values"]
    assert noisy.dtype == torch.float16


def test_only_a_modality_is_registered():
    with pytest.raises(
        SettingsError, match=r"register: takes a Modality, got .*; a noise is known by its `kind`"
    ):
        textdae.register(GaussianNoise)
