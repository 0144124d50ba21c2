"""Intervals over trainings and problems: they hold the truth as often as they say, on tables whose truth is known."""

import numpy as np
import pytest

from cycle_utils.analysis import crossed, stats

RNG = np.random.default_rng(0)


def ends(table):
    found = stats.interval(table)
    return found.low, found.high


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("of_seeds", "of_problems"), [(0.15, 2.0), (0.4, 2.0), (0.4, 0.5), (0.0, 2.0)])
def test_an_interval_holds_the_truth_as_often_as_it_says(seeds, of_seeds, of_problems):
    held = crossed.coverage(ends, seeds, of_seeds=of_seeds, of_problems=of_problems, tables=400)
    assert 0.91 <= held <= 0.99


def test_an_interval_over_problems_alone_is_too_narrow_where_trainings_differ():
    def alone(table):
        found = stats.interval(table.mean(axis=0), method="percentile", resamples=500)
        return found.low, found.high

    assert crossed.coverage(alone, 3, of_seeds=0.4, tables=200) < 0.85


@pytest.mark.parametrize("seeds", [3, 10])
def test_differences_and_ratios_hold_their_truth_too(seeds):
    held = {"difference": 0, "ratio": 0, "gain": 0, "p": 0}
    trials = 300
    for _ in range(trials):
        skill, hard = RNG.normal(0, 0.05, (2, seeds, 1)), RNG.normal(0, 0.1, 200)
        theirs, ours = 0.4 + skill[0] + hard, 0.5 + skill[1] + hard
        noise = RNG.normal(0, 0.2, (2, seeds, 200))
        found = stats.paired_difference(ours + noise[0], theirs + noise[1])
        held["difference"] += found.low <= 0.1 <= found.high
        held["p"] += stats.paired_difference(ours - 0.1 + noise[0], theirs + noise[1]).p >= 0.05
        gain = stats.relative_gain(ours + noise[0], theirs + noise[1])
        held["gain"] += gain.low <= 0.25 <= gain.high
        wholes = RNG.integers(1, 5, (seeds, 200)).astype(float)
        chance = np.clip(0.3 + RNG.normal(0, 0.05, (seeds, 1)) + RNG.normal(0, 0.1, 200), 0.01, 0.99)
        rate = stats.ratio_interval(RNG.binomial(wholes.astype(int), chance), wholes)
        held["ratio"] += rate.low <= 0.3 <= rate.high
    assert all(0.90 <= count / trials <= 0.995 for count in held.values()), held


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_difference_on_other_problems_holds_its_truth(seeds):
    held = 0
    for _ in range(300):
        skill = RNG.normal(0, 0.05 * (seeds > 1), (seeds, 1))
        one, other = (
            base + weight * skill + RNG.normal(0, 0.2, (1, n)) + RNG.normal(0, 0.2, (seeds, n))
            for base, weight, n in ((0.5, 2, 60), (0.4, 1, 200))
        )
        found = stats.difference_apart(one, other)
        held += found.low <= 0.1 <= found.high
    assert 0.91 <= held / 300 <= 0.995


def test_parts_of_the_variance():
    table = RNG.normal(0, 1, (4, 1)) + RNG.normal(0, 1, (1, 50))  # nothing but the two effects
    error, _ = crossed.standard_error(table)
    by_hand = table.mean(axis=1).var(ddof=1) / 4 + table.mean(axis=0).var(ddof=1) / 50
    assert error == pytest.approx(by_hand**0.5)
    assert crossed.standard_error(np.ones((3, 5))) == (0.0, 0.0)


@pytest.mark.parametrize("seeds", [3, 6])
def test_trainings_that_agree_by_luck_make_no_difference_certain_or_boundless(seeds):
    """Differences that have no part of trainings or problems: mean squares of both are noise, and may be tiny."""
    found = [stats.paired_difference(*RNG.normal(0, 0.3, (2, seeds, 100))) for _ in range(300)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.94
    widths = np.array([one.high - one.low for one in found])
    assert widths.max() < 5 * np.median(widths) and widths.min() > 0.5 * np.median(widths)


def test_few_seeds_that_differ_have_few_degrees_of_freedom():
    apart = np.array([[0.0], [0.5], [1.0]]) + RNG.normal(0, 0.01, (3, 100))
    alike = np.zeros((3, 1)) + RNG.normal(0, 1, 100)
    assert crossed.standard_error(apart)[1] == pytest.approx(2, abs=0.1)
    assert crossed.standard_error(alike)[1] == pytest.approx(99, abs=1)


def test_a_ratio_of_shares_has_its_mean_nowhere_else():
    parts, wholes = RNG.integers(0, 3, (3, 40)).astype(float), np.full((3, 40), 3.0)
    cells = crossed.of_ratio(parts, wholes)
    assert cells.mean() == pytest.approx(0) and cells.std() == pytest.approx((parts / 3).std())
