"""What somebody else's run or model wants of this machine, and whether its owner allows it.

Settings name files to read, code to import and trackers to tell. Those of a run that was begun on
this machine were chosen here; those of any other are a stranger's, and count only with consent.
Consent is remembered by the SHA-256 of the settings, so that a file that was changed asks again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vase.config import Config
from vase.domains.cache import cache_folder


def demands(settings: Config, folder: Path, *, training: bool = True) -> tuple[str, ...]:
    """What the settings of a run want beyond its folder, in words.

    training: whether the run goes on, so that its tracker is told.
    """
    root = folder.resolve()
    read = (
        f"read images from '{domain.path}'"
        for domain in settings.stream.domains.values()
        if domain.path and not Path(domain.path).resolve().is_relative_to(root)
    )
    run = (f"run the code '{name}'" for name in own_code(settings))
    tracker = settings.training.tracker if training else "none"
    tell = () if tracker == "none" else (f"tell the tracker '{tracker}'",)
    return (*dict.fromkeys(read), *run, *tell)


def own_code(settings: Config) -> tuple[str, ...]:
    """The names of code that is none of this package's, each as `module:attribute`."""
    return tuple(dict.fromkeys(name for name in _names(settings) if ":" in name))


def _names(settings: Config) -> Iterator[str]:
    yield settings.detection.rule
    yield from settings.objective.terms
    yield from (settings.model.encoder, settings.model.decoder)
    yield from (domain.domain for domain in settings.stream.domains.values())
    yield from settings.probes.metrics


def remember(content: bytes) -> None:
    """Remember that settings with this content are wanted on this machine."""
    note = _note(content)
    with suppress(OSError):  # then it is asked again
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def is_given(content: bytes) -> bool:
    """Whether settings with this content are wanted on this machine."""
    return _note(content).is_file()


def _note(content: bytes) -> Path:
    return cache_folder() / "consent" / hashlib.sha256(content).hexdigest()
