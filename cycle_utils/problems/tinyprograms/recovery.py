"""Recovery: which value a program gave to each slot, read back from its text.

A family's template with a wildcard in each slot is laid beside the program's syntax tree; what a wildcard stands for
there is the slot's filling. No program is run for it, and layout, comments and quotes do not matter.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from string import Template

from cycle_utils.problems.tinyprograms.families import Family
from cycle_utils.problems.tinyprograms.generator import Task, program
from cycle_utils.problems.tinyprograms.slots import Value

_WILD = "_slot_"  # how a wildcard's name begins


def recover(task: Task, code: str) -> dict[str, int | None] | None:
    """The index of each slot's value in a program for a task, by the slot's name.

    Returns:
        ``None`` for a slot that is filled with something other than its values, and for the whole where the program has
        another skeleton than the family's, other names included, or is no Python.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    skeletons, codes = _known(task.family, tuple(task.names.items()))
    for skeleton in skeletons:
        found: dict[str, str] = {}
        if _matches(skeleton, tree, found):
            return {name: known.get(found[name]) for name, known in codes.items()}
    return None


@lru_cache(maxsize=1024)
def _known(family: Family, names: tuple[tuple[str, str], ...]) -> tuple[list[ast.Module], dict[str, dict[str, int]]]:
    """The trees of a family's templates, a wildcard in each slot; and of each slot, by its tree, a value's index."""
    slots = tuple(replace(slot, values=(Value(_WILD + slot.name, ()),)) for slot in family.slots)
    blank = Task(replace(family, slots=slots), {slot.name: 0 for slot in slots}, frozenset(), dict(names), "")
    skeletons = [ast.parse(program(blank, way=way)) for way in range(len(family.bodies))]
    codes = {slot.name: [_tree(value, blank.names) for value in slot.values] for slot in family.slots}
    return skeletons, {name: {tree: index for index, tree in enumerate(trees)} for name, trees in codes.items()}


def _tree(value: Value, names: Mapping[str, str]) -> str:
    return ast.dump(ast.parse(Template(value.code).substitute(names), mode="eval").body)


def _matches(pattern: object, node: object, found: dict[str, str]) -> bool:
    """Whether two trees are the same but for wildcards; what these stand for goes into ``found``."""
    if isinstance(pattern, ast.Name) and pattern.id.startswith(_WILD) and isinstance(node, ast.expr):
        found[pattern.id.removeprefix(_WILD)] = ast.dump(node)
        return True
    if type(pattern) is not type(node):
        return False
    if isinstance(pattern, list):
        return len(pattern) == len(node) and all(_matches(*pair, found) for pair in zip(pattern, node))
    if isinstance(pattern, ast.AST):
        fields = ((getattr(pattern, name, None), getattr(node, name, None)) for name in pattern._fields)
        return all(_matches(*pair, found) for pair in fields)
    return pattern == node
