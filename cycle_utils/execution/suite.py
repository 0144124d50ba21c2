"""A problem's tests, read once: what to ask the candidate, and how to judge what it answers.

Tests of functions are rewritten through their syntax tree, so that they run in the judge's process while the
candidate runs in another:

- each ``assert`` becomes a call of ``__test__(k, actual, expected)`` that records both sides as values and
  lets the tests after it run;
- each call of the candidate becomes a question. Where its arguments stand in the test itself, the call is
  compiled and sent as code and its value is ``__answer__(j)``; where they depend on the test's variables, the call is
  made at the time;
- other names of the program that a test uses become ``__name_of_program__("Node")``.

When all questions are of the first kind and asked exactly once, they are sent together: one round trip.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import marshal
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import CodeType, MappingProxyType

from cycle_utils.execution import program
from cycle_utils.execution.feedback import FIELD_LIMIT, clip, show
from cycle_utils.execution.inside import plain
from cycle_utils.problems import Problem


class BadProblem(ValueError):
    """A problem that cannot be judged; the message names the test and the way out."""


@dataclass(frozen=True)
class TestSpec:
    """What is known of a test before it runs: the text of its input, and whether that is one call as it stands."""

    __test__ = False

    input: str
    is_call: bool = False


@dataclass(frozen=True)
class FunctionSuite:
    """The tests of a function.

    Attributes:
        specs: one for each test result.
        questions: the calls that can be sent beforehand: their numbers in ``asked``, or arguments as JSON.
        asked: marshalled code of a list of functions, each of which makes one call.
        together: whether all questions may be asked at once, before the judging code runs.
        code: the judging code; ``None`` for call-based tests, where ``expected`` is compared directly.
        expected: call-based tests: the value to return.
        setup: marshalled code that runs before the program, in its process.
        own_setup: the same for the judge's side, with the prompt's own helper functions.
    """

    entry_point: str
    specs: list[TestSpec]
    questions: list[int | str]
    asked: bytes
    together: bool
    code: CodeType | None
    expected: list[object]
    setup: bytes
    own_setup: CodeType | None


def packed(suite: FunctionSuite | StdinSuite) -> bytes | None:
    """A suite of assertions as bytes, from which :func:`unpacked` makes it in a twentieth of the time of reading it.

    ``None`` for other suites: reading those costs nothing.
    """
    if not isinstance(suite, FunctionSuite) or suite.code is None:
        return None
    values = [getattr(suite, each.name) for each in fields(suite)]
    return marshal.dumps([[[spec.input, spec.is_call] for spec in suite.specs], *values[:1], *values[2:]])


def unpacked(data: bytes) -> FunctionSuite:
    """The suite behind :func:`packed`."""
    specs, entry_point, *values = marshal.loads(data)
    return FunctionSuite(entry_point, [TestSpec(*spec) for spec in specs], *values)


@dataclass(frozen=True)
class StdinSuite:
    """The tests of a program that reads standard input: texts in, texts out."""

    inputs: list[str]
    outputs: list[str]
    setup: bytes
    entry_point: None = None


NOTHING = marshal.dumps(compile("[]", "<test>", "eval"))


def read(problem: Problem) -> FunctionSuite | StdinSuite:
    """The suite of a problem.

    Raises:
        BadProblem: there are no tests, or one of them is of no known form.
    """
    if not problem.tests:
        raise BadProblem(f"{problem.task_id} has no tests: give Problem(tests=...) at least one.")
    if problem.entry_point is None:
        return _read_stdin(problem)
    if not (isinstance(problem.entry_point, str) and problem.entry_point.isidentifier()):
        raise BadProblem(f"{problem.task_id}: the entry point {problem.entry_point!r} is no name of a function.")
    if all(isinstance(test, Mapping) for test in problem.tests):
        return _read_calls(problem)
    return _read_assertions(problem)


def _compiled(problem: Problem, source: str, what: str) -> CodeType:
    return compile(_parsed(problem, source, what), f"<{what}>", "exec", dont_inherit=True)


def _parsed(problem: Problem, source: str, what: str) -> ast.Module:
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise BadProblem(f"{problem.task_id}: its {what} is no Python ({error}): mend the problem.") from error


def _read_stdin(problem: Problem) -> StdinSuite:
    for index, test in enumerate(problem.tests):
        if not (
            isinstance(test, Mapping) and isinstance(test.get("input"), str) and isinstance(test.get("output"), str)
        ):
            raise BadProblem(
                f"{problem.task_id}: test {index} of a program without entry point must be "
                f'{{"input": text, "output": text}}, not {clip(repr(test), 80)}.'
            )
    setup = marshal.dumps(_compiled(problem, problem.setup, "setup"))
    return StdinSuite([test["input"] for test in problem.tests], [test["output"] for test in problem.tests], setup)


def _read_calls(problem: Problem) -> FunctionSuite:
    """Call-based tests: a list of arguments and the value to return."""
    questions, specs = [], []
    for index, test in enumerate(problem.tests):
        if not isinstance(test.get("input"), list | tuple) or "output" not in test:
            raise BadProblem(
                f"{problem.task_id}: test {index} of function {problem.entry_point} must be "
                f'{{"input": list of arguments, "output": value}}, not {clip(repr(dict(test)), 80)}.'
            )
        questions.append(plain.dumps((list(test["input"]), {})))
        specs.append(TestSpec(call_text(problem.entry_point, test["input"])))
    setup = marshal.dumps(_compiled(problem, problem.setup, "setup"))
    expected = [test["output"] for test in problem.tests]
    return FunctionSuite(problem.entry_point, specs, questions, NOTHING, True, None, expected, setup, None)


def call_text(name: str, args: list, kwargs: Mapping | None = None) -> str:
    """A call as it would be written, from its values."""
    shown = [show(arg) for arg in args] + [f"{key}={show(value)}" for key, value in (kwargs or {}).items()]
    return clip(f"{name}({', '.join(shown)})", FIELD_LIMIT)


def _read_assertions(problem: Problem) -> FunctionSuite:
    """Assertions and ``check(candidate)`` functions, as source."""
    reader = _Reader(problem.entry_point)
    body = []
    for index, test in enumerate(problem.tests):
        if not isinstance(test, str):
            raise BadProblem(
                f"{problem.task_id}: test {index} is no text, as its other tests are: {clip(repr(test), 80)}."
            )
        before = len(reader.specs)
        body += _rewritten(problem, index, test, reader)
        if len(reader.specs) == before:
            raise BadProblem(
                f"{problem.task_id}: test {index} asserts nothing of {problem.entry_point}: {clip(test, 80)!r}."
            )
    tree = ast.Module(_future_first(body), [])
    before, _ = program.preamble(problem.prompt, problem.entry_point)
    names = reader.names
    imports = [f"import {name}" for name in sorted((names.used - names.bound) & _MODULES)]
    own_setup = _parsed(problem, "\n".join([*imports, problem.setup, before]), "setup and prompt")
    known = {problem.entry_point, *names.bound, *_Names(own_setup).bound, *_GIVEN}
    foreign = _Foreign(known)
    if names.used - known:
        tree = foreign.visit(tree)
    return FunctionSuite(
        problem.entry_point,
        reader.specs,
        list(range(len(reader.questions))),
        reader.compiled_questions(),
        reader.together and not foreign.met,
        compile(tree, "<tests>", "exec", dont_inherit=True),
        [],
        marshal.dumps(_compiled(problem, problem.setup, "setup")),
        compile(own_setup, "<setup and prompt>", "exec", dont_inherit=True),
    )


def _future_first(body: list[ast.stmt]) -> list[ast.stmt]:
    """``from __future__ import ...`` of any test before all else, where Python wants it."""
    return sorted(body, key=lambda node: not (isinstance(node, ast.ImportFrom) and node.module == "__future__"))


class _Foreign(ast.NodeTransformer):
    """Names that neither the tests nor Python define are the program's: they are looked up there, at the time."""

    def __init__(self, known: set[str]):
        self._known, self.met = known, False

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._known or not isinstance(node.ctx, ast.Load):
            return node
        self.met = True
        return _call("__name_of_program__", _new(ast.Constant, node.id))


_GIVEN = {*dir(builtins), "candidate", "__test__", "__answer__", "__call__", "__name__", "__name_of_program__"}


# Standard modules that tests use by name and count on the program to have imported.
_MODULES = sys.stdlib_module_names - set(dir(builtins))


def _rewritten(problem: Problem, index: int, test: str, reader: _Reader) -> list[ast.stmt]:
    """The judging code of one test; ``check(candidate)`` is called when the test defines it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # upstream's tests hold escapes like "\\w"
            tree = ast.parse(test)
    except (SyntaxError, ValueError) as error:
        raise BadProblem(f"{problem.task_id}: test {index} is no Python ({error}): {clip(test, 80)!r}.") from error
    check = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    body = reader.read(tree, check)
    if check is not None:
        body += ast.parse("check(candidate)").body
    return body


class _Reader(ast.NodeTransformer):
    """Rewrites tests, and gathers their specs and the questions that can be asked beforehand."""

    def __init__(self, entry_point: str):
        self.entry_point = entry_point
        self.specs: list[TestSpec] = []
        self.questions: list[ast.expr] = []
        self.together = True
        self.names = _Names()  # of all tests that were read
        self._bound: set[str] = set()
        self._check: ast.FunctionDef | None = None
        self._straight = True
        self._is_guarded = False  # by a ``try`` or ``with`` of the test's own

    def read(self, tree: ast.Module, check: ast.FunctionDef | None) -> list[ast.stmt]:
        """The judging code of one test; from here on, the candidate goes by its real name everywhere."""
        names = {"candidate"}
        if check is not None and check.args.args:
            names.add(check.args.args[0].arg)
        found = _Names(tree, dict.fromkeys(names, self.entry_point))
        self._bound = found.bound - {self.entry_point}
        self.names.bound |= self._bound
        self.names.used |= found.used
        self._check = check
        return self.visit(tree).body

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Inside anything that may run its parts never or twice, questions are asked at their time."""
        straight, guarded = self._straight, self._is_guarded
        if not isinstance(node, _STRAIGHT) and node is not self._check:
            self._straight = False
        if isinstance(node, ast.Try | ast.TryStar | ast.With | ast.AsyncWith):
            self._is_guarded = True
        node = super().generic_visit(node)
        self._straight, self._is_guarded = straight, guarded
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == self.entry_point and isinstance(node.ctx, ast.Load):
            self.together = False  # the function itself is handed about: whoever calls it asks at that time
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """``assert a == b`` becomes ``__test__(k, lambda: a, lambda: b, "==")``."""
        if isinstance(node.test, ast.Constant):
            return _new(ast.Pass)
        asserted, wanted, how = self._sides(node.test)
        self.specs.append(TestSpec(clip(ast.unparse(asserted), FIELD_LIMIT), self._is_question(asserted)))
        sides = [_lambda(self.visit(asserted)), _lambda(self.visit(wanted))]
        number, *rest = (_new(ast.Constant, value) for value in (len(self.specs) - 1, how, self._is_guarded))
        return _new(ast.Expr, _call("__test__", number, *sides, *rest))

    def _sides(self, test: ast.expr) -> tuple[ast.expr, ast.expr, str]:
        """The side with the candidate, the value it should have, and how the two are compared."""
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            left, right = test.left, test.comparators[0]
            if isinstance(test.ops[0], ast.Eq) and self._asks(left) != self._asks(right):
                return (left, right, "==") if self._asks(left) else (right, left, "reversed ==")
            if isinstance(test.ops[0], ast.Is) and isinstance(right, ast.Constant):
                return left, right, "is"
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and self._is_question(test.operand):
            return test.operand, _new(ast.Constant, False), "truth"
        return test, _new(ast.Constant, True), "truth"

    def _asks(self, node: ast.AST) -> bool:
        return any(isinstance(part, ast.Name) and part.id == self.entry_point for part in ast.walk(node))

    def _is_question(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == self.entry_point

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A call of the candidate becomes ``__answer__(j)`` or ``__call__(...)``."""
        if not self._is_question(node) and not self._wraps_question(node):
            return self.generic_visit(node)
        if self._is_closed(node):
            self.together = self.together and self._straight
            self.questions.append(node)
            return _call("__answer__", _new(ast.Constant, len(self.questions) - 1))
        if not self._is_question(node):
            return self.generic_visit(node)
        self.together = False
        node.args = [self.visit(arg) for arg in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        node.func = _new(ast.Name, "__call__", ast.Load())
        return node

    def _wraps_question(self, node: ast.Call) -> bool:
        """Whether it is ``list(f(x))`` or ``f(x)(y)``: what comes between need not cross, and may be endless."""
        inner = node.func
        if isinstance(node.func, ast.Name) and node.func.id in _WRAPPERS and len(node.args) == 1 and not node.keywords:
            inner = node.args[0] if node.func.id not in self._bound else None
        return isinstance(inner, ast.Call) and (self._is_question(inner) or self._wraps_question(inner))

    def _is_closed(self, node: ast.Call) -> bool:
        """Whether a call uses no variable of the test, so that it means the same in the candidate's process."""
        own, used = set(), set()
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                (used if isinstance(part.ctx, ast.Load) else own).add(part.id)
            elif isinstance(part, ast.arg):
                own.add(part.arg)
        return not (used - own) & self._bound

    def compiled_questions(self) -> bytes:
        """All questions as one piece of marshalled code, whose value is a list of functions."""
        asked = ast.Expression(_new(ast.List, [_lambda(question) for question in self.questions], ast.Load()))
        return marshal.dumps(compile(asked, "<test>", "eval", dont_inherit=True))


_WRAPPERS = ("list", "tuple", "set", "frozenset", "dict", "sorted", "len", "sum")

_STRAIGHT = (ast.Module, ast.Assert, ast.Expr, ast.Compare, ast.Call, ast.UnaryOp, ast.BinOp, ast.Attribute)
_STRAIGHT += (ast.Subscript, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.keyword)


def _new(kind: type, *fields) -> ast.AST:
    """A node of a place that nobody will ask for."""
    return kind(*fields, lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return _new(ast.Call, _new(ast.Name, name, ast.Load()), list(arguments), [])


def _lambda(body: ast.expr) -> ast.Lambda:
    return _new(ast.Lambda, ast.arguments([], [], None, [], [], None, []), body)


class _Names:
    """Every name that a piece of code binds (variables, arguments, functions, imports), and every one that it uses.

    Args:
        tree: the code; ``None``: none yet.
        renamed: names to change into others on the way.
    """

    def __init__(self, tree: ast.AST | None = None, renamed: Mapping[str, str] = MappingProxyType({})):
        self.bound: set[str] = set()
        self.used: set[str] = set()
        for node in () if tree is None else ast.walk(tree):
            if isinstance(node, ast.Name):
                node.id = renamed.get(node.id, node.id)
                (self.used if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)
            elif not isinstance(node, ast.expr | ast.expr_context):
                self._bind(node, renamed)

    def _bind(self, node: ast.AST, renamed: Mapping[str, str]) -> None:
        if isinstance(node, ast.arg):
            node.arg = renamed.get(node.arg, node.arg)
            self.bound.add(node.arg)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            self.bound.update(_starred(node.module))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self.bound.add(node.name)
        elif isinstance(node, ast.alias):
            self.bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            self.bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            self.bound.add(node.rest)


def _starred(module: str | None) -> list[str]:
    """What ``from module import *`` binds, of a standard module."""
    if module is None or module.split(".")[0] not in sys.stdlib_module_names:
        return []
    return dir(importlib.import_module(module))
