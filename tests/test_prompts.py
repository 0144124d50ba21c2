"""Prompts tokenize alike alone and in front of their completion; spans hold their fields whatever the code."""

import ast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cycle_utils.method.training import encode
from cycle_utils.models.programs import trim
from cycle_utils.models.prompts import (
    BAD,
    CUT,
    FAILURE,
    GOOD,
    commented,
    one_time_prompt,
    refine_prompt,
    refine_target,
    shown_code,
    signature,
)
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.problems.benchmarks import load_problems

ADD = Problem("t/1", 'def add(a, b):\n    """Add."""', "add", ["assert add(1, 2) == 3"])
TEXT = st.text(max_size=120)


@pytest.fixture(scope="module")
def problems():
    return [*tp.generate("test", 40), *load_problems("humaneval", limit=40)]


def test_prompt_and_completion_tokenize_alike_together_and_apart(tokenizer, problems):
    for problem in problems:
        solution = problem.canonical_solutions[0]
        refined = refine_prompt(problem, shown_code(problem, solution), "Input: f()\nExpected: 1")
        for prompt, target in ((one_time_prompt(problem), solution), (refined, refine_target(problem, solution))):
            apart = tokenizer(prompt.text)["input_ids"] + tokenizer(target, add_special_tokens=False)["input_ids"]
            assert tokenizer(prompt.text + target)["input_ids"] == apart, problem.task_id


def test_a_prompt_that_ends_in_a_newline_would_not(tokenizer):
    prompt, body = one_time_prompt(ADD).text + "\n", "    return a + b"
    apart = tokenizer(prompt)["input_ids"] + tokenizer(body, add_special_tokens=False)["input_ids"]
    assert tokenizer(prompt + body)["input_ids"] != apart


@pytest.mark.parametrize("style", ["cycle", "plain"])
@given(code=TEXT, feedback=TEXT, earlier=st.lists(st.tuples(TEXT, TEXT), max_size=2))
def test_spans_survive_any_code(style, code, feedback, earlier):
    prompt = refine_prompt(ADD, code, feedback, style, earlier=earlier)
    shown = commented(code) if style == "cycle" and code else code
    told = commented(feedback) if style == "cycle" and feedback else feedback
    past, said = prompt.spans["past_generation"], prompt.spans["feedback"]
    assert prompt.text[slice(*past)] == shown
    assert prompt.text[slice(*said)] == told
    start, end = prompt.spans["template"]
    assert prompt.spans["description"][1] <= start <= past[0] <= past[1] <= said[0] <= said[1] <= end


@given(code=TEXT, feedback=TEXT)
def test_the_template_is_the_artifacts(code, feedback):
    text = refine_prompt(ADD, code, feedback).text
    assert text.startswith(f"{ADD.prompt}\n\n{BAD}\n\n")
    assert f"\n\n{FAILURE}\n" in text
    assert text.endswith(f"\n\n{GOOD}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(code=TEXT, feedback=TEXT)
def test_token_spans_cover_their_fields_and_nothing_else(tokenizer, code, feedback):
    prompt = refine_prompt(ADD, code, feedback)
    spans = {"past_generation": prompt.spans["past_generation"]}
    example = encode(tokenizer, prompt.text, "\nx", spans)
    start, end = example["spans"]["past_generation"]
    offsets = tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"]
    low, high = spans["past_generation"]
    assert {i for i, (a, b) in enumerate(offsets) if a < high and b > low} == set(range(start, end))


def test_a_long_faulty_program_is_cut_in_the_middle():
    code = "\n".join(f"line {i}" for i in range(100))
    prompt = refine_prompt(ADD, code, "Input: add(1, 2)", count=len, limit=400)
    past = prompt.text[slice(*prompt.spans["past_generation"])]
    assert len(prompt.text) <= 400
    assert "line 0" in past and "line 99" in past and f"# {CUT}" in past
    assert "Input: add(1, 2)" in prompt.text and prompt.text.startswith(ADD.prompt)


@pytest.mark.parametrize("style", ["cycle", "plain", "chat"])
def test_earlier_attempts_stand_before_the_latest_and_go_first_where_room_is_short(style):
    tried = [("A = 1", "no to A"), ("B = 1", "no to B")]
    full = refine_prompt(ADD, "C = 1", "no to C", style, earlier=tried)
    places = [full.text.index(text) for one in [*tried, ("C = 1", "no to C")] for text in one]
    assert places == sorted(places)
    assert full.text[slice(*full.spans["past_generation"])].endswith("C = 1")  # the latest alone is past generation
    one_less = refine_prompt(ADD, "C = 1", "no to C", style, len, len(full.text) - 1, earlier=tried)
    assert one_less == refine_prompt(ADD, "C = 1", "no to C", style, earlier=tried[1:])


def test_in_a_conversation_the_latest_turn_is_masked_even_if_an_earlier_one_says_the_same():
    prompt = refine_prompt(ADD, "A = 1", "no", "chat", earlier=[("A = 1", "no")])
    assert prompt.spans["past_generation"][0] > prompt.text.index("A = 1") + 5


def test_a_prompt_that_cannot_fit_says_so():
    with pytest.raises(ValueError, match=r"t/1 has .* tokens, more than the 10 that leave room"):
        refine_prompt(ADD, "x", "y", count=len, limit=10)
    with pytest.raises(ValueError, match="unknown prompt style 'fancy'"):
        refine_prompt(ADD, "x", "y", style="fancy")


def test_shown_code_is_the_definition_without_the_description():
    assert shown_code(ADD, "\n    return a + b\n") == "def add(a, b):\n    return a + b"
    assert shown_code(ADD, "\ndef add(a, b):\n    return a") == "def add(a, b):\n    return a"
    for problem in load_problems("humaneval", limit=20):
        code = shown_code(problem, problem.canonical_solutions[0])
        assert ast.parse(code).body[0].name == problem.entry_point
        assert signature(problem) in problem.prompt


def test_trim_keeps_every_canonical_solution(problems):
    for problem in problems:
        for solution in problem.canonical_solutions:
            assert trim(solution, problem.entry_point) == solution.rstrip()
            whole = refine_target(problem, solution)
            assert trim(whole, problem.entry_point) == whole.rstrip()
