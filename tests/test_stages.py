"""The stages end to end on an untrained LM: runs are reused, cut-off ones go on, damaged ones are refused."""

import dataclasses
import errno
import json
import os
import subprocess
import time

import pandas as pd
import pytest
import torch

from cycle_utils import study
from cycle_utils.analysis import metrics
from cycle_utils.config import later
from cycle_utils.execution.feedback import BARE
from cycle_utils.execution.verdict import TestResult, Verdict
from cycle_utils.method import loop, runs, stages
from cycle_utils.method.configs import Distil, FineTune, Loop, Practice, RefineTrain, Turn
from cycle_utils.method.distillation import canonical_target, hindsight_examples
from cycle_utils.method.training import TrainSettings
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.generation import Completion
from cycle_utils.models.sampling import Sampling
from cycle_utils.problems import Problem

SHORT = Sampling(max_new_tokens=24)


def small(model: str, **refine) -> RefineTrain:
    tune = FineTune(model=model, problems=12, train=TrainSettings(steps=2, batch_size=4))
    distil = Distil(fine_tune=tune, samples=1, sampling=dataclasses.replace(SHORT, temperature=0.8))
    return RefineTrain(distil=distil, train=TrainSettings(steps=2, batch_size=4), **refine)


def small_loop(model: str, **options) -> Loop:
    return Loop(model=model, limit=4, rounds=1, sampling=SHORT, **options)


def test_all_stages_in_one_call(random_lm, capsys):
    run = stages.refine_train(small(random_lm), progress=False)
    said = capsys.readouterr().out
    assert "stage 1a, fine-tuning: building" in said and "stage 1b" in said and "stage 2" in said
    assert run.notes["examples"] == {"refine": 4, "plain": 4}  # two steps of four, in halves by default
    again = stages.refine_train(small(random_lm), progress=False)
    assert again.reused and again.folder == run.folder
    assert load_model(run.folder).num_parameters() == load_model(random_lm).num_parameters()
    attempts = stages.attempts_of(stages.loop(small_loop(str(run.folder)), progress=False))
    assert set(attempts["round"]) == {0, 1} and attempts.task_id.nunique() == 4
    assert metrics.pass_rate_by_round(attempts, 1).shape == (2,)


def small_turn(after, **options) -> Turn:
    practice = Practice(after=after, problems=4, rounds=1, redraws=1, sampling=SHORT)
    return Turn(practice=practice, train=TrainSettings(steps=2, batch_size=4), **options)


def test_turns_of_the_cycle_follow_each_other(random_lm, capsys):
    first = small(random_lm)
    second = small_turn(small_turn(first), recalled=2)
    run = stages.take_turn(second, progress=False)
    said = capsys.readouterr().out
    turns = [f"turn {number}, {part}" for number in (1, 2) for part in ("practice", "refine")]
    places = [said.index(one) for one in ["stage 1a", "stage 1b", "stage 2", *turns]]
    assert places == sorted(places)
    mine, before = (stages.practise(one.practice, progress=False) for one in (second, second.practice.after))
    tried = [set(stages.attempts_of(one)["task_id"]) for one in (mine, before)]
    assert len(tried[0]) == len(tried[1]) == 4 and not tried[0] & tried[1]  # each turn practises on other problems
    assert set(stages.attempts_of(mine)["round"]) == {0, 1}
    assert load_model(run.folder).num_parameters() == load_model(random_lm).num_parameters()
    assert stages.take_turn(second, progress=False).reused


def test_a_turn_learns_from_the_mistakes_of_all_rounds(random_lm):
    config = small_turn(small(random_lm))
    run = stages.practise(config.practice, progress=False)
    attempts, examples = stages.attempts_of(run), stages.read_examples(run)
    refined = attempts[attempts["round"] == 1].iloc[0]
    (example,) = [e for e in examples if (e["task_id"], e["code"]) == (refined["task_id"], refined["code"])]
    first = attempts[(attempts["task_id"] == refined["task_id"]) & (attempts["round"] == 0)].iloc[0]
    assert [tuple(one) for one in example["earlier"]] == [(first["code"], first["feedback"])]


def test_hindsight_takes_another_program_for_the_right_one():
    less, more, crash = "\n    return a - b", "\n    return a * b", "\n    return c"
    tried = pd.DataFrame({"task_id": "t/add", "code": [less, more, crash], "completion": [less, more, crash]})
    verdicts = [
        Verdict("t/add", "failed", [
            TestResult("failed", "add(1, 2)", "3", actual, exception=error),
            TestResult("failed", "add(2, 2)", "4", other),
        ]) for actual, other, error in (("-1", "0", None), ("2", "4", None), (None, None, "NameError: c"))
    ]  # fmt: skip
    examples = hindsight_examples([ADD], tried, verdicts, 9, 0)
    found = {(one["code"], one["target"]): one["feedback"] for one in examples}
    assert found == {
        (less, more): "Input: add(1, 2)\nExpected: 2\nActual: -1",
        (more, less): "Input: add(1, 2)\nExpected: -1\nActual: 2",
        (crash, less): "Input: add(1, 2)\nExpected: -1\nError: NameError: c",
        (crash, more): "Input: add(1, 2)\nExpected: 2\nError: NameError: c",
    }  # what fails by an exception is never the right one
    assert len(hindsight_examples([ADD], tried, verdicts, 2, 0)) == 2
    assert not hindsight_examples([ADD], tried.iloc[[0, 0]], verdicts[:1] * 2, 9, 0)  # alike: nothing to tell


def test_practice_begins_again_behind_the_last_problem():
    assert stages.practised("abcde", 1, 2) == ["a", "b"]
    assert stages.practised("abcde", 3, 2) == ["e", "a"]
    assert stages.practised("abc", 2, 9) == ["a", "b", "c"]


def test_the_same_config_gives_the_same_attempts(random_lm, home, monkeypatch):
    first = stages.attempts_of(stages.loop(small_loop(random_lm), progress=False))
    monkeypatch.setenv("CYCLE_HOME", str(home / "elsewhere"))
    second = stages.attempts_of(stages.loop(small_loop(random_lm), progress=False))
    assert first.equals(second)


def test_an_option_that_came_later_leaves_the_names_of_older_runs_as_they_were():
    @dataclasses.dataclass(frozen=True)
    class Inner:
        steps: int = 1

    older = dataclasses.make_dataclass("Stage", [("inner", Inner, Inner())], frozen=True)
    newer = dataclasses.make_dataclass("Stage", [("inner", Inner, Inner()), ("extra", int, later(0))], frozen=True)
    assert runs.key_of(newer()) == runs.key_of(older())
    assert len({runs.key_of(c) for c in (newer(), newer(extra=1), newer(inner=Inner(2)))}) == 3


def test_a_cut_off_run_is_not_taken_for_whole(random_lm):
    config = small_loop(random_lm)
    run = stages.loop(config, progress=False)
    run.path(runs.RECORD).unlink()
    assert not stages.loop(config, progress=False).reused


def test_the_seconds_of_all_sittings_count(home):
    config, clock = Loop(limit=1), []

    def cut_off(folder):
        (folder / "half").write_text("")
        os.utime(folder / "half", (clock[0] + 100, clock[0] + 100))  # the last sign of a sitting of 100 seconds
        raise KeyboardInterrupt

    for _ in range(2):
        clock[:] = [time.time()]
        with pytest.raises(KeyboardInterrupt):
            runs.build(config, cut_off, "x")
        os.utime(runs.runs_dir() / runs.key_of(config) / "half", (clock[0] + 100, clock[0] + 100))
    run = runs.build(config, lambda folder: {}, "x")
    assert 190 < run.record["seconds"] < 220 and not run.path(runs.SITTINGS).exists()


def test_a_training_goes_on_from_its_checkpoint(random_lm, cut_off, monkeypatch):
    config = FineTune(model=random_lm, problems=12, train=TrainSettings(steps=4, batch_size=4, save_steps=2))
    folder = cut_off(config)
    assert (folder / "checkpoints" / "checkpoint-4").is_dir() and not (folder / runs.RECORD).exists()
    seen = []
    monkeypatch.setattr("cycle_utils.method.training.log.info", lambda *a: seen.append(a))
    run = stages.fine_tune(config, progress=False)
    assert not run.reused and seen and not (folder / "checkpoints").exists()


@pytest.mark.parametrize("harm", ["remove", "change", "record"])
def test_a_damaged_run_says_what_to_do(random_lm, harm):
    config = small_loop(random_lm)
    run = stages.loop(config, progress=False)
    victim = run.path("attempts.parquet")
    if harm == "remove":
        victim.unlink()
    elif harm == "change":
        victim.write_bytes(b"PAR1")
    else:
        run.path(runs.RECORD).write_text("{")
    with pytest.raises(runs.DamagedRun, match=rf"delete .*{run.key} and run again"):
        stages.loop(config, progress=False)


def test_no_mistakes_to_learn_from(random_lm):
    with pytest.raises(ValueError, match="made no mistakes"):
        stages.mixture([], [], 0.5, TrainSettings())


def test_the_mixture_has_the_stated_share():
    problem = Problem("t", "def f():", "f", canonical_solutions=["\n    return 1"])
    own = [{"task_id": "t", "kind": "refine"}] * 3
    settings = TrainSettings(steps=10, batch_size=10)
    for share in (0, 0.25, 0.9, 1):
        rows = stages.mixture(own, [problem], share, settings)
        assert len(rows) == 100 and sum(r["kind"] == "refine" for r in rows) == round(100 * share)


def test_the_target_is_the_nearest_solution():
    import random

    near, far = "\n    return sorted(xs)", "\n    out = []\n    for x in xs:\n        out.append(x)\n    return out"
    problem = Problem("t", "def f(xs):", "f", canonical_solutions=[far, near])
    code = "def f(xs):\n    return sorted(xs, reverse=True)"
    assert canonical_target(problem, code, "bm25", random.Random(0)) == near
    drawn = {canonical_target(problem, code, "random", random.Random(i)) for i in range(20)}
    assert drawn == {near, far}


def test_passing_samples_teach_themselves_and_failing_ones_a_solution(random_lm):
    run = stages.distil(small(random_lm).distil, progress=False)
    attempts, examples = stages.attempts_of(run), stages.read_examples(run)
    assert {e["kind"] for e in examples} == {"plain" if p else "refine" for p in attempts.passed}
    solutions = {p.task_id: p.canonical_solutions for p in stages.training_problems(small(random_lm).distil.fine_tune)}
    assert all(e["target"] in solutions[e["task_id"]] and e["feedback"] for e in examples if e["kind"] == "refine")


class Scripted:
    """Stands for a model: hands out completions in order, so that the loop itself can be tested."""

    def __init__(self, *rounds):
        self.rounds, self.prompts = iter(rounds), []

    def __call__(self, model, tokenizer, prompts, *options):
        self.prompts.append([prompt.text for prompt in prompts])
        return [[Completion(text)] for text in next(self.rounds)]


ADD = Problem("t/add", 'def add(a, b):\n    """Add."""', "add",
              ["assert add(1, 2) == 3", "assert add(2, 2) == 4"], ["assert add(2, 2) == 4"])  # fmt: skip


def scripted(monkeypatch, random_lm, *rounds, **options):
    script = Scripted(*rounds)
    monkeypatch.setattr(loop, "generate", script)
    return script, stages.self_refine(random_lm, [ADD], progress=False, **options)


def test_the_loop_shows_the_latest_program_and_stops_when_it_passes(random_lm, monkeypatch):
    wrong, worse, right = "\n    return a - b", "\n    return c", "\n    return a + b"
    script, attempts = scripted(monkeypatch, random_lm, [wrong], [worse], [right])
    assert list(attempts.status) == ["failed", "error", "passed"] and list(attempts["round"]) == [0, 1, 2]
    assert "#     return a - b" in script.prompts[1][0] and "Actual: -1" in script.prompts[1][0]
    assert "#     return c" in script.prompts[2][0] and "NameError" in script.prompts[2][0]


def test_blanked_fields_are_blank(random_lm, monkeypatch):
    script, _ = scripted(monkeypatch, random_lm, ["\n    return 0"], ["\n    return 0"], rounds=1, fields=("code",))
    assert "return 0" in script.prompts[1][0] and "Expected" not in script.prompts[1][0]


def test_public_feedback_never_shows_a_hidden_test(random_lm, monkeypatch):
    hits_public = "\n    return a * b"  # right for the public test, wrong for the hidden one
    script, attempts = scripted(
        monkeypatch, random_lm, ["\n    return 0"], [hits_public], rounds=3, feedback_tests="public"
    )
    assert "add(2, 2)" in script.prompts[1][0] and "add(1, 2)" not in script.prompts[1][0]
    assert list(attempts.passed) == [False, False] and list(attempts.done) == [False, True]


def test_bare_feedback_says_only_that_it_fails(random_lm, monkeypatch):
    script, _ = scripted(monkeypatch, random_lm, ["\n    return 0"], ["\n    return 0"], rounds=1, bare=True)
    assert "return 0" in script.prompts[1][0] and BARE in script.prompts[1][0] and "Actual" not in script.prompts[1][0]


def test_a_program_that_was_tried_is_drawn_again(random_lm, monkeypatch):
    wrong, alike, other, right = "\n    return a", "\n    return (a)", "\n    return b", "\n    return a + b"
    script, table = scripted(
        monkeypatch, random_lm, [wrong], [alike], [wrong], [other], [other], [wrong], [alike], [right],
        rounds=3, redraws=2,
    )  # fmt: skip
    assert list(table.completion) == [wrong, other, alike, right] and list(table.draws) == [1, 3, 3, 1]
    assert script.prompts[1] == script.prompts[2] == script.prompts[3]  # the same is asked again


def test_a_program_that_fails_what_was_shown_is_drawn_again(random_lm, monkeypatch, tmp_path):
    less, product, three, right = (f"\n    return {one}" for one in ("a - b", "a * b", "3", "a + b"))
    options = {"rounds": 2, "redraws": 2, "checked": True}
    script = [less], [product], [three], [product], [three], [right]  # the second is shown to give 2 instead of 3
    _, table = scripted(monkeypatch, random_lm, *script, **options)
    assert list(table.completion) == [less, three, right] and list(table.draws) == [1, 2, 3]
    assert list(table.shown) == [0, 1, -1]  # numbers of the tests in the feedback
    with pytest.raises(RuntimeError):
        scripted(monkeypatch, random_lm, *script[:3], folder=tmp_path, **options)
    _, again = scripted(monkeypatch, random_lm, *script[3:], folder=tmp_path, **options)
    assert again.equals(table)


def test_under_the_public_protocol_only_public_tests_are_checked(random_lm, monkeypatch):
    zero, four, right = (f"\n    return {one}" for one in ("0", "4", "a + b"))
    options = {"rounds": 1, "redraws": 2, "checked": True, "feedback_tests": "public"}
    _, table = scripted(monkeypatch, random_lm, [zero], [zero], [four], [right], **options)
    assert list(table.completion) == [zero, four] and list(table.passed) == [False, False]  # fails a hidden test


def test_independent_samples_are_made_distinct(random_lm, monkeypatch):
    wrong, other, right = "\n    return a", "\n    return b", "\n    return a + b"
    _, table = scripted(monkeypatch, random_lm, [wrong, wrong, other], [other], [right], rounds=0, samples=3, redraws=2)
    assert list(table.completion) == [wrong, right, other]  # the second is drawn until it is neither of the others


def test_a_loop_with_redraws_goes_on_as_if_it_had_not_been_cut_off(random_lm, monkeypatch, tmp_path):
    a, b, c, right = (f"\n    return {one}" for one in ("a", "b", "0", "a + b"))
    _, whole = scripted(monkeypatch, random_lm, [a], [a], [b], [b], [c], [right], rounds=3, redraws=1)
    options = {"rounds": 3, "redraws": 1, "folder": tmp_path}
    with pytest.raises(RuntimeError):  # the script ends behind two rounds: what is tried in the third is not made
        scripted(monkeypatch, random_lm, [a], [a], [b], **options)
    _, table = scripted(monkeypatch, random_lm, [b], [c], [right], **options)
    assert table.equals(whole)


def test_earlier_attempts_are_recalled_up_to_their_number(random_lm, monkeypatch, tmp_path):
    a, b, c, d = (f"\n    return {one}" for one in ("a", "b", "0", "1"))
    options = {"rounds": 3, "recalled": 1, "folder": tmp_path}
    with pytest.raises(RuntimeError):  # the script ends behind two rounds
        scripted(monkeypatch, random_lm, [a], [b], **options)
    script, _ = scripted(monkeypatch, random_lm, [c], [d], **options)
    shown = [[f"#     return {one}" in prompt for one in ("a", "b", "0")] for (prompt,) in script.prompts]
    assert shown == [[True, True, False], [False, True, True]]


def test_stop_when_flat(random_lm, monkeypatch):
    _, attempts = scripted(monkeypatch, random_lm, *[["\n    return 0"]] * 5, stop_when_flat=True)
    assert list(attempts["round"]) == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": -1}, "rounds is -1"),
        ({"fields": ("code", "hint")}, "unknown refine field 'hint'"),
        ({"feedback_tests": "secret"}, "unknown feedback_tests 'secret'"),
        ({"redraws": 10}, "redraws is 10; give 0 to 9"),
        ({"recalled": -1}, "recalled is -1"),
        ({"checked": True}, "give redraws with checked"),
        ({"recalled": 1, "bare": True}, "give recalled or a control, not both"),
        ({"redraws": 1, "temperatures": (0.2, 0.0)}, "greedy decoding draws the same program again"),
    ],
)
def test_bad_loop_options(random_lm, options, message):
    with pytest.raises(ValueError, match=message):
        stages.self_refine(random_lm, [ADD], progress=False, **options)


def test_bad_input_is_named(random_lm, tmp_path):
    with pytest.raises(ValueError, match="no problems"):
        stages.self_refine(random_lm, [])
    with pytest.raises(FileNotFoundError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model(tmp_path)
    with pytest.raises(OSError, match="nobody/nothing is not in the cache"):
        load_model("nobody/nothing")
    with pytest.raises(ValueError, match="refine_share is 1"):
        study.recipe(refine_share=1.2)
    with pytest.raises(ValueError, match="mask_ratio is -1"):
        study.recipe(mask_ratio=-1)
    with pytest.raises(ValueError, match="unknown target 'nearest'"):
        study.recipe(target="nearest")
    with pytest.raises(ValueError, match="1 of 1 prompts do not fit: the longest has"):
        from cycle_utils.models.generation import generate

        generate(load_model(random_lm), load_tokenizer(random_lm), ["x = 1\n" * 2000], SHORT, progress=False)


def test_a_run_tells_what_it_depends_on(random_lm):
    run = stages.loop(small_loop(random_lm), progress=False)
    record = json.loads(run.path(runs.RECORD).read_text())
    assert record["config"]["model"] == random_lm and record["config"]["stage"] == "Loop"
    assert {"commit", "source", "python", "machine", "torch", "transformers"} <= set(record["environment"])


def test_a_finished_run_is_read_where_nothing_can_be_written(random_lm, monkeypatch):
    config = Loop(model=random_lm, limit=2, rounds=0)
    made = stages.loop(config, progress=False)

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(runs, "FileLock", refuse)
    assert stages.loop(config, progress=False).key == made.key
    advice = r"cannot write to .*runs \(Read-only file system\): make room there, or set CYCLE_HOME to another folder"
    with pytest.raises(OSError, match=advice):
        stages.loop(dataclasses.replace(config, limit=3), progress=False)


def test_the_commit_is_that_of_this_repository_alone(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", tmp_path, *who, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    assert runs.commit() != "unknown"
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(runs, "ROOT", tmp_path / "inside")
    assert runs.commit() == "unknown"


def test_a_greedy_loop_asks_the_same_prompt_once(monkeypatch, random_lm):
    wrong = "\n    return a"
    script, table = scripted(monkeypatch, random_lm, [wrong], [wrong], rounds=3, temperatures=(0.0, 0.0))
    assert len(script.prompts) == 2 and list(table["round"]) == [0, 1, 2, 3]  # round 2 asks what round 1 asked
    assert set(table["completion"]) == {wrong}
    script, table = scripted(monkeypatch, random_lm, *[[wrong]] * 4, rounds=3)
    assert len(script.prompts) == 4


def test_bfloat16_is_of_generation_alone(random_lm):
    assert {p.dtype for p in load_model(random_lm, bf16=True).parameters()} == {torch.bfloat16}
    assert {p.dtype for p in load_model(random_lm).parameters()} == {torch.float32}
    run = stages.loop(dataclasses.replace(small_loop(random_lm), sampling=dataclasses.replace(SHORT, bf16=True)), False)
    assert run.key != runs.key_of(small_loop(random_lm)) and len(stages.attempts_of(run))


def test_a_contender_without_pgm_differs_in_its_mask_alone(random_lm):
    config = small(random_lm)
    masked, bare = (study.contender(name, config, small_loop("tiny"), False) for name in (study.CYCLE, study.UNMASKED))
    trainings = [runs.read_run(where.model).record["config"] for where in (masked, bare)]
    assert [one["masking"].pop("ratio") for one in trainings] == [0.05, 0.0] and trainings[0] == trainings[1]


def test_texts_without_the_entry_point_are_judged_as_written_on_real_benchmarks(random_lm):
    assert Loop(benchmark="mbpp").strays and not Loop().strays
    assert runs.key_of(Loop(benchmark="humaneval")) == runs.key_of(Loop(benchmark="humaneval", strays=True))
    assert study.recipe(random_lm, "mbpp").distil.strays and not study.recipe(random_lm).distil.strays
