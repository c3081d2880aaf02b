"""The answers to the requests of the page, by path: `about`, `run/0/shot/gaussian/0.25/0/3`, ... The live server and the export share them."""

import json
import logging
import os
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from textdae.app.artifacts import (
    ShownRun,
    checkpoint_at,
    label_curve,
    labels_command,
    source_of,
    target_demo,
    training,
)
from textdae.core.cache import cache_root, digest
from textdae.core.errors import SettingsError
from textdae.core.explorer import Dial, Explorer, Json
from textdae.core.registry import modality
from textdae.core.settings.paths import paths_in
from textdae.core.source_files import files_below

logger = logging.getLogger(__name__)

_FORMAT = 3
"""Of the answers that are kept between two starts."""
MOST_SEED = 99
_MOST_KEPT = 512


class Unknown(SettingsError):
    """A path that the page does not have."""


class Feed:
    """Answer paths; keep each answer in memory and, for seed 0, on disk.

    Args:
        runs: one or two of them.
        target: folder of `textdae demo target`, if there is one.
        live: whether a person can bring examples of their own.
        prepare: called before a model is loaded.
    """

    def __init__(
        self,
        runs: list[ShownRun],
        target: Path | None,
        live: bool,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.runs, self.target, self.live, self._prepare = runs, target, live, prepare
        self._explorers: dict[int, Explorer] = {}
        self._others: dict[str, Explorer] = {}
        self._kept: dict[str, bytes] = {}
        self._locks = [threading.Lock() for _ in runs]
        self._folders = [_folder(run) for run in runs]

    def explorer(self, index: int) -> Explorer:
        """Return the explorer of a run, opened on first use."""
        if index in self._explorers:  # without the lock, which a baseline at work may hold
            return self._explorers[index]
        with self._locks[index]:
            if index not in self._explorers:
                run = self.runs[index]
                self._prepare()
                make = modality(run.settings.modality).part("explore")
                self._explorers[index] = make(run.checkpoint, run.settings)
            return self._explorers[index]

    def get(self, path: str) -> bytes:
        """Return the answer to a path, as JSON.

        Raises:
            Unknown: there is no such path.
            SettingsError: it cannot be answered.
        """
        if path in self._kept:
            return self._kept[path]
        parts = path.split("/")
        if parts == ["about"]:
            return json.dumps(self._about()).encode()
        if parts == ["target"]:
            return self._keep(path, None, self._target)
        if len(parts) < 3 or parts[0] != "run" or parts[1] not in map(str, range(len(self.runs))):
            raise Unknown(f"no such path: {path[:80]}")
        index, what, rest = int(parts[1]), parts[2], parts[3:]
        answers: dict[str, tuple[int, Callable[..., Json], bool]] = {
            "about": (0, self._about_run, True),
            "shot": (4, self._shot, True),
            "baseline": (3, self._baseline, True),
            "curve": (2, self._curve, True),
            "steps": (4, self._steps, False),
            "map": (0, self._map, True),
            "labels": (0, self._labels, False),
            "training": (0, self._training, False),
            "replay": (1, self._replay, False),
        }
        if what not in answers or len(rest) != answers[what][0]:
            raise Unknown(f"no such path: {path[:80]}")
        _, answer, on_disk = answers[what]
        if what in ("labels", "training"):  # these change while the page is open
            return json.dumps(answer(index, *rest)).encode()
        seeded = what in ("shot", "baseline") and rest[2] != "0"
        folder = self._folders[index] if on_disk and not seeded else None
        return self._keep(path, folder, lambda: answer(index, *rest))

    def _keep(self, path: str, folder: Path | None, answer: Callable[[], Json]) -> bytes:
        file = folder / f"{path.replace('/', '-')}.json" if folder else None
        if file and file.is_file():
            content = file.read_bytes()
        else:
            content = json.dumps(answer(), separators=(",", ":")).encode()
            if file:
                _write(file, content)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[path] = content
        return content

    def own(self, index: int, request: Json) -> Json:
        """Corrupt and rebuild what a person brought.

        Raises:
            SettingsError: it cannot be used.
        """
        if not 0 <= index < len(self.runs):
            raise Unknown(f"no run {index}")
        explorer = self.explorer(index)
        if "kind" in request or explorer.modality != "text":
            dial, level, seed = self._noise(
                index, request.get("kind"), request.get("level"), request.get("seed", 0)
            )
            request = {**request, "kind": dial.kind, "level": level, "seed": seed}
        return explorer.own(request)

    def _about(self) -> Json:
        return {
            "live": self.live,
            "version": version("textdae"),
            "runs": [{"name": run.name, "modality": run.settings.modality} for run in self.runs],
            "target": target_demo(self.target) is not None,
        }

    def _about_run(self, index: int) -> Json:
        run, explorer = self.runs[index], self.explorer(index)
        return {
            **explorer.about(),
            "dials": [{**dial._asdict(), "command": self._command(run, dial)} for dial in explorer.dials],
            "rows": explorer.row_keys,
            "embed_command": f"textdae embed {run.shown} {source_of(run)} -o vectors.npy",
            "labels_command": labels_command(run),
            "most_seed": MOST_SEED,
        }

    @staticmethod
    def _command(run: ShownRun, dial: Dial) -> str:
        return " ".join(
            filter(None, ["textdae evaluate", run.shown, *run.overrides, dial.command, "--levels"])
        )

    def _noise(self, index: int, kind: Any, level: Any, seed: Any) -> tuple[Dial, float, int]:
        """Read a kind, a level and a seed; only what the page offers is computed."""
        dial = next((each for each in self.explorer(index).dials if each.kind == kind), None)
        levels = [] if dial is None else [each for each in dial.levels if f"{each:g}" == str(level)]
        if dial is None or not levels:
            raise Unknown(f"no such noise here: {str(kind)[:40]} at {str(level)[:20]}")
        if str(seed) not in map(str, range(MOST_SEED + 1)):
            raise Unknown(f"seed: 0 to {MOST_SEED}, got {str(seed)[:20]}")
        return dial, levels[0], int(seed)

    def _example(self, index: int, example: str) -> int:
        if example not in map(str, range(self.explorer(index).count)):
            raise Unknown(f"no example {example[:20]}")
        return int(example)

    def _shot(self, index: int, kind: str, level: str, seed: str, example: str) -> Json:
        dial, at, number = self._noise(index, kind, level, seed)
        return self.explorer(index).shot(dial.kind, at, number, self._example(index, example))

    def _baseline(self, index: int, kind: str, level: str, seed: str) -> Json:
        dial, at, number = self._noise(index, kind, level, seed)
        with self._locks[index]:
            return self._explorers[index].baseline(dial.kind, at, number)

    def _curve(self, index: int, kind: str, level: str) -> Json:
        dial, at, _ = self._noise(index, kind, level, 0)
        with self._locks[index]:
            return self._explorers[index].curve(dial.kind, at)

    def _steps(self, index: int, kind: str, level: str, seed: str, example: str) -> Json:
        dial, at, number = self._noise(index, kind, level, seed)
        return self.explorer(index).steps(dial.kind, at, number, self._example(index, example))

    def _map(self, index: int) -> Json:
        return self.explorer(index).map()

    def _labels(self, index: int) -> Json:
        return label_curve(self.runs[index])

    def _training(self, index: int) -> Json:
        return training(self.runs[index])

    def _replay(self, index: int, step: str) -> Json:
        checkpoint = checkpoint_at(self.runs[index], step)
        if checkpoint is None:
            raise Unknown(f"no checkpoint of step {step[:20]}")
        return {"examples": _start(self.explorer(index).at(str(checkpoint)))}

    def _target(self) -> Json:
        demo = target_demo(self.target)
        if demo is None:
            return {}
        comparison: Json = {"command": "textdae demo target", "sides": {}}
        for side, run in demo.items():
            explorer = modality(run.settings.modality).part("explore")(run.checkpoint, run.settings)
            shots, about = _start(explorer), explorer.about()
            corrupted = [shot["corrupted"] for shot in shots]
            comparison |= {"clean": about["clean"], "shape": about["shape"], "corrupted": corrupted}
            comparison["sides"][side] = {
                "rebuilt": [shot["rebuilt"] for shot in shots],
                "psnr": run.metrics["held_out"]["model"]["psnr"],
            }
            comparison["noisy_psnr"] = run.metrics["held_out"].get("baseline: noisy", {}).get("psnr")
        return comparison


def _start(explorer: Explorer) -> list[Json]:
    """Return all examples as the dial shows them at its start."""
    dial = explorer.dials[0]
    return [explorer.shot(dial.kind, dial.start, 0, example) for example in range(explorer.count)]


def _folder(run: ShownRun) -> Path:
    """Return the folder of the kept answers of a run: another checkpoint, setting or version has another folder."""
    settings = run.settings.model_dump(mode="json")
    data = [_state(path) for path in paths_in(settings)]
    key = digest(_FORMAT, version("textdae"), run.fingerprint, settings, data, run.shown, run.overrides)
    return cache_root(run.settings.data.cache_dir) / "page" / key


def _state(name: str) -> list[tuple[str, int, int]]:
    """Return the files of a local path with their sizes and times: other data have other answers."""
    path = Path(name).expanduser()
    try:
        files = sorted(files_below(path)) if path.is_dir() else [path] if path.is_file() else []
        return [(str(file.absolute()), (at := file.stat()).st_size, at.st_mtime_ns) for file in files]
    except (OSError, ValueError):
        return []


def _write(file: Path, content: bytes) -> None:
    """Keep an answer, whole or not at all; a cache that cannot be written costs only time."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(file)
    except OSError as error:
        logger.debug(f"{file}: not kept: {error}")
