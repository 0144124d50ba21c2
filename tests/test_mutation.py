"""Mutants: one expression changed, the rest of the text kept."""

import ast
import random

import pytest

from cycle_utils.method.mutation import mutants
from cycle_utils.models.prompts import shown_code
from cycle_utils.problems.tinyprograms import generate

CODE = """def keep(xs):
    # größer — the comment stays
    return [x  for x in xs if x > 0 and  not x % 2]
"""


def test_each_mutant_parses_and_differs_in_one_line():
    found = list(mutants(CODE, random.Random(0)))
    assert len(found) == len(set(found)) > 5 and CODE not in found
    for mutant in found:
        ast.parse(mutant)
        assert sum(a != b for a, b in zip(mutant.split("\n"), CODE.split("\n"))) == 1
        assert "# größer — the comment stays" in mutant


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("x > 0", "x >= 0"),
        ("x % 2", "x * 2"),
        ("x > 0", "x > 1"),
        ("not x % 2", "x % 2"),
        ("for x in xs", "for x in x"),
    ],
)
def test_kinds_of_change(change, to):
    wanted = "".join(CODE.replace(change, to).split())
    assert wanted in {"".join(m.split()) for m in mutants(CODE, random.Random(1))}


def test_text_that_is_no_python_has_none():
    assert list(mutants("def f(:\n", random.Random(0))) == []
    assert list(mutants("a\0b", random.Random(0))) == []


def test_every_canonical_solution_of_tinyprograms_has_mutants():
    for problem in generate("train", 40):
        code = shown_code(problem, problem.canonical_solutions[0])
        assert next(mutants(code, random.Random(0))) != code
