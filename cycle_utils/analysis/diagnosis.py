"""Diagnosis: where a loop loses its points on TinyPrograms, where programs can be taken apart and evidence counted.

A program is a *skeleton* with its slots filled: some as the description says (closed), some that only execution can
tell (open). :func:`diagnosed` says of each attempt what is wrong with it, what the refinement did, how much its
feedback told, and whether one of two *oracles* would have made it pass: one reads the evidence and keeps the program,
the other mends all that the description says and keeps what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from cycle_utils.analysis import metrics, stats
from cycle_utils.models.programs import syntax
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp

FAULTS = ONE, SEVERAL, CLOSED, SKELETON = ("one open slot", "several open slots", "a closed slot", "another skeleton")
MOVES = MENDED, AGAIN, OTHER, NEARER, BROKEN = (
    "a solution", "a program tried before", "wrong in another way", "fewer slots wrong", "what was right broken",
)  # fmt: skip
Slots = Mapping[str, int | None]  # what tinyprograms.recover gives


def wrong_slots(task: tp.Task, slots: Slots | None) -> frozenset[str] | None:
    """Names of the slots that are filled otherwise than in the task; ``None`` for another skeleton."""
    return None if slots is None else frozenset(name for name, value in slots.items() if value != task.values[name])


def fault(task: tp.Task, wrong: frozenset[str] | None) -> str | None:
    """Which of :data:`FAULTS` a program has, by its :func:`wrong_slots`; ``None`` if no slot is wrong.

    With a closed slot wrong, open ones may be so, too.
    """
    if wrong is None:
        return SKELETON
    if wrong - task.open:
        return CLOSED
    return {0: None, 1: ONE}.get(len(wrong), SEVERAL)


def move(before: frozenset[str] | None, after: frozenset[str] | None, passed: bool, again: bool) -> str:
    """Which of :data:`MOVES` a refinement is, by the wrong slots of two programs (``None``: another skeleton)."""
    if passed or again:
        return MENDED if passed else AGAIN
    if before is None:
        return OTHER if after is None else NEARER
    if after is None or after - before:
        return BROKEN
    return NEARER if after < before else OTHER


class Evidence:
    """What a problem's description leaves open, and what its tests tell about it."""

    def __init__(self, problem: Problem):
        self.problem, self.task = problem, problem.meta["task"]
        self.truth = tp.evaluate(self.task, problem.meta["calls"])
        self._after: dict[frozenset[int], tuple[int, bool]] = {}

    @cached_property
    def outcomes(self) -> list[tp.Outcome]:
        """Every reading, with what it gives on each test."""
        return tp.outcomes(self.problem)

    def right(self, outputs: Sequence[Any]) -> bool:
        """Whether a program with these outputs passes all tests."""
        return all(map(tp.same, outputs, self.truth))

    def test_of(self, feedback: str) -> int | None:
        """Number of the test that a feedback shows; ``None`` if it names no input."""
        for number, call in enumerate(self.problem.meta["calls"]):
            if feedback.startswith(f"Input: {self.problem.entry_point}({', '.join(call)})\n"):
                return number
        return None

    def after(self, tests: Iterable[int | None]) -> tuple[int, bool]:
        """How many readings agree with these tests, and whether the most probable of them is right."""
        shown = frozenset(tests) - {None}
        if shown not in self._after:
            left = [one for one in self.outcomes if all(tp.same(one[2][test], self.truth[test]) for test in shown)]
            self._after[shown] = len(left), self.right(tp.likeliest(left)[2])
        return self._after[shown]

    def passes(self, slots: Slots | None, test: int | None) -> bool:
        """Whether a program passes one test; not one with another skeleton, or with a filling that is no value."""
        if slots is None or None in slots.values() or test is None:
            return False
        (output,) = tp.evaluate(self.task, [self.problem.meta["calls"][test]], slots)
        return tp.same(output, self.truth[test])

    def well_read(self, slots: Slots | None) -> bool:
        """Whether a program's open slots are right; another skeleton counts as yes, in favour of the oracle."""
        if slots is None:
            return True
        read = {name: slots[name] for name in self.task.open}
        return any(values == read and self.right(outputs) for values, _, outputs in self.outcomes)

    def guessed(self, tries: int) -> float:
        """Chance (0 to 1) that one of so many different readings, drawn at random, is right."""
        right = sum(self.right(outputs) for _, _, outputs in self.outcomes)
        return metrics.pass_at_k(len(self.outcomes), right, min(tries, len(self.outcomes)))


def diagnosed(attempts: pd.DataFrame, evidence: Mapping[str, Evidence]) -> pd.DataFrame:
    """The attempts of a loop with what is known of each.

    Args:
        attempts: as :mod:`~cycle_utils.analysis.metrics` wants them, with ``feedback``.
        evidence: of each problem, by task_id.

    Returns:
        the attempts, with

        - ``wrong`` (see :func:`wrong_slots`) and ``fault`` (None for what passed);
        - ``latest``, ``earlier`` and ``tree``: whether it is the program of the round before, one of any round before,
          or one of these up to the syntax tree;
        - ``left``: how many readings agree with the feedback that it answers;
        - ``move`` and ``heeds``, None for first tries: what it does, and whether it passes the test that it was shown;
        - ``read``: whether it, or its skeleton and closed slots with the most probable reading that agrees with all
          feedback so far, passes; ``read_latest``: the same with the latest feedback alone;
        - ``repaired``: whether it, or its open slots in a right skeleton with right closed slots, passes.
    """
    rows = []
    for (task_id, _), tried in attempts.groupby(metrics.TRAJECTORY, sort=False):
        rows += _trajectory(list(tried.sort_values("round").itertuples()), evidence[task_id])
    return attempts.join(pd.DataFrame(rows).set_index("at"))


def _trajectory(tried: Sequence[Any], known: Evidence) -> list[dict[str, Any]]:
    slots = [tp.recover(known.task, row.code) for row in tried]
    wrong = [wrong_slots(known.task, one) for one in slots]
    tests = [known.test_of(row.feedback) for row in tried]
    codes, rows = [row.code for row in tried], []
    trees = [syntax(code) or code for code in codes]
    for i, row in enumerate(tried):
        latest, again = tests[max(i - 1, 0) : i], trees[i] in trees[:i]
        described = wrong[i] is not None and wrong[i] <= known.task.open
        rows.append({
            "at": row.Index, "wrong": wrong[i], "fault": None if row.passed else fault(known.task, wrong[i]),
            "latest": i > 0 and codes[i] == codes[i - 1], "earlier": codes[i] in codes[:i], "tree": again,
            "left": known.after(latest)[0],
            "move": move(wrong[i - 1], wrong[i], row.passed, again) if i else None,
            "heeds": row.passed or known.passes(slots[i], tests[i - 1]) if i else None,
            "read": row.passed or (described and known.after(tests[:i])[1]),
            "read_latest": row.passed or (described and known.after(latest)[1]),
            "repaired": row.passed or known.well_read(slots[i]),
        })  # fmt: skip
    return rows


def shares(
    tables: Sequence[pd.DataFrame], of: str, kinds: Sequence[Any], by: str, groups: Sequence[Any]
) -> pd.DataFrame:
    """How often each kind occurs among the attempts of each group, with intervals.

    Args:
        tables: attempts of each seed, on the same problems.
        of: the column of kinds; attempts without one do not count.
        kinds: those that are told.
        by: the column of groups; groups: those that are told, in their order.

    Returns:
        columns ``by``, ``of``, ``value, low, high, n``, ``by_seed`` and ``count``, attempts of that kind in all seeds;
        no rows for a group without attempts.
    """
    tasks, rows = sorted(set().union(*(table["task_id"] for table in tables))), []
    for group in groups:
        of_group = [table[table[by] == group] for table in tables]
        counts = [pd.crosstab(table["task_id"], table[of]).reindex(tasks, fill_value=0) for table in of_group]
        wholes = np.array([one.sum(axis=1) for one in counts], float)
        for kind in kinds if wholes.sum() else ():
            parts = np.array([one.get(kind, 0 * one.sum(axis=1)) for one in counts], float)
            each = [float(part / whole) for part, whole in zip(parts.sum(1), wholes.sum(1)) if whole]
            found = {**vars(stats.ratio_interval(parts, wholes)), "by_seed": each, "count": int(parts.sum())}
            rows.append({by: group, of: kind, **found})
    return pd.DataFrame(rows, columns=[by, of, "value", "low", "high", "n", "by_seed", "count"])


def open_slots(tables: Sequence[pd.DataFrame], evidence: Mapping[str, Evidence]) -> pd.DataFrame:
    """One row for each open slot of each trajectory: whether the first and the last program fill it rightly.

    Returns:
        columns ``seed`` (0 for the first table), ``task_id, slot, evidence, first, last``; a slot is right in what
        passed, whatever its value, and wrong in another skeleton.
    """
    rows = []
    for seed, table in enumerate(tables):
        for (task_id, _), tried in table.sort_values("round").groupby(metrics.TRAJECTORY, sort=False):
            ends = {"first": tried.iloc[0], "last": tried.iloc[-1]}
            for slot, strength in evidence[task_id].problem.meta["open"].items():
                right = {
                    name: bool(end.passed) or (end.wrong is not None and slot not in end.wrong)
                    for name, end in ends.items()
                }
                rows.append({"seed": seed, "task_id": task_id, "slot": slot, "evidence": strength, **right})
    return pd.DataFrame(rows, columns=["seed", "task_id", "slot", "evidence", "first", "last"])


def favourites(choices: pd.DataFrame) -> pd.DataFrame:
    """What a probed LM would choose: one row for each program that it was asked about.

    Args:
        choices: as :func:`~cycle_utils.method.probing.choices_of` gives them. Of the ways to write a value the one that
            scores highest counts.

    Returns:
        columns ``task_id, evidence``, ``right`` and ``shown`` (whether the favourite is the right value, or the one of
        the faulty program), ``right_else`` (whether it is right once the faulty program's is ruled out), ``chance`` and
        ``chance_else`` (0 to 1, of a blind choice).
    """
    rows = []
    for (task_id, _, _), asked in choices.groupby(["task_id", "sample", "round"], sort=False):
        values = asked.sort_values("score", ascending=False, kind="stable").drop_duplicates("value")
        others = values[~values["shown"]]
        rows.append({
            "task_id": task_id, "evidence": asked["evidence"].iloc[0],
            "right": bool(values["right"].iloc[0]), "shown": bool(values["shown"].iloc[0]),
            "right_else": bool(others["right"].iloc[0]), "chance": 1 / len(values), "chance_else": 1 / len(others),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["task_id", "evidence", "right", "shown", "right_else", "chance", "chance_else"])
