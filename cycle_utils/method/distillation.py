"""Stage 1(b)'s data: what executed samples teach. A passing one teaches itself, a failing one its correction."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pandas as pd

from cycle_utils.execution import Verdict
from cycle_utils.execution.feedback import of_test
from cycle_utils.models.prompts import shown_code
from cycle_utils.problems import Problem

TARGETS = ("bm25", "random")


def distilled_examples(problems: Sequence[Problem], attempts: pd.DataFrame, target: str, seed: int) -> list[dict]:
    """Training examples from executed samples (see :func:`distil`); repeated samples give one example."""
    by_id, rng = {p.task_id: p for p in problems}, random.Random(f"distil/{seed}")
    examples, seen = [], set()
    for row in attempts.itertuples():
        if (row.task_id, row.code) in seen:
            continue
        seen.add((row.task_id, row.code))
        problem = by_id[row.task_id]
        example = {"task_id": row.task_id, "kind": "plain", "code": "", "feedback": "", "target": row.completion}
        if not row.passed:
            right = canonical_target(problem, row.code, target, rng)
            example |= {"kind": "refine", "code": row.code, "feedback": row.feedback, "target": right}
        examples.append(example)
    return examples


def with_earlier(examples: Sequence[dict], attempts: pd.DataFrame) -> list[dict]:
    """The examples, those of refinement with what was tried ``earlier``: programs and feedback, the oldest first."""
    before: dict[tuple[str, str], list[list[str]]] = {}
    for _, rows in attempts.groupby(["task_id", "sample"], sort=False):
        tried = rows[["code", "feedback"]].to_numpy().tolist()
        for i, (task_id, code) in enumerate(rows[["task_id", "code"]].itertuples(index=False)):
            before.setdefault((task_id, code), tried[:i])
    return [{**e, "earlier": before[e["task_id"], e["code"]] if e["kind"] == "refine" else []} for e in examples]


def hindsight_examples(
    problems: Sequence[Problem], attempts: pd.DataFrame, verdicts: Sequence[Verdict], most: int, seed: int
) -> list[dict]:
    """Refine examples in which another program of the same problem is taken for the right one.

    What each program gave on each test is known from its verdict. So for any two that differ, the feedback can be told
    that the one would have got, had the other been right: no canonical solution is asked. The description is the same
    whichever is taken, and the faulty program may be: what tells the target is the feedback alone.

    Args:
        attempts: as :func:`self_refine` returns them, and ``verdicts`` of their programs on all tests.
        most: examples of one problem at most, drawn at random.
    """
    rng, tried = random.Random(f"hindsight/{seed}"), {}
    for row, verdict in zip(attempts.itertuples(), verdicts):
        if verdict.error is None:
            tried.setdefault(row.task_id, {})[row.code] = (row, verdict)
    examples = []
    for problem in problems:
        ones = list(tried.get(problem.task_id, {}).values())
        pairs = [(a, b) for a in ones for b in ones if a is not b and all(t.actual is not None for t in b[1].tests)]
        made = [(a, b, told) for a, b in pairs if (told := _had_it_been_right(a[1], b[1]))]
        for (faulty, _), (right, _), told in rng.sample(made, min(most, len(made))):
            one = {"task_id": problem.task_id, "kind": "refine", "code": faulty.code, "feedback": told}
            examples.append({**one, "target": right.completion})
    return examples


def _had_it_been_right(verdict: Verdict, right: Verdict) -> str:
    """The feedback of a program, had another one been right; empty if both do the same on all tests."""
    for one, wanted in zip(verdict.tests, right.tests):
        if (one.actual, one.exception) != (wanted.actual, wanted.exception):
            return of_test(one.input, wanted.actual, one.actual, one.exception, one.line)
    return ""


def canonical_target(problem: Problem, code: str, target: str, rng: random.Random) -> str:
    """The canonical solution that answers a faulty program: the nearest by BM25 over its words, or a random one."""
    solutions = list(problem.canonical_solutions)
    if target == "random" or len(solutions) == 1:
        return rng.choice(solutions)
    if not (words := _words(code)):
        return solutions[0]
    import bm25s

    # BM25+: Okapi's idf is 0 for words in half of two documents. In float64, so that equal scores are equal.
    index = bm25s.BM25(method="bm25+", k1=1.5, b=0.75, delta=1.0, dtype="float64")
    index.index([_words(shown_code(problem, solution)) for solution in solutions], show_progress=False)
    return solutions[int(index.get_scores(words).argmax())]


def _words(code: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", code)
