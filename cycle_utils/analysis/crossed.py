"""How sure a mean over trainings *and* problems is: both are draws, and every training answers every problem.

Scores (seeds, problems) are a table of two crossed random effects. The variance of its mean has a part of either, and
the analysis of variance tells them apart: with mean squares ``MS`` of seeds, problems and what neither explains,

    variance of the mean = (MS_seeds + MS_problems - MS_rest) / (seeds x problems)

where neither of the first two counts for less than the last, which both contain: few trainings may agree by luck. The
degrees of freedom (Hillis 2007) are not fewer than seeds - 1 and near it where trainings matter, so that few seeds give
wide intervals: with three, Student's t is about 4 instead of 2. This is how radiology compares readers who read the
same cases (Obuchowski and Rockette 1995). :func:`coverage` tries it on tables whose truth is known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Scores = NDArray[np.float64]


def standard_error(table: Scores) -> tuple[float, float]:
    """The standard error of a table's mean, (seeds, problems) with two problems or more, and its degrees of freedom.

    Both are 0 for a constant table. Of one seed it is over problems alone.
    """
    seeds, problems = table.shape
    if seeds == 1:
        alone = float(table.std(ddof=1) / np.sqrt(problems))
        return alone, problems - 1.0 if alone else 0.0
    mean, by_seed, by_problem = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - by_seed[:, None] - by_problem + mean
    of_seeds = problems * by_seed.var(ddof=1)
    of_problems = seeds * by_problem.var(ddof=1)
    of_rest = (rest**2).sum() / ((seeds - 1) * (problems - 1))
    of_seeds = max(of_seeds, of_rest)
    total = of_seeds + max(of_problems - of_rest, 0.0)
    if total == 0:
        return 0.0, 0.0
    freedom = (seeds - 1) * (total / of_seeds) ** 2 if of_seeds else np.inf
    return float(np.sqrt(total / table.size)), float(min(freedom, problems - 1))


def of_ratio(parts: Scores, wholes: Scores) -> Scores:
    """What each cell adds to the ratio of two sums, to first order: its mean is 0, its standard error the ratio's."""
    return (parts - parts.sum() / wholes.sum() * wholes) / wholes.mean()


def coverage(
    interval: Callable[[Scores], tuple[float, float]], seeds: int, problems: int = 300, chance: float = 0.5,
    of_seeds: float = 0.15, of_problems: float = 2.0, tables: int = 1_000, seed: int = 0,
) -> float:  # fmt: skip
    """How often an interval holds the truth, over simulated tables of problems that were solved or not.

    A training's skill and a problem's difficulty are normal, on the scale of log-odds; they decide with what
    probability a cell is 1.

    Args:
        interval: from a table (seeds, problems) to its two ends.
        chance: of an average training to solve an average problem.
        of_seeds, of_problems: standard deviations of skill and of difficulty; 0.15 is a spread over trainings of about
            two points, 2.0 means that most problems are mostly solved or mostly not.
    """
    rng, centre = np.random.default_rng(seed), np.log(chance / (1 - chance))
    spread = np.hypot(of_seeds, of_problems)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    truth = float(weights @ expit(centre + spread * nodes) / weights.sum())
    held = 0
    for _ in range(tables):
        skill, difficulty = rng.normal(0, of_seeds, (seeds, 1)), rng.normal(0, of_problems, problems)
        low, high = interval((rng.random((seeds, problems)) < expit(centre + skill + difficulty)).astype(float))
        held += low <= truth <= high
    return held / tables
