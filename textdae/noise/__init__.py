"""Noise: it corrupts the clean example and says where the reconstruction is scored."""

from textdae.noise.base import Corrupted, Level, Noise
from textdae.noise.choice import priorities, take
from textdae.noise.draw import Draw
from textdae.noise.image import ImageNoise, image_noise
from textdae.noise.text import (
    ChosenNoise,
    SpanNoise,
    TextNoise,
    TokenNoise,
    Vocabulary,
    WordNoise,
    text_noise,
)

__all__ = [
    "ChosenNoise",
    "Corrupted",
    "Draw",
    "ImageNoise",
    "Level",
    "Noise",
    "SpanNoise",
    "TextNoise",
    "TokenNoise",
    "Vocabulary",
    "WordNoise",
    "image_noise",
    "priorities",
    "take",
    "text_noise",
]
