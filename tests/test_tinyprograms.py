"""TinyPrograms keeps its promises: sizes, splits without leakage, right solutions, an honest ceiling."""

import ast
import collections
import dataclasses
import itertools
import random
import string
import subprocess
import sys

import pytest

from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.problems.tinyprograms import generator

SAMPLE = tp.generate("test", 150, seed=5)


def shape(source: str) -> str:
    """The program up to the names that it binds itself: those, in order of appearance, become numbers."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in nodes if isinstance(n, ast.arg)} | {
        n.name for n in nodes if isinstance(n, ast.FunctionDef)
    }
    number: dict[str, str] = {}
    for node in nodes:
        for field in ("id", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str) and name in bound:
                setattr(node, field, number.setdefault(name, f"v{len(number)}"))
    return ast.dump(tree)


def ways(task: tp.Task) -> range:
    return range(len(task.family.bodies))


def one_task_per_family() -> dict[str, tp.Task]:
    rng, found = random.Random(0), {}
    while len(found) < len(tp.FAMILIES):
        task = tp.draw_task(rng)
        found.setdefault(task.family.name, task)
    return found


def all_fillings(task: tp.Task):
    names = [slot.name for slot in task.family.slots]
    for chosen in itertools.product(*(range(len(slot.values)) for slot in task.family.slots)):
        yield dataclasses.replace(task, values=dict(zip(names, chosen)))


@pytest.fixture(scope="module")
def every_program() -> list[tuple[str, str]]:
    """(split, source) of every program that there is, under one naming, written every way."""
    return [
        (tp.split_of(task.family, task.values), tp.program(task, way=way))
        for first in one_task_per_family().values()
        for task in all_fillings(first)
        for way in ways(task)
    ]


# --- splits ----------------------------------------------------------------------------------------------


def test_shape_sees_through_names_and_nothing_else():
    one = shape("def f(xs):\n    return [x for x in sorted(xs)]")
    assert one == shape("def g(values):  # other names\n\n    return [v for v in sorted(values)]")
    assert one != shape("def f(xs):\n    return [x for x in list(xs)]")
    assert one != shape("def f(xs, x):\n    return [xs for x in sorted(x)]")


def test_no_program_of_any_shape_is_in_two_splits(every_program):
    splits = collections.defaultdict(set)
    for split, source in every_program:
        splits[shape(source)].add(split)
    assert [s for s in splits.values() if len(s) > 1] == []
    found = collections.Counter(split for (split,) in splits.values())
    assert set(found) == set(tp.SPLITS) and min(found.values()) > 100


@pytest.mark.parametrize("seed", [0, 1])
def test_drawn_programs_of_different_splits_differ_up_to_renaming(seed):
    drawn = {}
    for split in tp.SPLITS:
        rng = random.Random(seed)
        tasks = [tp.draw_task(rng, split=split) for _ in range(1_500)]
        drawn[split] = {shape(tp.program(task, way=way)) for task in tasks for way in ways(task)}
    for one, other in itertools.combinations(tp.SPLITS, 2):
        assert drawn[one].isdisjoint(drawn[other]), f"{one} and {other} share programs"


def test_families_held_out_of_a_training_are_a_fifth_by_their_digests_and_asked_alone():
    assert tp.HELD_OUT == ("matrix_rows", "number_summary", "wrap_words", "record_summary")
    known, out = ({p.meta["family"] for p in tp.generate("test", 60, families=one)} for one in ("known", "held-out"))
    assert out == set(tp.HELD_OUT) and not known & out
    assert set(tp.family_set("known")) | set(tp.family_set("held-out")) == set(tp.FAMILIES)
    assert tp.generate("test", 5, families="all") == tp.generate("test", 5)
    with pytest.raises(ValueError, match="unknown families 'most'; choose one of all, known, held-out"):
        tp.generate("test", 1, families="most")


# --- size ------------------------------------------------------------------------------------------------


def test_families_and_distinct_problems():
    count = tp.count_problems()
    assert count["families"] == len({family.name for family in tp.FAMILIES}) >= 15
    assert count["problems"] >= 100_000


def test_the_count_of_programs_is_of_distinct_ones(every_program):
    assert tp.count_problems()["programs"] == len(every_program) / 2  # every family is written two ways
    assert len({shape(source) for _, source in every_program}) == len(every_program)


def test_the_count_is_what_drawing_finds(monkeypatch):
    """A family cut down until drawing exhausts it holds exactly the (program, description) pairs counted."""
    family = next(f for f in tp.FAMILIES if f.name == "group_words")
    slots = tuple(dataclasses.replace(slot, values=slot.values[:3]) for slot in family.slots)
    monkeypatch.setattr(generator, "FAMILIES", (dataclasses.replace(family, slots=slots),))
    rng, found = random.Random(0), collections.defaultdict(set)
    for _ in range(20_000):
        task = tp.draw_task(rng, ambiguity=0.5)
        found[task.names["words"]].add((tuple(task.values.values()), task.description))
    assert {len(pairs) for pairs in found.values()} == {tp.count_problems()["problems"]}


def test_draws_repeat_no_more_often_than_among_100_000_problems():
    """The birthday bound: m draws among D equally likely problems meet in m(m-1)/2D pairs, in more if unequal."""
    rng, draws = random.Random(0), 20_000
    seen = collections.Counter(tp.prompt(task) for task in (tp.draw_task(rng) for _ in range(draws)))
    pairs = sum(count * (count - 1) // 2 for count in seen.values())
    assert draws * (draws - 1) / 2 / pairs >= 100_000


def test_programs_have_3_to_15_lines(every_program):
    lines = {len([line for line in source.splitlines() if line.strip()]) for _, source in every_program}
    assert min(lines) >= 3 and max(lines) <= 15


def test_no_two_placeholders_of_a_program_share_a_name():
    rng = random.Random(0)
    for _ in range(2_000):
        task = tp.draw_task(rng)
        code = [value.code for slot in task.family.slots for value in slot.values]
        places = {p for text in [*task.family.bodies, *code] for p in string.Template(text).get_identifiers()}
        places |= {"f", *task.family.arguments}
        names = [name for place, name in task.names.items() if place in places]
        assert len(names) == len(set(names)), (task.family.name, names)


# --- problems --------------------------------------------------------------------------------------------


def test_problems_have_tests_of_both_kinds():
    for problem in SAMPLE:
        assert len(problem.tests) == len(set(problem.tests)) >= 8
        assert list(problem.public_tests) == list(problem.tests[: len(problem.public_tests)])
        assert len(problem.public_tests) >= 1 and len(problem.hidden_tests) >= 4
        assert problem.prompt == problem.prompt.rstrip() and problem.meta["family"]


def test_every_way_of_every_canonical_solution_passes():
    families = set()
    for problem in [*SAMPLE, *tp.generate("train", 150), *tp.generate("validation", 50)]:
        families.add(problem.meta["family"])
        assert len(problem.canonical_solutions) >= 2
        for solution in problem.canonical_solutions:
            assert solution.startswith("\n    ")
            scope = {}
            exec(problem.prompt + solution, scope)
            for test in problem.tests:
                exec(test, scope)
    assert families == {family.name for family in tp.FAMILIES}


def told_apart(problem: Problem, slot: tp.Slot) -> list[bool]:
    """For each other value of the slot: whether some test fails the program that has it."""
    task = problem.meta["task"]
    right, *others = (
        tp.evaluate(task, problem.meta["calls"], {slot.name: index})
        for index in sorted(range(len(slot.values)), key=lambda index: index != task.values[slot.name])
    )
    return [right != other for other in others]


def test_each_slot_of_each_family_is_tested():
    """Else a description would ask for what no test looks at. Some pairs are one program (a sorted list, sorted)."""
    told = collections.defaultdict(list)
    for problem in tp.generate("train", 300):
        for slot in problem.meta["task"].family.slots:
            told[problem.meta["family"], slot.name] += told_apart(problem, slot)
    shares = {where: sum(found) / len(found) for where, found in told.items()}
    assert {where: round(share, 2) for where, share in shares.items() if share < 0.75} == {}
    assert sum(map(sum, told.values())) / sum(map(len, told.values())) > 0.97


def test_descriptions_say_the_value_or_leave_it_open():
    rng = random.Random(0)
    for _ in range(500):
        task = tp.draw_task(rng, ambiguity=0.5)
        for slot in task.family.slots:
            phrases = slot.open if slot.name in task.open else slot.values[task.values[slot.name]].phrases
            assert any(phrase.replace("$", "") in task.description for phrase in phrases)


def test_open_phrases_and_values_are_never_said_alike():
    """Otherwise a description could name two values, or a value and none."""
    for slot in {slot for family in tp.FAMILIES for slot in family.slots}:
        said = [phrase for value in slot.values for phrase in value.phrases] + list(slot.open)
        assert len(said) == len(set(said)), slot.name
        assert len({value.code for value in slot.values}) == len(slot.values)
        assert slot.evidence in ("named", "legible", "arithmetic")


def test_generation_is_seeded():
    assert tp.generate("test", 20, seed=1) == tp.generate("test", 20, seed=1)
    assert tp.generate("test", 20, seed=1) != tp.generate("test", 20, seed=2)
    assert tp.generate("test", 20, seed=1)[:10] == tp.generate("test", 10, seed=1)
    prompts = [p.prompt for p in SAMPLE]
    assert len(prompts) == len(set(prompts)) == 150
    assert len({p.task_id for p in SAMPLE}) == 150


def test_generation_does_not_depend_on_the_process():
    script = (
        "import hashlib; from cycle_utils.problems import tinyprograms as tp\n"
        "print(hashlib.sha256(repr([(p.prompt, p.tests, p.canonical_solutions, p.meta['open'])"
        " for p in tp.generate('test', 40)]).encode()).hexdigest())"
    )
    run = [sys.executable, "-c", script]
    one, other = (subprocess.check_output(run, env={"PYTHONHASHSEED": seed}) for seed in ("1", "2"))
    assert one == other


# --- ambiguity and ceiling -------------------------------------------------------------------------------


def test_nothing_open_is_solved_at_once():
    problems = tp.generate("test", 60, ambiguity=0)
    assert all(not p.meta["open"] for p in problems)
    assert tp.ceiling(problems) == [1.0] * 5


def test_everything_open():
    problems = tp.generate("test", 15, ambiguity=1)
    assert all(set(p.meta["open"]) == {slot.name for slot in p.meta["task"].family.slots} for p in problems)
    assert tp.ceiling(problems)[0] < 0.6


def test_the_share_of_open_slots_is_the_ambiguity():
    rng = random.Random(0)
    tasks = [tp.draw_task(rng, ambiguity=0.3) for _ in range(3_000)]
    share = sum(len(task.open) for task in tasks) / sum(len(task.family.slots) for task in tasks)
    assert share == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("tests", ["all", "public"])
def test_ceilings_rise_with_rounds(tests):
    found = tp.ceiling(SAMPLE, rounds=4, tests=tests)
    assert len(found) == 5 and found == sorted(found) and 0 < found[0] < found[4] <= 1
    assert tp.ceiling(SAMPLE, rounds=1, tests=tests) == found[:2]


def test_ceilings_fall_with_ambiguity():
    found = [tp.ceiling(tp.generate("test", 60, ambiguity=a), 0)[0] for a in (0, 0.3, 0.6)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


def test_first_try_of_the_ideal_reader_is_right_as_often_as_the_prior_says():
    """Round 0 of the ceiling against the generator's own probabilities, counted another way."""
    expected = []
    for problem in SAMPLE:
        task, weight = problem.meta["task"], collections.Counter()
        for values, probability in tp.readings(task):
            answers = tp.evaluate(task, problem.meta["calls"], values)
            weight[repr(answers)] += probability
        expected.append(max(weight.values()))
    spread = sum(p * (1 - p) for p in expected) ** 0.5 / len(expected)
    assert abs(tp.ceiling(SAMPLE, 0)[0] - sum(expected) / len(expected)) < 4 * spread


def test_feedback_comes_in_three_strengths():
    strengths = collections.Counter(e for p in tp.generate("train", 200) for e in p.meta["open"].values())
    assert set(strengths) == {"named", "legible", "arithmetic"}
    assert min(strengths.values()) / strengths.total() > 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tp.generate("tset", 1), "unknown split 'tset'"),
        (lambda: tp.generate("test", -1), "limit is -1"),
        (lambda: tp.generate("test", 1, ambiguity=1.01), "ambiguity is 1.01"),
        (lambda: tp.generate("test", 1, ambiguity=-0.1), "ambiguity is -0.1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
