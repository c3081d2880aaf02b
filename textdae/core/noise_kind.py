"""A kind of noise as one class: its settings, its operator and its description.

A modality has a base class below `NoiseKind` (`TextNoise`, `ImageNoise`). A subclass of that with a field `kind`
enters its registry; settings, their help, errors and the model card read the registry.

B batch, ... the shape of one example.
"""

from __future__ import annotations

import functools
import pkgutil
from abc import abstractmethod
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, Union

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Chain, Corrupted, Example, Level, Noise
from textdae.core.settings.base import Settings
from textdae.core.settings.problems import explain_all

if TYPE_CHECKING:
    from torch import Tensor


class NoiseKind(Settings):
    """One kind of noise. Its fields are its settings; a call corrupts a batch; `build` makes the `Noise` of a run.

    A subclass with a dial has three fields for it: `<dial>`, `final_<dial>` and `schedule`.

    Args:
        level: of the dial, by its position: `GaussianNoise(0.25)` is `GaussianNoise(sigma=0.25)`.
        settings: by their names.

    Raises:
        SettingsError: one line for each setting that cannot be used.
    """

    if TYPE_CHECKING:
        # Each kind has it as a `Literal` with a default. As a field of this class it would come first in every
        # settings.yaml.
        kind: str

    field: ClassVar[str]
    """Name of the input that it corrupts; the clean input is the target."""
    dial: ClassVar[str | None] = None
    """Name of the setting of its strength, if it has one."""
    aligned: ClassVar[bool] = True
    """Whether position i of its inputs stands for position i of the target; see `Noise.aligned`."""
    kinds: ClassVar[dict[str, type[NoiseKind]]]
    """The registry of a modality: each class by its `kind`, in the order of definition."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if NoiseKind in cls.__bases__:
            cls.kinds = {}
        elif "kind" in cls.__annotations__:
            kind, ours = cls.model_fields["kind"].default, __name__.partition(".")[0]
            before = cls.kinds.get(kind, cls).__module__.partition(".")[0]
            if before == ours != cls.__module__.partition(".")[0]:
                raise SettingsError(
                    f"{cls.__name__}: {kind} is the kind of {ours}'s {cls.kinds[kind].__name__}; call yours otherwise"
                )
            cls.kinds[kind] = cls

    def __init__(self, level: float | None = None, /, **settings: Any) -> None:
        name = type(self).__name__
        if level is not None:
            if self.dial is None:
                raise SettingsError(f"{name}: has no level, got {level!r}")
            if self.dial in settings:
                raise SettingsError(
                    f"{name}: {self.dial} is given twice, {level!r} and {settings[self.dial]!r}"
                )
            settings[self.dial] = level
        try:
            super().__init__(**settings)
        except ValidationError as error:
            lines = explain_all(type(self), error, settings)
            raise SettingsError("\n".join(f"{name}: {line}" for line in lines)) from None

    def check_kind(self) -> None:
        """Refuse a class that settings cannot name: they would read a noise of another class in its place.

        Raises:
            SettingsError: says what to add.
        """
        cls, kind = type(self), getattr(self, "kind", None)
        if cls.kinds.get(kind or "") is not cls:
            if "kind" in cls.__annotations__:
                raise SettingsError(
                    f"noise: another {cls.__name__} of kind {kind} was defined after this one; make the noise anew"
                )
            own = cls.__name__.removesuffix("Noise").lower() or "mine"
            raise SettingsError(
                f'noise: {cls.__name__} has no kind of its own; add to the class: kind: Literal["{own}"] = "{own}"'
            )

    # Within larger settings pydantic goes on validating by itself, and says where in them a problem is.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def variants(cls) -> list[type[Settings]]:
        """Return all kinds of the modality for its base class; a kind returns itself."""
        return [cls] if "kind" in cls.model_fields else [*cls.kinds.values()]

    @abstractmethod
    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """Return new inputs and the loss mask; `level` has *shape* (B, 1).

        Args:
            context: the arguments of `build`.
        """

    def __call__(
        self,
        clean: Any,
        /,
        *,
        seed: int = 0,
        epoch: Any = 0,
        index: Any = None,
        progress: float = 0.0,
        **context: Any,
    ) -> Corrupted:
        """Corrupt a batch of clean examples, or one; what is drawn depends on (seed, epoch, index) alone.

        Args:
            clean: the examples, as `read_examples` of the modality takes them; of images a tensor.
            seed: one for all.
            epoch: one for all, or one for each example (B,).
            index: number of each example in its data set. (B,); default: a hash of its content, so that the same example
                gets the same noise in any batch, in any order and in any process.
            progress: share of the run that is done, 0..1, for a level that moves.
            context: what a noise of this modality has to know: of text `tokenizer=`.

        Returns:
            *Shapes:* those of the batch; of one example without the first dimension.

        Raises:
            SettingsError: these are no examples that it can corrupt.
        """
        from textdae.core.noising import corrupt_examples

        return corrupt_examples(self, clean, seed, epoch, index, progress, context)

    @classmethod
    def read_examples(cls, clean: Any, **context: Any) -> tuple[Example, tuple[Any, ...], bool]:
        """Read what a call was given: a batch, the context of `build`, and whether the batch is of one example alone.

        Raises:
            SettingsError: it is nothing that this modality's noises corrupt.
        """
        return {cls.field: clean}, (), False

    @classmethod
    def contents(cls, examples: Example) -> list[bytes]:
        """Return what tells one example from another, for the default number of each."""
        return [row.contiguous().numpy().tobytes() for row in examples[cls.field].cpu()]

    def build(self, *context: Any) -> Noise:
        """Build the noise that corrupts batches.

        Args:
            context: what the noises of a modality need beside their settings: for text the `Vocabulary`.
        """
        return BuiltNoise(self, *context)

    @property
    def level(self) -> Level:
        """The dial over the run; by default it is constant, a uniform level is drawn from 0 up, and one uniform in its logarithm
        from a thousandth up."""
        if self.dial is None:
            return Level(0.0, 0.0)
        start, end = getattr(self, self.dial), getattr(self, f"final_{self.dial}")
        schedule = getattr(self, "schedule")  # noqa: B009  # a field of those with a dial
        if end is None:
            end = {"uniform": 0.0, "log_uniform": start / 1000}.get(schedule, start)
        return Level(start, end, schedule)

    def at_level(self, level: float, where: str = "level") -> Self:
        """Return the same noise with its dial at `level` throughout.

        Args:
            where: the level was given, for the error.

        Raises:
            SettingsError: it has no dial, or the level is out of range.
        """
        if self.dial is None:
            raise SettingsError(f"{where}: noise of kind {self.kind} has no level")
        # The limit of a log-uniform level is higher, so its schedule stays, from the level to itself.
        drawn = self.level.schedule == "log_uniform"
        values = {self.dial: level, f"final_{self.dial}": level if drawn else None}
        schedule = "log_uniform" if drawn else "linear"
        try:
            return self.model_validate({**self.model_dump(), **values, "schedule": schedule})
        except ValidationError as error:
            message = error.errors()[0]["msg"].lower()
            raise SettingsError(f"{where}: {self.dial} of {self.kind}: {message}, got {level:g}") from None

    def at_end(self) -> Self:
        """Return the same noise at its final level, unless each example draws its own."""
        if self.dial is None or self.level.is_drawn:
            return self
        return self.model_copy(update={self.dial: self.level.end, f"final_{self.dial}": None})

    def in_words(self) -> str:
        """Describe the noise and its dial: `words, rate 0.3 to 0.15 (linear)`."""
        if self.dial is None:
            return self.kind
        final, level = getattr(self, f"final_{self.dial}"), self.level
        moves = f" to {level.end:g} ({level.schedule})" if final is not None or level.is_drawn else ""
        return f"{self.kind}, {self.dial} {level.start:g}{moves}"


class BuiltNoise(Noise):
    """The operator of a `NoiseKind`."""

    def __init__(self, settings: NoiseKind, *context: Any) -> None:
        self.settings, self.context = settings, context
        self.field, self.level, self.aligned = settings.field, settings.level, settings.aligned

    def at_level(self, level: float, where: str = "level") -> Noise:
        """Return the same noise at `level` throughout, see `NoiseKind.at_level`."""
        # Not by `build`, which would fit the noise once more, to what it was fitted to.
        return BuiltNoise(self.settings.at_level(level, where), *self.context)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor) -> tuple[Example, Tensor]:
        """Corrupt as the kind does."""
        return self.settings.corrupt(inputs, draw, level, *self.context)

    def candidates(self, clean: Example) -> Tensor:
        """Ask the kind, if it hides something."""
        ask = getattr(self.settings, "candidates", None)
        candidates: Tensor = ask(clean, *self.context) if ask else super().candidates(clean)
        return candidates

    def __str__(self) -> str:
        return self.settings.kind


def build_noise(kinds: Iterable[NoiseKind], *context: Any) -> Noise:
    """Build the noise of a list of settings, a `Chain` if there are several; `context` as for `NoiseKind.build`.

    Raises:
        SettingsError: the noises do not combine.
    """
    built = [kind.build(*context) for kind in kinds]
    return built[0] if len(built) == 1 else Chain(*built)


def in_words(kinds: Iterable[NoiseKind]) -> str:
    """Describe noises in words."""
    return "; then ".join(kind.in_words() for kind in kinds)


def noise_list(base: type[NoiseKind], default: str) -> tuple[PlainValidator, PlainSerializer]:
    """Return the pydantic annotations of a list of noises, of all kinds that are registered when it is read.

    One noise may be written without the list, and a noise without `kind` is of the `default` kind.

    Example:
        `TextNoises = Annotated[tuple[TextNoise, ...], *noise_list(TextNoise, "tokens")]`
    """

    def read(value: Any) -> Any:
        entries = value if isinstance(value, list | tuple) else [value]
        if not entries:
            raise ValueError(f"an empty list; give at least one noise, e.g. {{kind: {default}}}")
        for entry in entries:
            if isinstance(entry, str):
                raise ValueError(f"a kind is written {{kind: {entry}}}, or noise.kind={entry} in the shell")
            if isinstance(entry, type):
                raise ValueError(f"give a noise, not its class: {entry.__name__}()")
            if isinstance(entry, NoiseKind):
                entry.check_kind()
        entries = [{"kind": default, **entry} if isinstance(entry, dict) else entry for entry in entries]
        return _reader(*base.variants()).validate_python(entries)

    def without_list(noises: tuple[Any, ...]) -> Any:
        dumped = [noise.model_dump(mode="json") for noise in noises]
        return dumped[0] if len(dumped) == 1 else dumped

    return PlainValidator(read), PlainSerializer(without_list)


@functools.cache
def _reader(*kinds: type[Settings]) -> TypeAdapter[Any]:
    one = Annotated[Union[kinds], Field(discriminator="kind")] if len(kinds) > 1 else kinds[0]  # noqa: UP007
    return TypeAdapter(tuple[one, ...])  # type: ignore[valid-type]


def import_noises(package: str, path: Iterable[str]) -> None:
    """Import every module of a package of noises, which registers them: a new file needs no list."""
    for module in sorted(pkgutil.iter_modules(path), key=lambda module: module.name):
        import_module(f"{package}.{module.name}")
