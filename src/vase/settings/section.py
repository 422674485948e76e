"""What all sections of settings share."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

Share = Annotated[float, Field(ge=0, le=1)]

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}


def run_length_frames(text: str, frames_per_second: float) -> float:
    """Frames in a run length such as "30 days" or "5000 frames"; a `ValueError` if it is none."""
    number, _, unit = text.strip().partition(" ")
    unit = unit.strip().removesuffix("s")
    try:
        count = float(number.replace(",", "").replace("_", ""))
    except ValueError:
        count = 0.0
    units = ", ".join(f"{each}s" for each in SECONDS)
    if not 0 < count < float("inf") or unit not in {"frame", *SECONDS}:
        raise ValueError(
            f"detection.target_arl: '{text}' is no run length: give a number of batches, or a "
            f"number and a unit of frames, {units}, such as '30 days'"
        )
    return count if unit == "frame" else count * SECONDS[unit] * frames_per_second


LEAST = 10  # batches between false alarms


def _run_length(value: object) -> float | str:
    if isinstance(value, str):
        run_length_frames(value, 1.0)
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not LEAST <= float(cast(float, value)) < float("inf"):
        raise ValueError(
            f"detection.target_arl: input should be a finite number of batches, at least {LEAST}, "
            f"or text such as '30 days', not {value}"
        )
    return float(cast(float, value))


RunLength = Annotated[float | str, PlainValidator(_run_length)]


class Section(BaseModel):
    """A section of settings: fixed once read, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
