"""What the commands ask of signals: pretraining, evaluation, denoising, embedding, and tasks with labels."""

import torch
from transformers import AutoModelForAudioClassification

from textdae.arrays.denoising import denoise_array_file
from textdae.arrays.encoder import ArrayEncoder, array_rows
from textdae.arrays.evaluation import ArrayEvaluation, CardWords, array_pretraining
from textdae.arrays.labelled_task import LabelledArrayTask
from textdae.core.building import build_seeded
from textdae.core.cache import digest
from textdae.core.encoder_decoder import EncoderDecoderDenoiser
from textdae.downstream.classifier import Classifier
from textdae.downstream.labelled import LabelledCorpus
from textdae.downstream.labels import LabelSchema
from textdae.downstream.task import config_of
from textdae.hub.locate import load_pretrained
from textdae.report.card import Pipeline
from textdae.report.plots import new_figure
from textdae.training.evaluation import corrupt_for_evaluation, subsample
from textdae_signals.data import CLASSES, Sines, sines_corpus
from textdae_signals.model import SignalsConfig, SignalsModel


class SignalsEvaluation(ArrayEvaluation):
    """Held-out signals under white noise, beside the noisy signals and the best linear denoiser."""

    words = CardWords(
        title="A denoiser of signals, pretrained with textdae",
        idea="The encoder sees a noisy signal, the decoder gives back the signal from before the noise.",
        examples="signals",
        limits="It knows mixtures of two sines.",
    )

    def fit_baselines(self, noise):
        """Return the noisy signal itself, and the Wiener filter of the training signals."""
        sample = corrupt_for_evaluation(self.corpus.train, noise, subsample(len(self.corpus.train), 5000))
        wiener = torch.linalg.lstsq(sample.inputs["signal"], sample.target).solution
        return {
            "noisy": lambda corrupted: corrupted.inputs["signal"],
            "Wiener filter": lambda corrupted: corrupted.inputs["signal"] @ wiener,
        }

    def draw(self, folder, samples):
        """Plot three signals, noisy, clean and rebuilt."""
        figure = new_figure(9, 2.5)
        for number, axes in enumerate(figure.subplots(1, 3, sharey=True)):
            for name, signals in samples.items():
                axes.plot(signals[number], label=name, color={"noisy": "lightgrey"}.get(name))
        axes.legend(fontsize=8)
        figure.savefig(folder / "samples.png", dpi=130)
        return ["samples.png"]


def prepare_pretraining(settings, check=None):
    """Return the parts of a run."""
    config = SignalsConfig(settings.data.length, settings.model.hidden_size)
    model = build_seeded(lambda: SignalsModel(config), settings.train.seed, check)
    corpus, denoiser = sines_corpus(settings.data), EncoderDecoderDenoiser(model)
    return array_pretraining(SignalsEvaluation(corpus, denoiser, settings.evaluate.noise), settings)


def load(checkpoint):
    """Load a denoiser from a folder or the Hub."""
    return EncoderDecoderDenoiser(load_pretrained(SignalsModel, checkpoint, "model of signals")).eval()


def of_length(data, checkpoint):
    """Return the settings of signals that a checkpoint takes."""
    return data.model_copy(update={"length": config_of(checkpoint).length})


def open_evaluation(checkpoint, settings):
    """Return the evaluation of a checkpoint, on signals of its length."""
    corpus = sines_corpus(of_length(settings.data, checkpoint))
    return SignalsEvaluation(corpus, load(checkpoint), settings.evaluate.noise)


def denoise(checkpoint, sources, output):
    """Denoise the signals of a `.npy` file."""
    denoiser = load(checkpoint)
    shape = f"signals of {denoiser.model.config.length} samples"
    return denoise_array_file(denoiser, sources, output, shape)


def open_signals(checkpoint, settings):
    """Return the encoder of a checkpoint, and the signals to embed."""
    data = of_length(settings.data, checkpoint)
    signals = Sines(data, "train").labelled().examples
    return ArrayEncoder(checkpoint, settings.precision), array_rows(signals, digest(data.model_dump()))


class SignalsClassifier(Classifier):
    """The encoder with a head for labels."""

    auto, arguments = AutoModelForAudioClassification, ("signal",)


class LabelledSignalsTask(LabelledArrayTask):
    """Signals, and which interval their two sines make."""

    classifier_class = SignalsClassifier
    pipeline = Pipeline(
        "audio-classification",
        "signal=signals",
        "a signal",
        "from transformers import AutoModelForAudioClassification\n\n"
        'classify = AutoModelForAudioClassification.from_pretrained("{folder}")\n'
        "print(classify({example_input}).logits)  # of signals (n, L)",
    )

    def __init__(self, checkpoint, data):
        data = of_length(data, checkpoint)
        sides = [Sines(data, side).labelled() for side in ("train", "held_out", "test")]
        schema = LabelSchema("single_label_classification", tuple(CLASSES))
        summary = [f"sines: {len(CLASSES)} classes; {', '.join(f'{len(side):,}' for side in sides)} signals"]
        super().__init__(checkpoint, LabelledCorpus(schema, *sides, digest(data.model_dump()), summary))
