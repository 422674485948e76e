"""Blocks of consecutive frames: what is kept of an environment, and how a chunk is compared.

Consecutive frames depend on one another, so that the mean of 32 of them varies far more than that
of 32 independent images. An environment is therefore a distribution over *blocks* of frames, not
over frames:

    chunk    32 consecutive frames, described by the mean of a and of a^2, [2 F], where a are the
             features along the environment's principal axes, in standard deviations
    block    2, 4, 8, ... chunks: so many that blocks are nearly independent (`with_longer_blocks`)

The latest 256 blocks are kept, and their spread *is* the variance within and between blocks, for
any correlation: with independent frames it is that of a mean of independent images. The axes are
those of the first half of 64 blocks, so that later blocks are not compared with themselves: of at
least 4,096 frames, but those are few images where one factor moves at a time, and of at most
16,384. Pure functions; all arithmetic is in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]

CHUNK = 32  # frames
FIRST_BLOCK = 2  # chunks: with independent frames two are enough
LONGEST_BLOCK = 4096  # chunks: over an hour of video
LEARNT_BLOCKS = 64  # blocks from which on the axes stay as they are
LEARNT_AXES, MOST_LEARNT = 4096, 16384  # frames from which on they may, and do
KEPT = 256  # blocks, and ratios of chunks
SPAN, SPAN_BLOCKS = 8192, 32  # frames, and blocks, over which moments are averaged at least
MAX_DEVIATION = 5.0  # standard deviations: clips outliers among the frames of a chunk
REGULARISATION = 1e-5  # of the total variance: axes with hardly any variance count for little
SENSOR_NOISE = 1e-6  # variance of a feature that no camera can tell from none
SLOW_AXES = 4  # principal axes from which the correlation time is taken
TRIMMED = 0.05  # share of the blocks that fit worst: they do not count for the spread
MIN_BLOCKS = 24  # from which on it is asked whether blocks are long enough
ASKED = 8  # blocks from one time to the next
MAX_CORRELATION = 0.25  # of a block with the next, averaged over what describes it
MAX_ERRORS = 1.6  # and of this correlation in standard errors of a single one


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes: `mean` [F]; `scaled` [F, F], to unit variance; `noise` [F], its share."""

    mean: Array
    scaled: Array
    noise: Array


@dataclass(frozen=True, eq=False)
class BlockStatistics:
    """What is kept of an environment.

    frames: seen in all. first: features [32, F] of the first chunks, while axes are learnt from
    them. moments: mean descriptor of a chunk [2 F], averaged over SPAN frames. spread: averaged
    log-ratio of the variance within chunks to that of all frames, and its square, [2, F]; chunks:
    how many were averaged. correlation_time: integrated autocorrelation time, in frames. block: in
    chunks. blocks: descriptors [n, 2 F]; worst: the largest ratio within each, [n]. ratios: of the
    latest chunks. partial: descriptors and ratios of the block that is not complete yet. steps: the
    largest step within each block, and partial_steps of the chunks of one that is not complete.
    """

    frames: int = 0
    first: tuple[NDArray[np.float32], ...] = ()
    axes: Axes | None = None
    moments: Array = field(default_factory=lambda: np.zeros(0))
    spread: Array = field(default_factory=lambda: np.zeros((2, 0)))
    chunks: int = 0
    correlation_time: float = 1.0
    block: int = FIRST_BLOCK
    blocks: Array = field(default_factory=lambda: np.zeros((0, 0)))
    worst: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    partial: tuple[tuple[Array, float], ...] = ()
    steps: tuple[float, ...] = ()
    partial_steps: tuple[float, ...] = ()

    @property
    def learning(self) -> bool:
        """Whether the axes are still learnt."""
        return self.axes is None or len(self.first) > 0

    @property
    def effective_images(self) -> float:
        """How many independent images would say as much: frames / correlation time."""
        return self.frames / max(1.0, self.correlation_time)

    @property
    def span(self) -> int:
        """Frames over which moments are averaged: many blocks, however long they are."""
        return min(self.frames, max(SPAN, SPAN_BLOCKS * self.block * CHUNK))

    @property
    def comparable(self) -> bool:
        """Whether there is a block to compare with."""
        return self.axes is not None and len(self.worst) > 0


# ---- describing a chunk ---------------------------------------------------------------------


def principal_axes(features: Array) -> Axes:
    """The axes of features [n, F]."""
    values, vectors = np.linalg.eigh(np.cov(features.T, bias=True).reshape(features.shape[1], -1))
    noise = max(REGULARISATION * float(values.sum()), SENSOR_NOISE)
    total = np.clip(values, 0, None) + noise
    return Axes(features.mean(0), vectors / np.sqrt(total), noise / total)


def described(features: Array, axes: Axes) -> Array:
    """The descriptors [..., 2 F] of features [..., n, F]: means of a and of a^2 along the axes."""
    along = np.clip((features - axes.mean) @ axes.scaled, -MAX_DEVIATION, MAX_DEVIATION)
    return np.concatenate([along.mean(-2), (along**2).mean(-2)], axis=-1)


def mean_square(descriptors: Array) -> Array:
    """Mean squared Mahalanobis distance [...] of the frames, by descriptors [..., 2 F]."""
    found: Array = descriptors[..., descriptors.shape[-1] // 2 :].sum(-1)
    return found


def largest_step(chunk: Array, before: Array | None) -> float:
    """The largest squared step between neighbouring frames of features [n, F].

    before: the frame before the chunk, [F].
    """
    frames = chunk if before is None else np.vstack([before, chunk])
    return float((np.diff(frames, axis=0) ** 2).sum(1).max(initial=0.0))


def total_variance(known: BlockStatistics) -> float:
    """The variance of the features of an environment's frames, summed over all."""
    assert known.axes is not None
    length = (known.axes.scaled**2).sum(0)
    return float((variance_along(known.moments, known.axes) / length).sum())


def likelihood_ratio(known: BlockStatistics, descriptor: Array) -> Array:
    """G of chunks of descriptors [..., 2 F]: badness of fit, [...].

    The likelihood ratio of "chunk and environment have moments of their own" over "they share
    them", along the axes k,

    G = sum_k (B + n) log v_k - B log v_bk - n log v_nk

    with v of both together, v_b of the B frames of the chunk and v_n of the n of the environment:
    about chi-square with 2 F degrees of freedom if frames are independent. A variance within the
    chunk that is no smaller than chunks of this environment usually have counts as ordinary: where
    nothing moves for a second, that is no news.
    """
    assert known.axes is not None
    size, n = len(known.axes.mean), known.span
    ratio = _log_ratio(known, descriptor)
    mean, square = known.spread
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    usual = np.minimum(mean - 2 * deviation - 4 / max(1, known.chunks), 0)
    ratio = np.where(ratio > 0, ratio, np.minimum(ratio - usual, 0))
    apart = (descriptor[..., :size] - known.moments[:size]) ** 2
    apart = apart / variance_along(known.moments, known.axes)
    both = (CHUNK * np.exp(ratio) + n) / (CHUNK + n) + CHUNK * n * apart / (CHUNK + n) ** 2
    found: Array = ((CHUNK + n) * np.log(both) - CHUNK * ratio).sum(-1)
    return found


def log_density(known: BlockStatistics, descriptor: Array) -> Array:
    """How well an environment predicts chunks of descriptors [..., 2 F]: their means, in nats.

    The log of Student's t, along the axes k, for what n = frames / tau independent images say,

    log p = log |axes| + sum_k log( t_{n - 1}( (m_k - M_k) / s_k ) / s_k )
    s_k^2 = V_k min(1, tau / B) (1 + 1 / n)

    with M and V the mean and variance of its frames, and m the mean of the B frames of a chunk. So
    an environment of which little is known, or in which much may happen, expects nothing strongly.
    """
    assert known.axes is not None
    size, time = len(known.axes.mean), max(1.0, known.correlation_time)
    count = max(2.0, known.frames / time)
    variance = variance_along(known.moments, known.axes) * min(1.0, time / CHUNK)
    scale = np.sqrt((variance + known.axes.noise) * (1 + 1 / count))
    apart = (descriptor[..., :size] - known.moments[:size]) / scale
    volume = np.log((known.axes.scaled**2).sum(0)).sum() / 2  # the axes are at right angles
    found: Array = (log_student(apart, count - 1) - np.log(scale)).sum(-1) + volume
    return found


def log_student(x: Array, freedom: float) -> Array:
    """log t_f(x) of Student's t with f degrees of freedom, [...]."""
    norm = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - np.log(freedom * np.pi) / 2
    found: Array = norm - (freedom + 1) / 2 * np.log1p(x**2 / freedom)
    return found


def variance_along(descriptor: Array, axes: Axes) -> Array:
    """The variance [..., F] that descriptors [..., 2 F] tell of, and what is noise in any case."""
    size = len(axes.mean)
    variance: Array = np.maximum(descriptor[..., size:] - descriptor[..., :size] ** 2, 0)
    return variance + axes.noise


def _log_ratio(known: BlockStatistics, descriptor: Array) -> Array:
    """Log of the variance within chunks over that of all frames, [..., F]."""
    assert known.axes is not None
    return np.log(
        variance_along(descriptor, known.axes) / variance_along(known.moments, known.axes)
    )


# ---- comparing blocks -------------------------------------------------------------------------


def conformal_scores(blocks: Array) -> Array:
    """Badness of fit of every block [n, D] among all of them, [n].

    Mean squared deviation in units of the spread of all but the worst blocks. It treats all alike,
    so that the rank of any one is uniform if they are exchangeable (conformal prediction, Vovk et
    al. 2005), however few there are.
    """
    scores = _deviations(blocks, blocks)
    if len(blocks) >= 1 / TRIMMED:
        last = int((1 - TRIMMED) * (len(scores) - 1))
        scores = _deviations(blocks, blocks[scores <= np.partition(scores, last)[last]])
    return scores


def _deviations(blocks: Array, among: Array) -> Array:
    mean = among.mean(0)
    variance = ((among - mean) ** 2).mean(0) + 1e-6
    deviations: Array = (blocks - mean) ** 2 @ (1 / variance) / len(mean)
    return deviations


def rank_among(known: BlockStatistics, block: Array) -> tuple[int, int]:
    """The rank of a block [D] among those of an environment, 1 if it fits worst, and how many."""
    scores = conformal_scores(np.vstack([known.blocks, block[None]]))
    return 1 + int((scores[:-1] >= scores[-1]).sum()), len(known.blocks)


# ---- recording --------------------------------------------------------------------------------


def with_chunks(
    known: BlockStatistics, chunks: Array, steps: Sequence[float] = ()
) -> BlockStatistics:
    """Return what is kept after more chunks of features [m, 32, F] of the environment's own.

    steps: the largest step within each, if they are in order.
    """
    known = _with_steps(known, steps)
    if not len(chunks):
        return known
    if not known.learning:
        return _with_descriptors(known, chunks)
    for chunk in chunks:  # one at a time, as the axes change
        known = _with_first(known, chunk)
    return known


def _with_steps(known: BlockStatistics, steps: Sequence[float]) -> BlockStatistics:
    """The largest steps of more chunks: of whole blocks the largest one is kept."""
    every = (*known.partial_steps, *steps)
    whole = len(every) // known.block * known.block
    largest = (*known.steps, *_largest(every[:whole], known.block))[-KEPT:]
    return replace(known, steps=largest, partial_steps=every[whole:])


def _largest(values: Sequence[float], count: int) -> tuple[float, ...]:
    """The largest of every `count` values; what is over at the beginning is left out."""
    whole = np.array(values[len(values) % count :], dtype=float).reshape(-1, count)
    return tuple(whole.max(1).tolist())


def _with_first(known: BlockStatistics, chunk: Array) -> BlockStatistics:
    """One more chunk [32, F] of those from which the axes are learnt."""
    if not known.learning:
        return _with_descriptors(known, chunk[None])
    if known.axes is None:
        known = replace(known, frames=known.frames + CHUNK)
    else:
        known = _with_descriptors(known, chunk[None])
    known = replace(known, first=(*known.first, chunk.astype(np.float32)))
    if known.frames < 2 * CHUNK or known.frames & (known.frames - 1):  # not doubled
        return known
    known = with_axes(known)
    enough = min(max(LEARNT_AXES, LEARNT_BLOCKS * known.block * CHUNK), MOST_LEARNT)
    return replace(known, first=()) if known.frames >= enough else known


def with_axes(known: BlockStatistics) -> BlockStatistics:
    """Return the statistics along the axes of the first half of the frames so far.

    The blocks are those of the other half. Of fewer than 8 chunks all give the axes.
    """
    chunks = np.stack(known.first).astype(np.float64)
    half = len(chunks) // 2 if len(chunks) >= 8 else len(chunks)
    every = chunks.reshape(-1, chunks.shape[2])
    axes = principal_axes(every[: half * CHUNK])
    descriptors, time = described(chunks, axes), correlation_time(every, axes)
    block = known.block
    while block < min(2 * time / CHUNK, LONGEST_BLOCK):
        block *= 2
    size = len(axes.mean)
    made = BlockStatistics(
        frames=known.frames,
        first=known.first,
        steps=_largest(known.steps, block // known.block),
        partial_steps=known.partial_steps,
        axes=axes,
        moments=descriptors.mean(0),
        spread=np.zeros((2, size)),
        correlation_time=time,
        block=block,
        blocks=np.zeros((0, 2 * size)),
    )
    made = _with_spread(made, descriptors)
    later = descriptors[half:][len(descriptors[half:]) % block :]
    return _in_blocks(made, later, likelihood_ratio(made, later))


def _with_descriptors(known: BlockStatistics, chunks: Array) -> BlockStatistics:
    assert known.axes is not None
    descriptors = described(chunks, known.axes)
    ratios = likelihood_ratio(known, descriptors)
    known = replace(known, frames=known.frames + len(chunks) * CHUNK)
    share = min(1.0, len(chunks) * CHUNK / known.span)
    moments = (1 - share) * known.moments + share * descriptors.mean(0)
    known = replace(known, moments=moments)
    return _in_blocks(_with_spread(known, descriptors), descriptors, ratios)


def _with_spread(known: BlockStatistics, descriptors: Array) -> BlockStatistics:
    ratios, chunks = _log_ratio(known, descriptors), known.chunks + len(descriptors)
    share = min(1.0, len(descriptors) / min(chunks, KEPT))
    now = np.stack([ratios.mean(0), (ratios**2).mean(0)])
    return replace(known, spread=(1 - share) * known.spread + share * now, chunks=chunks)


def _in_blocks(known: BlockStatistics, descriptors: Array, ratios: Array) -> BlockStatistics:
    known = replace(known, ratios=(*known.ratios, *ratios.tolist())[-KEPT:])
    partial = list(known.partial)
    for descriptor, ratio in zip(descriptors, ratios.tolist(), strict=True):
        partial.append((descriptor, ratio))
        if len(partial) < known.block:
            continue
        known = replace(
            known,
            blocks=np.vstack([known.blocks, np.mean([d for d, _ in partial], 0)])[-KEPT:],
            worst=(*known.worst, max(g for _, g in partial))[-KEPT:],
        )
        known, partial = with_longer_blocks(known), []
    return replace(known, partial=tuple(partial))


# ---- how long a block has to be --------------------------------------------------------------


def with_longer_blocks(known: BlockStatistics) -> BlockStatistics:
    """Join blocks in pairs if each still says much of the next; else as they are."""
    count, seen = len(known.blocks), known.frames // (known.block * CHUNK)
    if count < MIN_BLOCKS or seen % ASKED or known.block >= LONGEST_BLOCK:
        return known
    if not dependent(known.blocks, seen):
        return known
    pairs = known.blocks[count % 2 :].reshape(-1, 2, known.blocks.shape[1])
    return replace(
        known,
        block=2 * known.block,
        blocks=pairs.mean(1),
        worst=_largest(known.worst, 2),
        steps=_largest(known.steps, 2),
    )


def dependent(blocks: Array, seen: int = 0) -> bool:
    """Whether a block [n, D] still says much of the next one.

    Either the descriptors do, on average over what describes them, by a quarter or, of 41 blocks
    and more, by 1.6 standard errors, so that a block shares little of what it shows with the next;
    or the ranks of the scores do, by their lag-1 correlation, or by the variance of sums of four;
    by four standard errors. Among ever more blocks `seen` chance alone would find such a one, so
    that more are asked for, in step with the root of the logarithm: then the chances of all
    questions together stay small.
    """
    count = len(blocks)
    errors = np.sqrt(16 + 8 * np.log(max(1.0, seen / KEPT)))
    scaled = (blocks - blocks.mean(0)) / (blocks.std(0) + 1e-9)
    most = min(MAX_CORRELATION, MAX_ERRORS / np.sqrt(count))
    if float((scaled[1:] * scaled[:-1]).mean()) > most:
        return True
    _, place, ties = np.unique(conformal_scores(blocks), return_inverse=True, return_counts=True)
    ranks = (ties.cumsum() - ties / 2)[place]  # equal scores share their mean rank
    ranks = (ranks - ranks.mean()) / max(ranks.std(), 1e-9)
    if float((ranks[1:] * ranks[:-1]).mean()) > errors / np.sqrt(count):
        return True
    sums = ranks[: count // 4 * 4].reshape(-1, 4).sum(1)
    return count >= 64 and float(sums.var()) / 4 > 1 + errors * np.sqrt(4.5 / count)


def correlation_time(features: Array, axes: Axes) -> float:
    """Integrated autocorrelation time of features [n, F], in frames: 1 if they are independent.

    1 + 2 sum_k rho_k of the axes of most variance, up to where rho falls below 0.05, or into noise.
    """
    slow = np.argsort(axes.noise)[:SLOW_AXES]
    along = (features - features.mean(0)) @ (axes.scaled[:, slow] / np.sqrt(axes.noise[slow]))
    count = len(along)
    spectrum = np.fft.rfft(along, 2 * count, axis=0)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), axis=0)[: max(2, count // 2)].sum(1)
    if covariance[0] <= 0:
        return 1.0
    rho = covariance / covariance[0]
    below = np.flatnonzero(rho < max(0.05, 3 / np.sqrt(count)))
    return float(1 + 2 * rho[1 : below[0] if len(below) else len(rho)].sum())


def integrated_time(values: Sequence[float]) -> float:
    """Integrated autocorrelation time of the logarithms of positive values; 4 if they are few."""
    if len(values) < 8:
        return 4.0
    series = np.log(np.maximum(1, values))
    series, time = series - series.mean(), 1.0
    for lag in range(1, len(series) // 4):
        rho = float(series[lag:] @ series[:-lag]) / (float(series @ series) + 1e-12)
        if rho < 2 / np.sqrt(len(series)):
            break
        time += 2 * rho
    return time
