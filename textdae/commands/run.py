"""The folder of a run: what it may be written to, what lies in it, what it is resumed from, what it ran on."""

import importlib.metadata
import json
import logging
import platform
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from textdae.core.errors import SettingsError, TextdaeError, first_line, reason
from textdae.core.layout import MODEL, REPORT, TRAINING_STATE, follow_umask
from textdae.core.lock import sole
from textdae.core.names import PREFIX, HubName, is_local
from textdae.core.registry import is_embedded
from textdae.core.settings.reader import dump
from textdae.hub.background import Pushes
from textdae.hub.download import pinned
from textdae.hub.locate import locate
from textdae.hub.push import prepare, push
from textdae.training import checkpoint
from textdae.training.hardware import autocast_dtype, join_processes
from textdae.training.processes import check_same, from_process, in_company, several, together
from textdae.training.resuming import choose

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PATIENCE, _GRACE = 3600.0, 20.0
"""Seconds to wait for what is still being sent: at the end of a run, and when it is told to stop."""


def check_writable(folder: Path) -> None:
    """Make a folder before the work, so that nothing is lost for want of it.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"output_dir: {folder} cannot be written: {error.strerror}") from None


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Let no other run write into a folder for a while; the folder is made where it is not there.

    Raises:
        SettingsError: another run does, which is named; or it cannot be written.
    """
    check_writable(folder)
    with sole(f"output_dir: {folder}", folder / ".lock", "set output_dir=OTHER"):
        yield


class Run:
    """A run in its folder: what it goes on from, and where its checkpoints are sent.

    Used in a `with`, to the end of which the folder is its own.

    Args:
        resume: go on from the last whole checkpoint in `output_dir`, or start where there is none; or the name of one
            on the Hub (`hub:OWNER/NAME@REVISION`), which is put there first unless one is there.
        overwrite: remove the run that `output_dir` holds, once the new one is known to be able to start.

    Raises:
        SettingsError: the folder holds another run, is in use, or cannot be written; or nothing may be pushed to
            `hub.repo_id`.

    Attributes:
        settings: with what comes from the Hub pinned to its commit.
        fingerprint: what each checkpoint keeps for whoever resumes it; known after `resume_from`.
    """

    def __init__(self, settings: Any, resume: bool | str, overwrite: bool) -> None:
        self.accelerator = join_processes()
        self.is_main = self.accelerator.is_main_process
        self.folder: Path = settings.output_dir
        self._overwrite, self._resume = overwrite, resume
        self._pushes: Pushes | None = None
        self._has_begun = False
        if several():  # what a process decides below depends on these
            flags = {"--resume": resume, "--overwrite": overwrite, "the command": type(settings).__name__}
            check_same(flags | _comparable(settings), "start all processes with the same settings")
        # What the first process finds on the Hub is what all of them take.
        self.settings = _with_checkpoints(settings, self.pin)
        with ExitStack() as held:
            together(lambda: self._take_folder(held), self.accelerator.is_local_main_process)
            together(self._prepare_hub, self.is_main)
            self._held = held.pop_all()

    def __enter__(self) -> "Run":
        self._held.enter_context(in_company())
        return self

    def __exit__(self, *error: Any) -> None:
        if self._has_begun and isinstance(error[1], KeyboardInterrupt):
            error[1].add_note("interrupted; the checkpoints that were saved are kept, go on with --resume")
        self._held.__exit__(*error)

    def pin(self, checkpoint: str) -> str:
        """The name of a checkpoint that will always mean the same, in all processes."""
        return from_process(lambda: pinned(checkpoint))

    def prepared(self, prepare: Callable[[], T]) -> T:
        """What some work gives that is kept in the cache: done by one process of each host, found there by the others.

        Raises:
            TextdaeError: it failed in any process.
        """
        first = self.accelerator.is_local_main_process
        done = together(prepare, first)
        others = together(prepare, not first)
        return done if first else others  # type: ignore[return-value]

    def _take_folder(self, held: ExitStack) -> None:
        if self.is_main:
            held.enter_context(sole_run(self.folder))
        check_output_dir(self.folder, bool(self._resume) or self._overwrite)

    def _prepare_hub(self) -> None:
        """Find out before the work what could never be sent; what may pass is no reason not to begin."""
        hub = self.settings.hub
        if not hub.repo_id:
            return
        try:
            name = HubName(hub.repo_id)
            prepare(self.folder, name, "model", hub.public, hub.force, patience=3.0)
        except SettingsError:
            raise
        except TextdaeError as error:
            logger.warning(f"{error}; the run begins all the same")

    def resume_from(self, fingerprint: dict[str, Any]) -> Path | None:
        """The last whole checkpoint of any process, on the disk of this one; None where there is none or none is wanted.

        Args:
            fingerprint: what must be as it was then, and in all processes.

        Raises:
            SettingsError: it is not; names what differs.
            TextdaeError: the checkpoint could not be brought to a host that lacks it.
        """
        precision = autocast_dtype(self.settings.train.precision, self.accelerator.device)
        check_same(
            fingerprint
            | {"train.precision": str(precision), "textdae": importlib.metadata.version("textdae")},
            "all hosts need the same corpus, tokenizer, settings and textdae",
        )
        self.fingerprint = fingerprint | {"run": from_process(lambda: uuid.uuid4().hex)}
        if not self._resume:
            return None
        name = self._resume
        found = choose(
            self.folder,
            (lambda: take_over(name, self.folder, fingerprint)) if isinstance(name, str) else None,
            lambda before: check_fingerprint(fingerprint, before, self.folder),
            self.accelerator.is_local_main_process,
            self.accelerator.device,
            self.settings.train.save_total_limit,
        )
        if found is None:
            logger.info(f"{self.folder}: no whole checkpoint to resume from; starting afresh")
            return None
        self.fingerprint["run"] = found.fingerprint.get("run", self.fingerprint["run"])
        logger.info(f"resuming from {found.path} (step {found.cursor.step:,})")
        return found.path

    def begin(self) -> None:
        """Take the folder, now that the run is known to be able to start: note down its settings and versions.

        Raises:
            TextdaeError: it could not be written.
        """
        # On all hosts: what is left on one would be resumed from.
        together(lambda: _remove_run(self.folder), self._overwrite and self.accelerator.is_local_main_process)
        self._has_begun = True
        together(self._begin, self.is_main)

    def _begin(self) -> None:
        settings = self.settings
        with writing(self.folder):
            found = _with_checkpoints(settings, _absolute)
            given = {key: getattr(settings.data, key, None) for key in _SOURCES}
            data = {key: _absolute(value) for key, value in given.items() if value and not is_embedded(value)}
            found = found.model_copy(update={"data": settings.data.model_copy(update=data)})
            (self.folder / "settings.yaml").write_text(dump(found), encoding="utf-8")
            (self.folder / "versions.json").write_text(json.dumps(versions(), indent=1), encoding="utf-8")
        if settings.hub.repo_id:
            self._pushes = Pushes(self.folder, settings.hub, settings.train.save_total_limit)

    def saved(self, path: Path) -> None:
        """Send a checkpoint on its way."""
        if self._pushes:
            self._pushes.add(path)

    def end(self, stopped: bool) -> list[str]:
        """See to it that what was saved is sent, and the result too if there is one; return what to tell people of it.

        Nothing that goes wrong here is an error: the run is whole.
        """
        if not self._pushes:
            return []
        hub, left = self.settings.hub, []
        try:
            if waiting := self._pushes.waiting():
                logger.info(f"sending {', '.join(waiting)} to {hub.repo_id}; Ctrl-C leaves it for later")
            left = self._pushes.finish(_GRACE if stopped else _PATIENCE)
            if stopped:
                return left
            if left and self._pushes.away:
                raise TextdaeError(self._pushes.away)
            name, patience = HubName(hub.repo_id), self._pushes.patience()
            done = push(self.folder, name, public=hub.public, force=hub.force, patience=patience)
            return [*left, f"pushed: {done.url} at {done.name.revision}"]
        except KeyboardInterrupt:
            why = "it was interrupted"
        except TextdaeError as error:
            why = str(error)
        except Exception as error:  # the run is whole, whatever this is
            why = f"{type(error).__name__}: {first_line(error)}"
        return [*left, f"not pushed: {why}", f"push it later with: textdae push {self.folder} {hub.repo_id}"]


_SOURCES = ("source", "held_out_source", "test_source")
_OF_A_HOST = (
    "output_dir", "hub", "data.cache_dir", "data.num_proc", "model.from_pretrained", "tokenizer.from_pretrained",
    "train.dataloader_num_workers", "train.tensorboard", *(f"data.{source}" for source in _SOURCES),
)  # fmt: skip
"""Settings that may differ between hosts: places, whose content is compared, and what does not change the model."""


def _comparable(settings: Any) -> dict[str, Any]:
    """The settings by name, without those that may differ between hosts."""
    found: dict[str, Any] = {}
    for name, value in settings.model_dump(mode="json").items():
        inner = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {}
        found |= inner or {name: value}
    return {name: value for name, value in found.items() if not name.startswith(_OF_A_HOST)}


def _absolute(name: str) -> str:
    """A path that means the same wherever it is read from; a name on the Hub as it is."""
    return str(Path(name).expanduser().absolute()) if is_local(name) else name


def _with_checkpoints(settings: Any, change: Callable[[str], str]) -> Any:
    """The settings with the names of the checkpoints in them changed."""
    update = {}
    for part in ("model", "tokenizer"):
        inner: Any = getattr(settings, part, None)
        if name := getattr(inner, "from_pretrained", None):
            update[part] = inner.model_copy(update={"from_pretrained": change(name)})
    return settings.model_copy(update=update)


def check_fingerprint(fingerprint: dict[str, Any], before: dict[str, Any], place: object) -> None:
    """Refuse to go on with something else.

    Raises:
        SettingsError: names what differs from what it was `before`.
    """
    changed = [name for name, value in fingerprint.items() if before.get(name, value) != value]
    if changed:
        raise SettingsError(
            f"--resume: {', '.join(changed)} differ from the run in {place}; resume with the settings in the "
            "settings.yaml there, or start another run with output_dir=OTHER"
        )


def take_over(name: str, folder: Path, fingerprint: dict[str, Any]) -> None:
    """Put a checkpoint from the Hub among those of a run, proven to be what was saved.

    Args:
        fingerprint: what must be as it was then.

    Raises:
        SettingsError: it cannot be resumed from.
        TextdaeError: the Hub could not be reached, or the folder could not be written.
    """
    snapshot = Path(locate(name, training_state=True))
    if not (snapshot / "training_state.json").exists():
        raise SettingsError(
            f"{name}: no training state there, which hub.push_training_state=true sends along; "
            f"model.from_pretrained={name.removeprefix(PREFIX)} starts a new run from its weights"
        )
    cursor, before = checkpoint.read_state(snapshot)
    check_fingerprint(fingerprint, {**dict.fromkeys(fingerprint), **before}, name)
    place = folder / "checkpoints" / f"step-{cursor.step:08d}"
    checkpoint.copy_whole(snapshot, place, (*MODEL, *TRAINING_STATE))


def check_output_dir(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds another run.

    Raises:
        SettingsError: says what to do.
    """
    holds_run = any((folder / name).exists() for name in ("settings.yaml", "config.json", "checkpoints"))
    if holds_run and not resume:
        raise SettingsError(
            f"output_dir: {folder} already holds a run; --resume goes on with it, output_dir=OTHER keeps it, "
            "--overwrite removes it"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while the files of a run are written, other than its checkpoints, into one line.

    Raises:
        TextdaeError: it could not be written.
    """
    try:
        yield
        follow_umask(folder)
    except (OSError, SafetensorError) as error:
        raise TextdaeError(
            f"{folder}: cannot be written: {reason(error)}; the checkpoints are whole"
        ) from error


def _remove_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else that may lie there."""
    for name in ("checkpoints", "tensorboard", "best"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in (*MODEL, *REPORT, "log.jsonl"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)  # hosts that share a disk remove it together


def versions() -> dict[str, Any]:
    """Versions of what took part, and the git commit of this program where it is a clone."""
    names = (
        "textdae",
        "torch",
        "transformers",
        "tokenizers",
        "datasets",
        "accelerate",
        "safetensors",
        "numpy",
    )
    found: dict[str, Any] = {name: importlib.metadata.version(name) for name in names}
    here = Path(__file__).resolve().parent.parent
    found["python"] = platform.python_version()
    found["git_commit"] = None
    if (here / ".git").exists():
        try:
            command = ["git", "-C", str(here), "rev-parse", "HEAD"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            found["git_commit"] = answer.stdout.strip() or None
        except (OSError, subprocess.SubprocessError):
            pass
    return found


def hardware(accelerator: Accelerator) -> str:
    """What the run ran on, in a few words."""
    if accelerator.device.type == "cuda":
        return f"{accelerator.num_processes} x {torch.cuda.get_device_name(accelerator.device)}"
    return f"{accelerator.num_processes} x {accelerator.device.type}, {torch.get_num_threads()} threads each"
