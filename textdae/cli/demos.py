"""The command demo."""

from importlib import import_module
from typing import Annotated

import typer

from textdae.cli.app import Words, app, hush_transformers, split
from textdae.core.errors import SettingsError

DEMOS = {
    "bottleneck": "how wide the code must be: the 3x3 patterns",
    "target": "why the target is the clean image",
    "noise-matrix": "trained on one noise, scored under another",
    "linear": "the linear autoencoder is PCA",
    "score": "a denoiser points up the density",
    "chain": "from noise down a chain of levels to digits",
    "clean-or-noise": "in many dimensions predict the clean, not the noise",
    "no-clean": "learnt from noisy pictures alone",
    "outside": "levels of noise never seen",
    "cycle": "a code comes back where data lie",
    "sentence-bottleneck": "how many numbers hold a sentence",
    "language-model": "at 15% hidden BERT, at every share a language model",
}


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="; ".join(f"{k}: {v}" for k, v in DEMOS.items()))],
    words: Words = None,
) -> None:
    """Show what a denoising autoencoder is: one command, one picture."""
    if name not in DEMOS:
        raise SettingsError(f"demo: no demo `{name}`; known: {', '.join(DEMOS)}")
    from textdae.core.settings.reader import load

    path, overrides = split(words)
    chosen = import_module(f"textdae.demos.{name.replace('-', '_')}")
    settings = load(chosen.SETTINGS, path, overrides, chosen.BASE)
    hush_transformers()
    typer.echo("")
    for line in chosen.run(settings):
        typer.echo(line)
