"""Programs judged for the loop: the feedback protocol, and the row that is kept of each attempt.

Programs come from a model, or are canonical solutions with one change.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd

from cycle_utils.execution import Judge, Verdict, cluster
from cycle_utils.method.mutation import mutants
from cycle_utils.models.prompts import one_time_prompt, shown_code
from cycle_utils.problems import Problem

FEEDBACK_TESTS = ("all", "public")


class Judged(NamedTuple):
    """What became of a program: whether it ``passed``, whether its trajectory is ``done``, and what may be told."""

    verdict: Verdict
    passed: bool
    done: bool
    feedback: str
    shown: int | None  # the number, among the tests that may be shown, of the one that the feedback shows, if any


def judged(
    problems: Sequence[Problem], completions: Sequence[str], feedback_tests: str, judge: Judge | None, progress: bool
) -> list[Judged]:
    """What became of each completion under the feedback protocol.

    Under ``public`` a program is done when its public tests pass, which is all that the loop may know; it has
    passed when the hidden ones do too. A problem without public tests is done at once: there is nothing to show.
    One without hidden tests is scored by all that it has.
    """
    if judge is None:
        with cluster.judge() as own:
            return judged(problems, completions, feedback_tests, own, progress)
    if feedback_tests == "all":
        verdicts = judge.run(problems, completions, progress=progress)
        return [Judged(v, v.passed, v.passed, "" if v.passed else v.feedback(), v.first_failure) for v in verdicts]
    public = [(i, p.with_tests(p.public_tests)) for i, p in enumerate(problems) if p.public_tests]
    shown = judge.run([p for _, p in public], [completions[i] for i, _ in public], progress=progress)
    failed = {i: verdict for (i, _), verdict in zip(public, shown) if not verdict.passed}
    scored = judge.run([p.with_tests(p.hidden_tests or p.tests) for p in problems], completions, progress=progress)
    return [
        Judged(hidden, False, False, failed[i].feedback(), failed[i].first_failure) if i in failed
        else Judged(hidden, hidden.passed, True, "", None)
        for i, hidden in enumerate(scored)
    ]  # fmt: skip


def passes_shown(
    problems: Sequence[Problem], completions: Sequence[str], shown: Sequence[Sequence[int]], feedback_tests: str,
    judge: Judge | cluster.ClusterJudge,
) -> list[bool]:  # fmt: skip
    """Whether each completion passes those tests that its problem's feedback has shown, by their numbers."""
    known = [i for i, numbers in enumerate(shown) if numbers]
    tests = [p.tests if feedback_tests == "all" else p.public_tests for p in problems]
    asked = [problems[i].with_tests([tests[i][number] for number in shown[i]]) for i in known]
    verdicts = judge.run(asked, [completions[i] for i in known], progress=False)
    failed = {i for i, verdict in zip(known, verdicts) if not verdict.passed}
    return [i not in failed for i in range(len(problems))]


def attempt_row(
    problem: Problem, sample: int, round_: int, prompt: str, completion: str, judged: Judged
) -> dict[str, Any]:
    """One attempt as it is kept, see :func:`~cycle_utils.method.loop.self_refine`."""
    outcomes = json.dumps([(t.status, t.actual, t.exception) for t in judged.verdict.tests], default=str)
    return {
        "task_id": problem.task_id,
        "sample": sample,
        "round": round_,
        "prompt": prompt,
        "completion": completion,
        "code": shown_code(problem, completion),
        "status": judged.verdict.status,
        "passed": judged.passed,
        "done": judged.done,
        "feedback": judged.feedback,
        "behaviour": hashlib.sha256(outcomes.encode()).hexdigest()[:12],
    }


def mutated_attempts(problems: Sequence[Problem], samples: int, seed: int, progress: bool = True) -> pd.DataFrame:
    """What :func:`self_refine` returns for one round, of canonical solutions with one expression changed.

    Mutants that pass all tests are left out: they are no mistakes, nor the model's own right programs.
    """
    chosen = []
    for problem in problems:
        rng = random.Random(f"mutated/{seed}/{problem.task_id}")
        for sample in range(samples):
            code = shown_code(problem, rng.choice(list(problem.canonical_solutions)))
            chosen += [(problem, sample, mutant) for mutant in islice(mutants(code, rng), 1)]
    verdicts = judged([p for p, _, _ in chosen], [code for _, _, code in chosen], "all", None, progress)
    rows = [
        attempt_row(p, s, 0, one_time_prompt(p).text, code, found) for (p, s, code), found in zip(chosen, verdicts)
    ]
    return pd.DataFrame([row for row in rows if not row["passed"]])
