"""Further turns: each arm goes on from the same training with as many steps, and says what it cost."""

from dataclasses import replace

import pytest

from cycle_utils import study
from cycle_utils.method import stages
from cycle_utils.method.configs import Distil, FineTune, Grpo, Loop, RefineTrain
from cycle_utils.method.training import TrainSettings
from cycle_utils.models.sampling import Sampling
from cycle_utils.study import second_cycle


@pytest.mark.parametrize("arm", second_cycle.ARMS)
def test_every_arm_goes_on_from_the_training_it_is_given(arm):
    first = study.recipe(seed=2, steps=7, mask_ratio=0.4)
    turn = second_cycle.ARMS[arm].after(first)
    if isinstance(turn, Grpo):
        assert turn.after == first
    else:
        turns = 2 if "twice" in arm else 1
        assert turn.practice.first == first and turn.practice.turn == turns and turn.train == first.train


def test_an_arm_is_tried_with_and_without_repeats(random_lm):
    tune = FineTune(model=random_lm, problems=6, train=TrainSettings(steps=2, batch_size=4))
    distil = Distil(fine_tune=tune, sampling=Sampling(temperature=0.8, max_new_tokens=8))
    first = RefineTrain(distil=distil, train=TrainSettings(steps=2, batch_size=4))
    where = Loop(limit=2, rounds=1, sampling=Sampling(max_new_tokens=8))
    before = second_cycle.without_a_turn(first, where, progress=False)
    after = second_cycle.take("all rounds", first, where, progress=False)
    for tried in (before, after):
        redrawn = ["draws" in stages.attempts_of(run) for run in tried.loops.values()]
        assert list(tried.loops) == ["as it is", "no program twice"] and redrawn == [False, True]
    assert not any(before.costs.values())
    practice, training = after.made
    practised = len(stages.attempts_of(practice))
    assert after.costs["judged programs"] == practised and practised > 6  # six problems, and their refinements
    assert after.costs["tokens of training"] == training.notes["tokens"] and after.costs["tokens drawn"] > 0
    again = second_cycle.take("all rounds, twice", first, where, progress=False)
    assert [run.key for run in again.made[:2]] == [practice.key, training.key] and len(again.made) == 4
    assert again.costs["judged programs"] == practised + len(stages.attempts_of(again.made[2]))
    assert again.loops["as it is"].record["config"]["model"].endswith(again.made[3].key)


def test_attempts_are_shown_in_training_and_in_the_loop(random_lm):
    tune = FineTune(model=random_lm, problems=6, train=TrainSettings(steps=1, batch_size=4))
    distil = Distil(fine_tune=tune, sampling=Sampling(temperature=0.8, max_new_tokens=8))
    first = RefineTrain(distil=distil, train=TrainSettings(steps=1, batch_size=4))
    where = Loop(limit=1, rounds=1, sampling=Sampling(max_new_tokens=8))
    tried = second_cycle.take("attempts shown", first, where, progress=False)
    told = [run.record["config"].get("recalled", 0) for run in (tried.made[1], *tried.loops.values())]
    assert told == [3, 3, 3] and tried.made[0].record["config"]["after"].get("recalled", 0) == 0


def test_the_loops_differ_in_memory_alone():
    once, never_twice = second_cycle.memories(Loop(limit=3)).values()
    assert replace(never_twice, redraws=0) == once
