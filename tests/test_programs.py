"""Which part of a model's text is the program: whatever stands behind it, it neither fails nor belongs to it."""

import ast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cycle_utils import Judge, Problem
from cycle_utils.models.programs import is_whole, trim
from cycle_utils.models.prompts import BAD, FAILURE
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.problems.benchmarks import load_problems

PROMPT = 'from typing import List\n\ndef given(x):\n    return x\n\ndef add(a: int, b: int):\n    """Add."""'
BODY = "\n    return a + b"
WHOLE = "\ndef add(a, b):\n    return a + b"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("\n  return 1\nprint(2)", "\n  return 1"),
        ("\n\treturn 1\n\n\nclass A:\n\tpass", "\n\treturn 1"),
        ("\n    if a:\n        return 1\n\n    return 2\n# done", "\n    if a:\n        return 1\n\n    return 2"),
        (f"{BODY}\n{BAD}\n\n# x", BODY),
        ("\n# at the margin\n    return a", "\n# at the margin\n    return a"),
        ('\n    text = """\nnot the end\n"""\n    return text', '\n    text = """\nnot the end\n"""\n    return text'),
        ("\n    return [\n1,\n]\nadd(1, 2)", "\n    return [\n1,\n]"),
        (f"{BODY}\n\ndef add(a, b):\n    return 0", BODY),
        ("\n    return given(a)\n\ndef given(x):\n    return 5", "\n    return given(a)"),
        ("\n    a = help(a)\n    return a\n\na = 5", "\n    a = help(a)\n    return a"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_body_goes_on_as_far_as_it_is_indented(text, program):
    assert trim(text, "add", PROMPT) == program


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"{WHOLE}\n\nprint(add(1, 2))", WHOLE),
        (f"{WHOLE}\n\n{WHOLE}\n\ndef add(a, b", WHOLE),
        (f"\nimport math\n{WHOLE}\n\nassert add(1, 2)", f"\nimport math\n{WHOLE}"),
        (f"{WHOLE}\n\nresult = add(1, 2)\nresult", WHOLE),
        ("\ndef add(a, b):\n    return h(a)\n\ndef h(a):\n    return k(a)\n\nk = abs\n\nadd(1, 2)",
         "\ndef add(a, b):\n    return h(a)\n\ndef h(a):\n    return k(a)\n\nk = abs"),
        ("\ndef add(a, b):\n    return B().x\n\nclass A:\n    x = 1\n\nprint(1)\n\nclass B(A):\n    pass\n\nA = 5",
         "\ndef add(a, b):\n    return B().x\n\nclass A:\n    x = 1\n\nclass B(A):\n    pass"),
        ("\ndef add(a, b):\n    return h(a)\n\nSo that is it.\n\ndef h(a):\n    return a",
         "\ndef add(a, b):\n    return h(a)"),
        ("\nasync def add(a):\n    pass\n\nawait add(1)", "\nasync def add(a):\n    pass"),
        ("\ndef add(a, b):\n    return (a\n\nadd(1, 2)", "\ndef add(a, b):\n    return (a"),
        ("\ndef add(a, b):\ndef h(a):\n    return a\nx = 1", "\ndef add(a, b):\ndef h(a):\n    return a"),
        ("\nclass Solution:\n    def add(self, a, b):\n        return a\n\nIt works.",
         "\nclass Solution:\n    def add(self, a, b):\n        return a"),
        ("\nplus = lambda a, b: a + b", "\nplus = lambda a, b: a + b"),
        ("\nSorry, no.", "\nSorry, no."),
    ],
)  # fmt: skip
def test_a_definition_is_kept_with_what_it_needs(text, program):
    assert trim(text, "add", '"""\nAdd.\nassert add(1, 2) == 3\n"""') == program


def test_without_strays_a_text_without_the_entry_point_is_no_program():
    assert trim("\nplus = 5", "add", PROMPT, strays=False) == ""
    assert trim(BODY, "add", PROMPT, strays=False) == BODY
    assert trim(WHOLE, "add", PROMPT, strays=False) == WHOLE
    both = f" 'a value'\n\n# Better:{WHOLE}\n\nprint(1)"
    assert trim(both, "add", PROMPT, strays=False) == f" 'a value'\n\n# Better:{WHOLE}"
    assert trim(both, "add", PROMPT) == " 'a value'"


def test_a_program_that_reads_input_ends_before_the_next_header():
    assert trim(f"print(input())\n{FAILURE}\n# x\n{BAD}", None) == "print(input())"
    assert is_whole(f"print(input())\n{BAD}\n", None) and not is_whole("print(input())\n", None)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (BODY, False),
        (f"{BODY}\n\n", False),
        (f"{BODY}\nprint(1)", False),  # the last line may go on
        (f"{BODY}\nprint(1)\n", True),
        (f"{BODY}\n# comment\n", False),
        ("\n    return h(a)\nprint(1)\n", False),  # the helper may come yet
        ("\n    return h(a)\nprint(1)\ndef h(a):\n    return a\n", True),
        ("\n    return List\nprint(1)\n", True),
    ],
)
def test_a_program_is_whole_when_nothing_can_change_it(text, whole):
    assert is_whole(text, "add", PROMPT) == whole


LINES = st.lists(
    st.sampled_from([
        "    return a + b", "    x = h(a)", "def h(a):", "def add(a, b):", "    return a", "print(1)", "h = 5", "", "# note",
        "    if a:", "        return [", "]", "x = (", '    """', "class A:", "    pass", "Some prose.", "import math",
    ]),
    max_size=14,
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(LINES, LINES, st.sampled_from(["", PROMPT, '"""Add."""']))
@example(["    pass", "def h(a):"], ["def add(a, b):"], "")
def test_text_behind_a_whole_program_changes_nothing(lines, more, prompt):
    text = "\n" + "\n".join(lines) + "\n"
    program = trim(text, "add", prompt)
    if is_whole(text, "add", prompt):
        assert trim(text + "\n".join(more), "add", prompt) == program
    # and what was trimmed needs no trimming
    assert trim(program, "add", prompt) == program


@pytest.mark.parametrize("source", ["tinyprograms", "humaneval"])
def test_a_right_program_passes_whatever_stands_behind_it(source):
    problems = tp.generate("test", 20) if source == "tinyprograms" else load_problems("humaneval", limit=20)
    behind = "\n\nraise SystemExit\n\ndef {0}():\n    return 0\n\ndef {0}("
    texts = [p.canonical_solutions[0].rstrip() + behind.format(p.entry_point) for p in problems]
    programs = [trim(text, p.entry_point, p.prompt) for text, p in zip(texts, problems)]
    assert programs == [p.canonical_solutions[0].rstrip() for p in problems]
    with Judge() as judge:
        assert all(v.passed for v in judge.run(problems, programs))
        assert not any(v.passed for v in judge.run(problems, texts))


def test_a_body_with_a_needed_helper_is_a_program_for_the_judge():
    text = "\n    return plus(a, b)\n\nplus_one = 1\n\ndef plus(a, b):\n    return a + b\n\nplus(1"
    program = trim(text, "add", PROMPT)
    assert "plus_one" not in program and ast.parse(PROMPT + program)
    with Judge() as judge:
        assert judge.run([Problem("t/1", PROMPT, "add", ["assert add(1, 2) == 3"])], [program])[0].passed
