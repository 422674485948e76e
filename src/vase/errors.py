"""What can go wrong, as types. Every message is a sentence: what was wrong, where, what to do."""

from importlib import import_module
from os import PathLike, fsencode, fspath
from types import ModuleType


class VaseError(Exception):
    """Base of all errors that a user can cause and mend; the command line prints no trace of it."""


class ConfigError(VaseError):
    """A preset, key or value of the configuration cannot be used."""


class InputError(VaseError, ValueError):
    """Images that a model cannot learn from: wrong shape, range, type, or not finite."""


class DataError(VaseError):
    """A data set is missing, incomplete, or not what its checksum says."""


class RunError(VaseError):
    """A run folder cannot be written, read, or continued."""


class CheckpointError(RunError):
    """A checkpoint is truncated, corrupt, or of another format version."""


def undecodable(path: PathLike[str]) -> str | None:
    """A name as it can be shown, where it is not UTF-8 and no settings could hold it; else None."""
    try:
        fspath(path).encode()
    except UnicodeEncodeError:
        return fsencode(path).decode("utf-8", "backslashreplace")
    return None


def optional_package(
    name: str, needed: str, extra: str, kind: type[VaseError] = ConfigError
) -> ModuleType:
    """Import a module that an extra brings; where it is missing, an error says how to install it.

    needed: the sentence's beginning, up to the package's name: "MQTT needs paho-mqtt".
    """
    try:
        return import_module(name)
    except ImportError:
        raise kind(
            f"{needed}, which is not installed. Install it with: pip install "
            f"'vase-lifelong[{extra}]'"
        ) from None


def reason(error: Exception) -> str:
    """What another package's error says, in its first line and without a full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
