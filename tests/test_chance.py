"""Copies are set beside what independent answers of the same model give by chance."""

import pandas as pd
import pytest

from cycle_utils.analysis import chance, metrics


def _loop(rows):
    columns = ["task_id", "sample", "round", "code", "passed", "done"]
    return metrics.add_copies(pd.DataFrame(rows, columns=columns))


@pytest.fixture
def runs():
    """Two problems fail at first: one answer is repeated, of the other's samples one in four is the failing try."""
    loop = _loop([
        ("a", 0, 0, "x = 1", False, False), ("a", 0, 1, "x = 1", False, False),
        ("b", 0, 0, "y = 1", False, False), ("b", 0, 1, "y = 2", True, True),
        ("c", 0, 0, "z = 1", True, True),
    ])  # fmt: skip
    drawn = {"a": ["x = 3", "x = 4", "x = 5", "x = 6"], "b": ["y = 1", "y = 3", "y = 4", "y = 5"], "c": ["z = 1"] * 4}
    samples = pd.DataFrame([
        {"task_id": name, "sample": i, "round": 0, "code": code} for name, codes in drawn.items()
        for i, code in enumerate(codes)
    ])  # fmt: skip
    return loop, samples


def test_chance_weighs_each_failing_first_try_once(runs):
    copied, expected = chance.copies_and_chance(*runs)
    assert copied["copies"].to_dict() == {"a": 1, "b": 0, "c": 0}
    assert expected["copies"].to_dict() == {"a": 0.0, "b": 0.25, "c": 0.0}
    assert expected["attempts"].to_dict() == copied["attempts"].to_dict() == {"a": 1, "b": 1, "c": 0}


def test_shares_of_several_seeds_are_taken_together(runs):
    loop, samples = runs
    found = chance.against_chance([loop, loop], [samples, samples]).set_index("share")
    assert list(found.index) == list(chance.SHARES)
    assert found["value"].tolist() == pytest.approx([0.5, 0.125, 0.375])
    with pytest.raises(ValueError):
        chance.against_chance([loop], [])


def test_the_excess_over_chance_is_compared_in_pairs(runs):
    loops, samples = ([one] * 3 for one in runs)
    same = chance.excess_gap((loops, samples), (loops, samples))
    assert same.value == same.low == same.high == 0 and same.p == 1
    copying = loops[0].copy()
    copying.loc[copying["round"] == 1, [f"copy_{kind}" for kind in metrics.COPY_KINDS]] = True
    more = chance.excess_gap(([copying] * 3, samples), (loops, samples))
    rates = [chance.against_chance(one, samples).set_index("share")["value"][chance.BEYOND] for one in ([copying] * 3, loops)]
    assert more.value == pytest.approx(rates[0] - rates[1]) and more.value > 0
