"""The model card of an image denoiser."""

from collections.abc import Mapping, Sequence
from typing import Any

from textdae.core.escape import for_markdown
from textdae.core.noise_kind import in_words
from textdae.image.settings import ImagePretrainSettings, at_final_level
from textdae.report.card import SELF, run_card
from textdae.report.card_data import front_matter

_STOCK = {
    "ViTForMaskedImageModeling": "AutoModelForMaskedImageModeling",
    "ViTMAEForPreTraining": "AutoModelForPreTraining",
}
_REBUILD = "reconstruction = model(pixel_values).reconstruction  # pixels in [0, 1], (batch, channels, height, width)"
_USE = {
    "ViTMAEForPreTraining": """patches = model(pixel_values).logits  # hides patches by itself; noise= says which, lowest first to be seen
reconstruction = model.unpatchify(patches)  # pixels in [0, 1], (batch, channels, height, width)"""
}


def image_card(
    settings: ImagePretrainSettings,
    metrics: Mapping[str, Any],
    summary: Sequence[str],
    pictures: Sequence[str],
) -> str:
    """Return the README.md of an image denoiser."""
    auto = _STOCK.get(metrics["architecture"])
    # Only a stock model loads without textdae.
    ours = "" if auto else "import textdae  # makes AutoModel know this model\n"
    noise = in_words(settings.evaluate.noise or at_final_level(settings.noise))
    base = settings.model.from_pretrained
    return run_card(
        settings, metrics, summary,
        head=front_matter(
            settings, metrics["held_out"], "image-to-image", ["denoising-autoencoder", settings.model.type], None, base
        ),
        base=base,
        title="An image denoiser, pretrained with textdae",
        idea=f"""The encoder sees a corrupted image, the decoder gives back the image from before the noise. It is
{"a stock " if auto else "an " if settings.model.type == "autoencoder" else "a "}`{metrics["architecture"]}` of \
{metrics["parameters"] / 1e6:.2f} M parameters.""",
        question=f"""Held-out images under the noise "{for_markdown(noise)}", the same at every evaluation ({metrics["scored"]:,} pixel values
scored). PSNR is that of the pooled MSE, for pixels in [0, 1]. A baseline learns no
representation.""",
        table=metrics["held_out"],
        noise=in_words(settings.noise),
        pictures="\n\n".join(f"![{name.removesuffix('.png')}]({name})" for name in [*pictures, "loss.png"]),
        example="images",
        load=f"""{ours}from transformers import {auto or "AutoModel"}

model = {auto or "AutoModel"}.from_pretrained("{SELF}")
{_USE.get(metrics["architecture"], _REBUILD)}""",
        limits="""A small model of the images above, at their size. Other images, and other noises than its own, it treats as if they
were these.""",
    )  # fmt: skip
