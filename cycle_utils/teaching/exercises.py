"""Exercises of the notebooks: an answer is checked, and the right one is not shown.

Each check has a name (the notebook's number and a letter) and compares an answer with the package's own
functions, or has the judge run it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cycle_utils.analysis import diagnosis, metrics, stats
from cycle_utils.execution import Judge
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.teaching.notebook import say

# Two readings of "the numbers above 3, in order": what 00b asks to tell apart.
READINGS = {
    "first": "def pick(values):\n    return [v for v in values if v > 3]\n",
    "second": "def pick(values):\n    return sorted(v for v in values if v > 3)\n",
}
# Five programs for "the second largest of a list", and what 02b asks: how does each one end?
ENDINGS = {
    "a": "def second(values):\n    return sorted(values)[-2]\n",
    "b": "def second(values):\n    return sorted(values)[1]\n",
    "c": "def second(values):\n    return values.sort()[-2]\n",
    "d": "def second(values):\n    while max(values) > min(values):\n        pass\n    return values[0]\n",
    "e": "def second(values):\n    raise SystemExit(0)\n",
}
SECOND = Problem("exercise/second", "", "second", ["assert second([3, 9, 4, 7]) == 7"])

Check = Callable[..., str | None]
_CHECKS: dict[str, Check] = {}


class _NoAnswerYet(Exception):
    """The answer's function still gives nothing."""


def check(name: str, answer: Any, *given: Any) -> bool | None:
    """Say whether an answer is right, and if not, what shows it; ``None`` while there is no answer.

    Args:
        name: the exercise's, such as ``00a``.
        answer: what the exercise asks for; ``None``, ``""`` or a function that returns ``None``: none yet.
        given: what the answer is about, where the exercise says so.

    Raises:
        ValueError: there is no such exercise.
    """
    if name not in _CHECKS:
        raise ValueError(f"there is no exercise {name!r}; choose one of {', '.join(sorted(_CHECKS))}")
    try:
        wrong = _CHECKS[name](_present(answer), *given)
    except _NoAnswerYet:
        say(f"**{name}**: no answer yet.")
        return None
    say(f"**{name}**: not yet. {wrong}" if wrong else f"**{name}**: right.")
    return not wrong


def _exercise(name: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        _CHECKS[name] = function
        return function

    return register


def _present(answer: Any) -> Any:
    if answer is None or (isinstance(answer, str | Mapping) and not answer):
        raise _NoAnswerYet
    return answer


def _compare(answer: Callable, right: Callable, cases: Sequence[tuple], tolerance: float = 1e-9) -> str | None:
    """The first case in which a function does not give what it should."""
    for case in cases:
        got, raised = _given_by(answer, case)
        if raised or not _same(got, right(*case), tolerance):
            return f"For ({', '.join(map(repr, case))}) it {raised or f'gives {got!r}'}."
    return None


def _given_by(answer: Callable, case: tuple) -> tuple[Any, str]:
    """What a reader's function returns, and what it raised, in words."""
    try:
        return _present(answer(*case)), ""
    except _NoAnswerYet:
        raise
    except Exception as error:
        return None, f"raises {type(error).__name__}: {error}"


def _same(got: Any, wanted: Any, tolerance: float) -> bool:
    try:
        got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    except (TypeError, ValueError):
        return got == wanted
    return got.shape == wanted.shape and bool(np.allclose(got, wanted, rtol=0, atol=tolerance))


def _judged(problem: Problem, programs: Sequence[str], time_limit: float = 1.0) -> list:
    with Judge(workers=1, time_limit=time_limit) as judge:
        return judge.run([problem] * len(programs), list(programs))


@_exercise("00a")
def _(answer: Callable[[int, int], float]) -> str | None:
    return _compare(answer, lambda n, r: min(1.0, (1 + r) / n), [(1, 0), (2, 0), (4, 1), (3, 5), (10, 4)])


@_exercise("00b")
def _(answer: str) -> str | None:
    first, second = _judged(Problem("exercise/pick", "", "pick", [answer]), list(READINGS.values()))
    if not first.passed:
        return f"The first reading does not pass: {first.status} ({first.feedback() or first.error})."
    return "The second reading passes, too: both give the same there." if second.passed else None


@_exercise("01a")
def _(answer: Callable[[str, str], bool]) -> str | None:
    code = "def f(x):\n    return x + 1\n"
    pairs = [
        (code, code),
        (code, "def f(x):\n  return x+1\n"),
        (code, "def f(x):\n    return x + 2\n"),
        (code, "def f(y):\n    return y + 1\n"),
        (code, "def f(x):\n\n    return (x\n            + 1)\n"),
        (
            "def f(x):\n    if x:\n        x = 1\n    return x\n",
            "def f(x):\n    if x:\n        x = 1\n        return x\n",
        ),
    ]
    return _compare(answer, lambda a, b: metrics.copies(a, b)["whitespace"], pairs)


@_exercise("01b")
def _(answer: Callable[[Sequence[int], Sequence[int]], float]) -> str | None:
    cases = [([1, 0], [1, 4]), ([4, 0, 0], [4, 0, 1]), ([0, 2, 3], [4, 4, 3])]
    return _compare(answer, lambda copies, attempts: sum(copies) / sum(attempts), cases)


@_exercise("02a")
def _(answer: Callable[[int, int, int], float]) -> str | None:
    return _compare(answer, metrics.pass_at_k, [(5, 0, 1), (5, 5, 3), (10, 3, 1), (10, 3, 5), (4, 2, 3), (20, 1, 10)])


@_exercise("02b")
def _(answer: Mapping[str, str]) -> str | None:
    if missing := set(ENDINGS) - set(answer):
        return f"Program {min(missing)} has no answer."
    found = {name: verdict.status for name, verdict in zip(ENDINGS, _judged(SECOND, list(ENDINGS.values())))}
    wrong = sorted(name for name, status in found.items() if answer[name] != status)
    return f"Look again at {', '.join(wrong)}." if wrong else None


@_exercise("03a")
def _(answer: Callable[[list[int], int, int, Sequence[int]], list[int]]) -> str | None:
    def right(mask: list[int], start: int, end: int, drawn: Sequence[int]) -> list[int]:
        return [0 if i in drawn and start <= i < end else one for i, one in enumerate(mask)]

    cases = [([1] * 6, 2, 4, [2]), ([1] * 6, 2, 4, [0, 3, 5]), ([1, 1, 1, 0, 0], 0, 3, [1]), ([1] * 3, 1, 1, [0, 1, 2])]
    return _compare(lambda mask, *rest: answer(list(mask), *rest), right, cases)


@_exercise("03b")
def _(answer: Callable[[int], float]) -> str | None:
    return _compare(answer, lambda n: 1 - 0.5 ** (1 / n), [(1,), (2,), (80,), (500,)], 1e-6)


@_exercise("04a")
def _(answer: str, problem: Problem) -> str | None:
    (verdict,) = _judged(problem, [answer])
    return None if verdict.passed else f"{verdict.status}:\n\n```\n{verdict.feedback() or verdict.error}\n```"


@_exercise("04b")
def _(answer: Callable[[list[bool]], list[bool]]) -> str | None:
    cases = [([False, False],), ([False, True, False],), ([True, False, False],), ([False, False, True],)]
    return _compare(answer, lambda passed: list(np.maximum.accumulate(passed)), cases)


@_exercise("05a")
def _(answer: Callable[[Sequence[float]], Sequence[float]]) -> str | None:
    cases = [([0.03],), ([0.01, 0.04],), ([0.02, 0.9, 0.01, 0.02],), ([0.6, 0.5],)]
    return _compare(answer, lambda p: list(stats.corrected(p)), cases)


@_exercise("05b")
def _(answer: Callable[[str, str, list, list], str]) -> str | None:
    def right(before: str, after: str, gave: list, gives: list) -> str:
        return "copy" if before == after else "unchanged" if gave == gives else "changed"

    a, b = "def f(x):\n    return x\n", "def f(y):\n    return y\n"
    return _compare(answer, right, [(a, a, [1], [1]), (a, b, [1], [1]), (a, b, [1], [2]), (a, a, [], [])])


@_exercise("06a")
def _(answer: Callable[[Sequence[tuple[float, float]]], list[int]]) -> str | None:
    def right(points: Sequence[tuple[float, float]]) -> list[int]:
        return [i for i, p in enumerate(points) if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)]

    cases = [([(1, 2), (2, 1)],), ([(1, 1), (2, 2)],), ([(3, 1), (3, 2), (1, 5), (2, 2)],), ([(1, 1), (1, 1)],)]
    return _compare(lambda points: sorted(_present(answer(points))), right, cases)


@_exercise("06b")
def _(answer: Callable[[int, int, float, int], float]) -> str | None:
    cases = [(360, 32, 0.5, 2400), (10, 4, 1.0, 40), (100, 8, 0.25, 1000), (100, 8, 0.0, 1000)]
    return _compare(answer, lambda steps, batch, share, mistakes: steps * batch * share / mistakes, cases)


@_exercise("08a")
def _(answer: Callable[[int, int], float]) -> str | None:
    return _compare(answer, lambda n, r: 1 - (1 - 1 / n) ** (r + 1), [(2, 0), (4, 4), (3, 1), (1, 2)])


@_exercise("08b")
def _(answer: Callable[[int], list[int]]) -> str | None:
    for n in (2, 3, 8):
        got, raised = _given_by(answer, (n,))
        if raised or sorted(got) != list(range(n)):
            return f"For {n} problems it {raised or f'gives {got!r}, which is no permutation'}."
        if any(i == j for i, j in enumerate(got)):
            return f"For {n} problems it gives {got!r}: one keeps its own."
    return None


@_exercise("07a")
def _(answer: Callable[[Sequence[float], int], float]) -> str | None:
    cases = [([0.5], 2), ([0.0, 1.0], 5), ([0.1, 0.9], 3), ([0.5, 0.5], 3)]
    return _compare(answer, lambda chances, k: float(np.mean([1 - (1 - p) ** k for p in chances])), cases)


@_exercise("07b")
def _(answer: Callable[[Sequence[int], Sequence[int]], tuple[float, float]]) -> str | None:
    rng = np.random.default_rng(7)
    easy = rng.random(200)
    for shift in (0.0, 0.2):
        ours, theirs = (easy < 0.4 + shift).astype(int), (easy + 0.1 * rng.standard_normal(200) < 0.4).astype(int)
        found = stats.paired_difference(ours, theirs)
        got, raised = _given_by(answer, (list(ours), list(theirs)))
        if raised or not _same(got, (found.low, found.high), 0.03):
            what = raised or f"gives {got!r}"
            return f"For two models of which one solves {ours.sum()}, the other {theirs.sum()} of 200, it {what}."
    return None


@_exercise("09a")
def _(answer: str, problem: Problem) -> str | None:
    task = problem.meta["task"]
    given = [values for values, _ in sorted(tp.readings(task), key=lambda reading: -reading[1])]
    calls = list(ast.literal_eval(f"[{answer}]"))
    outputs = [repr(tp.evaluate(task, [tuple(map(repr, calls))], values)[0]) for values in (given[0], given[-1])]
    return f"Both give {outputs[0]} there." if outputs[0] == outputs[1] else None


@_exercise("09b")
def _(answer: str, program: str) -> str | None:
    kinds = metrics.copies(program, answer)
    if not kinds["syntax"]:
        return "The syntax trees differ: that is no copy at all."
    return "It is a copy up to white space, too." if kinds["whitespace"] else None


@_exercise("10a")
def _(answer: Callable[[float], float]) -> str | None:
    return _compare(answer, math.exp, [(0.0,), (0.4,), (5.0,)], 1e-6)


@_exercise("10b")
def _(answer: Callable[[float, int, int], float]) -> str | None:
    def right(loss: float, tokens: int, characters: int) -> float:
        return loss * tokens / characters / math.log(2)

    return _compare(answer, right, [(1.0, 10, 10), (0.4, 100, 350), (2.0, 50, 100)], 1e-6)


@_exercise("11a")
def _(answer: Callable[[int, int], float]) -> str | None:
    return _compare(answer, lambda n, tries: n * (1 - (1 - 1 / n) ** tries), [(1, 3), (6, 1), (6, 5), (36, 5)])


@_exercise("11b")
def _(answer: str, problem: Problem) -> str | None:
    task = problem.meta["task"]
    found = diagnosis.fault(task, diagnosis.wrong_slots(task, tp.recover(task, answer)))
    return None if found == diagnosis.ONE else f"What it has wrong is {found or 'nothing'}."
