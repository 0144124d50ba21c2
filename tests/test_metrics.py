"""Scores against brute force, and copies on any text at all."""

import itertools

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycle_utils.analysis import metrics

CODE = "def f(xs):\n    return sorted(xs)\n"


def table(*trajectories: tuple[str, int, list[tuple[str, bool]]]) -> pd.DataFrame:
    rows = [
        {"task_id": task, "sample": sample, "round": r, "completion": code, "code": code, "passed": passed,
         "status": "passed" if passed else "failed"}
        for task, sample, tries in trajectories
        for r, (code, passed) in enumerate(tries)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def attempts() -> pd.DataFrame:
    return table(
        ("t/1", 0, [("a", False), ("a", False), ("b", True)]),
        ("t/1", 1, [("a", True)]),
        ("t/0", 0, [("x = 1", False), ("x=1", False), ("(x) = 1  # one", False)]),
        ("t/0", 1, [("y", False), ("z", False), ("z", False)]),
    )


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_pass(case):
    n, c, k = case
    draws = list(itertools.combinations(range(n), k))
    assert metrics.pass_at_k(n, c, k) == pytest.approx(sum(min(draw) < c for draw in draws) / len(draws))


def test_pass_at_k_of_many_samples():
    assert metrics.pass_at_k(10_000, 5_000, 1) == 0.5
    assert 0 < metrics.pass_at_k(10_000, 1, 100) < 0.011


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, 0), (0, 0, 1)])
def test_pass_at_k_refuses_nonsense(n, c, k):
    with pytest.raises(ValueError, match=r"give|draw"):
        metrics.pass_at_k(n, c, k)


def test_solved_stays_solved(attempts):
    solved = metrics.solved_by_round(attempts, 3)
    assert list(solved.columns) == [0, 1, 2, 3]
    assert list(solved.index) == [("t/1", 0), ("t/1", 1), ("t/0", 0), ("t/0", 1)]
    assert solved.loc[("t/1", 0)].tolist() == [False, False, True, True]
    assert solved.loc[("t/1", 1)].all() and not solved.loc["t/0"].any(axis=None)
    assert solved.to_numpy().dtype == bool


def test_pass_rate_weighs_problems_alike(attempts):
    more = pd.concat([attempts, table(("t/0", 2, [("y", False)]))])  # a third sample of t/0 changes nothing
    for given_ in (attempts, more):
        assert metrics.pass_rate_by_round(given_, 3).tolist() == [0.25, 0.25, 0.5, 0.5]


def test_scoring_refuses_nonsense(attempts):
    with pytest.raises(ValueError, match="rounds is -1"):
        metrics.solved_by_round(attempts, -1)
    with pytest.raises(ValueError, match="no attempts"):
        metrics.solved_by_round(attempts[:0], 4)
    with pytest.raises(ValueError, match="no round 0"):
        metrics.solved_by_round(attempts[attempts["round"] > 0], 4)


def test_budget_is_pass_at_k_of_first_tries(attempts):
    assert metrics.budget_pass(attempts, 1).to_dict() == {"t/1": 0.5, "t/0": 0.0}
    assert metrics.budget_pass(attempts, 2).to_dict() == {"t/1": 1.0, "t/0": 0.0}
    with pytest.raises(ValueError, match="t/1 has 2 independent samples, fewer than the 3"):
        metrics.budget_pass(attempts, 3)


@pytest.mark.parametrize(
    ("current", "exact", "whitespace", "syntax"),
    [
        (CODE, True, True, True),
        (CODE.rstrip(), False, True, True),
        ("def f( xs ):\n\n\treturn sorted( xs )   \n\n", False, True, True),
        ("def f(xs):\n  # sorts\n  return (sorted(xs))", False, False, True),
        ("def f(xs):\n    return sorted(xs[:])\n", False, False, False),
        ("def f(ys):\n    return sorted(ys)\n", False, False, False),
        ("", False, False, False),
    ],
)
def test_kinds_of_copy(current, exact, whitespace, syntax):
    assert metrics.copies(CODE, current) == {"exact": exact, "whitespace": whitespace, "syntax": syntax}


def test_what_white_space_may_not_hide():
    nested = "for x in xs:\n    if x:\n        n += 1\n    return n"
    assert not any(metrics.copies(nested, nested.replace("    return", "return")).values())
    assert not any(metrics.copies("' '.join(x)", "''.join(x)").values())
    assert not any(metrics.copies("return x", "returnx").values())


def test_quotes_are_syntax_and_comments_are_not_white_space():
    assert metrics.copies("x = 'a'", 'x = "a"') == {"exact": False, "whitespace": False, "syntax": True}
    assert metrics.copies("x  # a", "x #  a")["exact"] is False
    assert metrics.copies("x  # a", "x  # b") == {"exact": False, "whitespace": False, "syntax": True}


def test_unparsable_programs_are_compared_by_their_white_space():
    assert metrics.copies("return (", "return  (  ") == {"exact": False, "whitespace": True, "syntax": True}
    assert not metrics.copies("return (", "return [")["syntax"]
    assert not metrics.copies("if x:\n    (", "if x:\n  (")["whitespace"]


HOSTILE = {
    "null byte": "a = '\0'", "surrogate": "x = '\ud800'", "long number": "1" * 10_000,
    "hexadecimal": "0x" + "f" * 10_000,
    "brackets": "(" * 5_000 + ")" * 5_000, "minus": "-" * 20_000 + "1", "dots": "a" + ".b" * 20_000,
    "sum": "1" + "+1" * 20_000, "elif": "if a:\n  b\n" + "elif a:\n  b\n" * 3_000, "form feed": "\x0c\n x",
    "indents": "".join(" " * i + "if 1:\n" for i in range(200)), "open string": "'" * 1_001, "invalid escape": r"'\d'",
    "dedent": "if 1:\n    a\n  b",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_copies_survive_what_breaks_parsers(text):
    assert all(metrics.copies(text, text).values())
    assert metrics.copies(text, text + "\n\n")["exact"] is False
    assert not any(metrics.copies(text, CODE).values())


def in_order(found: dict[str, bool]) -> bool:
    return found["exact"] <= found["whitespace"] <= found["syntax"]


@given(st.text(st.sampled_from("ab1 \n\t()[]:'#=+\\\0é"), max_size=30), st.text(max_size=30))
def test_copies_are_reflexive_symmetric_and_ordered(left, right):
    assert all(metrics.copies(left, left).values())
    assert metrics.copies(left, right) == metrics.copies(right, left)
    assert in_order(metrics.copies(left, right)) and in_order(metrics.copies(left, left + " "))


def test_add_copies_looks_one_round_back(attempts):
    shuffled = attempts.sample(frac=1, random_state=0)
    found = metrics.add_copies(shuffled)
    assert found.index.equals(shuffled.index) and "copy_exact" not in shuffled
    found = metrics.add_copies(found).sort_index()  # a second time changes nothing
    assert found["copy_exact"].isna().equals(found["round"] == 0)
    first = found[(found["task_id"] == "t/1") & (found["sample"] == 0)]
    assert first["copy_exact"].tolist()[1:] == [True, False]
    spaced = found[(found["task_id"] == "t/0") & (found["sample"] == 0)]
    assert spaced["copy_whitespace"].tolist()[1:] == [True, False]
    assert spaced["copy_syntax"].tolist()[1:] == [True, True]


def test_copy_rates(attempts):
    assert metrics.copy_rate(attempts) == pytest.approx(2 / 6)
    assert metrics.copy_rate(attempts, "whitespace") == pytest.approx(3 / 6)
    assert metrics.copy_rate(attempts, "syntax") == pytest.approx(4 / 6)
    assert metrics.copy_rate(attempts, "exact", round=1) == pytest.approx(1 / 3)
    assert pd.isna(metrics.copy_rate(attempts, round=7))
    assert metrics.copies_by_problem(attempts, "syntax").to_dict("index") == {
        "t/1": {"copies": 1, "attempts": 2},
        "t/0": {"copies": 3, "attempts": 4},
    }


def test_copy_rate_refuses_nonsense(attempts):
    with pytest.raises(ValueError, match="unknown kind of copy 'semantic'"):
        metrics.copy_rate(attempts, "semantic")
    with pytest.raises(ValueError, match="round 0"):
        metrics.copy_rate(attempts, round=0)


def test_chance_counts_samples_that_are_the_failing_first_try():
    loop = pd.DataFrame([
        {"task_id": "a", "sample": 0, "round": 0, "code": "x = 1", "done": False},
        {"task_id": "a", "sample": 0, "round": 1, "code": "x = 2", "done": False},
        {"task_id": "b", "sample": 0, "round": 0, "code": "y = 1", "done": True},
        {"task_id": "c", "sample": 0, "round": 0, "code": "z = 1", "done": False},
    ])  # fmt: skip
    drawn = {"a": ["x = 1", "x =1", "x = 2", "x = 1"], "b": ["y = 1", "y = 1"], "c": ["z = 2"]}
    samples = pd.DataFrame([
        {"task_id": task, "sample": i, "round": 0, "code": code} for task, codes in drawn.items()
        for i, code in enumerate(codes)
    ])  # fmt: skip
    exact = metrics.chance_by_problem(loop, samples)
    assert exact.to_dict("index") == {
        "a": {"copies": 2, "attempts": 4}, "b": {"copies": 0, "attempts": 0}, "c": {"copies": 0, "attempts": 1}
    }  # fmt: skip
    assert metrics.chance_by_problem(loop, samples, "whitespace").loc["a", "copies"] == 3
    with pytest.raises(ValueError, match="c has no independent samples"):
        metrics.chance_by_problem(loop, samples[samples["task_id"] != "c"])
