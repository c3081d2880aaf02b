"""Every setting, its default and its meaning; `textdae settings pretrain` prints this file as a table."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and a value never changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _quantity(units: dict[str, int], example: str) -> BeforeValidator:
    """A number with a unit, as people write it, turned into the base unit."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", value)
        known = {name.lower(): factor for name, factor in units.items()}
        if not match or match[2].lower() not in known or match[1].count(".") > 1 or match[1] == ".":
            raise ValueError(f"not a quantity with a unit; write for instance {example}")
        return float(match[1]) * known[match[2].lower()]

    return BeforeValidator(read)


Seconds = Annotated[float, Field(gt=0), _quantity(_SECONDS, "90s, 10m or 1.5h")]
Bytes = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(lambda value: int(value) if isinstance(value, float) and math.isfinite(value) else value),
    _quantity(_BYTES, "800KB, 40MB or 2GB"),
]
Share = Annotated[float, Field(gt=0, le=1)]
StepsOrShare = Annotated[float, Field(ge=0)]


class DataSettings(Settings):
    """Where the clean text comes from."""

    source: str = "docstrings"
    """`docstrings` (of the installed packages), a file, folder or glob (.txt .txt.gz .jsonl .csv .parquet), or a Hub dataset id."""
    document: Literal["auto", "row", "paragraph", "file"] = "auto"
    """What one document is; auto: a row of a table, a blank-line-separated paragraph of a text file."""
    text_column: str = "text"
    """Column of a table that holds the text."""
    subset: str | None = None
    """Configuration name of a Hub dataset, where it has several."""
    split: str = "train"
    """Split of a Hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""
    streaming: bool = False
    """Read a Hub dataset as it arrives instead of downloading it first."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    errors: Literal["strict", "replace", "skip"] = "strict"
    """Bytes that do not decode: stop and say where, put U+FFFD in their place, or skip and count the document."""
    max_bytes: Bytes | None = None
    """Stop reading after this much text, e.g. 40MB; docstrings stop at 25MB unless told otherwise."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of documents kept for evaluation, chosen by a hash of their content."""
    block_size: Annotated[int, Field(ge=8, le=65536)] = 128
    """Positions in a block, in tokens."""
    cache_dir: Path | None = None
    """Prepared text is kept here; default: $TEXTDAE_CACHE or ~/.cache/textdae."""


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
    """A folder or Hub id of a fast tokenizer to use instead of training one."""
    revision: str | None = None
    """Branch, tag or commit of `from_pretrained`."""


class _TextNoise(Settings):
    rate: Share = 0.3
    """Share of the ordinary tokens that is hidden."""
    final_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Rate at the end of the run; default: 0.15 where `rate` is left alone, else `rate` throughout (uniform: 0)."""
    schedule: Literal["linear", "cosine", "uniform"] = "linear"
    """How the rate goes from `rate` to `final_rate`; uniform: each block draws its own rate between the two."""
    mask_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Of the hidden tokens, the share that shows the mask token."""
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Of the hidden tokens, the share that shows a random ordinary token; the rest is left as it was."""

    @model_validator(mode="before")
    @classmethod
    def _fall_to_15_percent(cls, given: Any) -> Any:
        if isinstance(given, dict) and not {"rate", "final_rate", "schedule"} & given.keys():
            return {**given, "final_rate": 0.15}
        return given

    @model_validator(mode="after")
    def _shares(self) -> "_TextNoise":
        if self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"mask_share + random_share must not pass 1, got {self.mask_share + self.random_share:g}"
            )
        return self


class TokenNoise(_TextNoise):
    """Hide tokens, each on its own."""

    kind: Literal["tokens"] = "tokens"
    """tokens, words or spans."""


class WordNoise(_TextNoise):
    """Hide whole words: all pieces of a word or none."""

    kind: Literal["words"] = "words"
    """tokens, words or spans."""


class SpanNoise(_TextNoise):
    """Hide runs of whole words (SpanBERT, Joshi et al. 2020, section 3.1)."""

    kind: Literal["spans"] = "spans"
    """tokens, words or spans."""
    mean_length: Annotated[float, Field(ge=1)] = 5.0
    """Mean of the geometric run length, in words, before it is clipped."""
    max_length: Annotated[int, Field(ge=1, le=1000)] = 10
    """Longest run, in words."""


NoiseSettings = Annotated[TokenNoise | WordNoise | SpanNoise, Field(discriminator="kind")]


def _as_list(value: Any) -> Any:
    """One noise may be written without the list; a noise without `kind` hides tokens."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries:
        raise ValueError("an empty list; give at least one noise, e.g. {kind: tokens, rate: 0.3}")
    return [{"kind": "tokens", **entry} if isinstance(entry, dict) else entry for entry in entries]


def _without_list(noises: tuple[Any, ...]) -> Any:
    dumped = [noise.model_dump(mode="json") for noise in noises]
    return dumped[0] if len(dumped) == 1 else dumped


Noises = Annotated[tuple[NoiseSettings, ...], BeforeValidator(_as_list), PlainSerializer(_without_list)]


class ModelSettings(Settings):
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
    config: dict[str, Any] = {}
    """Further keys of the family's own config class, e.g. `model.config.hidden_dropout_prob=0`."""
    from_pretrained: str | None = None
    """Go on from this checkpoint (folder or Hub id); the sizes above are then the checkpoint's, and so is the tokenizer."""
    revision: str | None = None
    """Branch, tag or commit of `from_pretrained`."""

    @model_validator(mode="after")
    def _heads(self) -> "ModelSettings":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


class TrainSettings(Settings):
    """The training loop; it is the same for every modality."""

    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many optimizer steps."""
    num_train_epochs: Annotated[float, Field(gt=0)] | None = None
    """Stop after this many passes over the training blocks."""
    time_budget: Seconds | None = None
    """Stop after this much training time, e.g. 10m; the schedule follows the clock. With none of the three: 215s."""
    per_device_train_batch_size: Annotated[int, Field(ge=1)] = 16
    """Blocks per process per forward pass."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Forward passes per optimizer step."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the hidden matrices and AdamW for the rest; adamw: AdamW for all."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: Annotated[float, Field(gt=0)] = 0.02
    """Peak learning rate of Muon."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay, of matrices only."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's first-moment decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """AdamW's second-moment decay."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-6
    """AdamW's epsilon; much smaller, and the rounding of a vanishing gradient decides whole steps of rare tokens."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    lr_scheduler_type: Literal["wsd", "linear", "cosine", "constant"] = "linear"
    """wsd: warm-up, plateau, linear decay to zero over the last `decay_share`; the others after warm-up as named."""
    warmup_steps: StepsOrShare = 20
    """Linear warm-up: steps, or a share of the run if below 1."""
    decay_share: Share = 0.5
    """Share of the run in which wsd decays."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32. Weights are always kept in fp32."""
    compile: Literal["auto", "always", "never"] = "auto"
    """torch.compile; auto: where a compiler is found and the run is long enough to repay it."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches; 0: the training process itself."""
    eval_steps: StepsOrShare = 0.1
    """Evaluate every so many steps, or every such share of the run if below 1; 0: only at the end."""
    save_steps: StepsOrShare = 0.25
    """Write a checkpoint every so many steps, or every such share of the run if below 1; 0: only at the end."""
    save_total_limit: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept; older ones go once a newer one is proven whole."""
    logging_steps: Annotated[int, Field(ge=1)] = 10
    """Write a line of the log every so many steps."""
    tensorboard: bool = False
    """Write TensorBoard events too (needs the `tensorboard` extra)."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides weights, order and masks."""

    @model_validator(mode="before")
    @classmethod
    def _ends(cls, given: Any) -> Any:
        limits = ("max_steps", "num_train_epochs", "time_budget")
        if isinstance(given, dict) and all(given.get(limit) is None for limit in limits):
            return {**given, "time_budget": 215.0}
        return given


class EvaluateSettings(Settings):
    """How the denoiser is scored; the masks are frozen, so every evaluation asks the same questions."""

    rate: Share = 0.15
    """Share of tokens hidden when evaluating."""
    max_blocks: Annotated[int, Field(ge=1)] = 1024
    """Evaluate on at most this many held-out blocks, spread evenly."""
    max_blocks_in_training: Annotated[int, Field(ge=1)] = 128
    """The same for the evaluations during training, which should not hold it up."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Blocks per forward pass."""


class EvaluateRunSettings(Settings):
    """`textdae evaluate`"""

    data: DataSettings = DataSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class PretrainSettings(Settings):
    """`textdae pretrain`"""

    output_dir: Path = Path("runs/quickstart")
    """Everything the run writes lies here."""
    data: DataSettings = DataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    noise: Noises = (TokenNoise(),)
    """One noise, or a list of noises applied one after the other."""
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _positions(self) -> "PretrainSettings":
        if self.model.from_pretrained is None and self.data.block_size > self.model.max_position_embeddings:
            raise ValueError(
                f"data.block_size {self.data.block_size} is longer than "
                f"model.max_position_embeddings {self.model.max_position_embeddings}"
            )
        return self
