"""The ideal reader: what can be solved by knowing how problems are drawn, at first and after the feedback of failures.

It does not know that each program belongs to one split: a reader that did could rule out the readings of the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cycle_utils.problems.problem import Problem
from cycle_utils.problems.tinyprograms.generator import Task, evaluate, same
from cycle_utils.problems.tinyprograms.slots import prior


def readings(task: Task) -> Iterator[tuple[dict[str, int], float]]:
    """Every filling of the open slots with its prior probability; the other slots keep their values."""
    slots = [s for s in task.family.slots if s.name in task.open]
    for chosen in itertools.product(*(range(len(s.values)) for s in slots)):
        weight = 1.0
        for slot, index in zip(slots, chosen):
            weight *= prior(slot)[index]
        yield {s.name: i for s, i in zip(slots, chosen)}, weight


Outcome = tuple[dict[str, int], float, list[Any]]  # a reading, its prior probability, what each call gives


def outcomes(problem: Problem) -> list[Outcome]:
    """Every reading of a problem's description, with what it gives on each of the problem's calls."""
    task, calls = problem.meta["task"], problem.meta["calls"]
    return [(values, weight, evaluate(task, calls, values)) for values, weight in readings(task)]


def likeliest(table: Sequence[Outcome]) -> Outcome:
    """The most probable of some readings. Those that agree on every test are one answer: their weights add up."""
    return max(table, key=lambda row: sum(w for _, w, o in table if all(map(same, o, row[2]))))


@dataclass(frozen=True)
class Reader:
    """An ideal reader's walk through one problem: the readings it tries and when it is right."""

    tried: tuple[dict[str, int], ...]
    left: tuple[int, ...]  # readings still possible before each try
    solved: int | None  # round of the passing try; None if it never passes


def read_ideally(problem: Problem, rounds: int = 4, tests: str = "all") -> Reader:
    """Try the most probable reading; after each failure drop all readings that the shown test rules out.

    No other first try is right more often. Later tries are the most probable ones given all that was shown;
    a reader that tried for information instead could at most be better in the rounds after.
    """
    task, calls = problem.meta["task"], problem.meta["calls"]
    shown = range(len(calls)) if tests == "all" else range(len(problem.public_tests))
    truth = evaluate(task, calls)
    table = outcomes(problem)
    tried, left = [], []
    for attempt in range(rounds + 1):
        best = likeliest(table)
        tried.append(best[0])
        left.append(len(table))
        wrong = [i for i in range(len(calls)) if not same(best[2][i], truth[i])]
        if not wrong:
            return Reader(tuple(tried), tuple(left), attempt)
        test = next((i for i in wrong if i in shown), None)
        if test is None:  # nothing to learn from: strike this answer and go on
            table = [row for row in table if not all(map(same, row[2], best[2]))]
        else:
            table = [row for row in table if same(row[2][test], truth[test])]
    return Reader(tuple(tried), tuple(left), None)


def ceiling(problems: Sequence[Problem], rounds: int = 4, tests: str = "all") -> list[float]:
    """Pass rate of the ideal reader after each round, 0 to ``rounds``: shares of ``problems``."""
    solved = [read_ideally(problem, rounds, tests).solved for problem in problems]
    return [sum(s is not None and s <= r for s in solved) / max(len(solved), 1) for r in range(rounds + 1)]
