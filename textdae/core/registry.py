"""The registry of modalities; each is described by one `Modality`.

A package adds a modality with an entry point of the group `textdae.modalities`, whose value is its `Modality`
(`sound = "my_package.spec:SOUND"`); a notebook or a test calls `register`.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from textdae.core.errors import SettingsError, first_line
from textdae.core.layout import REPORT
from textdae.core.names import is_local, is_remote

GROUP = "textdae.modalities"


@dataclass(frozen=True)
class Modality:
    """One kind of example: its settings, models, tasks and names.

    Parts are named `package.module:attribute` (or `:Class.method`) and imported on first use, so that `textdae --help` and a
    run on text load no image library.

    Attributes:
        name: what `modality=` calls it.
        settings: the settings class of each command (`pretrain`, `evaluate`, `embed`, `finetune`, `probe`, `label-curve`),
            or the name of such a mapping. A command that is missing there cannot be run on this modality.
        pretraining: (settings, check of the number of parameters) -> a `Pretraining`.
        evaluation: (checkpoint, settings) -> an `Evaluation`.
        sizes: settings of `pretrain` -> the `Sizes` that `textdae plan` chooses from.
        prepare: settings -> the preparation, whose `stages()` are the work to do, with `as_worker()` for further processes.
        labelled_task: (checkpoint, settings of the examples) -> a `LabelledTask`.
        load: checkpoint -> its `Denoiser`.
        embed: (checkpoint, settings) -> a frozen encoder, and the `Rows` of the source to embed.
        rows: settings of `embed` -> these `Rows` alone, which --executor cuts into shards.
        suite: (checkpoint, suite, settings of `evaluate`, further checkpoints, most) -> the lines and the figures of public questions.
        denoise: (checkpoint, [what], output) -> lines to print; it may take options of `textdae denoise` by name.
        generate: (checkpoint, settings of `evaluate`, and by name the options of `textdae generate`) -> lines to print.
        noises: the base class of its noises, in whose registry all of them are once it is imported.
        sample: (checkpoint, output, and by name the options of `textdae sample`) -> lines to print, while it writes samples.
        exportable: checkpoint -> its `Exportable`, for `textdae export`.
        check: (checkpoint, model) -> findings of `textdae doctor` beyond those that hold for every model.
        explore: (checkpoint, settings of `evaluate`) -> an `Explorer`, for `textdae app`.
        recognizes: whether unchecked settings can only be meant for this modality; its embedded sources need no mention.
        recognizes_config: whether a `config.json` is of one of its models; `model_types` need no mention.
        recognizes_features: whether columns of a `datasets.Dataset`, as features by name, are those of its examples.
        pictures: files that its `report` draws, beside those of every run.
        files: what its files are called: "pictures".
        suffixes: endings of the names of its files.
        embedded_sources: values of `data.source` that need no file and no Hub; they mean this modality.
        models: modules that register classes of models with transformers.
        model_types: `model_type` of these classes, which transformers alone does not know.
        is_default: used where no modality recognizes the settings or the checkpoint.

    Example:
        >>> from textdae.core.registry import modalities
        >>> [modality.name for modality in modalities().values()][:2]
        ['text', 'image']
    """

    name: str
    settings: Mapping[str, str] | str
    pretraining: str
    evaluation: str
    sizes: str | None = None
    prepare: str | None = None
    labelled_task: str | None = None
    load: str | None = None
    embed: str | None = None
    rows: str | None = None
    suite: str | None = None
    denoise: str | None = None
    sample: str | None = None
    generate: str | None = None
    noises: str | None = None
    exportable: str | None = None
    check: str | None = None
    explore: str | None = None
    recognizes: Callable[[Mapping[str, Any]], bool] = lambda settings: False
    recognizes_config: Callable[[Mapping[str, Any]], bool] = lambda config: False
    recognizes_features: Callable[[Mapping[str, Any]], bool] = lambda features: False
    pictures: tuple[str, ...] = ()
    files: str = "other files"
    suffixes: tuple[str, ...] = ()
    embedded_sources: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    is_default: bool = False

    def part(self, name: str) -> Any:
        """Import one of the parts.

        Raises:
            SettingsError: this modality has no such part.
        """
        reference: str | None = getattr(self, name)
        if reference is None:
            raise SettingsError(f"modality {self.name}: it has no {name.replace('_', ' ')}")
        return imported(reference)

    def settings_class(self, command: str) -> Any:
        """Return the settings class of a command.

        Raises:
            SettingsError: the command cannot be run on this modality.
        """
        classes = imported(self.settings) if isinstance(self.settings, str) else self.settings
        if command not in classes:
            raise SettingsError(f"{command}: not for modality {self.name}, which has {', '.join(classes)}")
        reference = classes[command]
        return imported(reference) if isinstance(reference, str) else reference


def imported(reference: str) -> Any:
    """Import what `package.module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return functools.reduce(getattr, attribute.split("."), import_module(module))


_registered: dict[str, Modality] = {}


def register(modality: Modality) -> None:
    """Add a modality, or replace the one of its name.

    Raises:
        SettingsError: it is none.

    Example:
        >>> textdae.register(textdae.Modality(name="sound", settings={}, pretraining="sound:prepare", evaluation="sound:open"))
    """
    if not isinstance(modality, Modality):
        raise SettingsError(
            f"register: takes a Modality, got {modality!r}; a noise is known by its `kind` as soon as its class is defined"
        )
    _registered[modality.name] = modality


@functools.cache
def installed() -> dict[str, Modality]:
    """Return the modalities of the installed packages, by name.

    Raises:
        SettingsError: one cannot be imported; names its entry point.
    """
    by_name = {}
    for point in entry_points(group=GROUP):
        try:
            each: Modality = point.load()
        except Exception as error:  # any error of another package
            raise SettingsError(
                f"modality {point.name}: {point.value} cannot be loaded: {first_line(error)}; mend or uninstall its package"
            ) from error
        by_name[each.name] = each
    return by_name


def modalities() -> dict[str, Modality]:
    """Return the modalities that are installed or registered, by name, the default first.

    Raises:
        SettingsError: there is none, because textdae runs from its sources without being installed.
    """
    by_name = {**installed(), **_registered}
    if not by_name:
        raise SettingsError("textdae is not installed, so that no modality is known; run: pip install -e .")
    return dict(sorted(by_name.items(), key=lambda item: not item[1].is_default))


def modality(name: str, where: str = "modality") -> Modality:
    """Return the modality of this name.

    Args:
        where: the name was given, for the error.

    Raises:
        SettingsError: there is none.
    """
    known = modalities()
    if name not in known:
        raise SettingsError(f"{where}: {' or '.join(known)}, got {name!r}")
    return known[name]


def modality_of_settings(values: Mapping[str, Any]) -> Modality:
    """Return the modality of unchecked settings: that of `modality`, else the one that recognizes source, noise or model."""
    if values.get("modality") is not None:
        return modality(str(values["modality"]))
    data = values.get("data")
    source = data.get("source") if isinstance(data, Mapping) else None
    return _first(lambda each: each.recognizes(values) or source in each.embedded_sources)


def modality_of_config(config: Mapping[str, Any]) -> Modality:
    """Return the modality of a `config.json`."""
    model_type = config.get("model_type")
    return _first(lambda each: each.recognizes_config(config) or model_type in each.model_types)


def modality_of_features(features: Mapping[str, Any]) -> Modality:
    """Return what the rows of a `datasets.Dataset` with these features are examples of."""
    return _first(lambda each: each.recognizes_features(features))


def noise_classes() -> dict[str, Any]:
    """Return the class of every kind of noise, by its name; where two modalities have one of a name, that of the first."""
    bases = [each.part("noises") for each in modalities().values() if each.noises]
    return {kind.__name__: kind for base in reversed(bases) for kind in base.kinds.values()}


def _first(recognizes: Callable[[Modality], bool]) -> Modality:
    known = modalities().values()
    return next((each for each in known if recognizes(each)), None) or next(e for e in known if e.is_default)


def report_files() -> tuple[str, ...]:
    """Return the names of the files of a report, of any modality."""
    return (*REPORT, *dict.fromkeys(name for each in modalities().values() for name in each.pictures))


def is_embedded(source: str) -> bool:
    """Return whether a source needs no file and no Hub."""
    return any(source in each.embedded_sources for each in modalities().values())


def is_hub_dataset(source: str) -> bool:
    """Return whether a source is a dataset on the Hub."""
    return not is_local(source) and not is_remote(source) and not is_embedded(source)
