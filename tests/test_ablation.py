"""Ablations at small size: settings share stage 1, are measured and compared by rule."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cycle_utils import load_problems, study
from cycle_utils.analysis import metrics
from cycle_utils.analysis.attention import PARTS, Attend, attend, attention_of
from cycle_utils.method import runs, stages
from cycle_utils.method.loop import feedback_exchanged
from cycle_utils.method.masking import Masking, PGMCollator
from cycle_utils.method.training import TrainSettings
from cycle_utils.models.loading import TINY, count_parameters, locate
from cycle_utils.paths import ASSETS
from cycle_utils.study import ablations, spent

SMALL = {"problems": 12, "finetune_steps": 2, "samples": 1, "steps": 2}
WHERE = stages.Loop(limit=4, rounds=1)


@pytest.fixture(scope="module")
def found(random_lm, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CYCLE_HOME", str(tmp_path_factory.mktemp("ablation")))
        settings = ablations.masked([0.0]) | ablations.SOURCES | ablations.SHOWN
        return ablations.run(settings, WHERE, [0, 1], progress=False, model=random_lm, **SMALL)


def test_settings_of_a_seed_share_their_first_stage(found):
    tuned = {r.training.record["config"]["distil"]["fine_tune"]["seed"] for r in found["ratio 0"]}
    assert tuned == {0, 1} and {len(one) for one in found.values()} == {2}
    keys = {name: one[0].training.key for name, one in found.items()}
    assert keys["shown neither"] == keys[ablations.BASE] and len(set(keys.values())) == 4


def test_summary_and_differences(found):
    table = ablations.summary(found, 1)
    assert len(table) == len(found) * len(ablations.MEASURES) and set(table["seeds"]) == {2}
    differences = ablations.against(found, 1)
    assert len(differences) == (len(found) - 1) * len(ablations.MEASURES)
    assert set(differences["verdict"]) <= {"higher", "lower", "no difference seen", "undefined"}
    assert ablations.readable(table).shape == (len(found), len(ablations.MEASURES) - 1)  # six columns on a screen
    assert all(len(values) == 2 for values in table["by_seed"])
    assert 1 <= len(ablations.findings(differences)) <= len(ablations.MEASURES) - 1


def test_a_trend_is_the_slope_over_the_doses(monkeypatch):
    """Shares of 0.2, 0.4 and 0.3 at doses 0, 0.1 and 0.2: the slope is (0.3 - 0.2) / 0.2."""
    shares = {"none": [1, 0, 0, 0, 0], "some": [1, 1, 0, 0, 0], "much": [1.5, 0, 0, 0, 0]}
    monkeypatch.setattr(ablations, "measured", lambda one, *_: (np.array([one], float), np.ones((1, 5))))
    slope = ablations.trend(shares, {"none": 0.0, "some": 0.1, "much": 0.2}, "loop", 1, per=0.1)
    assert slope.value == pytest.approx(0.05) and slope.low < 0.05 < slope.high
    monkeypatch.setattr(ablations, "measured", lambda one, *_: (np.zeros((1, 5)), np.zeros((1, 5))))
    assert np.isnan(ablations.trend(shares, {"none": 0.0, "some": 0.1}, "exact", 1).value)


def test_each_setting_says_what_it_cost(found):
    table = ablations.costs(found).set_index("setting")
    assert list(table.index) == list(found) and (table[["trained", "read", "written", "seconds"]] > 0).all(axis=None)
    judged = [np.mean([len(result.attempts) for result in results]) for results in found.values()]
    assert table["judged"].tolist() == judged
    for name in ablations.SHOWN:
        assert table.loc[name, "trained"] == table.loc[ablations.BASE, "trained"]


def test_a_cost_is_the_mean_of_what_was_recorded():
    kept = {"attempts": 10, "prompt_tokens": 100, "completion_tokens": 30}
    early = {"attempts": 20}
    made = [runs.Run(Path(), "", {"notes": notes, "seconds": s}, False) for notes, s in ((kept, 5), (early, 7))]
    assert spent.of(made) == {"read": 100, "written": 30, "judged": 15, "seconds": 6}
    assert np.isnan(spent.of(made[1:])["written"])


def attempts(passed_at: list[int], rounds: int = 2) -> pd.DataFrame:
    """One trajectory a problem, which passes in a round (or never: -1); all programs are the same text."""
    rows = []
    for i, last in enumerate(passed_at):
        for r in range((last if last >= 0 else rounds) + 1):
            about = {"task_id": f"p{i}", "sample": 0, "round": r, "code": "x", "completion": "x"}
            rows.append({**about, "status": "failed", "passed": r == last, "behaviour": str(r)})
    return metrics.add_copies(pd.DataFrame(rows))


def test_a_difference_is_found_and_one_that_is_not_there_is_not():
    good, bad = attempts([0] * 30 + [1] * 30), attempts([0] * 30 + [-1] * 30)
    texts = {"CYCLE": bad, "better": good, "same": bad}
    results = {name: [ablations.Result(None, one, WHERE, None)] for name, one in texts.items()}
    rows = ablations.against(results, 2, measures=("loop", "one-time")).set_index(["measure", "setting"])
    assert rows.loc[("loop", "better"), "verdict"] == "higher"
    assert rows.loc[("loop", "better"), "value"] == pytest.approx(0.5)
    assert set(rows.loc["one-time", "verdict"]) | {rows.loc[("loop", "same"), "verdict"]} == {"no difference seen"}
    said = ablations.findings(rows.reset_index())
    assert "compared with CYCLE: **higher**: better (+50.0 points" in said[0]
    assert said[1:] == ["no difference from CYCLE seen in any setting: *solved at the first try*."]


def test_another_program_that_fails_alike_is_unchanged_and_no_copy():
    rows = [{"task_id": "p", "sample": 0, "round": r, "code": code, "completion": code, "status": "failed",
             "passed": False, "behaviour": does} for r, (code, does) in
            enumerate([("a = 1", "same"), ("a = 2", "same"), ("a=2", "same"), ("b = 3", "other")])]  # fmt: skip
    table = metrics.add_copies(pd.DataFrame(rows))
    assert table["copy_unchanged"].tolist()[1:] == [True, False, False]
    assert table["copy_whitespace"].tolist()[1:] == [False, True, False]
    counts = metrics.copies_by_problem(table, metrics.UNCHANGED)
    assert counts.loc["p"].tolist() == [1, 3]


def test_feedback_is_exchanged_between_problems():
    import random

    live = [(p, 0, {"feedback": p.task_id, "code": p.task_id}) for p in load_problems("tinyprograms", limit=6)]
    after = feedback_exchanged(live, random.Random(0))
    assert all(row["feedback"] != p.task_id and row["code"] == p.task_id for p, _, row in after)
    assert feedback_exchanged(live[:1], random.Random(0))[0][2]["feedback"] == ""


def test_a_mask_drawn_once_is_the_same_for_every_repetition_of_an_example():
    feature = {"input_ids": list(range(200)), "spans": {"past_generation": (0, 200)}}
    rows = [{**feature, "index": 0, "origin": "a"}, {**feature, "index": 1, "origin": "a"},
            {**feature, "index": 2, "origin": "b"}]  # fmt: skip
    once = [PGMCollator(0, Masking(0.3, redraw="once")).hidden(f).tolist() for f in rows]
    anew = [PGMCollator(0, Masking(0.3)).hidden(f).tolist() for f in rows]
    assert once[0] == once[1] != once[2] and anew[0] != anew[1]


def test_the_mixture_says_which_rows_are_one_example():
    own = [{"kind": "refine", "task_id": str(i)} for i in range(3)]
    problems = load_problems("tinyprograms", split="train", limit=2)
    rows = stages.mixture(own, problems, 0.5, TrainSettings(steps=4, batch_size=4))
    by_origin = pd.DataFrame(rows).groupby("origin")["task_id"].nunique()
    assert (by_origin == 1).all() and by_origin.index.str.startswith("refine/").sum() == 3


def test_mutated_faults_are_no_samples_of_the_model(random_lm):
    config = study.recipe(model=random_lm, faults="mutated", **SMALL).distil
    run = stages.distil(config, progress=False)
    drawn, examples = stages.attempts_of(run), stages.read_examples(run)
    assert not drawn["passed"].any() and {e["kind"] for e in examples} == {"refine"}
    assert runs.key_of(config) != runs.key_of(study.recipe(model=random_lm, **SMALL).distil)


def test_the_shipped_sizes_span_a_factor_of_eight_and_share_a_recipe():
    names = (*ablations.LADDER, TINY)
    sizes = [count_parameters(name) for name in names]
    assert max(sizes) >= 8 * min(sizes)
    assert sum(path.stat().st_size for path in ASSETS.rglob("*.safetensors")) <= 25e6
    configs = [json.loads((Path(locate(name)) / runs.RECORD).read_text())["config"] for name in names]
    for what in ("steps", "batch_size", "learning_rate"):
        assert len({(one["train"][what], one["recurring"][what]) for one in configs}) == 1
    assert len({(one["block"], one["ambiguity"]) for one in configs}) == 1


def test_dropped_passing_samples():
    with pytest.raises(ValueError, match="unknown faults 'human'; choose one of own, mutated"):
        stages.Distil(faults="human")


def test_attention_sums_to_one_and_tells_the_parts(random_lm):
    run = attend(Attend(random_lm, stages.Loop(model=random_lm, limit=3, rounds=0), 2), progress=False)
    table = attention_of(run)
    assert len(table) == 2 and run.notes["lines"]
    shares = table[list(PARTS)].sum(axis=1)
    assert ((shares > 0.2) & (shares < 1)).all()
    assert np.allclose(table[[f"{p}_tokens" for p in PARTS]].sum(axis=1), 1, atol=0.5)
    assert any("### Bad Solution:" in line for line, _ in run.notes["lines"])
