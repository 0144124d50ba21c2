"""Families held out of stages 1 and 2: no training meets them, and what is asked of whom is told apart."""

import numpy as np
import pytest

from cycle_utils import study
from cycle_utils.method import stages
from cycle_utils.method.configs import Loop
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.study import held_out

WHERE = Loop(limit=4, rounds=1)


@pytest.fixture(scope="module")
def found(random_lm, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CYCLE_HOME", str(tmp_path_factory.mktemp("held_out")))
        small = {"problems": 12, "finetune_steps": 2, "samples": 1, "steps": 2}
        return held_out.run(WHERE, [0, 1], model=random_lm, **small)


def test_no_training_problem_is_of_a_held_out_family():
    tune = study.recipe(families="known", problems=40).distil.fine_tune
    assert not {p.meta["family"] for p in stages.training_problems(tune)} & set(tp.HELD_OUT)


def test_each_model_answers_both_sets_of_families(found):
    for asked in held_out.ASKED:
        names = (*study.CONTENDERS, held_out.BLANKED)
        ids = {task for name in names for one in found[asked, name] for task in one.task_id}
        assert len(ids) == 4 and all(f"/{asked}/" in task for task in ids)
    table = held_out.rates(found, WHERE)
    assert {name for families, name in found if families == "held-out" and "checked" in name} == {
        "fine-tuned, checked", "CYCLE, checked",
    }  # fmt: skip
    assert len(table) == (2 * 5 + 2) * 2 and set(table["n"].dropna()) == {4}


def test_gaps_are_one_family_of_comparisons(found, monkeypatch):
    """One seed, two problems: scores by model decide each difference."""
    solved = {(study.CYCLE, 1): [1, 1], (study.CYCLE, 0): [1, 0], (study.TUNED, 1): [0, 0], (study.TUNED, 0): [0, 0]}
    solved[held_out.BLANKED, 1] = [1, 0]
    solved |= {("CYCLE, checked", 1): [1, 1], ("fine-tuned, checked", 1): [0, 1]}
    monkeypatch.setattr(held_out, "_solved", lambda tables, r: np.atleast_2d(solved[tables, r]).astype(float))
    table = held_out.gaps({key: key[1] for key in found}, 1)
    values = table.groupby("families", sort=False)["value"].apply(list).to_dict()
    known = [1, 0.5, 0.5, 0.5]
    assert values == {"held-out": [*known, 0, 0.5], "known": known, "both": [0]}
    assert set(table["verdict"]) == {"no difference seen"}
    assert (table["p_corrected"] >= table["p"]).all() and table["families"].tolist()[-1] == "both"
    claims = held_out.claims(table)
    assert claims["claim"].str.startswith(("C2", "C3", "C7")).all()
    assert claims["verdict"].str.startswith(("not shown", "cannot tell")).all()
