"""The generator: from a draw of choices to a problem with its text, its tests and its canonical solutions."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Template
from types import CodeType
from typing import Any, Literal, get_args

from cycle_utils.problems.problem import Problem
from cycle_utils.problems.tinyprograms.families import ARGUMENTS, FAMILIES, HELD_OUT, LOCALS, Family
from cycle_utils.problems.tinyprograms.inputs import draw_arguments
from cycle_utils.problems.tinyprograms.slots import prior

SPLITS = ("train", "validation", "test")
FamilySet = Literal["all", "known", "held-out"]
AMBIGUITY = 0.4  # default probability that a slot is left open
PUBLIC, HIDDEN = 4, 8  # tests of each kind per problem


@dataclass(frozen=True)
class Task:
    """A family with every choice made: the draw behind one problem."""

    family: Family
    values: Mapping[str, int]  # slot -> index of its value
    open: frozenset[str]  # slots that the description leaves open
    names: Mapping[str, str]  # placeholder -> identifier
    description: str


# --- from a draw to text ---------------------------------------------------------------------------------


def _fill(template: str, mapping: Mapping[str, str]) -> str:
    """Slots first, then the identifiers inside the slots' code."""
    return Template(Template(template).safe_substitute(mapping)).substitute(mapping)


def body(task: Task, values: Mapping[str, int] | None = None, way: int = 0) -> str:
    """The function's body, indented, as a completion of :func:`prompt`: it starts with a newline.

    ``values`` overrides the slots' values (other readings, bugs); ``way`` chooses among the family's ways
    to write it.
    """
    chosen = {**task.values, **(values or {})}
    code = {slot.name: slot.values[chosen[slot.name]].code for slot in task.family.slots}
    lines = _fill(task.family.bodies[way], {**task.names, **code}).split("\n")
    return "".join("\n" + ("    " + line if line else "") for line in lines)


def signature(task: Task) -> str:
    """``def f(xs):``"""
    return f"def {task.names['f']}({', '.join(task.names[a] for a in task.family.arguments)}):"


def prompt(task: Task, examples: Sequence[tuple[str, str]] = ()) -> str:
    """Signature and docstring, ending in the docstring's last quote; ``examples`` become doctest lines."""
    if not examples:
        return f'{signature(task)}\n    """{task.description}"""'
    lines = "".join(f"\n    >>> {call}\n    {value}" for call, value in examples)
    return f'{signature(task)}\n    """{task.description}{lines}\n    """'


def program(task: Task, values: Mapping[str, int] | None = None, way: int = 0) -> str:
    """The whole definition without its docstring."""
    return signature(task) + body(task, values, way)


def family_set(which: FamilySet = "all") -> tuple[Family, ...]:
    """All families, those that are :data:`HELD_OUT` from a training that knows the ``known`` ones, or these.

    Raises:
        ValueError: an unknown set.
    """
    if which not in get_args(FamilySet):
        raise ValueError(f"unknown families {which!r}; choose one of {', '.join(get_args(FamilySet))}")
    return tuple(f for f in FAMILIES if which == "all" or (f.name in HELD_OUT) == (which == "held-out"))


def draw_task(
    rng: random.Random, ambiguity: float = AMBIGUITY, split: str | None = None, families: FamilySet = "all"
) -> Task:
    """Draw a family, its slots' values, what is left open, names and words; only from ``split`` if given.

    Raises:
        ValueError: ``ambiguity`` outside 0 to 1, or an unknown split or set of families.
    """
    if not 0 <= ambiguity <= 1:
        raise ValueError(f"ambiguity is {ambiguity}; it is a probability: give a number from 0 to 1")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; TinyPrograms has {', '.join(SPLITS)}")
    drawn_from = family_set(families)
    while True:
        family = rng.choice(drawn_from)
        values = {s.name: rng.choices(range(len(s.values)), prior(s))[0] for s in family.slots}
        if split is None or split_of(family, values) == split:
            break
    left_open = frozenset(s.name for s in family.slots if rng.random() < ambiguity)
    habit = rng.randrange(4)
    names = {place: pool[habit] for place, pool in {**ARGUMENTS, **LOCALS}.items()}
    names["f"] = rng.choice(family.functions)
    said = {
        s.name: rng.choice(s.open if s.name in left_open else s.values[values[s.name]].phrases) for s in family.slots
    }
    description = _fill(rng.choice(family.descriptions), {**names, **said})
    return Task(family, values, left_open, names, description)


def split_of(family: Family, values: Mapping[str, int]) -> str:
    """The split that owns a program: decided by its slots' values, so that no renaming crosses over."""
    key = family.name + "".join(f"/{s.name}={values[s.name]}" for s in family.slots)
    bucket = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100
    return "test" if bucket < 10 else "validation" if bucket < 15 else "train"


# --- execution of our own programs -----------------------------------------------------------------------


class _Fails:
    """What a reading gives where its program raises; equal to nothing."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None


FAILS = _Fails()


_PLAIN = {place: pool[0] for place, pool in {**ARGUMENTS, **LOCALS}.items()} | {"f": "f"}


@lru_cache(maxsize=16384)
def _function(family: Family, values: tuple[int, ...]) -> Callable:
    """A filling of a family's slots as a function. Identifiers do not change what it computes: all go by the same."""
    chosen = {slot.name: index for slot, index in zip(family.slots, values)}
    scope: dict[str, Any] = {}
    exec(compile(program(Task(family, chosen, frozenset(), _PLAIN, "")), "<tinyprograms>", "exec"), scope)
    return scope["f"]


@lru_cache(maxsize=16384)
def _expression(arguments: tuple[str, ...]) -> CodeType:
    return compile(f"({', '.join(arguments)},)", "<tinyprograms>", "eval")


def evaluate(task: Task, arguments: Sequence[Sequence[str]], values: Mapping[str, int] | None = None) -> list[Any]:
    """What the task's own program, or another reading of it, returns for each call; :data:`FAILS` if it raises."""
    chosen = {**task.values, **(values or {})}
    function, results = _function(task.family, tuple(chosen[slot.name] for slot in task.family.slots)), []
    for call in arguments:
        try:
            results.append(function(*eval(_expression(tuple(call)))))
        except Exception:
            results.append(FAILS)
    return results


def same(a: Any, b: Any) -> bool:
    """Equality as the tests see it, with types: ``True`` is not ``1`` in what a reader is shown."""
    return a is not FAILS and b is not FAILS and a == b


# --- problems --------------------------------------------------------------------------------------------


def distinct_calls(task: Task, rng: random.Random, count: int) -> list[tuple[str, ...]]:
    """Distinct calls on which the task's own program does not raise."""
    code = {s.name: s.values[task.values[s.name]].code for s in task.family.slots}
    seen: dict[tuple[str, ...], None] = {}
    for _ in range(40):
        fresh = [draw_arguments(task.family.inputs, rng, code) for _ in range(count)]
        for call, value in zip(fresh, evaluate(task, fresh)):
            if value is not FAILS:
                seen.setdefault(call, None)
        if len(seen) >= count:
            break
    return list(seen)[:count]


def _telling(task: Task, calls: Sequence[tuple[str, ...]]) -> bool:
    """Whether these calls tell the program from each that differs in one slot."""
    truth = evaluate(task, calls)
    for slot in task.family.slots:
        for index in range(len(slot.values)):
            if index != task.values[slot.name]:
                other = evaluate(task, calls, {slot.name: index})
                if all(same(a, b) for a, b in zip(truth, other)):
                    return False
    return True


def draw_calls(task: Task, rng: random.Random) -> list[tuple[str, ...]]:
    """:data:`PUBLIC` + :data:`HIDDEN` calls; each part tells the program from its one-slot neighbours if it can.

    Where only one part can (a fallback that a single call betrays), it is the public one: what feedback cannot
    show, nobody could mend.
    """
    chosen: list[tuple[str, ...]] = []
    for _ in range(12):
        calls = distinct_calls(task, rng, PUBLIC + HIDDEN)
        public = _telling(task, calls[:PUBLIC])
        if not chosen or public:
            chosen = calls
        if public and _telling(task, calls[PUBLIC:]):
            break
    return chosen


def make_problem(task: Task, task_id: str, rng: random.Random) -> Problem:
    """The draw as a :class:`~cycle_utils.problems.Problem`, with tests and every way to write it."""
    calls = draw_calls(task, rng)
    values = evaluate(task, calls)
    tests = [f"assert {task.names['f']}({', '.join(c)}) == {v!r}" for c, v in zip(calls, values)]
    evidence = {s.name: s.evidence for s in task.family.slots}
    return Problem(
        task_id=task_id,
        prompt=prompt(task),
        entry_point=task.names["f"],
        tests=tuple(tests),
        public_tests=tuple(tests[:PUBLIC]),
        canonical_solutions=tuple(body(task, way=way) for way in range(len(task.family.bodies))),
        meta={
            "family": task.family.name,
            "open": {name: evidence[name] for name in sorted(task.open)},
            "task": task,
            "calls": tuple(calls),
        },
    )


def generate(
    split: str, count: int, seed: int = 0, ambiguity: float = AMBIGUITY, families: FamilySet = "all"
) -> list[Problem]:
    """``count`` distinct problems of a split; the same arguments give the same problems.

    Raises:
        ValueError: unknown split or set of families, ``ambiguity`` outside 0 to 1, or a negative count.
    """
    if count < 0:
        raise ValueError(f"limit is {count}; ask for 0 problems or more")
    part = "" if families == "all" else f"{families}/"
    rng = random.Random(f"tinyprograms/{part}{split}/{seed}/{ambiguity}")
    problems, seen = [], set()
    while len(problems) < count:
        task = draw_task(rng, ambiguity, split, families)
        if (text := prompt(task)) in seen:
            continue
        seen.add(text)
        problems.append(make_problem(task, f"TinyPrograms/{part}{split}/{seed}/{len(problems)}", rng))
    return problems


def count_problems() -> dict[str, int]:
    """How many distinct (program, description) pairs, and programs up to renaming and way, there are."""
    programs = descriptions = 0
    for family in FAMILIES:
        filled = said = 1
        for slot in family.slots:
            filled *= len(slot.values)
            said *= sum(len(v.phrases) + len(slot.open) for v in slot.values)
        programs += filled
        descriptions += said * len(family.descriptions)
    return {"families": len(FAMILIES), "programs": programs, "problems": descriptions}
