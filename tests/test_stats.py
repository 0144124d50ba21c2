"""Intervals against cases whose answer is known, and the same seed giving the same figures."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from cycle_utils.analysis import metrics, stats

RNG = np.random.default_rng(0)
HALF = RNG.random(300) < 0.5


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_interval_of_a_share_is_as_wide_as_theory_says(method):
    found = stats.interval(HALF, method)
    assert found.value == HALF.mean() and found.n == 300
    exact = binomtest(int(HALF.sum()), 300).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    found = [stats.interval(RNG.random(80) < 0.3, resamples=1_000, seed=i) for i in range(200)]
    covered = np.mean([i.low <= 0.3 <= i.high for i in found])
    assert 0.89 <= covered <= 0.99


def test_trainings_that_differ_widen_an_interval_and_copies_of_one_add_nothing():
    one = np.arange(50) % 2
    copied, alone = stats.interval(np.tile(one, (4, 1))), stats.interval(one)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    apart = stats.interval(np.stack([one, np.zeros(50), np.ones(50)]))
    assert apart.high - apart.low > 2 * (alone.high - alone.low) and 0 < apart.low < apart.high < 1


def test_same_seed_same_interval():
    assert stats.interval(HALF, seed=3) == stats.interval(HALF, seed=3) != stats.interval(HALF, seed=4)
    other = np.roll(HALF, 1)
    assert stats.paired_difference(HALF, other, seed=1) == stats.paired_difference(HALF, other, seed=1)
    assert stats.relative_gain(HALF, other, seed=1) == stats.relative_gain(HALF, other, seed=1)


def test_none_or_all_solved_is_not_certainty():
    none, all_ = stats.interval(np.zeros(164)), stats.interval(np.ones(164))
    assert none.low == none.value == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 164))
    assert all_.high == all_.value == 1 and all_.low == pytest.approx(0.025 ** (1 / 164))
    assert str(none) == "0.0 % [0.0, 2.2]"


def test_a_constant_that_is_no_share_has_no_width():
    assert stats.interval([0.5, 0.5]) == stats.Interval(0.5, 0.5, 0.5, 2)


def test_paired_difference_knows_what_pairing_is_worth():
    worse = HALF & (RNG.random(300) < 0.9)
    found = stats.paired_difference(HALF, worse)
    lost = int((HALF & ~worse).sum())
    assert found.value == pytest.approx(lost / 300)
    assert 0 < found.low < found.value < found.high
    assert found.p == pytest.approx(binomtest(lost, lost).pvalue, abs=0.002)
    apart = stats.interval(HALF), stats.interval(worse)
    assert found.high - found.low < apart[0].high - apart[0].low  # far narrower than two intervals side by side
    assert stats.verdict(found) == "higher" and stats.verdict(stats.paired_difference(worse, HALF)) == "lower"


def test_p_of_passes_is_mcnemars_and_has_no_floor():
    a, b = np.zeros(60), np.zeros(60)
    a[:9], b[9:12] = 1, 1  # 9 against 3 discordant pairs
    assert stats.paired_difference(a, b).p == pytest.approx(2 * (1 + 12 + 66 + 220) / 2**12)
    assert stats.ratio_difference(a, np.ones(60), b, np.ones(60)).p == pytest.approx(binomtest(9, 12).pvalue, abs=0.02)
    assert stats.paired_difference(np.ones(40), np.zeros(40)).p == pytest.approx(2 / 2**40)
    uneven = np.arange(1, 41) / 40
    assert stats.paired_difference(uneven, 0 * uneven).p == pytest.approx(2 / (stats.RESAMPLES + 1))


@pytest.mark.parametrize(
    ("p", "corrected", "said"),
    [
        (1 / 10_001, 12 / 10_001, "p ≤ 0.002"),
        (2 / 10_001, 6 / 10_001, "p < 0.001"),
        (3 / 10_001, 12 / 10_001, "p = 0.001"),
        (1e-9, 0.0012, "p = 0.001"),
    ],
)
def test_a_p_value_at_its_floor_is_at_most_what_it_says(p, corrected, said):
    row = pd.Series({"value": 0.1, "low": 0.05, "high": 0.15, "n": 300, "p": p, "p_corrected": corrected})
    assert str(stats.of_row(row)) == f"+10.0 points [5.0, 15.0], {said}"
    assert str(stats.of_row(next(row.to_frame().T.itertuples()))).endswith(said)


def test_no_difference():
    found = stats.paired_difference(HALF, HALF)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert stats.verdict(found) == "no difference seen"
    rounding = stats.paired_difference([2 / 3, 1 / 3], [1 / 3, 0])  # one difference, two floats
    assert rounding.low == rounding.high


def test_relative_gain():
    found = stats.relative_gain(HALF, HALF * 0.5)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))  # the same factor on every problem
    noisy = stats.relative_gain(HALF, HALF & (RNG.random(300) < 0.6))
    assert 0 < noisy.low < noisy.value < noisy.high
    assert stats.verdict(noisy) == "higher"


def test_a_gain_over_nothing_is_undefined():
    found = stats.relative_gain(HALF, np.zeros(300))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert str(found) == stats.verdict(found) == "undefined"
    rare = stats.relative_gain(np.ones(4), [0, 0, 0, 1])  # many resamples have a zero baseline
    assert rare.value == 3 and rare.high == np.inf and rare.low == pytest.approx(1 / 3)


def test_ratio_of_nothing_or_all_has_the_exact_interval_over_problems_that_count():
    none = stats.ratio_interval([0] * 6, [2, 1, 0, 3, 1, 0])
    whole = stats.ratio_interval([2, 1, 0, 3, 1, 0], [2, 1, 0, 3, 1, 0])
    exact = stats.interval([0] * 4)
    assert (none.value, none.low, none.high, none.n) == (0, exact.low, exact.high, 6)
    assert (whole.value, whole.low, whole.high) == (1, 1 - exact.high, 1) and 0.3 < exact.high < 0.7


def test_ratio_is_of_sums_and_not_the_mean_of_ratios():
    found = stats.ratio_interval([0, 1, 2, 0], [4, 4, 2, 0])
    assert found.value == pytest.approx(0.3) and found.n == 4
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_difference_on_other_problems_adds_both_variances():
    found = stats.difference_apart([1, 1, 1, 0], [1, 0])
    error = ((4 * (6 / 4) ** 2 * (0.75 * 0.25) + 2 * 3**2 * 0.25) / (6 * 5)) ** 0.5  # of six cells of mean 0
    assert found.value == pytest.approx(0.25) and found.n == 6
    assert found.high - found.value == pytest.approx(2.5706 * error, rel=1e-4)  # Student's t at 5 degrees of freedom
    with pytest.raises(ValueError, match="1 and 2 seeds"):
        stats.difference_apart([1, 0], [[1, 0], [0, 1]])


def test_spread():
    found = stats.spread([0.40, 0.42, 0.44])
    assert (found.mean, found.sd, found.min, found.max, found.n) == pytest.approx((0.42, 0.02, 0.40, 0.44, 3))
    assert str(found) == "42.0 % ± 2.0 (40.0 to 44.0, 3 seeds)"
    assert np.isnan(stats.spread([0.4]).sd) and str(stats.spread([0.4])) == "40.0 % (1 seed)"


def test_words():
    assert str(stats.Interval(0.423, 0.381, 0.467, 300)) == "42.3 % [38.1, 46.7]"
    assert str(stats.Difference(0.053, 0.012, 0.094, 300, 0.0123)) == "+5.3 points [1.2, 9.4], p = 0.012"
    assert str(stats.Difference(-0.053, -0.09, -0.01, 300, 0.0002)) == "-5.3 points [-9.0, -1.0], p < 0.001"
    assert stats.verdict(stats.Interval(0.6, 0.5, 0.7, 9), than=0.55) == "no difference seen"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.interval([]), r"shape \(0,\)"),
        (lambda: stats.interval(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\)"),
        (lambda: stats.interval([1, np.nan]), "1 scores are missing"),
        (lambda: stats.paired_difference([1, 0], [1]), "2 and 1 problems"),
        (lambda: stats.spread([]), "no seeds"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def attempts(passed_in: dict[str, int | None]) -> pd.DataFrame:
    rows = [
        {"task_id": task, "sample": 0, "round": r, "passed": r == end}
        for task, end in passed_in.items()
        for r in range(3 if end is None else end + 1)
    ]
    return pd.DataFrame(rows)


def test_curve_by_round_matches_problems_across_seeds():
    seeds = [attempts({"a": 0, "b": None}), attempts({"b": 1, "a": 0})]  # in another order
    curve = stats.curve_by_round([metrics.solved_by_round(table, 2) for table in seeds])
    assert curve["value"].tolist() == [0.5, 0.75, 0.75]
    assert list(curve.columns) == ["round", "value", "low", "high", "n", "by_seed"] and set(curve["n"]) == {2}
    assert curve["by_seed"].tolist()[0] == [0.5, 0.5]
    with pytest.raises(ValueError, match="different problems"):
        stats.curve_by_round([metrics.solved_by_round(attempts({task: 0}), 0) for task in "ab"])


def test_a_difference_of_ratios_where_every_whole_is_one_is_the_paired_difference():
    rng = np.random.default_rng(0)
    a, b = rng.random(80) < 0.6, rng.random(80) < 0.35
    found, known = stats.ratio_difference(a, np.ones(80), b, np.ones(80)), stats.paired_difference(a, b)
    assert found.value == pytest.approx(known.value) and found.p == pytest.approx(known.p, abs=0.01)
    assert found.low == pytest.approx(known.low, abs=0.02) and found.high == pytest.approx(known.high, abs=0.02)


def test_a_difference_of_ratios_is_paired_and_has_no_sign_without_a_difference():
    copies, attempts = np.array([0, 1, 2, 0, 4] * 20), np.array([1, 2, 3, 0, 4] * 20)
    same = stats.ratio_difference(copies, attempts, copies, attempts)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    fewer = stats.ratio_difference(np.maximum(copies - 1, 0), attempts, copies, attempts)
    assert stats.verdict(fewer) == "lower" and fewer.p < 0.001
    nothing = stats.ratio_difference(copies * 0, attempts * 0, copies, attempts)
    assert stats.verdict(nothing) == "undefined"
    with pytest.raises(ValueError, match="same problems"):
        stats.ratio_difference(copies, attempts, copies[1:], attempts[1:])


@pytest.mark.parametrize(
    ("found", "claimed", "p", "said"),
    [
        ((0.05, 0.01, 0.09), "higher", 0.01, "holds"),
        ((0.05, 0.01, 0.09), "lower", 0.01, "fails"),
        ((0.05, 0.01, 0.09), "higher", 0.2, "not shown, points towards it"),
        ((-0.01, -0.02, 0.01), "higher", None, "not shown, points against it"),
        ((0.0, -0.02, 0.02), "lower", None, "not shown, points nowhere"),
        ((-0.01, -0.02, 0.01), "kept", None, "holds (within 3 points)"),
        ((-0.02, -0.025, -0.015), "kept", 0.001, "holds (within 3 points)"),
        ((0.05, 0.01, 0.09), "kept", 0.01, "holds (improves)"),
        ((-0.05, -0.09, -0.01), "kept", 0.01, "fails"),
        ((-0.01, -0.05, 0.03), "kept", 0.6, "cannot tell, points against it"),
        ((np.nan, np.nan, np.nan), "kept", None, "undefined"),
    ],
)
def test_what_a_comparison_says_of_a_claim(found, claimed, p, said):
    assert stats.claim(stats.Interval(*found, 300), claimed, p) == said


def test_correction_leaves_its_argument_alone():
    p = np.array([0.01, 0.04, np.nan])
    assert stats.corrected(p)[:2].tolist() == pytest.approx([0.02, 0.04])
    assert p[0] == 0.01 and np.isnan(stats.corrected(pd.Series(p))[2])
