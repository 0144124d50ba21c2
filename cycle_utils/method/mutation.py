"""Mistakes made by rule: a right program with one expression changed.

The cheap alternative to a model's own mistakes, for the ablation of stage 1's data (are a model's own mistakes
better teachers?). Each mutant differs from its program in one place, and the text around that place is kept.
"""

from __future__ import annotations

import ast
import builtins
import copy
import random
from collections.abc import Iterator, Sequence

_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_MEMBERSHIP = (ast.In, ast.NotIn)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)
_BUILTINS = (("min", "max", "sum", "len"), ("any", "all"), ("list", "set", "sorted"), ("int", "str"))
_METHODS = (
    ("upper", "lower", "title", "capitalize", "swapcase"), ("startswith", "endswith"), ("append", "remove"),
    ("strip", "lstrip", "rstrip"), ("keys", "values", "items"), ("find", "count", "index"),
)  # fmt: skip


def mutants(code: str, rng: random.Random) -> Iterator[str]:
    """All single changes of a program, in random order: operators, constants, names, methods, negated conditions.

    Yields nothing for text that Python cannot parse. A mutant may do the same as its program: only executing
    it tells.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return
    names = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not hasattr(builtins, n.id)})
    places = [(node, rng.sample(found, len(found))) for node in ast.walk(tree) if (found := _others(node, names))]
    rng.shuffle(places)
    lines = code.splitlines(keepends=True)
    for turn in range(max((len(found) for _, found in places), default=0)):  # each place once, then each again
        for node, found in places:
            if turn < len(found):
                yield _replaced(lines, node, ast.unparse(found[turn]))


def _others(node: ast.AST, names: Sequence[str]) -> list[ast.expr]:
    """What could stand in the place of one expression."""
    match node:
        case ast.Compare(ops=[op]):
            return [_with(node, ops=[kind()]) for kind in _rest(type(op), (_COMPARISONS, _MEMBERSHIP))]
        case ast.BinOp(op=op):
            return [_with(node, op=kind()) for kind in _rest(type(op), (_ARITHMETIC,))]
        case ast.BoolOp(op=op):
            return [_with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())]
        case ast.UnaryOp():
            return [node.operand]
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value)):
            return [ast.Constant(value + 1), ast.Constant(value - 1)]
        case ast.Attribute(attr=attr):
            return [_with(node, attr=other) for other in _rest(attr, _METHODS)]
        case ast.Name(id=name, ctx=ast.Load()) if name in names:
            return [ast.Name(other) for other in names if other != name]
        case ast.Name(id=name, ctx=ast.Load()):
            return [ast.Name(other) for other in _rest(name, _BUILTINS)]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
    return []


def _rest(one, groups: Sequence[Sequence]) -> list:
    return [other for group in groups if one in group for other in group if other != one]


def _with(node: ast.AST, **fields):
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(lines: Sequence[str], node: ast.AST, text: str) -> str:
    """The program with one node's text replaced; positions count bytes of UTF-8."""
    first, last = lines[node.lineno - 1].encode(), lines[node.end_lineno - 1].encode()
    head = "".join(lines[: node.lineno - 1]) + first[: node.col_offset].decode()
    return head + text + last[node.end_col_offset :].decode() + "".join(lines[node.end_lineno :])
