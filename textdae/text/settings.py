"""Settings of text."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from textdae.core.noise_kind import noise_list
from textdae.core.settings.base import Bytes, DataSettings, EvaluateSettings, ModelSettings, Settings, Share
from textdae.core.settings.downstream import (
    FinetuneSettings,
    FinetuneTrainSettings,
    LabelCurveSettings,
    LabelledDataSettings,
    ProbeSettings,
)
from textdae.core.settings.runs import (
    EmbedSettings,
    EvaluateRunSettings,
    PrepareSettings,
    PretrainSettings,
)
from textdae.text.noise import TextNoise
from textdae.text.noises.masking import TokenNoise


class TextReadingSettings(DataSettings):
    """Where text comes from, and how it is read."""

    source: str = "docstrings"
    """`docstrings` (of the installed packages), a file, folder or glob (.txt .txt.gz .jsonl .csv .parquet), a URL (s3:// gs:// https:// hf://datasets/), what `textdae prepare` wrote, or a Hub dataset id; for pretraining also a list of sources with weights."""
    document: Literal["auto", "row", "paragraph", "file"] = "auto"
    """What one document is; auto: a row of a table, a blank-line-separated paragraph of a text file."""
    text_column: str = "text"
    """Column of a table that holds the text."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    errors: Literal["strict", "replace", "skip"] = "strict"
    """Bytes that do not decode: stop and say where, put U+FFFD in their place, or skip and count the document."""
    max_bytes: Bytes | None = None
    """Stop reading after this much text, e.g. 40MB; docstrings stop at 25MB unless told otherwise."""


class WeightedSource(Settings):
    """One of several sources of a run."""

    source: str
    """As `data.source` names it."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """As many blocks are drawn from it as this is of the sum of all weights."""
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    """Go through it at most so often, then the other sources share its weight; default: without end."""
    name: str | None = None
    """What the report calls it; default: the last part of `source`."""
    text_column: str | None = None
    """Instead of data.text_column, for this source."""
    document: Literal["auto", "row", "paragraph", "file"] | None = None
    """Instead of data.document."""
    subset: str | None = None
    """Instead of data.subset."""
    split: str | None = None
    """Instead of data.split."""
    revision: str | None = None
    """Instead of data.revision."""

    @property
    def label(self) -> str:
        """What the report calls it."""
        return self.name or self.source.partition("?")[0].rstrip("/").rpartition("/")[2]


class TextDataSettings(TextReadingSettings):
    """Where the clean text comes from, and the blocks that it is packed into."""

    sources: tuple[WeightedSource, ...] | None = None
    """Several sources, drawn from by weights: data.source=[{source: A, weight: 0.7}, {source: B, weight: 0.3}]."""
    block_size: Annotated[int, Field(ge=8, le=65536)] = 128
    """Positions in a block, in tokens."""
    num_proc: Annotated[int, Field(ge=1)] | None = None
    """Processes that tokenize a corpus of more than some megabytes, each keeping what it has seen; default: one a core, at most 16."""

    cache_bytes: Bytes = 20_000_000_000
    """Of a prepared corpus in an object store at most so much is kept on this machine."""

    @model_validator(mode="before")
    @classmethod
    def _list_of_sources(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if isinstance(given.get("source"), list | tuple):
            return {**given, "sources": given["source"], "source": ""}
        return given

    @model_validator(mode="after")
    def _named(self) -> "TextDataSettings":
        if self.sources is None:
            return self
        if not self.sources:
            raise ValueError(
                "source holds no source; write data.source=[{source: A, weight: 0.7}, {source: B, weight: 0.3}]"
            )
        label = " + ".join(each.label for each in self.sources)
        if self.source not in (
            "",
            "docstrings",
            label,
        ):  # another source was named over the list of an earlier run
            self.__dict__["sources"] = None  # the values are frozen for everybody else
            return self
        labels = [each.label for each in self.sources]
        if twice := next((name for name in labels if labels.count(name) > 1), None):
            raise ValueError(
                f"two sources are called {twice}; give each a name, e.g. {{source: ..., name: {twice}-2}}"
            )
        if self.held_out_source or self.held_out_split:
            raise ValueError(
                "held_out_source and held_out_split are for one source; of several each holds out its share"
            )
        self.__dict__["source"] = label
        return self

    def parts(self) -> "list[TextDataSettings]":
        """The settings of each source by itself; these where there is one only."""
        if not self.sources:
            return [self]
        keys = ("source", "text_column", "document", "subset", "split", "revision")
        given = ({key: getattr(each, key) for key in keys} for each in self.sources)
        return [
            self.model_copy(
                update={"sources": None} | {key: value for key, value in each.items() if value is not None}
            )
            for each in given
        ]


class TokenizerSettings(Settings):
    """The tokenizer: trained on the corpus, or loaded."""

    algorithm: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    """WordPiece, byte-level BPE, or Unigram."""
    vocab_size: Annotated[int, Field(ge=32, le=2**20)] = 8192
    """Entries wanted, special tokens included; a small corpus may give fewer."""
    lowercase: bool | None = None
    """Lower-case and strip accents; default: true for wordpiece, false for the others."""
    max_training_bytes: Bytes = 200_000_000
    """Train the tokenizer on at most this much text, spread evenly over the corpus."""
    from_pretrained: str | None = None
    """A fast tokenizer to use instead of training one: a folder, or OWNER/NAME or OWNER/NAME@REVISION on the Hub."""


COUNTED_FROM_PAD = (
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Families that count positions from pad_token_id + 1, so that as many of their position embeddings are never reached."""


def positions_of(config: Any) -> int:
    """How many tokens a model of this config takes."""
    positions: int = getattr(config, "max_position_embeddings", None) or 2**30
    return positions - ((config.pad_token_id or 0) + 1 if config.model_type in COUNTED_FROM_PAD else 0)


TextNoises = Annotated[tuple[TextNoise, ...], *noise_list(TextNoise, "tokens")]


_OF_CODES = ("code_size", "code_weights", "decoder_rate", "masked_weight", "contrast_weight")


class TextModelSettings(ModelSettings):
    """The denoiser: a stock Hugging Face model."""

    type: str = "modernbert"
    """Any family with a masked language model: modernbert, bert, roberta, distilbert, electra, ..."""
    hidden_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """Width D of the embedding."""
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)] = 4
    """Transformer layers."""
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 2
    """Attention heads; must divide `hidden_size`."""
    intermediate_size: Annotated[int, Field(ge=1, le=2**20)] = 320
    """Width of the feed-forward layer."""
    max_position_embeddings: Annotated[int, Field(ge=8, le=2**20)] = 512
    """Longest input that the model will take, in tokens."""
    local_attention: Annotated[int, Field(ge=2)] | None = None
    """Window of the local layers, in tokens, for families that have such layers; default 8: neighbours first teaches fastest."""
    global_attn_every_n_layers: Annotated[int, Field(ge=1)] | None = None
    """Every so many layers, the last of them sees the whole document, for families with local layers; default 4."""
    embeddings: Literal["neighbours", "random"] = "neighbours"
    """Where word embeddings begin: where counts of each token's neighbours in the corpus put it, or at random, as the family does; a checkpoint brings its own."""
    config: dict[str, Any] = {}
    """Further keys of the family's own config class, e.g. `model.config.hidden_dropout_prob=0`."""
    from_pretrained: str | None = None
    """Go on from this checkpoint (a folder, or OWNER/NAME@REVISION on the Hub); its sizes and its tokenizer are taken too."""
    code_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """K: a decoder must give each document back from so many numbers, its code; default: no decoder, no code."""
    code_weights: Literal["sif", "even"] = "sif"
    """With `code_size`: what tokens count in the mean that becomes the code: the rare ones more (SIF, Arora et al. 2017), or all alike."""
    decoder_rate: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """With `code_size`: share of the tokens that the decoder does not see; at 1 it has nothing but the code and the positions."""
    masked_weight: Annotated[float, Field(ge=0)] = 4.0
    """With `code_size`: what a token that the encoder must guess counts in the loss, beside one that the decoder must guess."""
    contrast_weight: Annotated[float, Field(ge=0)] = 0.0
    """With `code_size`: what a document counts that must be told, by its code, from the others of its block, beside a token of the decoder's."""

    @model_serializer(mode="wrap")
    def _without_code(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A model without a code is written as it was before there were codes, so that its runs can be resumed."""
        written: dict[str, Any] = serialize(self)
        for name in _OF_CODES if self.code_size is None else ():
            written.pop(name, None)
        return written

    def fingerprint(self) -> dict[str, Any]:
        """Return the values that must not change on resume; older checkpoints, all of random embeddings, lack `embeddings`."""
        values = super().fingerprint()
        if self.from_pretrained or self.embeddings == "random":
            del values["embeddings"]
        return values

    @model_validator(mode="after")
    def _heads(self) -> "TextModelSettings":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


class TextEvaluateSettings(EvaluateSettings):
    """How a masked language model is scored."""

    kind: Literal["words", "tokens", "bound"] = "words"
    """words: whole words, chosen by the text, all masked, the same for every tokenizer; tokens: the old convention, 80% masked, 10% random, 10% shown; bound (of `textdae evaluate`): bits per byte of the whole text, from above."""
    rate: Share = 0.15
    """Share of the words (or tokens) hidden when evaluating."""
    max_examples: Annotated[int, Field(ge=1)] = 1024
    """Evaluate on at most this many stretches of 64 words of a held-out document, chosen by the text; of kind tokens and bound: blocks, spread evenly."""
    draws: Annotated[int, Field(ge=2)] = 8
    """Of kind bound: how often each block is asked, with another number of hidden tokens each time; the standard error is of these."""


_DIFFUSION = {"rate": 1.0, "schedule": "uniform", "mask_share": 1.0, "random_share": 0.0}
"""The noise of masked diffusion: any number of tokens behind masks."""


class TextPretrainSettings(PretrainSettings):
    """`textdae pretrain`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples; default: what the source, the noise or the model is known to be of."""
    data: TextDataSettings = TextDataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    noise: TextNoises = (TokenNoise(),)
    """One noise, or a list of noises applied one after the other."""
    model: TextModelSettings = TextModelSettings()
    evaluate: TextEvaluateSettings = TextEvaluateSettings()

    @model_validator(mode="before")
    @classmethod
    def _diffusion(cls, given: Any) -> Any:
        """What loss_weight=elbo is defined for, where the noise says nothing else."""
        if not isinstance(given, dict):
            return given
        train, noise = given.get("train"), given.get("noise", {})
        if isinstance(train, dict) and train.get("loss_weight") == "elbo" and isinstance(noise, dict):
            return {**given, "noise": {**_DIFFUSION, **noise}}
        return given

    @model_validator(mode="after")
    def _bounds(self) -> "TextPretrainSettings":
        if self.evaluate.kind == "bound":
            raise ValueError(
                "evaluate.kind=bound is what `textdae evaluate RUN evaluate.kind=bound` asks afterwards"
            )
        if self.train.loss_weight == "elbo":
            noise = self.noise[0]
            whole = (
                isinstance(noise, TokenNoise) and noise.level == (1, 0, "uniform") and noise.mask_share == 1
            )
            if not whole or len(self.noise) > 1 or self.model.code_size is not None:
                raise ValueError(
                    "train.loss_weight=elbo is for one noise that hides any number of tokens behind masks: noise.kind=tokens "
                    "noise.rate=1 noise.schedule=uniform noise.mask_share=1 noise.random_share=0, and no model.code_size"
                )
        return self

    @model_validator(mode="after")
    def _decodable(self) -> "TextPretrainSettings":
        for noise in self.noise:
            if not noise.aligned and self.model.code_size is None:
                known = ", ".join(kind for kind, each in TextNoise.kinds.items() if each.aligned)
                raise ValueError(
                    f"noise {noise.kind} changes the length, and a masked language model gives back one token a position; "
                    f"use one of {known}, or give the text back through a code (model.code_size)"
                )
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
    batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Positions in one forward pass, padding included."""


class LabelledTextSettings(LabelledDataSettings, TextReadingSettings):
    """Where labelled texts come from."""

    document: Literal["row"] = "row"
    """row: of a table, with its label."""
    label_column: str = "label"
    """Column of a table that holds the label; docstrings have their package."""
    text_pair_column: str | None = None
    """Column that holds a second text, for tasks about pairs."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Longest input in tokens, beyond which texts are cut off and counted; default: what the encoder takes, at most 512."""


class TextFinetuneTrainSettings(FinetuneTrainSettings):
    """The training loop, with what suits fine-tuning on texts."""

    # As Devlin et al. 2019, A.2: rare words come back after hundreds of steps, and 0.98 has forgotten their gradients.
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """AdamW's second-moment decay."""


class TextFinetuneSettings(FinetuneSettings):
    """`textdae finetune`, of text"""

    modality: Literal["text"] = "text"
    """What kind of examples: that of the checkpoint."""
    data: LabelledTextSettings = LabelledTextSettings()
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
