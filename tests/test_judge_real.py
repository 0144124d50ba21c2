"""Real problems and programs: the known solutions pass, and verdicts do not depend on the number of workers."""

from __future__ import annotations

import judge_data
import pytest

from cycle_utils.execution import Judge
from cycle_utils.problems.benchmarks import MBPP_SPLITS, load_problems

# Human solutions of APPS that upstream stores mangled: a `return` outside any function, no Python at all.
APPS_MANGLED = "'return' outside function"

pytestmark = pytest.mark.skipif(not judge_data.DATA.is_dir(), reason=f"no shared data at {judge_data.DATA}")


def judged(problems, completions, **options) -> list:
    with Judge(**{"workers": 2, "time_limit": 10.0, **options}) as judge:
        return judge.run(problems, completions)


def test_all_canonical_solutions_of_the_full_mbpp_pass_within_the_usual_limit():
    """One of them (123) needs more than three seconds: its limit is computed from its own time on this machine."""
    data = judge_data.DATA / "mbpp.jsonl"
    problems = [problem for split in MBPP_SPLITS for problem in load_problems("mbpp", data=data, split=split)]
    verdicts = judged(problems, [problem.canonical_solutions[0] for problem in problems], time_limit=3.0)
    assert [(verdict.task_id, verdict.feedback()) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == 974


@pytest.mark.parametrize(("name", "count"), [("humaneval", 164), ("mbpp", 427)])
def test_all_canonical_solutions_pass(name, count):
    problems = getattr(judge_data, name)()
    verdicts = judged(problems, [problem.canonical_solutions[0] for problem in problems])
    assert [(verdict.task_id, verdict.feedback()) for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) == count


def test_human_solutions_of_apps_pass_but_those_that_are_no_python():
    pairs = [(problem, solution) for problem in judge_data.apps() for solution in problem.canonical_solutions]
    verdicts = judged(*zip(*pairs))
    failed = [(verdict, solution) for verdict, (_, solution) in zip(verdicts, pairs) if not verdict.passed]
    for verdict, solution in failed:
        assert APPS_MANGLED in verdict.error
        with pytest.raises(SyntaxError, match=APPS_MANGLED):  # by hand: Python itself refuses it
            compile(solution, "solution", "exec")
    assert len(failed) == 3
    assert len(verdicts) == 92


def test_verdicts_are_the_same_with_1_2_and_8_workers():
    problems, completions = judge_data.codegen_samples(judge_data.humaneval())
    statuses = []
    for workers in (1, 2, 8):
        verdicts = judged(problems, completions, workers=workers, time_limit=1.0)
        statuses.append([[verdict.status, *(test.status for test in verdict.tests)] for verdict in verdicts])
    assert statuses[0] == statuses[1] == statuses[2]
    assert len(statuses[0]) == 820
