"""How a program is made of a prompt and a completion.

A completion may continue the prompt or stand alone. Which of the two is often plain from its text; where it is
not, there are several readings, and the first that compiles counts.

Programs are compiled in the referee, which is warm (in a fresh child it takes three times as long) and only
compiled there, never run. Python's compiler guards itself against text that is nested too deeply; should some
text take it down all the same, the referee is replaced like any that is lost.
"""

from __future__ import annotations

import ast
import marshal
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

from cycle_utils.problems import Problem

# What LeetCode and Codewars import for their users; solutions of call-based tasks count on it.
CALL_BASED_PRELUDE = """\
import bisect, collections, fractions, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""


@lru_cache(maxsize=1)
def _library() -> dict[str, str]:
    """For each name of the prelude the statement that imports it."""
    found: dict[str, str] = {}
    for statement in ast.parse(CALL_BASED_PRELUDE).body:
        if isinstance(statement, ast.Import):
            found |= {alias.name: f"import {alias.name}" for alias in statement.names}
            continue
        names: dict = {}
        exec(ast.unparse(statement), names)
        found |= {name: f"from {statement.module} import {name}" for name in names if not name.startswith("__")}
    return found


def prelude(code: bytes) -> bytes:
    """As much of the prelude as a program has names for, as marshalled code: all would take longer than the program.

    A program that makes its code as it runs gets all.
    """
    names = _names(marshal.loads(code))
    wanted = _library().keys() if names & {"eval", "exec"} else names & _library().keys()
    lines = sorted({_library()[name] for name in wanted})
    return marshal.dumps(compile("\n".join(lines), "<prelude>", "exec", dont_inherit=True)) if lines else b""


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*code.co_names, *(name for names in inner for name in names)}


def readings(problem: Problem, completion: str) -> list[str]:
    """The programs that ``completion`` may stand for, most probable first.

    A byte order mark and other line ends are read as Python reads them in a file.
    """
    completion = completion.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return [_future_first(source) for source in _readings(problem, completion)]


def _readings(problem: Problem, completion: str) -> list[str]:
    prompt = problem.prompt
    if completion.startswith(prompt) and prompt.strip():
        return [completion]
    if problem.entry_point is None:
        return [completion, *_continued(prompt, completion)]
    before, defined = preamble(prompt, problem.entry_point)
    if is_whole(completion, problem.entry_point):
        return [before + completion]
    return _continued(prompt, completion) if defined else [*_continued(prompt, completion), before + completion]


_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+(?:\([^)]*\)|[^\n#;]*)", re.MULTILINE)


def _future_first(source: str) -> str:
    """``from __future__ import ...`` before all else, where Python wants it: a prompt's code may have come first."""
    found = _FUTURE.search(source)
    if found is None or _compiles(source):
        return source
    moved = _FUTURE.findall(source)
    return "; ".join(" ".join(line.split()) for line in moved) + "\n" + _FUTURE.sub("pass", source)


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, FILENAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


FILENAME = "<candidate>"  # by which the candidate's own lines are known in a traceback


@dataclass(frozen=True)
class Program:
    """A program that compiles: its text and its marshalled code."""

    source: str
    code: bytes


class NoProgram(Exception):
    """No reading compiles. ``name``, ``message`` and ``line`` say why the most probable one does not."""

    def __init__(self, error: Exception, source: str):
        super().__init__(str(error))
        self.name = type(error).__name__
        self.message = str(getattr(error, "msg", error))
        number = getattr(error, "lineno", None)
        lines = source.split("\n")
        self.line = lines[number - 1].strip() if number and number <= len(lines) else ""


def compiled(sources: list[str]) -> Program:
    """The first of the readings that compiles.

    Raises:
        NoProgram: none does; the reason is the first reading's.
    """
    first = None
    for source in sources:
        try:
            with warnings.catch_warnings(action="ignore"):
                code = compile(source, FILENAME, "exec", dont_inherit=True)
            return Program(source, marshal.dumps(code))
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            first = first or NoProgram(error, source)
    raise first


def is_whole(completion: str, entry_point: str) -> bool:
    """Whether a completion begins at the left margin and defines the entry point (or ``class Solution``) itself."""
    first = next((line for line in completion.splitlines() if line.strip() and line.lstrip()[0] != "#"), "")
    if first[:1].isspace():
        return False
    defines = (
        rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry_point)}\b|^class[ \t]+Solution\b|^{re.escape(entry_point)}[ \t]*="
    )
    return re.search(defines, completion, re.MULTILINE) is not None


def _continued(prompt: str, completion: str) -> list[str]:
    """Prompt and completion joined. A prompt that lost its last newline gets it back before an indented body."""
    joined = prompt + completion
    if prompt.endswith("\n") or completion[:1] not in (" ", "\t"):
        return [joined]
    return [prompt + "\n" + completion, joined]


@lru_cache(maxsize=4096)
def preamble(prompt: str, entry_point: str) -> tuple[str, bool]:
    """The prompt's code before the entry point's own ``def``, and whether the prompt has that ``def``.

    The code is empty when it is not Python, as a description in plain words is not.
    """
    found = list(re.finditer(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry_point)}\b", prompt, re.MULTILINE))
    text = prompt[: found[-1].start()] if found else prompt
    if not text.endswith("\n"):
        text += "\n"
    return (text if _is_code(text) else ""), bool(found)


def _is_code(text: str) -> bool:
    """Whether a text is Python that defines or imports something (a single word of English parses, too)."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return False
    code = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return any(isinstance(node, code) for node in body)
