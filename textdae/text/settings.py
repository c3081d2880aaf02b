"""Settings of each command, of text."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from textdae.core.noise_kind import noise_list
from textdae.core.settings.base import Bytes, Share
from textdae.core.settings.downstream import (
    FinetuneSettings,
    FinetuneTrainSettings,
    LabelCurveSettings,
    ProbeSettings,
)
from textdae.core.settings.evaluation import EvaluateSettings, PretrainEvaluateSettings
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, PrepareSettings, PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.text.data.data_settings import FinetuneTextDataSettings, LabelledTextSettings, TextDataSettings
from textdae.text.learning_rates import USUAL_STEPS, rates_for
from textdae.text.model_settings import TextModelSettings, TokenizerSettings
from textdae.text.noises import TextNoise
from textdae.text.noises.masking import TokenNoise

TextNoises = Annotated[tuple[TextNoise, ...], *noise_list(TextNoise, "tokens")]


def _known_kind(kind: str) -> str:
    """Check a kind of evaluation: two of its own, or any noise that gives back one token a position."""
    known = [
        "words",
        *(name for name, noise in TextNoise.kinds.items() if noise.aligned and name != "words"),
        "bound",
    ]
    if kind not in known:
        raise ValueError(f"one of {', '.join(known)}, got {kind!r}")
    return kind


class TextEvaluateSettings(EvaluateSettings):
    """How a masked language model is scored."""

    kind: Annotated[str, AfterValidator(_known_kind)] = "words"
    """words: whole words, chosen by the text, all masked, the same for every tokenizer; tokens: the old convention, 80% masked, 10% random, 10% shown; spans, shuffle and any other noise that keeps the length: as `noise.kind` draws it; bound (of `textdae evaluate`): bits per byte of the whole text, from above."""
    rate: Share = 0.15
    """Share of the words (or tokens) hidden when evaluating."""
    max_examples: Annotated[int, Field(ge=1)] = 1024
    """Evaluate on at most this many stretches of 64 words of a held-out document, chosen by the text; of kind tokens and bound: blocks, spread evenly."""
    draws: Annotated[int, Field(ge=2)] = 8
    """Of kind bound: how often each block is scored, each time with another number of hidden tokens; the standard error is over these."""


_WIDTH = TextModelSettings.model_fields["hidden_size"].default
_GENERAL_RATES = {name: TrainSettings.model_fields[name].default for name in rates_for(_WIDTH)}
"""Where no rule was measured: a checkpoint goes on, or AdamW trains all."""
_DIFFUSION = {"rate": 1.0, "schedule": "uniform", "mask_share": 1.0, "random_share": 0.0}
"""The noise of masked diffusion: any number of tokens behind masks."""


class TextPretrainEvaluateSettings(TextEvaluateSettings, PretrainEvaluateSettings):
    """How a masked language model is scored by `textdae pretrain`."""


class TextTrainSettings(TrainSettings):
    """The training loop, with learning rates by the width."""

    learning_rate: Annotated[float, Field(gt=0)] = rates_for(_WIDTH)["learning_rate"]
    """Peak learning rate of AdamW; default: less the wider the model; of a checkpoint, and with train.optimizer=adamw, 2e-3."""
    muon_learning_rate: Annotated[float, Field(gt=0)] = rates_for(_WIDTH)["muon_learning_rate"]
    """Peak learning rate of Muon; default: less the wider the model and the more max_steps; of a checkpoint 0.02."""


class TextPretrainSettings(PretrainSettings):
    """`textdae pretrain`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples; default: what the source, the noise or the model is known to be of."""
    data: TextDataSettings = TextDataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    noise: TextNoises = (TokenNoise(),)
    """One noise, or a list of noises applied one after the other."""
    model: TextModelSettings = TextModelSettings()
    train: TextTrainSettings = TextTrainSettings()
    evaluate: TextPretrainEvaluateSettings = TextPretrainEvaluateSettings()

    @field_validator("train", mode="before")
    @classmethod
    def _of_text(cls, train: Any) -> Any:
        """Take the settings of any training loop, as far as they are given."""
        is_general = isinstance(train, TrainSettings) and not isinstance(train, TextTrainSettings)
        return train.model_dump(exclude_unset=True) if is_general else train

    @model_validator(mode="before")
    @classmethod
    def _diffusion(cls, values: Any) -> Any:
        """What loss_weight=elbo is defined for, where the noise says nothing else."""
        if not isinstance(values, dict):
            return values
        train, noise = values.get("train"), values.get("noise", {})
        if isinstance(train, dict) and train.get("loss_weight") == "elbo" and isinstance(noise, dict):
            return {**values, "noise": {**_DIFFUSION, **noise}}
        return values

    @model_validator(mode="after")
    def _rates(self) -> "TextPretrainSettings":
        """Set each learning rate that is not given, by the width of a new model that Muon trains, and max_steps.

        Settings that are validated once more, changed, get the rates of what they are then.
        """
        model, rates = self.model, _GENERAL_RATES
        if not model.from_pretrained and self.train.optimizer == "muon":
            rates = rates_for(model.width, self.train.max_steps or USUAL_STEPS)
        train = self.train.model_copy()
        train.__dict__.update({name: rates[name] for name in rates.keys() - train.model_fields_set})
        self.__dict__["train"] = train  # a copy with an update would count as given
        return self

    @model_validator(mode="after")
    def _bounds(self) -> "TextPretrainSettings":
        if self.evaluate.kind == "bound":
            raise ValueError(
                "evaluate.kind=bound is what `textdae evaluate RUN evaluate.kind=bound` asks afterwards"
            )
        if self.train.loss_weight == "elbo" and (way_out := self._to_diffusion()):
            raise ValueError(
                f"train.loss_weight=elbo is for one noise that hides any number of tokens behind masks; set {way_out}"
            )
        return self

    def _to_diffusion(self) -> str:
        """Return what to set for the noise of masked diffusion; nothing where it is that."""
        if len(self.noise) > 1 or not isinstance(self.noise[0], TokenNoise):
            return "noise.kind=tokens alone"
        noise, level = self.noise[0], self.noise[0].level
        there = {"final_rate": level.end, **{key: getattr(noise, key) for key in _DIFFUSION}}
        wanted = {**_DIFFUSION, "final_rate": 0.0}
        words = [
            f"noise.{key}={value if isinstance(value, str) else f'{value:g}'}"
            for key, value in wanted.items()
            if there[key] != value
        ]
        return " ".join(words + ["model.code_size=null"] * bool(self.model.code_size))

    @model_validator(mode="after")
    def _decodable(self) -> "TextPretrainSettings":
        if self.model.from_pretrained is None or self.model.code_size is not None:
            self.check_decodable(self.model)
        return self  # else a checkpoint may bring a code

    def check_decodable(self, model: TextModelSettings) -> None:
        """Check that a model of these settings can undo the noise.

        Raises:
            ValueError: the noise changes the length, and there is no code to give the text back from.
        """
        for noise in self.noise:
            if not noise.aligned and not model.code_size:
                known = ", ".join(kind for kind, each in TextNoise.kinds.items() if each.aligned)
                raise ValueError(
                    f"noise {noise.kind} changes the length, and a masked language model gives back one token a position; "
                    f"use one of {known}, or give the text back through a code (model.code_size)"
                )

    @model_validator(mode="after")
    def _sources_of_phases(self) -> "TextPretrainSettings":
        names = [source.label for source in self.data.sources or ()]
        for phase in self.train.phases or ():
            if unknown := next((name for name in phase.weights or () if name not in names), None):
                known = f"the sources are {', '.join(names)}" if names else "data.source is one source"
                raise ValueError(f"train.phases: weights: no source {unknown}; {known}")
        return self

    @model_validator(mode="after")
    def _positions(self) -> "TextPretrainSettings":
        if self.model.from_pretrained is None and self.data.block_size > self.model.max_position_embeddings:
            raise ValueError(
                f"data.block_size {self.data.block_size} is longer than "
                f"model.max_position_embeddings {self.model.max_position_embeddings}"
            )
        return self


class TextEvaluateRunSettings(EvaluateRunSettings):
    """`textdae evaluate`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples: that of the checkpoint."""
    data: TextDataSettings = TextDataSettings()
    evaluate: TextEvaluateSettings = TextEvaluateSettings()


class TextPrepareSettings(PrepareSettings):
    """`textdae prepare`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples."""
    data: TextDataSettings = TextDataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    near_duplicates: Annotated[float, Field(ge=0.3, le=1)] | None = None
    """Leave out documents that share so much with an earlier one, as Jaccard similarity of their runs of five words (MinHash), e.g. 0.8; default: none."""
    shard_bytes: Bytes = 64_000_000
    """Bytes of the source that make a shard, as they are stored."""


class TextEmbedSettings(EmbedSettings):
    """`textdae embed`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples: that of the checkpoint."""
    data: TextDataSettings = TextDataSettings()
    pooling: Literal["auto", "mean", "cls", "code"] = "auto"
    """What stands for a text: the mean over its tokens, the first of them, or the code; auto: the code if there is one, else the mean."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Hidden layer to read, 0 the first; default: the last."""
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Positions in one forward pass, padding included; default: 8,192, on a CPU, whose caches hold no more, 1,024."""


class TextFinetuneTrainSettings(FinetuneTrainSettings):
    """The training loop, with what suits fine-tuning on texts."""

    # As Devlin et al. 2019, A.2: rare words come back after hundreds of steps, and 0.98 has forgotten their gradients.
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's second-moment decay."""


class TextFinetuneSettings(FinetuneSettings):
    """`textdae finetune`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples: that of the checkpoint."""
    data: FinetuneTextDataSettings = FinetuneTextDataSettings()
    noise: TextNoises | None = None
    """Hide tokens of the inputs while fine-tuning; default: none."""
    train: TextFinetuneTrainSettings = TextFinetuneTrainSettings()


class TextProbeSettings(ProbeSettings):
    """`textdae probe`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples: that of the checkpoint."""
    data: LabelledTextSettings = LabelledTextSettings()


class TextLabelCurveSettings(LabelCurveSettings):
    """`textdae label-curve`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples: that of the checkpoint."""
    data: LabelledTextSettings = LabelledTextSettings()
    train: TextFinetuneTrainSettings = TextFinetuneTrainSettings()
