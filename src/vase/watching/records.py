"""What a watch passes between its parts: frames, what happens, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

WatchEventKind = Literal[
    "new", "returned", "reopened", "undetermined", "skipped", "source_lost", "source_back"
]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    pixels: uint8 [H, W, C], C = 1 or 3. position: seconds since the source began, by its own clock
    where it has one. mark: where to go on after this frame, in what JSON can hold; None where a
    source cannot go back.
    """

    pixels: NDArray[np.uint8]
    position: float
    mark: Any = None


class WatchEvent(BaseModel):
    """Something that happened, as it is told to people and programs. Version 1.

    Programs should ignore fields that they do not know: later versions may add some.
    """

    model_config = ConfigDict(frozen=True, title="An event of `vase watch`")

    version: Literal[1] = 1
    id: str = Field(description="A UUID; the same event has the same id, however often it is sent")
    sequence: int = Field(ge=1, description="1 for the first event of the run, then one more each")
    time: datetime = Field(description="When it was noticed, UTC, by this machine's clock")
    position: float = Field(description="Seconds since the source began, by its own clock")
    frame: int = Field(ge=0, description="Frames that were looked at before it was noticed")
    run: str = Field(description="The name of the run's folder")
    kind: WatchEventKind = Field(
        description="new: nothing like this was ever seen; returned: a known environment is back; "
        "reopened: the newest environment began again, as what it was made of did not last; "
        "undetermined: something is unusual for long, and no decision is possible yet; skipped: "
        "images that are no numbers; source_lost, source_back: no frames come, or come again"
    )
    environment: int = Field(ge=0, description="The present environment, after the event")
    name: str = Field(description="What `vase name` calls it; empty without a name")
    previous: int | None = Field(description="The environment before, where it has changed")
    previous_name: str = Field(description="What that one is called")
    last_seen: datetime | None = Field(
        description="Of an environment that is back: when it was there last; null otherwise"
    )
    began: datetime = Field(description="When the unusual frames began, as well as can be told")
    reason: str = Field(description="Why, in words")
    evidence: dict[str, Any] = Field(description="Why, in numbers; nats unless the name says else")


@dataclass(frozen=True)
class KnownEnvironment:
    """An environment of a run: its number, its name, when it was there, and for how many frames."""

    index: int
    name: str
    first_seen: datetime
    last_seen: datetime
    frames: int


@dataclass(frozen=True)
class Stay:
    """A time for which one environment was present."""

    environment: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class WatchStatus:
    """How a watch stands, for the terminal, the page and the metrics.

    since: when the present environment began. correlation_time: of its frames, in frames.
    statistic: of the change detector; the alarm is raised at `threshold`. p_value: of the latest
    frames under the present environment; 1 where the detector has none. frames: looked at so far,
    dropped: those that came faster than could be looked at, and those while nobody could listen.
    frames_per_second: over the last seconds. source_rate: the same by the source's own clock, which
    of a video runs as if it were played; 0 before there are two frames. connected: whether frames
    come. trouble: what is wrong now, in a sentence; empty if nothing is. events: how many there
    were, by kind. undelivered: how many events wait, by receiver. latest: the last events, the
    latest first.
    """

    run: str
    source: str
    learning: bool
    started: datetime
    environment: int
    name: str
    since: datetime
    correlation_time: float
    statistic: float
    threshold: float
    p_value: float
    frames: int
    dropped: int
    reconnects: int
    frames_per_second: float
    source_rate: float
    connected: bool
    trouble: str = ""
    events: Mapping[str, int] = field(default_factory=dict)
    undelivered: Mapping[str, int] = field(default_factory=dict)
    latest: tuple[WatchEvent, ...] = ()
    environments: tuple[KnownEnvironment, ...] = ()
    stays: tuple[Stay, ...] = ()


def utc(seconds: float) -> datetime:
    """A time in seconds since 1970 as a date."""
    return datetime.fromtimestamp(seconds, UTC)
