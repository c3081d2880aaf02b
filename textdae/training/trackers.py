"""Experiment trackers, through the classes of Accelerate: TensorBoard, Weights & Biases, MLflow, trackio and others.

A tracker shows a copy of the log. One that fails is left out with a warning, and the run goes on.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from textdae.core.errors import SettingsError, first_line
from textdae.core.settings.train import TrainSettings

logger = logging.getLogger(__name__)

_EXTRAS = ("tensorboard", "mlflow", "trackio", "wandb")
_PACKAGES = {"comet_ml": "comet-ml"}
_ONE_RUN = ("tensorboard", "mlflow", "trackio", "wandb")
"""Trackers in which a resumed run goes on in its own run."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers whose packages are not installed, before the run begins.

    Raises:
        SettingsError: names one, and how to install it.
    """
    for name in names:
        if find_spec(name) is None:
            package = f"'textdae[{name}]'" if name in _EXTRAS else _PACKAGES.get(name, name)
            raise SettingsError(f"train.report_to: {name} is not installed; run: pip install {package}")


class Trackers:
    """The trackers of one run, on its main process; a context manager that closes them.

    Args:
        settings: `report_to`, `run_name` and `project` name the trackers, the run and its project.
        config: all settings of the run, by section.
        folder: of the run.
        run: identifier of the run; a resumed run has the same.
        step: from which it resumes; 0 at its start.
        enabled: False on all processes but the first.
    """

    def __init__(
        self,
        settings: TrainSettings,
        config: Mapping[str, Any],
        folder: Path,
        run: str,
        step: int,
        enabled: bool = True,
    ) -> None:
        self._settings, self._config, self._folder, self._run = settings, config, folder, run
        self._step, self._enabled = step, enabled
        self._trackers: dict[str, Any] = {}

    def log(self, entry: Mapping[str, Any]) -> None:
        """Report the numbers of an entry of the log, which has a `step`."""
        self._step = entry["step"]
        numbers = {name: value for name, value in entry.items() if name != "step" and _is_number(value)}
        self._each(lambda name, tracker: tracker.log(numbers, step=self._step))

    def finish(self, metrics: Mapping[str, Any], pictures: Iterable[Path]) -> None:
        """Report the final metrics, as `final/...`, and pictures to the trackers that accept them."""
        numbers = {
            f"final/{name.replace('.', '/')}": value for name, value in flat(metrics) if _is_number(value)
        }
        if numbers:
            self._each(lambda name, tracker: tracker.log(numbers, step=self._step))
        for picture in pictures:
            if picture.is_file():
                self._each(partial(_log_picture, picture, self._step))

    def __enter__(self) -> "Trackers":
        for name in self._settings.report_to if self._enabled else ():
            with _Guard(self._trackers, name):
                self._trackers[name] = _open(name, self._settings, self._folder, self._run, self._step)
                self._trackers[name].start()
        if not self._step:
            config = dict(flat(_without_secrets(self._config)))
            self._each(lambda name, tracker: tracker.store_init_configuration(config))
        elif anew := [name for name in self._trackers if name not in _ONE_RUN]:
            logger.warning(
                f"train.report_to: {', '.join(anew)}: these trackers show the resumed run as a new one"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._each(lambda name, tracker: tracker.finish())

    def _each(self, act: Callable[[str, Any], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            with _Guard(self._trackers, name):
                act(name, tracker)


class _Guard:
    """Turn a failure of a tracker into a warning, and leave the tracker out from then on."""

    def __init__(self, trackers: dict[str, Any], name: str) -> None:
        self._trackers, self._name = trackers, name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(value, Exception):
            return False
        self._trackers.pop(self._name, None)
        message = f"{type(value).__name__}: {first_line(value)}"
        logger.warning(f"train.report_to: {self._name} failed ({message}); the run goes on without it")
        return True


def _open(name: str, settings: TrainSettings, folder: Path, run: str, step: int) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    tracker_class, project = LOGGER_TYPE_TO_CLASS[name], settings.project
    run_name = settings.run_name or folder.resolve().name
    if name == "tensorboard":
        return tracker_class("tensorboard", folder, **({"purge_step": step + 1} if step else {}))
    if name == "wandb":
        return tracker_class(project, name=run_name, id=run, resume="allow", dir=str(folder))
    if name == "mlflow":
        run_id = _mlflow_run(project, run) if step else None
        return tracker_class(project, run_id=run_id, run_name=run_name, tags={"textdae.run": run})
    if name == "trackio":  # it finds a run by its name
        return tracker_class(project, name=f"{run_name}-{run[:6]}", resume="allow")
    place = {"logging_dir": folder} if tracker_class.requires_logging_directory else {}
    return tracker_class(project, **place)


def _mlflow_run(project: str, run: str) -> str | None:
    """Return the id that MLflow gave this run when it began."""
    import mlflow

    runs: Any = mlflow.search_runs(
        experiment_names=[project], filter_string=f"tags.`textdae.run` = '{run}'", output_format="list"
    )
    return runs[0].info.run_id if runs else None


def _log_picture(file: Path, step: int, name: str, tracker: Any) -> None:
    if name == "mlflow":
        tracker.log_artifact(str(file))
    elif name == "trackio":
        import trackio

        tracker.log({f"pictures/{file.stem}": trackio.Image(str(file))}, step=step)
    elif hasattr(tracker, "log_images"):
        from PIL import Image

        pixels = np.asarray(Image.open(file).convert("RGB"))
        options = {"dataformats": "NHWC"} if name == "tensorboard" else {}
        tracker.log_images({f"pictures/{file.stem}": pixels[None]}, step=step, **options)


def flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (`a.b`, value) for every value within nested dictionaries and lists; names hold letters, digits, _, - and ."""
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in items:
        name = prefix + re.sub(r"[^\w-]+", "_", str(key))
        if isinstance(value, Mapping | list | tuple):
            yield from flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str | int | float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without_secrets(value: Any) -> Any:
    """Replace tokens and passwords in texts by `***`: settings have none, but a name or an address may."""
    if isinstance(value, Mapping):
        return {key: _without_secrets(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(each) for each in value]
    if not isinstance(value, str):
        return value
    from huggingface_hub import get_token

    token = get_token()
    return _CREDENTIALS.sub("***", value.replace(token, "***") if token else value)
