"""Scores on consecutive frames: the scores of `scores.py` in frames, and what frames add to them.

An alarm's step is the number of the last frame that was seen when it was raised. A delay counts the
frames of the new domain before that one, and is also given in correlation times of that domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from vase.bench.scores import NAN, Alarm, pooled, score
from vase.domains.canvas import Floats
from vase.domains.stream import Segment

GRID = 8  # rows and columns of coarse pixels
WINDOW = 5  # correlation times over which autocorrelations are added up (Sokal 1997)
ORACLE = "oracle"
NEVER, ALWAYS, REGULAR = "never", "always", "every n frames"
DUMMIES = (NEVER, ALWAYS, REGULAR)


def coarse_pixels(images: Floats) -> Floats:
    """Return the means of images [B, C, H, W] over a grid of at most 8 x 8 cells, [B, F]."""
    rows, columns = (min(GRID, side) for side in images.shape[2:])
    pooled_images = adaptive_avg_pool2d(torch.from_numpy(images), (rows, columns))
    found: Floats = pooled_images.flatten(1).numpy()
    return found


def principal_direction(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the direction [F] in which rows [T, F] vary most."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    found: NDArray[np.float64] = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return found


def correlation_time(series: Sequence[NDArray[np.float64]]) -> float:
    """Return the integrated autocorrelation time of a process, seen in stretches, in steps.

        tau = 1 + 2 * sum over lags k = 1 .. M of the autocorrelation at k

    M is the smallest lag that is at least `WINDOW` times tau, and `WINDOW` (Sokal's window). tau
    steps count as one independent sample: 1 for white noise, (1 + phi) / (1 - phi) for AR(1). `nan`
    for a process that does not vary.
    """
    mean = np.concatenate(series).mean()
    lags = max(len(each) for each in series)
    products, pairs = np.zeros(lags), np.zeros(lags)
    for each in series:
        count = len(each)
        spectrum = np.abs(np.fft.rfft(each - mean, 2 * count)) ** 2
        products[:count] += np.fft.irfft(spectrum)[:count]
        pairs[:count] += np.arange(count, 0, -1)
    covariances = products / np.maximum(pairs, 1)
    if covariances[0] <= np.finfo(np.float64).eps * max(1.0, mean**2):
        return NAN
    times = 2 * np.cumsum(covariances / covariances[0]) - 1
    enough = np.flatnonzero(np.arange(lags) >= WINDOW * np.maximum(times, 1))
    return float(times[enough[0]] if len(enough) else times[-1])


def correlation_times(visits: Sequence[Segment], coarse: Floats) -> dict[str, float]:
    """Return every domain's correlation time in frames, from coarse pixels [T, F] of a stream.

    It is that of the first principal component of the domain's own frames, and at least 1.
    """
    found = {}
    for name in dict.fromkeys(visit.domain for visit in visits):
        parts = [coarse[visit.start : visit.end] for visit in visits if visit.domain == name]
        direction = principal_direction(np.concatenate(parts))
        found[name] = float(np.maximum(1, correlation_time([part @ direction for part in parts])))
    return found


def covering(visits: Sequence[Segment], alarms: Sequence[Alarm], frames: int) -> float:
    """Return how well the stretches between alarms cover the true visits, in [0, 1].

        C = 1 / T * sum over visits v of |v| * (max over stretches s of |v and s| / |v or s|)

    The segmentation covering (Arbelaez et al. 2011; van den Burg and Williams 2020): 1 only if
    every change is noticed at once and nothing else is; late, missed and false alarms lower it.
    """
    cuts = np.unique([0, frames, *(alarm.step for alarm in alarms)])
    starts, ends = cuts[:-1], cuts[1:]
    total = 0.0
    for visit in visits:
        both = np.minimum(ends, visit.end) - np.maximum(starts, visit.start)
        either = np.maximum(ends, visit.end) - np.minimum(starts, visit.start)
        total += (visit.end - visit.start) * float((both / either).max())
    return total / frames


def dummies(visits: Sequence[Segment]) -> dict[str, list[Alarm]]:
    """Return the alarms of detectors that look at nothing; what does no better is worth nothing.

    "never" stays in the first environment, "always" raises an alarm at every frame, and "every n
    frames" raises as many alarms as there are changes, evenly.
    """
    frames, changes = visits[-1].end, len(visits) - 1
    regular = [Alarm(round(frames * k / (changes + 1))) for k in range(1, changes + 1)]
    return {NEVER: [], ALWAYS: [Alarm(step) for step in range(frames)], REGULAR: regular}


def frame_score(
    visits: Sequence[Segment],
    alarms: Sequence[Alarm],
    times: Mapping[str, float],
    *,
    named: bool,
) -> dict[str, Any]:
    """Return all scores of one stream: those of `scores.score` in frames, and three more.

    times: correlation time of every domain, in frames. named: whether the detector names
    environments; if not, what is said of them is `nan`, alarms or none. covering: see there.
    delays_in_times: delays over the correlation time of the new domain, with their median and
    largest, `nan` if no change was noticed.
    """
    frames = visits[-1].end
    found = score(visits, alarms, frames)
    relative = [
        None if delay is None else delay / times[visit.domain]
        for visit, delay in zip(visits[1:], found["delays"], strict=True)
    ]
    nameless = {} if named else {"returns_identified": NAN, "identified": NAN, "believed": NAN}
    return {
        **found,
        **nameless,
        "covering": covering(visits, alarms, frames),
        "delays_in_times": relative,
        **_in_times(relative),
    }


def frame_pooled(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Pool the scores of several streams: as `scores.pooled`, the covering averaged."""
    every = [delay for each in scores for delay in each["delays_in_times"]]
    return {
        **pooled(scores),
        "covering": float(np.mean([each["covering"] for each in scores])),
        **_in_times(every),
    }


def _in_times(relative: Sequence[float | None]) -> dict[str, float]:
    """Return the median and the largest of delays in correlation times, None and `nan` left out."""
    known = [delay for delay in relative if delay is not None and np.isfinite(delay)]
    return {
        "times_median": float(np.median(known)) if known else NAN,
        "times_worst": float(max(known)) if known else NAN,
    }
