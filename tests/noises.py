"""Noises at a level, ready to corrupt: the dial by position instead of by its name."""

from typing import Any

from textdae.core.noise import Noise
from textdae.image.noise import ImageNoise
from textdae.text.noise import TextNoise
from textdae.text.tokens.vocabulary import Vocabulary


def image_noise(
    kind: type[ImageNoise], start: float = 0.0, end: float | None = None, schedule: str = "linear", **how: Any
) -> Noise:
    dial = {kind.dial: start, f"final_{kind.dial}": end, "schedule": schedule} if kind.dial else {}
    return kind(**dial, **how).build()


def text_noise(
    kind: type[TextNoise], vocabulary: Vocabulary, rate: float = 0.15, final_rate: float | None = None,
    schedule: str = "linear", **how: Any,
) -> Noise:  # fmt: skip
    return kind(rate=rate, final_rate=final_rate, schedule=schedule, **how).build(vocabulary)
