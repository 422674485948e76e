"""What the files of a run must be: kinds, ranges and lengths of all that is read of them.

A run folder may be a stranger's, or may have been edited. Each file is checked whole before any of
it is used, so that what uses it need not doubt it; keys beyond those named here are let be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from vase.errors import RunError
from vase.records import EventKind

Record = TypeVar("Record")

MOST_TEXT, MOST_LATENTS = 10_000, 1024
Step = Annotated[StrictInt, Field(ge=0, le=2**53)]
Index = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Latent = Annotated[StrictInt, Field(ge=0, lt=MOST_LATENTS)]
Text = Annotated[StrictStr, Field(max_length=MOST_TEXT)]
Figure = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Figures = Annotated[list[Figure], Field(max_length=MOST_LATENTS)]


class Part(BaseModel):
    """Part of a record."""

    model_config = ConfigDict(extra="allow")


# ---- logs -------------------------------------------------------------------------------------


class EventLine(Part):
    """A line of events.jsonl; see `vase.records.Event`."""

    step: Step
    kind: EventKind
    environment: Index
    reason: Text
    evidence: dict[Text, Any] = {}

    @model_validator(mode="after")
    def _masks_are_latents(self) -> Self:
        TypeAdapter(list[Latent]).validate_python(self.evidence.get("masked", []))
        return self


class MetricsLine(BaseModel):
    """A line of metrics.jsonl; see `vase.records.Observation`. Further keys are terms of a loss."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FiniteFloat | None] = Field(init=False)

    step: Step
    environment: Index
    learnt: StrictBool = True
    capacity: Figure
    statistic: Figure
    kl_per_latent: Figures
    alpha: Figures


# ---- measurements -----------------------------------------------------------------------------


class Switch(Part):
    """A switch of the schedule, and when it was noticed."""

    detected_at: Step | None


class Detected(Part):
    """How well switches were noticed."""

    switches: list[Switch] = []
    false_alarms: list[Any] = []
    dismissed: Index = 0
    mean_delay: Figure | None = None
    returns: Index = 0
    returns_recognised: Index = 0


READOUT = TypeAdapter[Any](dict[Text, Figure | None] | None)


class Milestone(Part):
    """What was read out of the weights at a step."""

    step: Step
    domains: dict[Text, dict[Text, Figure | dict[Text, Any] | None]]

    @model_validator(mode="after")
    def _readouts_are_numbers(self) -> Self:
        for found in self.domains.values():
            for quantity in ("identity", "position_mse"):
                READOUT.validate_python(found.get(quantity))
        return self


class Change(Part):
    """A readout at its best and at the end."""

    max: Figure | None = None
    min: Figure | None = None
    end: Figure | None = None
    change: Figure | None = None
    domains: dict[Text, Change] = {}


class Chance(Part):
    """What guessing scores."""

    identity: Figure | None = None
    position_mse: Figure | None = None


class Summary(Part):
    """Forgetting, and what guessing scores."""

    identity: dict[Text, Change] | None = None
    position_mse: dict[Text, Change] | None = None
    chance: Chance | None = None


LatentKey = Annotated[str, Field(pattern=r"^\d{1,4}$")]


class Effect(Part):
    """What moving a latent does to images, and the share of the change that the name explains."""

    name: Text
    share: Annotated[Figure, Field(ge=0, le=1)]


class DomainLatents(Part):
    """What each latent does in a domain."""

    name: Text
    index: Index
    used: list[Latent]
    masked: list[Latent]
    kl: Figures
    encodes: dict[LatentKey, Text] = {}
    effects: dict[LatentKey, Effect] = {}


class Position(Part):
    """The latents that carry position."""

    latents: list[Latent] = []


class Latents(Part):
    """What the latents do in every domain."""

    count: Annotated[StrictInt, Field(ge=1, le=MOST_LATENTS)]
    domains: list[DomainLatents]
    position: Position | None = None

    @model_validator(mode="after")
    def _as_many_as_there_are(self) -> Self:
        named = [*(self.position.latents if self.position else ())]
        for domain in self.domains:
            if len(domain.kl) != self.count:
                raise ValueError(f"kl has {len(domain.kl)} entries, and there are {self.count}")
            named += [*domain.used, *domain.masked, *map(int, [*domain.encodes, *domain.effects])]
        if max(named, default=0) >= self.count:
            raise ValueError(f"latent {max(named)} is named, and there are {self.count}")
        return self


class Bin(Part):
    """A predicted error and a true one."""

    predicted: Annotated[Figure, Field(ge=0)]
    error: Annotated[Figure, Field(ge=0)]


class Calibration(Part):
    """How well a posterior tells its own error."""

    spearman: Figure | None
    bins: list[Bin]
    ways: list[Bin]


class Probes(Part):
    """The file probes.json."""

    steps: Step = 0
    assignment: dict[Text, Index] = {}
    detection: Detected | None = None
    timeline: list[Milestone] = []
    summary: Summary | None = None
    latents: Latents | None = None
    calibration: dict[Text, Calibration] | None = None


class Scores(Part):
    """A factor, read from translated, real and shuffled images."""

    translated: Figure
    real: Figure
    shuffled: Figure


class Translation(Part):
    """A pair of translation.json."""

    step: Step
    source: Text
    target: Text
    factors: dict[Text, Scores]


class Mean(Part):
    """A mean."""

    mean: Figure


class Context(Part):
    """Beliefs along a morph among other images."""

    share: Annotated[Figure, Field(ge=0, le=1)]
    belief: Figures
    equality: Mean


class Variance(Part):
    """The variance of latents along a morph; empty where nothing is shared."""

    curve: Figures


class Morph(Part):
    """A way from one domain to another."""

    contexts: list[Context]
    variance: Variance


class Ambiguity(Part):
    """A pair of ambiguity.json."""

    step: Step
    source: Text
    target: Text
    levels: Figures
    morphs: Annotated[dict[Text, Morph], Field(min_length=1, max_length=4)]

    @model_validator(mode="after")
    def _a_belief_for_every_level(self) -> Self:
        for morph in self.morphs.values():
            curves = [each.belief for each in morph.contexts]
            curves += [morph.variance.curve] * bool(morph.variance.curve)
            if any(len(curve) != len(self.levels) for curve in curves):
                raise ValueError("a curve has another length than its levels")
        return self


class Coverage(Part):
    """Where agents were: visits of places, and the share of places seen over time."""

    share: Annotated[list[Figure], Field(max_length=1_000_000)]
    map: Annotated[list[Figures], Field(min_length=1, max_length=MOST_LATENTS)]

    @model_validator(mode="after")
    def _a_table(self) -> Self:
        if len({len(row) for row in self.map}) != 1 or max(map(max, self.map)) <= 0:
            raise ValueError("the map is no table of visits")
        return self


class ZeroShot(Part):
    """Figures of domains never seen."""

    step: Step
    domains: dict[Text, dict[Text, Figure | None]]


class Exploration(Part):
    """The file exploration.json."""

    place: Text
    policy: Literal["imagination", "random", "novelty", "oracle", "nothing"]
    began: Step
    coverage: Coverage | None
    axes: list[Text] = []
    zero_shot: list[ZeroShot]


# ---- checking ---------------------------------------------------------------------------------

METRICS = TypeAdapter[Any](list[MetricsLine])
EVENTS = TypeAdapter[Any](list[EventLine])
PROBES = TypeAdapter[Any](Probes)
TRANSLATIONS = TypeAdapter[Any](dict[Literal["pairs"], list[Translation]])
AMBIGUITIES = TypeAdapter[Any](dict[Literal["pairs"], list[Ambiguity]])
EXPLORATION = TypeAdapter[Any](Exploration)


def checked(path: Path, record: Record, kind: TypeAdapter[Any]) -> Record:
    """Return a record of a file as it is; a `RunError` says what is wrong with it, and where."""
    try:
        kind.validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = _place(first["loc"])
        told = f"{first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r:.60}"
        raise RunError(
            f"'{path}' is not as this program writes it: {where}: {told}. It was edited, or is "
            "of another version; take it out, or have it made again."
        ) from None
    except RecursionError:
        raise RunError(f"'{path}' is nested too deep to be of a run. Take it out.") from None
    return record


def _place(location: Sequence[int | str]) -> str:
    """Where in a file: `line 3: alpha`, or keys in a row."""
    first, *rest = location or ("it",)
    parts = [f"line {first + 1}" if isinstance(first, int) else str(first), *map(str, rest)]
    return ", ".join(parts)[:200]
