"""More than the last round: how often each round mends, how fast that decays, and what refinements break.

Of several seeds all intervals are over trainings and problems, as in :mod:`~cycle_utils.analysis.stats`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from statsmodels.stats.contingency_tables import mcnemar

from cycle_utils.analysis import metrics, stats
from cycle_utils.execution import cluster
from cycle_utils.problems import Problem

Loops = Sequence[pd.DataFrame]  # attempts, one table for each seed
Counts = NDArray[np.float64]  # (rounds, seeds, problems)
NEVER = "never"
_STEEPEST = 30.0  # a decay beyond it is none that counts could tell
WRONG, UNPARSED = "wrong value", "does not parse"
_PARSER = ("SyntaxError", "IndentationError", "TabError")
FEWER, ALIKE, MORE, MENDED = CHANGES = ("fewer", "as many", "more", "all")


def repairs(loops: Loops, rounds: int) -> tuple[Counts, Counts]:
    """How many programs each round mended, and how many were still wrong when it began: rounds 1 to ``rounds``."""
    tables = []
    for attempts in loops:
        refined = attempts[attempts["round"] > 0]
        by = [refined["task_id"], refined["round"]]
        shape = {"index": sorted(attempts["task_id"].unique()), "columns": range(1, rounds + 1)}
        counts = refined["passed"].astype(float).groupby(by).agg(["sum", "count"])
        tables.append([counts[one].unstack().reindex(**shape).fillna(0.0).to_numpy().T for one in counts])
    mended, live = (np.stack(one, axis=1) for one in zip(*tables))
    return mended, live


def in_turn(samples: pd.DataFrame) -> pd.DataFrame:
    """Independent samples as if each were tried because the one before had failed: the n-th is round n.

    What decays there is no tiring of the model's: problems that are often solved leave first.
    """
    tries = samples.assign(round=samples["sample"], sample=0)
    passed_at = tries["round"].where(tries["passed"].astype(bool)).groupby(tries["task_id"]).transform("min")
    return tries[~(tries["round"] > passed_at)]


def repair_rates(mended: Counts, live: Counts) -> pd.DataFrame:
    """Of the programs that are still wrong, the share that each round mends.

    Returns:
        ``round, value, low, high, n, live`` (programs, all seeds) and ``by_seed``; NaN where none was left.
    """
    rows = []
    for number, (part, whole) in enumerate(zip(mended, live), 1):
        each = [a / b if b else np.nan for a, b in zip(part.sum(axis=1), whole.sum(axis=1))]
        about = {"round": number, **vars(stats.ratio_interval(part, whole))}
        rows.append({**about, "live": int(whole.sum()), "by_seed": each})
    return pd.DataFrame(rows)


def fitted(mended: Counts, live: Counts) -> tuple[float, float]:
    """The repair rate of round 1 and its decay a round, as ``start * exp(-decay * (round - 1))``.

    By maximum likelihood of counts (Poisson): the fitted mends have the number and the mean round of those that were
    seen. Where mends were seen in one round alone, or in none, no decay is known (NaN).

    Source: the exponential is of Adnan and Kuhn 2025, *The Debugging Decay Index* (arXiv 2506.18403), who fit it by
    least squares to the solved as a share of all problems. A share of those still wrong does not fall for want of them.
    """
    y, n = (one.reshape(len(one), -1).sum(axis=1) for one in (mended, live))
    after = np.arange(len(y))
    if (y > 0).sum() < 2:
        return float("nan"), float("nan")
    wanted = after @ y / y.sum()

    def beyond(decay: float) -> float:
        expected = n * np.exp(-decay * after)
        return after @ expected / expected.sum() - wanted

    decay = brentq(beyond, -_STEEPEST, _STEEPEST)
    return float(y.sum() / (n @ np.exp(-decay * after))), float(decay)


def decay_cells(mended: Counts, live: Counts) -> NDArray[np.float64]:
    """What each cell (seeds, problems) adds to the decay, to first order, as :func:`~.crossed.of_ratio` for a ratio."""
    start, decay = fitted(mended, live)
    slope = -np.arange(len(live), dtype=float)[:, None, None]
    expected = live * start * np.exp(decay * slope)
    score = [((mended - expected) * by).sum(axis=0) for by in (1, slope)]
    a, b, c = (float((expected * by).sum()) for by in (1, slope, slope**2))
    return (a * score[1] - b * score[0]) / (a * c - b * b) * score[0].size


def decay(mended: Counts, live: Counts) -> stats.Difference:
    """The decay a round with its interval, and the p-value that there is none; 0.69 halves the rate."""
    found = fitted(mended, live)[1]
    if np.isnan(found):
        return stats.Difference(*[found] * 3, live.shape[2], found)
    return stats.difference_of(found, decay_cells(mended, live))


def decay_gap(ours: tuple[Counts, Counts], theirs: tuple[Counts, Counts]) -> stats.Difference:
    """How much faster one repair rate decays than another, of the same seeds and problems."""
    found = fitted(*ours)[1] - fitted(*theirs)[1]
    if np.isnan(found):
        return stats.Difference(*[found] * 3, ours[1].shape[2], found)
    return stats.difference_of(found, decay_cells(*ours) - decay_cells(*theirs))


def farthest(mended: Counts, live: Counts) -> float:
    """The greatest distance of a round's repair rate from :func:`fitted`; NaN where none is."""
    start, rate = fitted(mended, live)
    seen = repair_rates(mended, live)["value"] if len(live) else pd.Series(dtype=float)
    return float((seen - start * np.exp(-rate * np.arange(len(live)))).abs().max())


def in_words(found: stats.Difference) -> str:
    """A decay or a difference of two: ``0.66 a round [0.52, 0.79], p < 0.001``."""
    if np.isnan(found.value):
        return "undefined"
    return f"{found.value:.2f} a round [{found.low:.2f}, {found.high:.2f}], {str(found).rpartition(', ')[2]}"


def first_fix(loops: Loops, rounds: int) -> pd.DataFrame:
    """Share of the problems that are solved first in each round, 0 being the one-time try, or never.

    Returns:
        ``round, value, low, high, n, by_seed``; the values add up to 1.
    """
    tables = [metrics.solved_by_round(one, rounds).groupby("task_id").mean().sort_index() for one in loops]
    by = np.stack([one.to_numpy(float) for one in tables]).transpose(2, 0, 1)
    first = [*np.diff(by, axis=0, prepend=0.0), 1 - by[-1]]
    return pd.DataFrame([
        {"round": r, **vars(stats.interval(one)), "by_seed": list(one.mean(axis=1))}
        for r, one in zip([*map(str, range(rounds + 1)), NEVER], first)
    ])  # fmt: skip


def both_failed(ours: Loops, theirs: Loops, rounds: int) -> tuple[pd.DataFrame, stats.Difference]:
    """Who mends more of the problems that *both* models failed at the first try.

    Returns:
        for each seed ``seed`` (its place), ``failed`` (by both), ``ours``, ``theirs`` (mended by one alone), ``both``
        and ``p`` of McNemar's exact test; and the difference of the shares mended, over seeds and problems. A test of
        one seed says what other problems could have given, the difference what other trainings could have, too.
    """
    ends = [[metrics.solved_by_round(one, rounds).sort_index() for one in loops] for loops in (ours, theirs)]
    first, last = (np.stack([[one[r].to_numpy(bool) for one in side] for side in ends]) for r in (0, rounds))
    failed = ~first.any(axis=0)
    mended = last & failed
    rows = []
    for seed, (a, b, of) in enumerate(zip(*mended, failed)):
        alone = int((a & ~b).sum()), int((b & ~a).sum())
        p = mcnemar([[0, alone[0]], [alone[1], 0]], exact=True).pvalue if sum(alone) else 1.0
        about = {"seed": seed, "failed": int(of.sum()), "ours": alone[0], "theirs": alone[1]}
        rows.append({**about, "both": int((a & b).sum()), "p": float(p)})
    return pd.DataFrame(rows), stats.ratio_difference(mended[0], failed, mended[1], failed)


# --- what a refinement breaks ----------------------------------------------------------------------------


def tests_passed(problems: Sequence[Problem], tables: Sequence[pd.DataFrame]) -> dict[tuple[str, str], int]:
    """How many tests each program of some attempts passes, by task_id and code; each is judged once."""
    by_id = {problem.task_id: problem for problem in problems}
    pairs = list(dict.fromkeys(pair for table in tables for pair in zip(table["task_id"], table["code"])))
    with cluster.judge() as judge:
        verdicts = judge.run([by_id[task] for task, _ in pairs], [code for _, code in pairs])
    return {pair: sum(test.status == "passed" for test in one.tests) for pair, one in zip(pairs, verdicts)}


def refined(attempts: pd.DataFrame) -> pd.DataFrame:
    """Each refinement beside the program that it was shown, whose columns end in ``_before``."""
    before = attempts.assign(round=attempts["round"] + 1)
    return attempts.merge(before, on=[*metrics.TRAJECTORY, "round"], suffixes=("", "_before"))


def changes(attempts: pd.DataFrame, passed: Mapping[tuple[str, str], int]) -> pd.Series:
    """Which of :data:`CHANGES` each of :func:`refined` is: how many tests pass, compared with the program before."""
    table = refined(attempts)
    now, then = ([passed[pair] for pair in zip(table["task_id"], table[code])] for code in ("code", "code_before"))
    gain = np.sign(np.subtract(now, then))
    return pd.Series(np.where(table["passed"], MENDED, np.array(CHANGES)[gain.astype(int) + 1]), table["task_id"])


def change_shares(loops: Loops, passed: Mapping[tuple[str, str], int]) -> dict[str, dict[str, float]]:
    """Of all refinements, the share that is each of :data:`CHANGES`, with its interval and their number."""
    ids = sorted({task for one in loops for task in one["task_id"]})
    found = [changes(attempts, passed) for attempts in loops]
    counts = [pd.crosstab(one.index, one).reindex(index=ids, columns=CHANGES, fill_value=0) for one in found]
    table = np.stack([one.to_numpy(float) for one in counts])  # (seeds, problems, changes)
    of = table.sum(axis=2)
    return {
        name: {**vars(stats.ratio_interval(table[..., i], of)), "refinements": int(of.sum())}
        for i, name in enumerate(CHANGES)
    }


def stop_running(loops: Loops) -> stats.Interval:
    """Of the refinements of programs that ran and gave a wrong value, the share that no longer runs to its end."""
    tables = [refined(one) for one in loops]
    ran = [one["status_before"] == "failed" for one in tables]
    stopped = [which & ~one["status"].isin(["failed", "passed"]) for which, one in zip(ran, tables)]
    return stats.ratio_interval(_by_problem(loops, tables, stopped), _by_problem(loops, tables, ran))


def _by_problem(loops: Loops, tables: Sequence[pd.DataFrame], which: Sequence[pd.Series]) -> NDArray[np.float64]:
    """How many rows of each seed's table are meant, by problem: (seeds, problems) of the loops."""
    ids = sorted({task for one in loops for task in one["task_id"]})
    counts = [one["task_id"][mask].value_counts().reindex(ids, fill_value=0) for one, mask in zip(tables, which)]
    return np.stack([one.to_numpy(float) for one in counts])


def kind(status: str, feedback: str) -> str:
    """What was wrong with a program, as its feedback says it: an exception's name, or one of a few words."""
    if status in ("passed", "timeout", "crashed"):
        return status
    error = re.search(r"^Error: (\w+)", feedback, re.MULTILINE)
    return WRONG if error is None else UNPARSED if error[1] in _PARSER else error[1]


def kinds(loops: Loops) -> pd.DataFrame:
    """By the kind of error: how many programs with it were shown, which share was mended, how often it was made.

    *Made* counts refinements that have this kind of error where the program shown had another one.

    Returns:
        ``kind, shown, value, low, high, n, made``, the most shown first; counts are of all seeds.
    """
    tables = [refined(one) for one in loops]
    for table in tables:
        for end in ("", "_before"):
            table[f"kind{end}"] = list(map(kind, table[f"status{end}"], table[f"feedback{end}"]))
    rows = []
    for name in pd.concat([one["kind_before"] for one in tables]).value_counts().index:
        shown = [one["kind_before"] == name for one in tables]
        wholes = _by_problem(loops, tables, shown)
        parts = _by_problem(loops, tables, [which & one["passed"].astype(bool) for which, one in zip(shown, tables)])
        made = sum(int(((one["kind"] == name) & (one["kind_before"] != name)).sum()) for one in tables)
        mended = vars(stats.ratio_interval(parts, wholes))
        rows.append({"kind": name, "shown": int(wholes.sum()), **mended, "made": made})
    return pd.DataFrame(rows, columns=["kind", "shown", "value", "low", "high", "n", "made"])
