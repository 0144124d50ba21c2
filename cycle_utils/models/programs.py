"""Which part of a model's text is the program: the entry point's first whole definition and what it needs.

A model that continues a prompt goes on after its answer: it repeats the function until its tokens run out, tests it,
explains it. What stands there must neither fail a right program (the last repetition is cut in half, a call raises)
nor count as a part of it. So the syntax tree decides, not the look of a line, and text that goes on after the program
never changes what came before: :func:`is_whole` tells as soon as more of it is of no use.
"""

from __future__ import annotations

import ast
import builtins
import functools
import re
import symtable
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cycle_utils.models.prompts import HEADERS, defines

_CLOSING = tuple(")]}")
_BUILT_IN = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def trim(completion: str, entry_point: str | None, prompt: str = "", strays: bool = True) -> str:
    """The program in a text that continues a prompt, as a completion of that prompt.

    It is what stands up to the end of the entry point's first whole definition (or of the body, for a text that goes
    on within the definition that the prompt began) and, of what follows, the first definition of each name that
    it needs and does not have. A text whose definition is nowhere whole, as it is cut off or not Python, ends before
    the first line at the left margin after it that begins no definition; one without the entry point is kept as far
    as it is Python. A program that reads standard input ends before the next header of a template.

    Args:
        prompt: what the text continues; names that it defines need no definition after the program.
        strays: keep a text without the entry point, and take a body for the program though a definition follows
            it. Else, as the tiny LM's loops were published, all from the first line at the left margin of such a text
            goes, and a definition counts wherever it stands.
    """
    if entry_point is None:
        return min((completion.split(f"\n{header}")[0] for header in HEADERS), key=len).rstrip()
    lines = completion.split("\n")
    if strays:
        return _find(completion, entry_point, prompt).text
    if defines(completion, entry_point):
        return _find(completion, entry_point, prompt, body=False).text
    return _find(completion, entry_point, prompt).text if _is_body(lines, entry_point, prompt) else _cut(lines)


def is_whole(completion: str, entry_point: str | None, prompt: str = "") -> bool:
    """Whether :func:`trim` gives the same program however the text goes on; only whole lines of it count."""
    lines = completion[: completion.rfind("\n") + 1]
    if entry_point is None:
        return any(f"\n{header}" in lines for header in HEADERS)
    if _is_body(lines.split("\n"), entry_point, prompt) and not _begins(prompt, entry_point):
        return False  # a definition further down would make another program of it
    return _find(lines, entry_point, prompt).final


@dataclass(frozen=True)
class _Found:
    text: str
    final: bool


def _find(completion: str, entry_point: str, prompt: str, body: bool | None = None) -> _Found:
    lines = completion.split("\n")
    body = _is_body(lines, entry_point, prompt) if body is None else body
    if not body and not is_defined(completion, entry_point):
        return _Found("\n".join(_python_of(lines)).rstrip(), False)
    opening = f"def _({_parameters(prompt, entry_point)}):" if body else ""
    source = [opening + lines[0], *lines[1:]]
    tops = [n for n, line in enumerate(source) if _is_top(line) and not (body and n == 0)]
    for end in [*tops, len(source)]:
        tree = _parsed(source[:end])
        node = _definition(tree, "_" if body else entry_point) if tree else None
        if node:
            return _with_needs(source, node.end_lineno, end, prompt, opening)
    return _Found(_cut(lines, None if body else entry_point), False)


def _is_body(lines: Sequence[str], entry_point: str, prompt: str) -> bool:
    """Whether a text goes on within the definition that the prompt began: its first line of code is indented."""
    first = next((line for line in lines if line.strip()), "")
    begun = _begins(prompt, entry_point) or not is_defined("\n".join(lines), entry_point)
    return first[:1].isspace() and begun


def _begins(prompt: str, entry_point: str) -> bool:
    """Whether the prompt has begun the definition."""
    return entry_point in _bound(_tree_of(prompt))


def _is_top(line: str) -> bool:
    """Whether a statement may begin here at the left margin; a comment may stand anywhere."""
    return bool(line.strip()) and not line[0].isspace() and not line.startswith(("#", *_CLOSING))


def parsed(code: str) -> ast.Module | None:
    """The syntax tree of some code; none if it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def syntax(code: str) -> str | None:
    """The syntax tree of some code as text, without positions: programs that differ in layout alone have the same."""
    try:
        return None if (tree := parsed(code)) is None else ast.dump(tree)
    except (ValueError, RecursionError, MemoryError):  # a number with too many digits to be written, deep nesting
        return None


def _parsed(lines: Sequence[str]) -> ast.Module | None:
    return parsed("\n".join(lines) + "\n")


def is_defined(code: str, entry_point: str) -> bool:
    """Whether code looks as if it defined the entry point: as a function, by assignment, or in ``class Solution``."""
    name = re.escape(entry_point)
    method = rf"^class[ \t]+Solution\b.*^[ \t]+(?:async[ \t]+)?def[ \t]+{name}\b"
    return defines(code, entry_point) or bool(
        re.search(rf"^{name}[ \t]*=", code, re.MULTILINE) or re.search(method, code, re.MULTILINE | re.DOTALL)
    )


def _definition(tree: ast.Module, name: str) -> ast.stmt | None:
    return next((node for node in tree.body if _is_definition(node, name)), None)


def _is_definition(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.ClassDef) and node.name == "Solution":
        return any(_is_definition(method, name) for method in node.body)
    targets = node.targets if isinstance(node, ast.Assign) else []
    return (isinstance(node, _Definition) and node.name == name) or any(
        isinstance(target, ast.Name) and target.id == name for target in targets
    )


def _with_needs(source: Sequence[str], end: int, closed: int, prompt: str, opening: str) -> _Found:
    """The program up to line ``end``, and of the lines after it what it needs.

    Args:
        closed: where the definition is known to be over; the text's end does not show it.
    """
    kept = list(source[:end])
    have = _BUILT_IN | _bound(_tree_of(prompt)) | _bound(_parsed(kept))
    wanted = _globals("\n".join(kept)) - have
    behind = list(_statements(source, end)) if wanted else []
    needed: set[int] = set()
    while more := [n for n, part in enumerate(behind) if n not in needed and part.names & (wanted - have)]:
        part = behind[more[0]]
        needed.add(more[0])
        have |= part.names
        wanted |= _globals("\n".join(part.lines))
    kept += [line for n in sorted(needed) for line in behind[n].lines]
    text = "\n".join(kept).removeprefix(opening).rstrip()
    return _Found(text, closed < len(source) and not wanted - have)


@dataclass(frozen=True)
class _Statement:
    lines: Sequence[str]  # empty lines and comments before it included
    names: frozenset[str]


def _statements(source: Sequence[str], begin: int) -> Iterable[_Statement]:
    """The statements after a line, as far as the text is Python."""
    tops = [n for n in range(begin, len(source)) if _is_top(source[n])]
    while tops:
        for end in [*tops[1:], len(source)]:
            if tree := _parsed(source[begin:end]):
                yield _Statement(source[begin:end], _bound(tree))
                begin, tops = end, [n for n in tops if n >= end]
                break
        else:
            return


def _bound(tree: ast.Module | None) -> frozenset[str]:
    """Names that a module's statements define, import or assign."""
    names: set[str] = set()
    for node in tree.body if tree else ():
        if isinstance(node, _Definition):
            names.add(node.name)
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.alias):
                names.add((inner.asname or inner.name).split(".")[0])
            elif isinstance(inner, _Definition):
                names.add(inner.name)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                names.add(inner.id)
    return frozenset(names)


@functools.lru_cache(maxsize=1024)  # asked for the same prompt at every few tokens
def _tree_of(prompt: str) -> ast.Module | None:
    lines = prompt.rstrip().split("\n")
    return _parsed([*lines, "    pass"]) or _parsed(lines)


def _parameters(prompt: str, entry_point: str) -> str:
    """The names of the parameters of the definition that the prompt began."""
    node = _definition(_tree_of(prompt) or ast.Module([]), entry_point)
    return ", ".join(arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)) if node else ""


def _globals(code: str) -> set[str]:
    """Names that code looks up outside of its own functions and classes."""
    try:
        table = symtable.symtable(code + "\n", "program", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    tables = list(table.get_children())
    while tables:
        inner = tables.pop()
        tables += inner.get_children()
        found |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()}
    return found


def _python_of(lines: Sequence[str]) -> Sequence[str]:
    """The most of a text's first lines that is Python; all of it if its first statement is none."""
    ends = [*[n for n, line in enumerate(lines) if _is_top(line)][1:], len(lines)]
    return next((lines[:end] for end in reversed(ends) if _parsed(lines[:end])), lines)


def _cut(lines: Sequence[str], entry_point: str | None = None) -> str:
    """The part of a text that belongs to a definition which is nowhere whole, by the look of its lines.

    Args:
        entry_point: of a definition that the text holds; none for a body.
    """
    begins = next((n for n, line in enumerate(lines) if entry_point and defines(line, entry_point)), 0)
    ends = (n for n, line in enumerate(lines) if n > begins and line.strip() and not line[0].isspace())
    goes_on = (*_CLOSING, "def ", "async ", "class ", "@") if entry_point else _CLOSING
    end = next((n for n in ends if not lines[n].startswith(goes_on)), len(lines))
    return "\n".join(lines[:end]).rstrip()
