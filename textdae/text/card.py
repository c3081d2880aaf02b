"""The model card of a masked language model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from textdae.core.escape import for_markdown
from textdae.core.names import public
from textdae.core.noise_kind import in_words
from textdae.report.card import SELF, run_card
from textdae.report.card_data import front_matter
from textdae.report.scores import markdown_table
from textdae.text.settings import TextPretrainSettings

_COMPARED = """Bits per byte is over the bytes of the hidden words, so it can be compared between tokenizers; loss and accuracy
are of tokens, and cannot."""


def text_card(
    settings: TextPretrainSettings,
    metrics: Mapping[str, Any],
    summary: Sequence[str],
    samples: Sequence[str],
    tokenizer: Any,
    passage: str,
) -> str:
    """Return the README.md of a masked language model; `passage` holds a mask to try it on."""
    sentences = "\n".join(f"- {for_markdown(sample)}" for sample in samples)
    base = settings.model.from_pretrained
    trained = f"{type(tokenizer.backend_tokenizer.model).__name__}, that of the corpus"
    origin = (
        f"that of {for_markdown(public(own))}"
        if (own := base or settings.tokenizer.from_pretrained)
        else trained
    )
    return run_card(
        settings, metrics, summary,
        head=front_matter(
            settings, metrics["held_out"], "fill-mask", ["masked-language-modeling"], "fill-mask", base
        ),
        base=base,
        title="A masked language model, pretrained with textdae",
        idea=f"""A denoising autoencoder for text: words are hidden, the encoder reads what is left, one linear layer gives the words
back. It is a stock `{metrics["architecture"]}` of {metrics["parameters"] / 1e6:.1f} M parameters{_decoder(metrics)}.""",
        question=f"""Held-out text, {metrics["asked"]}. These are the same at every evaluation, and \
{metrics["scored"]:,} tokens were scored. A baseline only counts, and is shown what the model is shown.
{_COMPARED if settings.evaluate.kind == "words" else ""}""",
        table=metrics["held_out"],
        noise=in_words(settings.noise),
        more=[f"tokenizer: {origin}; {len(tokenizer):,} entries", *_code(metrics)],
        pictures=f"""![loss curve](loss.png)

[right guess], [wrong guess\\|right word]:

{sentences}{_of_sources(metrics)}""",
        example=f"blocks of {settings.data.block_size} tokens",
        load=f"""from transformers import pipeline

fill = pipeline("fill-mask", model="{SELF}")
print(fill({json.dumps(passage, ensure_ascii=False)}))""",
        limits="""A small model of the text above, with what that text gets wrong. It was not checked for bias, and it knows nothing
that its corpus does not say.""",
    )  # fmt: skip


def _of_sources(metrics: Mapping[str, Any]) -> str:
    """Return the table of each source, where there are several."""
    tables = metrics.get("by_source", {})
    return "".join(
        f"\n\nOf {for_markdown(name)}:\n\n{markdown_table(table)}" for name, table in tables.items()
    )


def _decoder(metrics: Mapping[str, Any]) -> str:
    """Return what stands behind the size of the stock model."""
    if "decoder_parameters" not in metrics:
        return ""
    return f", and a decoder of {metrics['decoder_parameters'] / 1e6:.1f} M more lies beside it"


def _code(metrics: Mapping[str, Any]) -> list[str]:
    """Return what the card says of a code."""
    if "through_code" not in metrics:
        return []
    return [
        f"""code: {metrics["through_code"]["code_size"]} numbers a text, `SentenceTransformer("{SELF}")` gives them; a decoder \
(`decoder.safetensors`) makes text of them again"""
    ]
