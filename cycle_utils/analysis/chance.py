"""Copies beyond chance: two independent answers to one prompt may be equal too, without any copying."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cycle_utils.analysis import crossed, metrics, stats

Loops = Sequence[pd.DataFrame]  # attempts, one table for each seed
COPIES, CHANCE, BEYOND = SHARES = ("copies in round 1", "equal by chance", "beyond chance")


def copies_and_chance(attempts: pd.DataFrame, samples: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exact copies of round 1, and what :func:`~cycle_utils.analysis.metrics.chance_by_problem` gives in their place.

    Args:
        attempts: of a loop, with :func:`~cycle_utils.analysis.metrics.add_copies`.
        samples: independent answers of its model, as in :func:`~cycle_utils.analysis.metrics.chance_by_problem`.

    Returns:
        two tables with columns ``copies`` and ``attempts``, index task_id in the same order. In the second ``copies``
        is an expected number: a problem's share of pairs that agree, for each of its failing first tries.
    """
    copied = metrics.copies_by_problem(attempts, "exact", 1).sort_index()
    pairs = metrics.chance_by_problem(attempts, samples).sort_index()
    failing = attempts[(attempts["round"] == 0) & ~attempts["done"].astype(bool)].groupby("task_id").size()
    failing = failing.reindex(pairs.index, fill_value=0)
    expected = (pairs["copies"] / pairs["attempts"]).fillna(0.0) * failing
    return copied, pd.DataFrame({"copies": expected, "attempts": failing})


def against_chance(loops: Loops, samples: Loops) -> pd.DataFrame:
    """The share of copies in round 1, the share that chance gives, and the difference, problems paired.

    Args:
        loops, samples: as in :func:`copies_and_chance`, one of each for each seed.

    Returns:
        one row for each of :data:`SHARES`: ``share, value, low, high, n``, and ``p`` of the difference.
    """
    copied, chance = _of_seeds(loops, samples)
    found = stats.ratio_interval(*copied), stats.ratio_interval(*chance), stats.ratio_difference(*copied, *chance)
    return pd.DataFrame([{"share": share, **vars(one)} for share, one in zip(SHARES, found)])


def excess_gap(ours: tuple[Loops, Loops], theirs: tuple[Loops, Loops]) -> stats.Difference:
    """How much more of its failing first tries one model copies beyond chance than another, seeds and problems paired.

    Args:
        ours, theirs: loops and samples of a model, as in :func:`against_chance`.

    Returns:
        NaN throughout when nothing failed at the first try of either.
    """
    value, cells = 0.0, 0.0
    for sign, model in ((1, ours), (-1, theirs)):
        for part, (copied, of) in zip((sign, -sign), _of_seeds(*model)):
            if not of.sum():
                return stats.Difference(*[float("nan")] * 3, of.shape[1], float("nan"))
            value += part * copied.sum() / of.sum()
            cells = cells + part * crossed.of_ratio(copied, of)
    return stats.difference_of(float(value), cells)


def _of_seeds(loops: Loops, samples: Loops) -> tuple[np.ndarray, np.ndarray]:
    """:func:`copies_and_chance` of each seed: two arrays, each (copies and attempts, seeds, problems)."""
    pairs = [copies_and_chance(loop, drawn) for loop, drawn in zip(loops, samples, strict=True)]
    copied, chance = (np.stack([table.to_numpy(float).T for table in tables], axis=1) for tables in zip(*pairs))
    return copied, chance
