"""The folder of a watch: what lies where, how it begins and how it goes on.

watch.json            what may not change: how frames are made, and whether anything is learnt
model.safetensors     the model and where the watch is, for `VASE.load`; without learning the model
                      as it was at the beginning
detector.safetensors  without learning: the change detector, and where the watch is
journal.sqlite        events, names, and how far each receiver has come
frames/               the latest frames at events, if any are kept
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vase import persistence
from vase.errors import CheckpointError, ConfigError, RunError, reason
from vase.estimator import VASE
from vase.images.files import Shape
from vase.training import checkpoint
from vase.training import folder as folders
from vase.training.checkpoint import DamagedError, write_bytes
from vase.training.folder import Inside
from vase.watching.models import Detecting, Learning, Watcher
from vase.watching.state import WatchState

FORMAT = 1


@dataclass(frozen=True)
class WatchSettings:
    """What a watch keeps for as long as it lasts.

    fps: frames per second that are looked at, at most. height, width, channels: to which frames are
    brought. learning: whether the model learns.
    """

    fps: float
    height: int
    width: int
    channels: int
    learning: bool

    @property
    def shape(self) -> Shape:
        return self.height, self.width, self.channels


@dataclass(frozen=True)
class WatchFolder:
    """The paths of one watch."""

    path: Path

    settings = Inside("watch.json")
    model = Inside("model.safetensors")
    detector = Inside("detector.safetensors")
    journal = Inside("journal.sqlite")
    frames = Inside("frames")

    def saved(self, *, learning: bool) -> Path:
        """The file that says where the watch is."""
        return self.model if learning else self.detector


def read_settings(folder: WatchFolder) -> tuple[WatchSettings, str]:
    """The settings of a watch, and its run id. A `RunError` where there is none."""
    try:
        found = json.loads(folder.settings.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise RunError(
                f"'{folder.path}' has format {found['format']} of a watch; this program reads "
                f"{FORMAT}. Use the version of vase that wrote it."
            )
        return WatchSettings(**found["settings"]), str(uuid.UUID(found["run_id"]))
    except FileNotFoundError:
        raise RunError(
            f"'{folder.path}' is not the folder of a watch. `vase watch SOURCE --out FOLDER` "
            "begins one."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{folder.settings}' cannot be read: {reason(error)}.") from None


def begin(folder: WatchFolder, settings: WatchSettings, model: VASE) -> str:
    """Make the folder of a new watch, with the model that it begins with; its run id."""
    folders.refuse_existing(folder.path)
    run_id = str(uuid.uuid4())
    content = {"format": FORMAT, "run_id": run_id, "settings": asdict(settings)}
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"The folder '{folder.path}' cannot be made: {error.strerror or error}."
        ) from None
    persistence.save(model, folder.model)
    # Last: a folder with settings has all that it needs.
    write_bytes(folder.settings, (json.dumps(content, indent=1) + "\n").encode())
    return run_id


def undo(folder: WatchFolder) -> None:
    """Take away what `begin` made, of a watch that has seen nothing."""
    for path in (folder.settings, folder.model, *folder.path.glob("journal.sqlite*")):
        path.unlink(missing_ok=True)
    (folder.path / ".lock").unlink(missing_ok=True)
    with suppress(OSError):  # others have put something there
        folder.path.rmdir()


def refuse_other(folder: WatchFolder, kept: WatchSettings, wanted: WatchSettings) -> None:
    """Raise a `ConfigError` where a watch is to go on with other settings than it began with."""
    for name, option in (
        ("fps", "--fps"),
        ("learning", "--learn or --no-learn"),
        ("height", "--size"),
        ("width", "--size"),
        ("channels", "--grey"),
    ):
        before, now = getattr(kept, name), getattr(wanted, name)
        if before != now:
            raise ConfigError(
                f"'{folder.path}' was begun with {name} {before}, not {now}. Leave out "
                f"{option}, or begin another watch with --out."
            )


def restored(
    folder: WatchFolder, settings: WatchSettings, say: Callable[[str], None], *, trust_code: bool
) -> tuple[Watcher, WatchState | None]:
    """What watches, and where it is; None where nothing was seen yet. say: told what is odd."""
    path = folder.saved(learning=settings.learning)
    record = _newest(path, say)
    model = VASE.load(folder.model, trust_code=trust_code)
    watcher = (Learning if settings.learning else Detecting)(model, settings.shape)
    if record and isinstance(watcher, Detecting):
        watcher.load(path)
    if "watch" not in record:
        return watcher, None
    with checkpoint.understood(path):
        return watcher, WatchState.from_json(record["watch"])


def save(folder: WatchFolder, watcher: Watcher, state: WatchState) -> None:
    """Write where the watch is, in one step. A `RunError` where that cannot be written."""
    path = folder.saved(learning=watcher.learning)
    watcher.save(path, _earlier(path), state.to_json())


def keep_frame(
    folder: WatchFolder, pixels: NDArray[np.uint8], sequence: int, environment: int, most: int
) -> None:
    """Keep the frame [H, W, C] at an event, and the latest `most` of them."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    try:
        folder.frames.mkdir(exist_ok=True)
        image.save(folder.frames / f"{sequence:08d}-environment-{environment}.png")
        for old in sorted(folder.frames.glob("*-environment-*.png"))[:-most]:
            old.unlink()
    except OSError as error:
        raise RunError(
            f"No frame can be kept in '{folder.frames}': {error.strerror or error}."
        ) from None


def kept_frames(folder: WatchFolder) -> dict[int, bytes]:
    """The latest kept frame of each environment, as PNG."""
    paths = sorted(folder.frames.glob("*-environment-*.png"))
    return {int(path.stem.rpartition("-")[2]): path.read_bytes() for path in paths}


def _earlier(path: Path) -> Path:
    return path.with_name(f"{path.stem}-earlier{path.suffix}")


def _newest(path: Path, say: Callable[[str], None]) -> Mapping[str, Any]:
    """The record of the newest whole file, which is at `path` then; empty where there is none."""
    earlier = _earlier(path)
    if not path.exists() and not earlier.exists():
        return {}
    try:
        return checkpoint.read(path)[1]
    except DamagedError as error:
        if not earlier.exists():
            raise
        record = checkpoint.read(earlier)[1]
        if path.exists():  # or the next to be saved would make it the one before
            path.replace(path.with_suffix(".damaged"))
        earlier.replace(path)
        say(f"{error} The one before it is gone on with.")
        return record


def given(model: str | Path | VASE | None, *, trust_code: bool) -> VASE | None:
    """A model that is given as itself or as its file."""
    if model is None or isinstance(model, VASE):
        return model
    if Path(model).is_dir():
        raise CheckpointError(
            f"'{model}' is a folder, and a watch takes a model that `VASE.save` has written."
        )
    return VASE.load(model, trust_code=trust_code)
