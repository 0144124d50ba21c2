"""How sure a figure is: bootstrap intervals over problems, paired comparisons, spread over seeds.

Scores come as an array (problems,) or (seeds, problems), with the same problems in the same order for each
seed. An interval says what another draw of *problems* could have given: seeds are averaged first, then problems
are resampled. What another *training* could have given is told by :func:`spread`; the two belong side by side.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

RESAMPLES = 10_000
CONFIDENCE = 0.95
_BATCH = 500  # resamples held in memory at a time


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval at :data:`CONFIDENCE`, all as shares (0.42, not 42), from ``n`` problems."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """``42.3 % [38.1, 46.7]``, or ``undefined``."""
        if np.isnan(self.value):
            return "undefined"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Difference(Interval):
    """An interval of a mean difference, with the p-value of a two-sided paired permutation test."""

    p: float

    def __str__(self) -> str:
        """``+5.3 points [1.2, 9.4], p = 0.012``"""
        p = f"p = {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"
        return f"{100 * self.value:+.1f} points [{100 * self.low:.1f}, {100 * self.high:.1f}], {p}"


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (NaN for one seed), least and greatest value over ``n`` seeds."""

    mean: float
    sd: float
    min: float
    max: float
    n: int

    def __str__(self) -> str:
        """``42.3 % ± 1.2 (41.0 to 43.9, 3 seeds)``"""
        if self.n == 1:
            return f"{100 * self.mean:.1f} % (1 seed)"
        return (
            f"{100 * self.mean:.1f} % ± {100 * self.sd:.1f} "
            f"({100 * self.min:.1f} to {100 * self.max:.1f}, {self.n} seeds)"
        )


def by_problem(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores (problems,) or (seeds, problems) averaged over seeds: (problems,).

    Raises:
        ValueError: no problems, another shape, or a missing score.
    """
    array = np.asarray(scores, dtype=float)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"scores have shape {array.shape}; give (problems,) or (seeds, problems), none of them 0")
    if np.isnan(array).any():
        raise ValueError(f"{int(np.isnan(array).sum())} scores are missing; score every problem for every seed")
    return array if array.ndim == 1 else array.mean(axis=0)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = by_problem(a), by_problem(b)
    if len(x) != len(y):
        raise ValueError(f"paired scores are of {len(x)} and {len(y)} problems; give both for the same problems")
    return x, y


def interval(scores: ArrayLike, method: str = "BCa", resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean score with its bootstrap interval over problems.

    Args:
        scores: (problems,) or (seeds, problems), see the module.
        method: ``BCa`` (bias-corrected and accelerated) or ``percentile``.

    Resampling says nothing where all problems scored alike: when all are 0 or all are 1, the interval is the
    exact one of Clopper and Pearson (0 of 164 is 0.0 % [0.0, 2.2]); for another constant it has no width.
    """
    x = by_problem(scores)
    if not (x == x[0]).all() or x[0] not in (0.0, 1.0):
        return _bootstrap(x, method, resamples, seed)
    exact = stats.binomtest(int(x.sum()), len(x)).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(x[0]), float(exact.low), float(exact.high), len(x))


def _bootstrap(x: NDArray[np.float64], method: str, resamples: int, seed: int) -> Interval:
    if np.ptp(x) == 0:  # BCa would be NaN
        return Interval(float(x[0]), float(x[0]), float(x[0]), len(x))
    limits = stats.bootstrap(
        (x,), np.mean, n_resamples=resamples, batch=_BATCH, vectorized=True, confidence_level=CONFIDENCE,
        method=method, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(float(x.mean()), float(limits.low), float(limits.high), len(x))


def ratio_interval(parts: ArrayLike, wholes: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Sum of ``parts`` over sum of ``wholes``, problems resampled in pairs (percentile interval).

    For shares whose unit is not the problem, such as copies among the refinement attempts of each problem
    (``metrics.copies_by_problem``): attempts of one problem are alike, so problems are what is resampled.
    A resample whose wholes sum to 0 has no ratio; it counts as infinite, which widens the interval upwards.
    Shares that are 0 or 1 on all problems get the exact interval, as in :func:`interval`, over the problems that
    have any.

    Returns:
        NaN throughout when ``wholes`` sum to 0: the ratio is undefined.
    """
    x, y = _pair(parts, wholes)
    if y.sum() == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(y))
    if x.sum() == 0 or (x == y).all():
        exact = interval((x == y)[y > 0])
        return Interval(exact.value, exact.low, exact.high, len(y))
    return _ratio(x, y, resamples, seed)


def _ratio(x: NDArray[np.float64], y: NDArray[np.float64], resamples: int, seed: int) -> Interval:
    ratios = []
    for drawn in _drawn(len(y), resamples, seed):
        part, whole = drawn @ x, drawn @ y
        ratios.append(np.divide(part, whole, out=np.full(len(part), np.inf), where=whole != 0))
    tail = (1 - CONFIDENCE) / 2
    # No interpolation: between two infinite ratios it would give NaN.
    low, high = np.quantile(np.concatenate(ratios), [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(x.sum() / y.sum()), float(low), float(high), len(y))


def ratio_difference(
    parts: ArrayLike, wholes: ArrayLike, other_parts: ArrayLike, other_wholes: ArrayLike,
    resamples: int = RESAMPLES, seed: int = 0,
) -> Difference:  # fmt: skip
    """The ratio of :func:`ratio_interval` less another one of the same problems (percentile interval).

    Problems are resampled for both ratios at once: two models that met the same problems are compared, though
    each has wholes of its own, such as its refinement attempts. The p-value is of a permutation test that swaps
    the two within problems.

    Returns:
        NaN throughout when the wholes of either side sum to 0.
    """
    x, m = _pair(parts, wholes)
    y, n = _pair(other_parts, other_wholes)
    _pair(x, y)
    if m.sum() == 0 or n.sum() == 0:
        return Difference(*[float("nan")] * 3, len(x), float("nan"))
    found = _share(x.sum(), m.sum()) - _share(y.sum(), n.sum())
    drawn, swapped = [], []
    for times, swap in zip(_drawn(len(x), resamples, seed), _swaps(len(x), resamples, seed)):
        drawn.append(_share(times @ x, times @ m) - _share(times @ y, times @ n))
        ours = _share(x.sum() + swap @ (y - x), m.sum() + swap @ (n - m))
        swapped.append(ours - _share(y.sum() + swap @ (x - y), n.sum() + swap @ (m - n)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    as_far = np.abs(np.concatenate(swapped)) >= abs(found) - 1e-12
    p = (as_far.sum() + 1) / (resamples + 1)
    return Difference(float(found), float(low), float(high), len(x), float(p))


# Tables have hundreds of intervals over the same problems: what is drawn for one serves them all.
@functools.lru_cache(maxsize=2)
def _drawn(n: int, resamples: int, seed: int) -> list[NDArray[np.uint16]]:
    """How often each of ``n`` problems is drawn, in batches (resamples, problems).

    With it a sum over a resample is a matrix product, instead of 10,000 x n scores gathered.
    """
    rng, alike = np.random.default_rng(seed), np.full(n, 1 / n)
    return [rng.multinomial(n, alike, size=size).astype(np.uint16) for size in _batches(resamples)]


@functools.lru_cache(maxsize=2)
def _swaps(n: int, resamples: int, seed: int) -> list[NDArray[np.int8]]:
    """Which of ``n`` pairs change places (1) or stay (0), in batches (resamples, problems)."""
    rng = np.random.default_rng([seed, 1])
    return [rng.integers(0, 2, size=(size, n), dtype=np.int8) for size in _batches(resamples)]


def _batches(resamples: int) -> Iterator[int]:
    return (min(_BATCH, resamples - start) for start in range(0, resamples, _BATCH))


def _share(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """``part / whole``, NaN where there is nothing to take a share of."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def relative_gain(a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """``mean(a) / mean(b) - 1`` on the same problems, with a paired bootstrap interval.

    Returns:
        NaN throughout (``undefined``) when the baseline ``b`` is zero on every problem.
    """
    x, y = _pair(a, b)
    if y.sum() == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(y))
    ratio = _ratio(x, y, resamples, seed)
    return Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)


def paired_difference(a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """``mean(a) - mean(b)`` on the same problems: bootstrap interval of the differences, and a p-value.

    The p-value is of a permutation test that swaps ``a`` and ``b`` within problems; for single pass/fail
    scores it is McNemar's exact test, up to the number of resamples (the least possible is 2 / (resamples + 1)).
    """
    x, y = _pair(a, b)
    change = (x - y).round(12)  # so that 2/3 - 1/3 and 1/3 - 0 are the same
    found = _bootstrap(change, "BCa", resamples, seed)
    p = 1.0 if not change.any() else stats.permutation_test(
        (change,), np.mean, permutation_type="samples", n_resamples=resamples, batch=_BATCH, vectorized=True,
        rng=np.random.default_rng(seed),
    ).pvalue  # fmt: skip
    return Difference(found.value, found.low, found.high, found.n, float(p))


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and range of one figure over seeds.

    Raises:
        ValueError: no values.
    """
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        raise ValueError("there are no seeds to take the spread of; run at least one")
    sd = float(array.std(ddof=1)) if array.size > 1 else float("nan")
    return Spread(float(array.mean()), sd, float(array.min()), float(array.max()), array.size)


def corrected(p: Sequence[float]) -> NDArray[np.float64]:
    """p-values corrected by Holm's method for how many there are; NaN (an undefined comparison) does not count."""
    found = np.array(p, dtype=float)
    known = ~np.isnan(found)
    if known.any():
        found[known] = multipletests(found[known], method="holm")[1]
    return found


def verdict(found: Interval, than: float = 0.0, p: float | None = None) -> str:
    """``higher`` or ``lower`` when the whole interval is above or below ``than``, else ``no difference seen``.

    With ``p``, corrected for the number of comparisons (:func:`corrected`), it must also be below 1 -
    :data:`CONFIDENCE`. An undefined interval gives ``undefined``.
    """
    if np.isnan(found.value):
        return "undefined"
    if p is not None and p >= 1 - CONFIDENCE:
        return "no difference seen"
    return "higher" if found.low > than else "lower" if found.high < than else "no difference seen"


def curve_by_round(solved: Sequence[pd.DataFrame], **options) -> pd.DataFrame:
    """Pass rate by round with intervals, from ``metrics.solved_by_round`` of one or several seeds.

    Returns:
        columns ``round, value, low, high, n, by_seed`` (each seed's rate): what ``figures.pass_by_round`` draws.
    """
    seeds = [table.groupby("task_id", sort=True).mean() for table in solved]
    if any(not table.index.equals(seeds[0].index) for table in seeds):
        raise ValueError("the seeds were run on different problems; give runs on the same ones")
    scores = {r: np.stack([table[r] for table in seeds]).astype(float) for r in seeds[0].columns}
    found = {r: {**vars(interval(one, **options)), "by_seed": list(one.mean(axis=1))} for r, one in scores.items()}
    return pd.DataFrame([{"round": r, **one} for r, one in found.items()])
