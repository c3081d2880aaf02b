"""The modalities: what is installed, what a notebook registers, and whose settings and checkpoints are whose."""

import pytest

from textdae.core import registry
from textdae.core.errors import SettingsError
from textdae.core.registry import Modality, modalities, modality, modality_of_config, modality_of_settings


@pytest.fixture
def sound(monkeypatch):
    """A modality that a notebook registers."""
    monkeypatch.setattr(registry, "_registered", {})
    found = Modality(
        name="sound", settings={"pretrain": "builtins:dict"}, pretraining="builtins:list", evaluation="builtins:set",
        recognizes=lambda given: given.get("data") == "a.wav", recognizes_config=lambda config: "pitch" in config,
        embedded_sources=("hum",),
    )  # fmt: skip
    registry.register(found)
    return found


def test_installed_ones_are_found_by_their_entry_points_the_default_first():
    assert list(modalities())[:2] == ["text", "image"]
    assert modality_of_settings({}).name == "text"
    assert modality_of_config({"model_type": "unknown"}).name == "text"


def test_a_registered_one_is_asked_like_the_others(sound):
    assert modality("sound") is sound
    assert modality_of_settings({"data": "a.wav"}) is sound
    assert modality_of_config({"pitch": 440}) is sound
    assert modality_of_settings({"modality": "image", "data": "a.wav"}).name == "image"
    assert registry.is_embedded("hum")
    assert not registry.is_hub_dataset("hum")
    assert sound.part("pretraining") is list


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda sound: modality("smell"), "modality: text or image or sound, got 'smell'"),
        (lambda sound: sound.part("denoise"), "modality sound: it has no denoise"),
        (lambda sound: sound.settings_class("probe"), "probe: not for modality sound, which has pretrain"),
    ],
)
def test_what_a_modality_lacks_is_one_line(ask, message, sound):
    with pytest.raises(SettingsError, match=f"^{message}$"):
        ask(sound)
