"""Scores of a table of attempts: pass@k, pass rates by round, copy rates. Nothing here draws or resamples.

The common currency is an *attempts* table: one row per program that was tried, with at least the columns

- ``task_id`` (str) and ``sample`` (int): the trajectory, one of several independent ones of a problem;
- ``round`` (int): 0 for the one-time try, 1, 2, ... for refinements;
- ``completion`` (str), and ``code`` (str): the program as a refine prompt shows it, which is what can be copied;
- ``status`` (str) and ``passed`` (bool).

A trajectory that has passed is frozen: it has no later rows.
"""

from __future__ import annotations

import io
import tokenize
from math import comb

import pandas as pd

from cycle_utils.models.programs import syntax

COPY_KINDS = ("exact", "whitespace", "syntax")  # each includes the one before it
UNCHANGED = "unchanged"  # another program that does the same: no copy, and no refinement either
TRAJECTORY = ["task_id", "sample"]
FEW_CUT = 0.02  # share of programs that may be cut at the most tokens without a warning


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of ``k`` samples passes, estimated without bias from ``c`` passes among ``n``.

    Source: Chen et al. 2021, *Evaluating Large Language Models Trained on Code*, equation 1. Integers keep
    it exact, where the product form of the original guards against overflow.

    Raises:
        ValueError: unless ``0 <= c <= n`` and ``1 <= k <= n``.
    """
    if not 0 <= c <= n:
        raise ValueError(f"{c} passes among {n} samples cannot be; give 0 <= c <= n")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples; draw at least k samples, and k at least 1")
    return 1.0 - comb(n - c, k) / comb(n, k)


def cut_off(attempts: pd.DataFrame) -> tuple[int, int]:
    """How many programs were cut at the most tokens, and of how many it is known why they ended."""
    if "ended" not in attempts:
        return 0, 0
    ended = attempts["ended"].fillna("")
    return int((ended == "length").sum()), int((ended != "").sum())


def solved_by_round(attempts: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """Which trajectories have passed by each round.

    Returns:
        bool, index (task_id, sample) in order of appearance, columns 0 to ``rounds``; never true, then false.

    Raises:
        ValueError: no attempts, a negative number of rounds, or a trajectory without a round 0.
    """
    if rounds < 0:
        raise ValueError(f"rounds is {rounds}; give 0 (one-time generation) or more")
    if attempts.empty:
        raise ValueError("there are no attempts to score; run the loop on at least one problem")
    first = attempts.groupby(TRAJECTORY, sort=False)["round"].min()
    if (first != 0).any():
        raise ValueError(f"trajectory {first.index[first != 0][0]} has no round 0; pass the whole attempts table")
    solved = attempts[attempts["passed"].astype(bool)].groupby(TRAJECTORY)["round"].min().reindex(first.index)
    return pd.DataFrame({r: solved <= r for r in range(rounds + 1)}).rename_axis(columns="round")


def pass_rate_by_round(attempts: pd.DataFrame, rounds: int) -> pd.Series:
    """Share of solved trajectories (0 to 1) by round, 0 to ``rounds``; each problem weighs the same."""
    solved = solved_by_round(attempts, rounds)
    return solved.groupby("task_id").mean().mean().rename("pass_rate")


def budget_pass(attempts: pd.DataFrame, k: int) -> pd.Series:
    """pass@k of each problem from its independent round-0 samples: the control at equal budget.

    A loop of one try and r refinements is to be set beside ``k = 1 + r`` (Olausson et al. 2024, *Is
    Self-Repair a Silver Bullet for Code Generation?*).

    Returns:
        float, index task_id in order of appearance.

    Raises:
        ValueError: a problem has fewer than ``k`` samples.
    """
    passed = attempts[attempts["round"] == 0].groupby("task_id", sort=False)["passed"].agg(["size", "sum"])
    if (short := passed.index[passed["size"] < k]).size:
        raise ValueError(f"{short[0]} has {passed['size'][short[0]]} independent samples, fewer than the {k} asked for")
    return passed.apply(lambda row: pass_at_k(int(row["size"]), int(row["sum"]), k), axis=1).rename(f"pass@{k}")


# --- copies ----------------------------------------------------------------------------------------------


def copies(previous: str, current: str) -> dict[str, bool]:
    """Whether ``current`` hands ``previous`` back, by three measures, each weaker than the one before.

    - ``exact``: the same characters.
    - ``whitespace``: the same Python tokens, nested alike. Blank lines, blanks between tokens and at line ends,
      and the width of an indentation do not matter; a changed nesting or a blank inside a string does. Text
      that Python cannot tokenize is compared by its lines that are not blank: indentation and words.
    - ``syntax``: the same syntax tree, so that comments, redundant parentheses, quotes and line breaks do not
      matter either. Text that Python cannot parse is compared up to white space.

    Any text may be given: what breaks a parser counts as unparsable.
    """
    exact = previous == current
    whitespace = exact or _tokens(previous) == _tokens(current)
    tree = None if whitespace else syntax(previous)
    alike = whitespace or (tree and tree == syntax(current)) is True
    return {"exact": exact, "whitespace": whitespace, "syntax": alike}


# Deeply nested text exhausts the recursion limit; null bytes and lone surrogates are ValueErrors.
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)
_BLANK = (tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
_LAYOUT = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def _tokens(text: str) -> list[tuple]:
    """Tokens as (kind, text), layout by its kind alone; for text without tokens, (indentation, words) by line."""
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except _UNREADABLE:
        lines = [line.expandtabs() for line in text.splitlines() if line.strip()]
        return [(len(line) - len(line.lstrip()), *line.split()) for line in lines]
    kept = [t for t in found if t.type in _LAYOUT or not (t.type in _BLANK or t.string.isspace())]
    return [
        (t.type, "" if t.type in _LAYOUT else " ".join(t.string.split()) if t.type == tokenize.COMMENT else t.string)
        for t in kept
    ]


def add_copies(attempts: pd.DataFrame) -> pd.DataFrame:
    """The attempts with ``copy_exact``, ``copy_whitespace``, ``copy_syntax`` and ``copy_unchanged``, in their order.

    Each refinement's ``code`` is compared with that of the same trajectory's previous round; round 0, and a
    row whose previous round is missing, has NA (dtype ``boolean``). ``copy_unchanged`` marks programs that are no
    copy by any measure and yet give the same on every test; it needs the column ``behaviour``, and is NA without.
    """
    kinds = [*COPY_KINDS, UNCHANGED]
    previous = {(row.task_id, row.sample, row.round): row for row in attempts.itertuples()}
    found = []
    for row in attempts.itertuples():
        before = previous.get((row.task_id, row.sample, row.round - 1))
        found.append(dict.fromkeys(kinds, pd.NA) if before is None else _compared(before, row))
    columns = pd.DataFrame(found, index=attempts.index, columns=kinds).astype("boolean").add_prefix("copy_")
    return attempts.drop(columns=columns.columns, errors="ignore").join(columns)


def _compared(before, row) -> dict[str, bool]:
    alike = copies(before.code, row.code)
    if not hasattr(row, "behaviour"):
        return {**alike, UNCHANGED: pd.NA}
    return {**alike, UNCHANGED: before.behaviour == row.behaviour and not alike["syntax"]}


def copies_by_problem(attempts: pd.DataFrame, kind: str = "exact", round: int | None = None) -> pd.DataFrame:
    """How many refinement attempts each problem had (of one round, or of all), and how many were copies.

    Returns:
        int columns ``copies`` and ``attempts``, index task_id; problems without a refinement have 0 and 0.
        The two columns are what ``stats.ratio_interval`` takes.

    Raises:
        ValueError: unknown kind of copy, or round below 1.
    """
    if kind not in (*COPY_KINDS, UNCHANGED):
        raise ValueError(f"unknown kind of copy {kind!r}; choose one of {', '.join((*COPY_KINDS, UNCHANGED))}")
    if round is not None and round < 1:
        raise ValueError(f"round {round} has no refinements to be copies; give 1 or more, or None for all rounds")
    column = f"copy_{kind}"
    table = attempts if column in attempts else add_copies(attempts)
    copied = table[column] if round is None else table[column].where(table["round"] == round)
    counts = copied.groupby(table["task_id"], sort=False).agg(["sum", "count"]).astype(int)
    return counts.set_axis(["copies", "attempts"], axis=1)


def chance_by_problem(attempts: pd.DataFrame, samples: pd.DataFrame, kind: str = "exact") -> pd.DataFrame:
    """How often an independent answer to the first prompt is the failing first try anyway: copies by chance.

    The first tries are those of a loop; the others, its model's samples for the same prompts, are best drawn at the
    temperature of its refinements. A share of copies in round 1 says something about copying only beyond this one.

    Args:
        attempts: of a loop; only failing first tries count.
        samples: round-0 attempts of the same model on the same problems, independent of the loop.

    Returns:
        int columns ``copies`` and ``attempts`` (pairs that agree, pairs), index task_id as in
        :func:`copies_by_problem`; problems without a failing first try have 0 and 0.

    Raises:
        ValueError: a problem of the loop has no samples.
    """
    drawn = samples[samples["round"] == 0].groupby("task_id")["code"].apply(list)
    first = attempts[attempts["round"] == 0]
    if (missing := ~first["task_id"].isin(drawn.index)).any():
        name = first["task_id"][missing].iloc[0]
        raise ValueError(f"{name} has no independent samples to compare its first try with")
    rows = []
    for row in first.itertuples():
        others = [] if row.done else drawn[row.task_id]
        agree = sum(copies(row.code, other)[kind] for other in others)
        rows.append({"task_id": row.task_id, "copies": agree, "attempts": len(others)})
    return pd.DataFrame(rows).groupby("task_id", sort=False).sum()


def copy_rate(attempts: pd.DataFrame, kind: str = "exact", round: int | None = None) -> float:
    """Share (0 to 1) of refinement attempts that copy, of one round or of all; NaN when there were none."""
    counts = copies_by_problem(attempts, kind, round).sum()
    return counts["copies"] / counts["attempts"] if counts["attempts"] else float("nan")
