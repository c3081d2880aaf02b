"""Pretraining and evaluation of a denoiser of signals, and `textdae denoise`.

n signals, L samples.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from textdae.core.building import build_seeded
from textdae.core.errors import SettingsError
from textdae.core.examples import Questions
from textdae.core.noise_kind import build_noise, in_words
from textdae.core.task import Evaluation, Pretraining
from textdae.report.card import SELF, run_card
from textdae.report.card_data import front_matter
from textdae.report.plots import new_figure
from textdae.training.evaluation import corrupt_for_evaluation, evaluate, subsample
from textdae_signals.data import SinesCorpus
from textdae_signals.model import SignalsConfig, SignalsDenoiser, SignalsModel, load_signals


def prepare_pretraining(settings, check=None) -> Pretraining:
    """The parts of a run."""
    config = SignalsConfig(settings.data.length, settings.model.hidden_size)
    denoiser = SignalsDenoiser(build_seeded(lambda: SignalsModel(config), settings.train.seed, check))
    evaluation = SignalsEvaluation(SinesCorpus(settings.data), denoiser, settings.evaluate.noise)
    return Pretraining(evaluation, build_noise(settings.noise), settings.model, lambda folder: None)


def open_evaluation(checkpoint, settings) -> "SignalsEvaluation":
    """The evaluation of a checkpoint, on signals of its length."""
    denoiser = load_signals(checkpoint)
    data = settings.data.model_copy(update={"length": denoiser.model.config.length})
    return SignalsEvaluation(SinesCorpus(data), denoiser, settings.evaluate.noise)


class SignalsEvaluation(Evaluation):
    """Held-out signals under white noise, beside the noisy signals and the best linear denoiser."""

    def __init__(self, corpus, denoiser, noises) -> None:
        self.corpus, self.denoiser, self.noises = corpus, denoiser, noises

    def questions(self, most, level=None) -> Questions:
        """Held-out signals, spread evenly."""
        first, *others = self.noises
        first = first if level is None else first.at_level(level, "--levels")
        held_out = self.corpus.held_out
        return Questions(held_out, build_noise((first, *others)), subsample(len(held_out), most))

    def score(self, questions, batch_size, accelerator=None):
        """The mean square error."""
        found = evaluate(self.denoiser, *questions, batch_size, accelerator)
        return {"loss": found["loss"], "mse": found["loss"]}, int(found["scored"])

    def baselines(self, *questions):
        """The noisy signal itself, and the Wiener filter of the training signals."""
        rows = []
        for examples, noise, indices in questions:
            sample = corrupt_for_evaluation(self.corpus.train, noise, subsample(len(self.corpus.train), 5000))
            wiener = torch.linalg.lstsq(sample.inputs["signal"], sample.target).solution
            corrupted = corrupt_for_evaluation(examples, noise, indices)
            noisy = corrupted.inputs["signal"]
            errors = {"noisy": noisy - corrupted.target, "Wiener filter": noisy @ wiener - corrupted.target}
            means = {name: float(error.square().mean()) for name, error in errors.items()}
            rows.append({name: {"loss": mean, "mse": mean} for name, mean in means.items()})
        return rows

    @torch.no_grad()
    def samples(self, questions):
        """Three signals: clean, noisy, rebuilt."""
        corrupted = corrupt_for_evaluation(*questions[:2], torch.arange(3))
        rebuilt = self.denoiser(corrupted.to(next(self.denoiser.parameters()).device)).reconstruction
        noisy, clean = corrupted.inputs["signal"], corrupted.target
        return {"noisy": noisy, "clean": clean, "rebuilt": rebuilt.float().cpu()}

    def report(self, folder, settings, metrics, samples):
        """A picture of the samples, and the model card."""
        figure = new_figure(9, 2.5)
        for place, axes in enumerate(figure.subplots(1, 3, sharey=True)):
            for name, signals in samples.items():
                axes.plot(signals[place], label=name, color={"noisy": "lightgrey"}.get(name))
        axes.legend(fontsize=8)
        figure.savefig(folder / "samples.png", dpi=130)
        card = run_card(
            settings, metrics, self.corpus.summary,
            head=front_matter(settings, metrics["held_out"], "other", ["denoising-autoencoder"]),
            title="A denoiser of signals, pretrained with textdae",
            idea="The encoder sees a noisy signal, the decoder gives back the signal from before the noise.",
            question=f"Held-out signals under {in_words(self.noises)}; a baseline learns no representation.",
            table=metrics["held_out"], noise=in_words(settings.noise), example="signals",
            pictures="![samples](samples.png)\n\n![loss](loss.png)",
            load=f'import textdae_signals.model\nfrom transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{SELF}")',
            limits="It knows mixtures of two sines.",
        )  # fmt: skip
        (folder / "README.md").write_text(card, encoding="utf-8")
        return [f"try it: textdae denoise {folder} NOISY.npy -o clean.npy"]


@torch.no_grad()
def denoise_lines(checkpoint: str, what: str, output: Path | None) -> Iterator[str]:
    """Write the clean signals behind those of a `.npy` file (n, L)."""
    denoiser = load_signals(checkpoint)
    try:
        noisy = torch.from_numpy(np.load(what, allow_pickle=False)).float()
        clean = denoiser.decode(denoiser.encode({"signal": noisy})).numpy()
        np.save(output, clean)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        shape = f"signals of {denoiser.model.config.length} samples, and -o clean.npy"
        raise SettingsError(f"denoise: {what}: {error}; give a .npy file of {shape}") from None
    yield f"{what} -> {output} ({len(noisy):,} signals)"
