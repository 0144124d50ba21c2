"""Rows as upstream's data sets have them, and files of such rows."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW = {
    "task_id": "T/0",
    "prompt": "def f():\n    '''x'''\n",
    "entry_point": "f",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}
# As EvalPlus writes its suites: a helper with a tolerance, and one loop.
HELPER = """
import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    return isinstance(x, (list, tuple)) and all(isinstance(i, float) for i in x)

def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert exact_match
"""
LOOP = "for i, (inp, exp) in enumerate(zip(inputs, results)):\n{0}    assertion({1}(*inp), exp, 0)\n"
PLUS = HELPER + "\ndef check(candidate):\n    inputs = [[1], [3]]\n    results = [0.5, 1.5]\n    "
PLUS += LOOP.format("    ", "candidate")
MBPP_PLUS_ROW = {
    "task_id": 2,
    "prompt": "Write a function to double every number.",
    "code": "def twice(xs):\n    return [2 * x for x in xs]",
    "test_imports": ["import math"],
    "test_list": ["assert twice([1]) == [2]", "assert twice([]) == []"],
    "test": HELPER + "\ninputs = [[[1, 2]], [[]]]\nresults = [[2, 4], []]\n" + LOOP.format("", "twice"),
}
APPS_ROW = {
    "id": 7,
    "question": "Add.",
    "solutions": json.dumps(["print(sum(map(int, input().split())))"]),
    "input_output": json.dumps({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}),
    "difficulty": "interview",
    "url": "https://codeforces.com/1",
    "starter_code": "",
}
MBPP_FULL_ROW = {
    "task_id": 601,
    "text": "Write a function to double every number.",
    "code": "def twice(xs):\r\n  return [2 * x for x in xs]",
    "test_list": ["assert twice([1]) == [2]", "assert twice([]) == []"],
    "test_setup_code": "",
    "challenge_test_list": [],
}


def contest(name: str, **fields) -> dict:
    row = {
        "name": name,
        "description": "Print twice the number.",
        "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": ["2\n"], "output": ["4\n"]},
        "generated_tests": {"input": ["3\n", "4\n"], "output": ["6\n", "8\n"]},
        "solutions": {"language": [2, 3, 1, 3], "solution": ["int main", "print(2 * int(input()))", "print 1", "pass"]},
        "incorrect_solutions": {"language": [3], "solution": ["print(1)"]},
        "input_file": "",
        "output_file": "",
        "cf_rating": 800,
    }
    return row | fields


def table(path: Path, table_rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table_rows), path)
    return path


def lines(path: Path, *table_rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in table_rows), encoding="utf-8")
    return path
