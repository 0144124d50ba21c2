"""Repairs by round against counts that are worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from cycle_utils import Problem
from cycle_utils.analysis import repair


def loop(**statuses: str) -> pd.DataFrame:
    """Attempts by problem, a letter each: ``p`` passed, ``f`` failed, ``e`` an exception; codes tell rounds apart."""
    words = {"p": "passed", "f": "failed", "e": "error"}
    said = {"p": "", "f": "Input: 1\nExpected: 2\nActual: 3", "e": "Error: KeyError: 'price'\nLine: x"}
    return pd.DataFrame([
        {"task_id": task, "sample": 0, "round": r, "code": f"{task}{r}", "status": words[one], "passed": one == "p",
         "feedback": said[one]}
        for task, letters in statuses.items() for r, one in enumerate(letters)
    ])  # fmt: skip


ONE = loop(a="fp", b="ffp", c="p", d="fef")


def test_repair_rate_is_of_those_still_wrong():
    mended, live = repair.repairs([ONE, ONE], 2)
    assert mended.shape == live.shape == (2, 2, 4)
    assert live.sum(axis=2).tolist() == [[3, 3], [2, 2]] and mended.sum(axis=2).tolist() == [[1, 1], [1, 1]]
    table = repair.repair_rates(mended, live)
    assert table["value"].tolist() == pytest.approx([1 / 3, 1 / 2]) and table["live"].tolist() == [6, 4]
    assert table["by_seed"].tolist()[1] == [0.5, 0.5]


def test_first_fixes_add_up_to_all_problems():
    table = repair.first_fix([ONE], 2).set_index("round")
    assert table["value"].to_dict() == {"0": 0.25, "1": 0.25, "2": 0.25, "never": 0.25}


def test_samples_in_turn_end_with_the_first_that_passes():
    samples = pd.DataFrame([
        {"task_id": task, "sample": i, "round": 0, "passed": one == "p"}
        for task, letters in {"a": "fpf", "b": "pfp", "c": "fff"}.items() for i, one in enumerate(letters)
    ])  # fmt: skip
    kept = repair.in_turn(samples).groupby("task_id")["round"].apply(list)
    assert kept.to_dict() == {"a": [0, 1], "b": [0], "c": [0, 1, 2]}


def test_a_rate_that_halves_decays_by_the_logarithm_of_two():
    live, mended = np.array([1000.0, 600, 480]), np.array([400.0, 120, 48])
    start, decay = repair.fitted(mended[:, None, None], live[:, None, None])
    assert (start, decay) == pytest.approx((0.4, np.log(2)))
    assert repair.farthest(mended[:, None, None], live[:, None, None]) == pytest.approx(0, abs=1e-9)


def test_mends_in_one_round_alone_have_no_decay():
    live = np.ones((2, 2, 3))
    mended = np.stack([live[0], 0 * live[0]])
    assert np.isnan(repair.decay(mended, live).value) and np.isnan(repair.decay_gap((mended, live), (live, live)).value)
    assert repair.in_words(repair.decay(mended, live)) == "undefined" and np.isnan(repair.farthest(mended, live))


def counts(decay: float, seeds: int, rng: np.random.Generator):
    """Simulated counts of 150 problems: each of 3 rounds mends one program in three, less by the decay."""
    live, mended = [np.ones((seeds, 150))], []
    for r in range(3):
        mended.append((rng.random((seeds, 150)) < np.exp(-decay * r) / 3) * live[-1])
        live.append(live[-1] - mended[-1])
    return np.stack(mended), np.stack(live[:-1])


def test_cells_are_what_a_little_more_weight_changes():
    mended, live = counts(0.4, 2, np.random.default_rng(0))
    cells, before = repair.decay_cells(mended, live), repair.fitted(mended, live)[1]
    assert cells.mean() == pytest.approx(0)
    for cell in [(0, 3), (1, 77)]:
        weight = np.ones((2, 150))
        weight[cell] += 1e-4
        change = (repair.fitted(mended * weight, live * weight)[1] - before) / 1e-4
        assert change == pytest.approx(cells[cell] / cells.size, rel=1e-3)


def test_a_decay_holds_its_truth_and_none_is_seen_where_none_is():
    rng = np.random.default_rng(1)
    held = [one.low <= 0.5 <= one.high for one in (repair.decay(*counts(0.5, 6, rng)) for _ in range(100))]
    alike = [repair.decay_gap(counts(0.5, 1, rng), counts(0.5, 1, rng)).p for _ in range(100)]
    assert np.mean(held) >= 0.91 and np.mean(np.array(alike) < 0.05) <= 0.11


def test_mcnemar_looks_at_what_one_model_alone_mends():
    """Of ten problems that both failed: six mended by ours alone, one by theirs, one by both, two by neither."""
    ours = {f"p{i}": "fp" for i in range(7)} | {"p7": "ff", "p8": "ff", "p9": "ff", "q": "p", "r": "ff"}
    theirs = {f"p{i}": "ff" for i in range(10)} | {"p6": "fp", "p7": "fp", "q": "fp", "r": "p"}
    table, gap = repair.both_failed([loop(**ours)], [loop(**theirs)], 1)
    assert table.iloc[0].to_dict() == {"seed": 0, "failed": 10, "ours": 6, "theirs": 1, "both": 1, "p": 0.125}
    assert gap.value == pytest.approx((7 - 2) / 10) and gap.low > 0


def test_changes_are_counted_in_tests():
    passed = {("a", "a0"): 3, ("a", "a1"): 4, ("b", "b0"): 2, ("b", "b1"): 1, ("b", "b2"): 4, ("c", "c0"): 4,
              ("d", "d0"): 2, ("d", "d1"): 0, ("d", "d2"): 0}  # fmt: skip
    assert repair.changes(ONE, passed).tolist() == ["all", "fewer", "all", "fewer", "as many"]
    shares = {name: (one["value"], one["refinements"]) for name, one in repair.change_shares([ONE], passed).items()}
    assert shares == {"fewer": (0.4, 5), "as many": (0.2, 5), "more": (0, 5), "all": (0.4, 5)}
    assert repair.stop_running([ONE]).value == pytest.approx(1 / 4)  # of a0, b0, b1 and d0 only d1 raises


def test_tests_are_counted_by_the_judge():
    problem = Problem(task_id="a", prompt="def f(x):", entry_point="f", tests=["assert f(1) == 1", "assert f(2) == 4"])
    codes = ["def f(x):\n    return x", "def f(x):\n    return x * x", "def f(x:"]
    attempts = pd.DataFrame({"task_id": "a", "code": codes * 2})
    assert repair.tests_passed([problem], [attempts]) == dict(zip([("a", code) for code in codes], [1, 2, 0]))


@pytest.mark.parametrize(
    ("status", "feedback", "said"),
    [
        ("passed", "", "passed"),
        ("failed", "Input: f('Error: no')\nExpected: 1\nActual: 2", "wrong value"),
        ("error", "Input: f(1)\nExpected: 1\nError: KeyError: 'price'\nLine: x", "KeyError"),
        ("error", "Error: IndentationError: unexpected indent", "does not parse"),
        ("timeout", "Input: f(1)\nExpected: 1\nError: time-out", "timeout"),
    ],
)
def test_kinds_of_error(status, feedback, said):
    assert repair.kind(status, feedback) == said


def test_kinds_that_are_mended_and_made():
    table = repair.kinds([ONE]).set_index("kind")
    assert table["shown"].to_dict() == {"wrong value": 4, "KeyError": 1}
    assert table["value"].to_dict() == {"wrong value": 0.5, "KeyError": 0}
    assert table["made"].to_dict() == {"wrong value": 1, "KeyError": 1}
