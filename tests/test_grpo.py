"""Learning from verdicts: what is asked, what is rewarded, and a training that trl does."""

import sys
from dataclasses import replace

import pytest
import torch
from test_stages import SHORT

from cycle_utils.execution import Judge
from cycle_utils.method import grpo, stages
from cycle_utils.method.configs import Distil, FineTune, Grpo, RefineTrain
from cycle_utils.method.training import TrainSettings
from cycle_utils.models import load_model
from cycle_utils.models.prompts import GOOD
from cycle_utils.problems import tinyprograms as tp


@pytest.fixture
def small(random_lm) -> Grpo:
    few = TrainSettings(steps=1, batch_size=4)
    tune = FineTune(model=random_lm, problems=8, train=few)
    after = RefineTrain(distil=Distil(fine_tune=tune, sampling=SHORT), train=few)
    return Grpo(after=after, judged=24, samples=2, batch_size=8, updates=2, max_new_tokens=8)


@pytest.fixture
def trl():
    return pytest.importorskip("trl", reason="trl is not installed: pip install '.[rl]'")


def by_length(completion_ids, **_):
    """Rewards in which an untrained LM's answers differ."""
    return [float(len(set(ids))) for ids in completion_ids]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"judged": 100}, "multiple of batch_size, 128"), ({"batch_size": 4}, "multiple of samples"),
     ({"samples": 1}, "2 or more"), ({"updates": 3}, "multiple of updates"),
     ({"after": RefineTrain(Distil(FineTune(style="chat")))}, "style 'chat'")],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Grpo(**wrong)


def test_prompts_are_first_tries_and_failures_in_batches_of_one_kind(small, random_lm, tokenizer):
    config = replace(small, refine_share=0.5)
    problems = {p.task_id: p for p in stages.training_problems(config.first.distil.fine_tune)}
    failures = [{"task_id": name, "kind": "refine", "code": "def f():\n    pass", "feedback": ""} for name in problems]
    prompts = grpo.asked(config, load_model(random_lm), tokenizer, problems, failures)
    assert len(prompts) == 12 and all(one["prompt"] == one["prompt"].rstrip() for one in prompts)
    refines = [one["prompt"].endswith(GOOD) for one in prompts]
    assert sum(refines) == 6 and all(problems[one["task_id"]].prompt.rstrip() in one["prompt"] for one in prompts)
    assert sum(len({*refines[i : i + 4]}) == 2 for i in range(0, 12, 4)) == 1  # the batch in the middle


def test_a_program_that_passes_is_worth_1_and_any_other_0(tokenizer):
    (problem,) = tp.generate("train", 1)
    right = problem.canonical_solutions[0]
    texts = [right, right + "\n\nprint(1)", "\n    return None"]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    with Judge(workers=1) as judge:
        reward = grpo.verdict_reward(tokenizer, {problem.task_id: problem}, False, judge)
        assert reward(completion_ids=ids, task_id=[problem.task_id] * 3) == [1.0, 1.0, 0.0]


def test_without_trl_it_says_how_to_get_it(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ImportError, match=r'needs trl: pip install "cycle-study\[rl\]"'):
        grpo.learn_from_verdicts(small, progress=False)


def test_a_training_goes_on_where_it_was_cut_off(trl, small, monkeypatch, home, capfd):
    monkeypatch.setattr(grpo, "SAVE_EVERY", 1)
    monkeypatch.setattr(grpo, "verdict_reward", lambda *_: by_length)
    whole = grpo.learn_from_verdicts(small, progress=False)
    assert whole.notes["judged"] == 24 and whole.notes["completion_tokens"] <= 24 * 8
    assert [row["step"] for row in whole.notes["curve"]] == [2, 4, 6]
    start = load_model(stages.refine_train(small.after, progress=False).folder)
    learnt = load_model(whole.folder)
    assert any(not torch.equal(a, b) for a, b in zip(start.parameters(), learnt.parameters()))
    assert grpo.learn_from_verdicts(small, progress=False).reused

    calls = []

    def cut(**given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return by_length(**given)

    monkeypatch.setenv("CYCLE_HOME", str(home / "again"))
    monkeypatch.setattr(grpo, "verdict_reward", lambda *_: cut)
    with pytest.raises(KeyboardInterrupt):
        grpo.learn_from_verdicts(small, progress=False)
    again = grpo.learn_from_verdicts(small, progress=False)
    assert len(calls) == 4 and not again.reused  # the third batch alone was drawn again
    assert again.notes == whole.notes
    assert all(torch.equal(a, b) for a, b in zip(load_model(again.folder).parameters(), learnt.parameters()))
    assert "Warning" not in capfd.readouterr().err
