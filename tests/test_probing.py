"""The probe asks by multiple choice; a choice's score is its likelihood as the whole answer."""

import pytest
import torch

from cycle_utils.method import probing, stages
from cycle_utils.method.configs import Loop, Probe
from cycle_utils.models import load_model
from cycle_utils.models.prompts import shown_code
from cycle_utils.models.sampling import Sampling
from cycle_utils.problems import tinyprograms as tp


def test_a_score_is_the_sum_over_the_answers_tokens(random_lm, tokenizer):
    model, prompt, targets = load_model(random_lm).eval(), "def f(xs):", ["\n    return xs", "\n    return sorted(xs)"]
    scores = probing.log_likelihoods(model, tokenizer, prompt, targets)
    for target, score in zip(targets, scores):
        asked = tokenizer(prompt)["input_ids"]
        answer = tokenizer(target, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            steps = model(torch.tensor([asked + answer])).logits[0].log_softmax(-1)
        wanted = sum(steps[len(asked) - 1 + i, token].item() for i, token in enumerate(answer))
        assert score == pytest.approx(wanted, abs=1e-3)


def open_problem():
    return next(p for p in tp.generate("test", 60) if len(p.meta["open"]) == 1)


def test_choices_are_the_values_of_the_wrong_slot():
    problem = open_problem()
    task, (name,) = problem.meta["task"], problem.meta["open"]
    size = next(len(slot.values) for slot in task.family.slots if slot.name == name)
    wrong = (task.values[name] + 1) % size
    found = list(probing._choices(problem, tp.program(task, {name: wrong})))
    assert {choice["value"] for _, choice in found} == set(range(size))
    assert {choice["value"] for _, choice in found if choice["right"]} == {task.values[name]}
    assert {choice["value"] for _, choice in found if choice["shown"]} == {wrong}
    right = [answer.strip("\n") for answer, choice in found if choice["right"]]
    assert shown_code(problem, problem.canonical_solutions[0]) in right


def test_what_is_no_matter_of_one_open_slot_is_not_probed():
    problem = open_problem()
    assert not list(probing._choices(problem, tp.program(problem.meta["task"])))  # nothing is wrong
    assert not list(probing._choices(problem, "def g():\n    return 1"))


def test_a_probe_is_a_run_of_its_own(random_lm, monkeypatch):
    where = Loop(model=random_lm, limit=60, rounds=1, sampling=Sampling(max_new_tokens=4))
    wrong = {}
    for problem in stages.loop_problems(where):
        task, (name, *more) = problem.meta["task"], [*problem.meta["open"], None]
        if name and not any(more):
            wrong[problem.task_id] = tp.program(task, {name: (task.values[name] + 1) % 2})
    tried = stages.attempts_of(stages.loop(where, progress=False))
    tried["code"] = [wrong.get(task_id, code) for task_id, code in zip(tried["task_id"], tried["code"])]
    monkeypatch.setattr(probing, "attempts_of", lambda run: tried)
    table = probing.choices_of(probing.probe(Probe(loop=where), progress=False))
    assert len(table) and set(table["task_id"]) <= set(wrong) and set(table["round"]) == {0}
    assert table.groupby("task_id")["right"].any().all() and (table["score"] < 0).all()


def test_a_probe_needs_slots(random_lm):
    with pytest.raises(ValueError, match="humaneval"):
        probing.probe(Probe(loop=Loop(model=random_lm, benchmark="humaneval")))
