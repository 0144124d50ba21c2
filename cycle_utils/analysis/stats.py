"""How sure a figure is: intervals over trainings and problems, paired comparisons, spread over seeds.

Scores come as an array (problems,) or (seeds, problems), with the same problems in the same order for each seed. Of
two or more seeds an interval says what other *trainings* on another draw of *problems* could have given
(:mod:`cycle_utils.analysis.crossed`). Of one it can only say what another draw of problems could have given, by the
bootstrap, and leaves the training out; whoever prints it says so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit, logit
from statsmodels.stats.multitest import multipletests

from cycle_utils.analysis import crossed

RESAMPLES = 10_000
CONFIDENCE = 0.95
MARGIN = 0.03  # within which two rates count as equal: 3 points, fixed when three of six trainings were known
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
    """An interval of a mean difference, with the p-value of a two-sided paired test.

    With several seeds it is the t-test that belongs to the interval, with one a permutation test over problems.
    """

    p: float

    def __str__(self) -> str:
        """``+5.3 points [1.2, 9.4], p = 0.012``"""
        p = self._rounded() if self.p >= 0.001 else "p < 0.001"
        return f"{100 * self.value:+.1f} points [{100 * self.low:.1f}, {100 * self.high:.1f}], {p}"

    def _rounded(self) -> str:
        return f"p = {self.p:.3f}"


@dataclass(frozen=True)
class AtMost(Difference):
    """A difference whose p-value is only known not to be greater: ``p ≤ 0.013``."""

    def _rounded(self) -> str:
        return f"p ≤ {math.ceil(1000 * self.p) / 1000:.3f}"


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


def _table(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores (problems,) or (seeds, problems) as a table (seeds, problems).

    Raises:
        ValueError: no problems, another shape, or a missing score.
    """
    array = np.asarray(scores, dtype=float)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"scores have shape {array.shape}; give (problems,) or (seeds, problems), none of them 0")
    if np.isnan(array).any():
        raise ValueError(f"{int(np.isnan(array).sum())} scores are missing; score every problem for every seed")
    return np.atleast_2d(array)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two tables of the same seeds and problems."""
    x, y = _table(a), _table(b)
    for what, ours, theirs in zip(("seeds", "problems"), x.shape, y.shape):
        if ours != theirs:
            raise ValueError(f"paired scores are of {ours} and {theirs} {what}; give both for the same {what}")
    return x, y


def _is_crossed(*tables: NDArray[np.float64]) -> bool:
    """Whether there are trainings and problems to vary."""
    return all(min(table.shape) > 1 for table in tables)


def _margin(table: NDArray[np.float64]) -> float:
    """Half the width of the interval of a table's mean."""
    error, freedom = crossed.standard_error(table)
    return 0.0 if error == 0 else float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error)


def _share_interval(value: float, margin: float, n: int) -> Interval:
    """``margin`` about a share that is neither 0 nor 1, on the scale of log-odds: its ends are shares, too."""
    wide = margin / (value * (1 - value))
    low, high = expit(logit(value) + np.array([-wide, wide]))
    return Interval(value, float(low), float(high), n)


def difference_of(value: float, table: NDArray[np.float64]) -> Difference:
    """``value`` with the interval and the p-value of Student's t for the mean of a table (seeds, problems).

    It serves any figure whose cells' first-order parts are known, such as differences of :func:`~.crossed.of_ratio`.
    """
    error, freedom = crossed.standard_error(table)
    margin = _margin(table)
    p = 2 * stats.t.sf(abs(value) / error, freedom) if error else float(value == 0)
    return Difference(value, value - margin, value + margin, table.shape[1], float(p))


def interval(scores: ArrayLike, method: str = "BCa", resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean score, a share, with its interval: over trainings and problems of several seeds, of one over problems.

    Args:
        scores: (problems,) or (seeds, problems), see the module.
        method: of the bootstrap over problems, ``BCa`` (bias-corrected and accelerated) or ``percentile``.

    Neither says anything where all problems scored alike: when all are 0 or all are 1, the interval is the
    exact one of Clopper and Pearson (0 of 164 is 0.0 % [0.0, 2.2]); for another constant it has no width.
    """
    table = _table(scores)
    x = table.mean(axis=0)
    if not (x == x[0]).all() or x[0] not in (0.0, 1.0):
        if _is_crossed(table) and 0 < table.mean() < 1:
            return _share_interval(float(table.mean()), _margin(table), len(x))
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
    """Sum of ``parts`` over sum of ``wholes``, a share, with its interval.

    For shares whose unit is not the problem, such as copies among the refinement attempts of each problem
    (``metrics.copies_by_problem``): attempts of one problem are alike, so problems are what varies, and trainings if
    there are several seeds. Of one seed, problems are resampled in pairs (percentile interval); a resample whose wholes
    sum to 0 has no ratio and counts as infinite, which widens the interval upwards.
    Shares that are 0 or 1 on all problems get the exact interval, as in :func:`interval`, over the problems that
    have any.

    Returns:
        NaN throughout when ``wholes`` sum to 0: the ratio is undefined.
    """
    some, all_ = _pair(parts, wholes)
    x, y = some.sum(axis=0), all_.sum(axis=0)
    if y.sum() == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(y))
    if x.sum() == 0 or (x == y).all():
        exact = interval((x == y)[y > 0])
        return Interval(exact.value, exact.low, exact.high, len(y))
    if _is_crossed(some):
        return _share_interval(float(x.sum() / y.sum()), _margin(crossed.of_ratio(some, all_)), len(y))
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
    """The ratio of :func:`ratio_interval` less another one of the same seeds and problems.

    The two are paired: models that met the same problems are compared, though each has wholes of its own, such as its
    refinement attempts. Of one seed, problems are resampled for both ratios at once (percentile interval), and the
    p-value is of a permutation test that swaps the two within problems.

    Returns:
        NaN throughout when the wholes of either side sum to 0.
    """
    tables = [*_pair(parts, wholes), *_pair(other_parts, other_wholes)]
    _pair(tables[0], tables[2])
    x, m, y, n = (table.sum(axis=0) for table in tables)
    if m.sum() == 0 or n.sum() == 0:
        return Difference(*[float("nan")] * 3, len(x), float("nan"))
    found = _share(x.sum(), m.sum()) - _share(y.sum(), n.sum())
    apart = crossed.of_ratio(*tables[:2]) - crossed.of_ratio(*tables[2:])
    if _is_crossed(apart) and apart.any():
        return difference_of(float(found), apart)
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
    """``mean(a) / mean(b) - 1`` on the same seeds and problems, with a paired interval.

    Returns:
        NaN throughout (``undefined``) when the baseline ``b`` is zero on every problem.
    """
    ours, theirs = _pair(a, b)
    x, y = ours.mean(axis=0), theirs.mean(axis=0)
    if y.sum() == 0:
        return Interval(float("nan"), float("nan"), float("nan"), len(y))
    if _is_crossed(ours) and x.sum():  # on the scale of logarithms: a ratio is never below 0
        value = float(x.sum() / y.sum())
        low, high = value * np.exp(np.array([-1, 1]) * _margin(crossed.of_ratio(ours, theirs)) / value)
        return Interval(value - 1, float(low) - 1, float(high) - 1, len(y))
    ratio = _ratio(x, y, resamples, seed)
    return Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)


def paired_difference(a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """``mean(a) - mean(b)`` on the same seeds and problems: interval of the differences, and a p-value.

    Of one seed, the interval is the bootstrap's, and the p-value is of McNemar's exact test where all problems that
    differ do so by as much, as pass or fail does; else of a permutation test that swaps ``a`` and ``b`` within
    problems, the least p-value of which is 2 / (resamples + 1).
    """
    ours, theirs = _pair(a, b)
    if _is_crossed(ours) and np.ptp(ours - theirs) > 0:
        return difference_of(float((ours - theirs).mean()), ours - theirs)
    change = (ours - theirs).mean(axis=0).round(12)  # so that 2/3 - 1/3 and 1/3 - 0 are the same
    found = _bootstrap(change, "BCa", resamples, seed)
    return Difference(found.value, found.low, found.high, found.n, _swap_p(change, resamples, seed))


def _swap_p(change: NDArray[np.float64], resamples: int, seed: int) -> float:
    """How often signs drawn at random would give a mean as far from 0."""
    moved = change[change != 0]
    if not len(moved):
        return 1.0
    if np.ptp(np.abs(moved)) == 0:
        return float(stats.binomtest(int((moved > 0).sum()), len(moved)).pvalue)
    return float(stats.permutation_test(
        (change,), np.mean, permutation_type="samples", n_resamples=resamples, batch=_BATCH, vectorized=True,
        rng=np.random.default_rng(seed),
    ).pvalue)  # fmt: skip


def difference_apart(a: ArrayLike, b: ArrayLike) -> Difference:
    """``mean(a) - mean(b)`` of the same seeds on *different* problems: trainings are paired, problems are not.

    Raises:
        ValueError: not the same number of seeds.
    """
    ours, theirs = _table(a), _table(b)
    if len(ours) != len(theirs):
        raise ValueError(f"scores are of {len(ours)} and {len(theirs)} seeds; give both for the same ones")
    both = ours.shape[1] + theirs.shape[1]
    parts = [sign * both / one.shape[1] * (one - one.mean()) for sign, one in ((1, ours), (-1, theirs))]
    return difference_of(float(ours.mean() - theirs.mean()), np.concatenate(parts, axis=1))


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


_LEAST = (1 / (RESAMPLES + 1), 2 / (RESAMPLES + 1))  # the p-value that a permutation test gives to anything rarer


def of_row(row) -> Difference:
    """A saved comparison, a row with ``value, low, high, n, p, p_corrected``, with its corrected p-value.

    That is a bound (:class:`AtMost`) where resampling could give no smaller one; t-tests and exact tests can give any.
    """
    bound = any(np.isclose(row.p, least, rtol=1e-9, atol=0) for least in _LEAST)
    return (AtMost if bound else Difference)(row.value, row.low, row.high, int(row.n), row.p_corrected)


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


def claim(found: Interval, claimed: str, p: float | None = None) -> str:
    """What a difference says of a claim, by one rule for all notebooks.

    Args:
        claimed: that it is ``higher`` or ``lower``; or that something is ``kept``.
        p: as in :func:`verdict`.

    Returns:
        ``holds``, ``fails``, ``undefined`` or, where the verdict is open, ``not shown`` with the side to which the
        estimate points. For what is kept, ``holds`` if the whole interval lies within :data:`MARGIN` of nothing (two
        one-sided tests, at 2.5 % each) or shows a gain, else ``cannot tell``.

    Raises:
        ValueError: an unknown claim.
    """
    if claimed not in ("higher", "lower", "kept"):
        raise ValueError(f"unknown claim {claimed!r}; choose higher, lower or kept")
    seen = verdict(found, p=p)
    if seen == "undefined":
        return seen
    if claimed == "kept":
        if found.low > -MARGIN and found.high < MARGIN:
            return f"holds (within {100 * MARGIN:g} points)"
        if seen == "higher":
            return "holds (improves)"
    if seen != "no difference seen":
        return "holds" if seen == claimed else "fails"
    towards = found.value < 0 if claimed == "lower" else found.value > 0
    side = "nowhere" if found.value == 0 else "towards it" if towards else "against it"
    return f"{'cannot tell' if claimed == 'kept' else 'not shown'}, points {side}"


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
