"""Objects that lie about themselves gain nothing, and no value takes the judge's own processes down."""

from __future__ import annotations

import io
import os
import random
import re
from types import SimpleNamespace

import pytest
from hostile.programs import LIARS

from cycle_utils.execution import Judge
from cycle_utils.execution.inside import plain
from cycle_utils.execution.isolation import descendants
from cycle_utils.execution.mirror import Outside
from cycle_utils.problems import Problem

HONEST = (Problem("honest", "", "f", ["assert f(2) == 5"]), "def f(x):\n    return x * x + 1\n# {}")


@pytest.fixture(scope="module")
def judged():
    """The verdict on each liar and on an honest program after it, and the processes before and after."""
    with Judge(workers=2, time_limit=1.0, memory_limit_mb=512) as judge:
        before = descendants(os.getpid())
        problems, programs = [], []
        for name, (test, program) in LIARS.items():
            problems += [Problem(name, "", "f", [test]), HONEST[0]]
            programs += [program, HONEST[1].format(name)]
        verdicts = judge.run(problems, programs)
        lost = before - descendants(os.getpid())
    return dict(zip(LIARS, verdicts[::2])), dict(zip(LIARS, verdicts[1::2])), lost


@pytest.mark.parametrize("name", LIARS)
def test_a_liar_does_not_pass(judged, name):
    assert not judged[0][name].passed, judged[0][name]


@pytest.mark.parametrize("name", LIARS)
def test_an_honest_program_passes_after_a_liar(judged, name):
    assert judged[1][name].passed, judged[1][name]


def test_no_referee_is_lost(judged):
    referees = [verdict for verdict in judged[0].values() if "could not be handled" in verdict.feedback()]
    assert referees == []


def test_feedback_speaks_of_the_program_and_not_of_the_judge(judged):
    for name, verdict in judged[0].items():
        for word in ("Opaque", "Stranger", "Kept", "Mirror", "__answer", "judge's own"):
            assert word not in verdict.feedback(), name


def test_what_cannot_be_carried_is_named_in_the_programs_terms(judged):
    assert "the judge cannot carry a value of type Sly" in judged[0]["starts with everything"].feedback()


@pytest.mark.parametrize("value", [io.StringIO("x"), re.match("a", "a"), random.Random(1), SimpleNamespace(a=1)])
def test_of_a_lent_object_nothing_is_given_but_what_it_is_lent_for(value):
    border = Outside(ask=None, space={"__name__": "tests"})
    (number, _, _) = plain.encode(value, border)["guest"]
    assert border.serve(number, "str", []) == str(value)
    for what, *arguments in (
        ("getattr", "__class__"),
        ("getattr", "__init__"),
        ("setattr", "__class__", int),
        ("getattr", 1),
        ("eval", "1"),
    ):
        with pytest.raises(ValueError, match="not to be asked"):
            border.serve(number, what, arguments)
