"""Real problems for the judge's tests, straight from the upstream files (the product's loaders come on top)."""

from __future__ import annotations

import ast
import gzip
import json
import os
from pathlib import Path

from cycle_utils.problems import Problem

DATA = Path(os.environ.get("CYCLE_SHARED_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data")


def humaneval() -> list[Problem]:
    """The 164 problems, each with its canonical solution as a completion."""
    with gzip.open(DATA / "HumanEval.jsonl.gz", "rt") as file:
        return [_humaneval(json.loads(line)) for line in file]


def _humaneval(row: dict) -> Problem:
    return Problem(
        row["task_id"],
        row["prompt"].rstrip("\n"),
        row["entry_point"],
        [row["test"]],
        canonical_solutions=["\n" + row["canonical_solution"]],
    )


def mbpp() -> list[Problem]:
    """The 427 sanitized problems; the entry point is the function of the solution that the tests call."""
    return [_mbpp(row) for row in json.loads((DATA / "sanitized-mbpp.json").read_text())]


def _mbpp(row: dict) -> Problem:
    defined = {node.name for node in ast.parse(row["code"]).body if isinstance(node, ast.FunctionDef)}
    called = [node.id for node in ast.walk(ast.parse(row["test_list"][0])) if isinstance(node, ast.Name)]
    entry_point = next(name for name in called if name in defined)
    return Problem(
        f"MBPP/{row['task_id']}",
        row["prompt"],
        entry_point,
        row["test_list"],
        canonical_solutions=[row["code"]],
        setup="\n".join(row["test_imports"]),
    )


def apps() -> list[Problem]:
    """The sampled APPS problems with their human solutions."""
    return [_apps(folder) for folder in sorted((DATA / "apps_sample").iterdir())]


def _apps(folder: Path) -> Problem:
    data = json.loads((folder / "input_output.json").read_text())
    tests = [{"input": given, "output": wanted} for given, wanted in zip(data["inputs"], data["outputs"])]
    solutions = json.loads((folder / "solutions.json").read_text())
    prompt = (folder / "question.txt").read_text().rstrip("\n")
    return Problem(f"APPS/{folder.name}", prompt, data.get("fn_name"), tests, canonical_solutions=solutions)


def codegen_samples(problems: list[Problem]) -> tuple[list[Problem], list[str]]:
    """The 820 programs of CodeGen-16B-mono, each beside its HumanEval problem."""
    by_id = {problem.task_id: problem for problem in problems}
    with gzip.open(DATA / "codegen16b_humaneval.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    return [by_id[row["task_id"]] for row in rows], ["\n" + row["completion"] for row in rows]
