"""Settings of a text model: its tokenizer, its sizes and its code."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from textdae.core.settings.base import Bytes, ModelSettings, Settings


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
    """Return how many tokens a model of this config takes."""
    positions: int = getattr(config, "max_position_embeddings", None) or 2**30
    return positions - ((config.pad_token_id or 0) + 1 if config.model_type in COUNTED_FROM_PAD else 0)


_OF_CODES = ("code_size", "code_weights", "decoder_rate", "decoder_share", "masked_weight", "contrast_weight")


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
    """Go on from this checkpoint (a folder, or OWNER/NAME@REVISION on the Hub); its sizes, its tokenizer and its code are taken too."""
    code_size: Annotated[int, Field(ge=0, le=65536)] | None = None
    """K: a decoder must give each document back from so many numbers, its code; default: that of `from_pretrained`, else none; 0 or null: go on from `from_pretrained` without its code."""
    code_weights: Literal["sif", "even"] = "sif"
    """With `code_size`: what tokens count in the mean that becomes the code: the rare ones more (SIF, Arora et al. 2017), or all alike; the code of `from_pretrained` keeps its own weights."""
    decoder_rate: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """With `code_size`: share of the tokens that the decoder does not see; at 1 it has nothing but the code and the positions."""
    decoder_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """With `code_size`: share of those that a step asks the decoder for: a sample, such as 0.25, makes a step shorter."""
    masked_weight: Annotated[float, Field(ge=0)] = 4.0
    """With `code_size`: weight in the loss of a token that the encoder must guess; one that the decoder must guess has 1."""
    contrast_weight: Annotated[float, Field(ge=0)] = 0.0
    """With `code_size`: weight in the loss of telling a document by its code from the others of its block (contrast); a token of the decoder has 1."""

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, values: Any) -> Any:
        """Read a code_size of null as 0 where a checkpoint could bring a code, and as no code where none can."""
        if not isinstance(values, dict) or values.get("code_size", 1) not in (None, 0):
            return values
        return {**values, "code_size": 0 if values.get("from_pretrained") else None}

    @model_serializer(mode="wrap")
    def _without_code(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A model without a code is written as it was before there were codes, so that its runs can be resumed."""
        written: dict[str, Any] = serialize(self)
        # A code that the checkpoint brings may be trained otherwise than by default.
        kept = self.of_a_code()
        for name in _OF_CODES if not self.code_size else ("decoder_share",):
            if name not in kept and not (name == "code_size" and self.code_size == 0):
                written.pop(name, None)
        return written

    def of_a_code(self) -> list[str]:
        """Return the settings that mean something with a code only and are not as by default."""
        names = _OF_CODES if self.code_size else _OF_CODES[1:]
        return [name for name in names if getattr(self, name) != type(self).model_fields[name].default]

    @model_validator(mode="after")
    def _code(self) -> "TextModelSettings":
        has_none = self.code_size == 0 or (self.code_size is None and self.from_pretrained is None)
        if has_none and (only := self.of_a_code()):
            raise ValueError(
                f"{only[0]} is of a model with a code; give model.code_size=64 too, or leave it out"
            )
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return the values that must not change on resume; older checkpoints, all of random embeddings, lack `embeddings`."""
        values = super().fingerprint()
        if self.code_size == 0:  # as runs were before a checkpoint brought its code
            del values["code_size"]
        if self.from_pretrained or self.embeddings == "random":
            del values["embeddings"]
        return values

    @property
    def width(self) -> int:
        """Width of the hidden layers, D; of another family, as its own configuration says or by default."""
        width = self.config.get("hidden_size", self.hidden_size)
        return width if isinstance(width, int) else self.hidden_size

    @model_validator(mode="after")
    def _heads(self) -> "TextModelSettings":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self
