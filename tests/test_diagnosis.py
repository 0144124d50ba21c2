"""The diagnosis: programs are taken apart rightly, and faults, moves, evidence and oracles say what they should."""

import itertools
import random
from functools import cache

import pandas as pd
import pytest

from cycle_utils.analysis import diagnosis
from cycle_utils.analysis.diagnosis import Evidence, diagnosed, fault, move, wrong_slots
from cycle_utils.execution import Judge
from cycle_utils.models.prompts import shown_code
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp

ONE, SEVERAL, CLOSED, SKELETON = diagnosis.FAULTS
MENDED, AGAIN, OTHER, NEARER, BROKEN = diagnosis.MOVES
PROBLEMS = tp.generate("test", 40)
OPEN = next(p for p in tp.generate("test", 50, ambiguity=1.0) if p.meta["family"] == "keep_numbers")
VAGUE = next(p for p in PROBLEMS if len(p.meta["open"]) == 1 and len(p.meta["task"].family.slots) > 2)
STRANGE = "def f(x):\n    return x\n"


@cache
def drawn(family: tp.Family) -> tp.Task:
    """A task of this family."""
    rng = random.Random(family.name)
    return next(task for task in iter(lambda: tp.draw_task(rng), None) if task.family is family)


@pytest.mark.parametrize("family", tp.FAMILIES, ids=lambda family: family.name)
def test_a_filling_is_read_back_as_it_was_written(family):
    task, names = drawn(family), [slot.name for slot in family.slots]
    fillings = list(itertools.product(*(range(len(slot.values)) for slot in family.slots)))
    for chosen in random.Random(0).sample(fillings, min(20, len(fillings))):
        for way in range(len(family.bodies)):
            values = dict(zip(names, chosen))
            assert tp.recover(task, tp.program(task, values, way)) == values


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.task_id)
def test_a_canonical_program_has_no_slot_wrong_and_a_changed_slot_is_exactly_the_wrong_one(problem):
    task = problem.meta["task"]
    for solution in problem.canonical_solutions:
        assert wrong_slots(task, tp.recover(task, shown_code(problem, solution))) == frozenset()
    for slot in task.family.slots:
        other = {slot.name: (task.values[slot.name] + 1) % len(slot.values)}
        wrong = wrong_slots(task, tp.recover(task, tp.program(task, other, way=1)))
        assert wrong == {slot.name}
        assert fault(task, wrong) == (ONE if slot.name in task.open else CLOSED)


def test_layout_does_not_matter_and_other_names_and_texts_do():
    task = OPEN.meta["task"]
    code = tp.program(task)
    assert tp.recover(task, code.replace("    ", "  ") + "  # done\n") == task.values
    assert tp.recover(task, code.replace(task.names["x"] + " ", "other ")) is None
    for text in ("", "def f(:", "\0", STRANGE, code + "\nprint(1)\n"):
        assert tp.recover(task, text) is None


def test_a_filling_that_is_no_value_is_wrong_and_no_other_skeleton():
    task = OPEN.meta["task"]
    kept = next(slot for slot in task.family.slots if slot.name == "keep").values[task.values["keep"]]
    written = kept.code.replace("$x", task.names["x"])
    code = tp.program(task).replace(written, f"{task.names['x']} == 12345")
    assert tp.recover(task, code) == {**task.values, "keep": None}
    assert fault(task, wrong_slots(task, tp.recover(task, code))) == ONE


def test_faults():
    task = OPEN.meta["task"]
    assert fault(task, None) == SKELETON
    assert fault(task, frozenset()) is None
    assert fault(task, frozenset({"keep", "order"})) == SEVERAL


@pytest.mark.parametrize(
    ("before", "after", "passed", "again", "expected"),
    [
        ({"a"}, set(), True, False, MENDED),
        ({"a"}, {"a"}, False, True, AGAIN),
        ({"a"}, {"a"}, False, False, OTHER),
        ({"a", "b"}, {"b"}, False, False, NEARER),
        ({"a"}, {"b"}, False, False, BROKEN),
        ({"a"}, None, False, False, BROKEN),
        (None, {"a"}, False, False, NEARER),
        (None, None, False, False, OTHER),
    ],
)
def test_moves(before, after, passed, again, expected):
    frozen = [one if one is None else frozenset(one) for one in (before, after)]
    assert move(*frozen, passed, again) == expected


# --- evidence ---------------------------------------------------------------------------------------------


def test_evidence_begins_with_all_readings_and_ends_with_those_that_pass():
    for problem in PROBLEMS:
        known = Evidence(problem)
        assert known.after([])[0] == len(known.outcomes)
        assert known.after([None]) == known.after([])
        left, right = known.after(range(len(known.truth)))
        assert right and left == sum(known.right(outputs) for _, _, outputs in known.outcomes)
        assert known.after([])[1] == (tp.read_ideally(problem, 0).solved == 0)


def test_the_judges_feedback_is_of_the_test_that_the_program_does_not_pass():
    tried = []
    for problem in PROBLEMS[:12]:
        task = problem.meta["task"]
        slot = task.family.slots[0]
        values = {**task.values, slot.name: (task.values[slot.name] + 1) % len(slot.values)}
        tried.append((problem, values))
    with Judge(workers=1) as judge:
        verdicts = judge.run([p for p, _ in tried], [tp.program(p.meta["task"], values) for p, values in tried])
    for (problem, values), verdict in zip(tried, verdicts):
        known, test = Evidence(problem), Evidence(problem).test_of(verdict.feedback())
        assert not verdict.passed and test is not None
        assert not known.passes(values, test) and known.passes(problem.meta["task"].values, test)
        assert not known.passes(None, test) and not known.passes(values, None)


def test_guesses_without_repetition_end_at_certainty_and_never_fall():
    for problem in PROBLEMS:
        known = Evidence(problem)
        chances = [known.guessed(tries) for tries in range(1, len(known.outcomes) + 1)]
        assert chances == sorted(chances) and chances[-1] == 1.0
    slot = next(s for s in VAGUE.meta["task"].family.slots if s.name in VAGUE.meta["task"].open)
    right = round(Evidence(VAGUE).guessed(1) * len(slot.values))
    assert Evidence(VAGUE).guessed(1) == pytest.approx(right / len(slot.values)) and right >= 1


# --- whole trajectories -----------------------------------------------------------------------------------


def attempts(problem: Problem, *tries: tuple[str, int | None]) -> pd.DataFrame:
    """A trajectory of programs, each with the number of the test that it is shown, or None where it passed."""
    calls = problem.meta["calls"]
    rows = []
    for round_, (code, test) in enumerate(tries):
        call = ", ".join(calls[test or 0])
        feedback = "" if test is None else f"Input: {problem.entry_point}({call})\nExpected: ?\nActual: ?"
        rows.append({"task_id": problem.task_id, "sample": 0, "round": round_, "code": code, "passed": test is None,
                     "feedback": feedback})  # fmt: skip
    return pd.DataFrame(rows)


def others(problem, slot):
    """Programs that differ from the right one in this slot alone, each with the first test that it does not pass."""
    task, known = problem.meta["task"], Evidence(problem)
    values = next(one.values for one in task.family.slots if one.name == slot)
    for index in set(range(len(values))) - {task.values[slot]}:
        outputs = tp.evaluate(task, problem.meta["calls"], {slot: index})
        failing = [i for i, pair in enumerate(zip(outputs, known.truth)) if not tp.same(*pair)]
        yield tp.program(task, {slot: index}), failing[0]


def test_a_trajectory_is_told_round_by_round():
    task = VAGUE.meta["task"]
    (open_slot,), closed = task.open, next(s.name for s in task.family.slots if s.name not in task.open)
    first, second, *_ = others(VAGUE, open_slot)
    broken, right = next(others(VAGUE, closed)), (tp.program(task), None)
    commented = (first[0] + "  # again", first[1])
    tried = attempts(VAGUE, first, second, first, commented, broken, right)
    table = diagnosed(tried, {VAGUE.task_id: Evidence(VAGUE)})
    assert list(table["fault"][:5]) == [ONE, ONE, ONE, ONE, CLOSED] and pd.isna(table["fault"].iloc[5])
    assert list(table["move"][1:]) == [OTHER, AGAIN, AGAIN, BROKEN, MENDED]
    assert list(table["latest"][1:]) == [False, False, False, False, False]
    assert list(table["earlier"][1:]) == [False, True, False, False, False]
    assert list(table["tree"][1:]) == [False, True, True, False, False]
    assert table["heeds"].iloc[5] and table["read"].iloc[5] and table["repaired"].iloc[5]
    assert not table["heeds"].iloc[3]  # it is shown the test that the same program failed


def test_each_oracle_mends_what_it_is_for():
    task = VAGUE.meta["task"]
    (open_slot,), closed = task.open, next(s.name for s in task.family.slots if s.name not in task.open)
    known = Evidence(VAGUE)
    misread, broken = next(others(VAGUE, open_slot)), next(others(VAGUE, closed))
    telling = next(i for i in range(len(known.truth)) if known.after([i])[1])
    table = diagnosed(attempts(VAGUE, (misread[0], telling), misread), {VAGUE.task_id: known})
    assert table["read"].iloc[1] and table["read_latest"].iloc[1] and not table["repaired"].any()
    table = diagnosed(attempts(VAGUE, (broken[0], telling), broken), {VAGUE.task_id: known})
    assert not table["read"].any() and table["repaired"].all()
    table = diagnosed(attempts(VAGUE, (STRANGE, 0)), {VAGUE.task_id: known})
    assert not table["read"].any() and table["repaired"].all()


def test_shares_and_open_slots_count_over_seeds():
    task = VAGUE.meta["task"]
    (open_slot,) = task.open
    first, second, *_ = others(VAGUE, open_slot)
    known = {VAGUE.task_id: Evidence(VAGUE)}
    tables = [diagnosed(attempts(VAGUE, first, *then), known) for then in ([first, second], [(tp.program(task), None)])]
    found = diagnosis.shares(tables, "move", [MENDED, AGAIN], "round", [1, 2, 9]).set_index(["round", "move"])
    assert found.loc[(1, AGAIN), "value"] == 0.5 and found.loc[(1, AGAIN), "by_seed"] == [1.0, 0.0]
    assert found.loc[(1, MENDED), "count"] == 1 and found.loc[(2, MENDED), "by_seed"] == [0.0]
    assert 9 not in found.index
    slots = diagnosis.open_slots(tables, known)
    assert list(slots["slot"]) == [open_slot] * 2 and list(slots["first"]) == [False, False]
    assert list(slots["last"]) == [False, True] and list(slots["seed"]) == [0, 1]


def test_a_favourite_is_the_value_that_scores_highest_however_it_is_written():
    columns = ["task_id", "sample", "round", "slot", "evidence", "value", "right", "shown", "score"]
    choices = pd.DataFrame(
        [
            ["a", 0, 0, "sep", "legible", 0, False, True, -3.0],
            ["a", 0, 0, "sep", "legible", 1, True, False, -9.0],
            ["a", 0, 0, "sep", "legible", 1, True, False, -4.0],  # another way to write it
            ["a", 0, 0, "sep", "legible", 2, False, False, -5.0],
            ["b", 0, 0, "fill", "arithmetic", 0, False, True, -2.0],
            ["b", 0, 0, "fill", "arithmetic", 1, True, False, -1.0],
        ],
        columns=columns,
    )
    first, second = diagnosis.favourites(choices).to_dict("records")
    assert (first["right"], first["shown"], first["right_else"]) == (False, True, True)
    assert (first["chance"], first["chance_else"]) == (pytest.approx(1 / 3), 0.5)
    assert (second["right"], second["shown"], second["right_else"]) == (True, False, True)
