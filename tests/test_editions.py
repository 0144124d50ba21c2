"""Editions are notebooks with parameters that they have, and keep their files apart from the study's own."""

import ast

import nbformat
import pandas as pd
import pytest

from cycle_utils import study
from cycle_utils.method import runs
from cycle_utils.paths import NOTEBOOKS
from cycle_utils.study import publishing
from cycle_utils.study.editions import (
    DIAGNOSIS,
    EDITIONS,
    TRAINED,
    belongs,
    notebook_of,
    real_lm,
    real_trained,
    trained_findings,
)
from cycle_utils.study.summary import real_finding
from cycle_utils.teaching import notebook


def test_editions_of_one_model_do_not_share_names():
    endings = [(notebook_of(name)[:2], name.removeprefix(notebook_of(name))) for name in EDITIONS]
    assert len(set(endings)) == len(endings)


@pytest.mark.parametrize("name", EDITIONS)
def test_an_edition_gives_parameters_that_its_notebook_has(name):
    cells = nbformat.read(NOTEBOOKS / f"{notebook_of(name)}.ipynb", 4).cells
    source = next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    known = {target.id for node in ast.parse(source).body for target in node.targets}
    edition = EDITIONS[name]
    assert set(edition.parameters) <= known
    given = edition.parameters
    assert name == edition.notebook + study.edition(given["model"], given["benchmark"], given["style"])


def test_files_of_an_edition_are_not_those_of_the_study(tmp_path):
    name = next(iter(EDITIONS))
    ending = name.removeprefix(notebook_of(name))
    own, other = tmp_path / f"01_chance{ending}.csv", tmp_path / "01_chance.csv"
    assert belongs(own, name) and not belongs(other, name)
    assert belongs(other, notebook_of(name)) and not belongs(own, notebook_of(name))
    assert belongs(tmp_path / f"{name}.ipynb", name)


def test_names_hold_the_model_where_it_is_not_the_tiny_one():
    assert study.edition("tiny", "tinyprograms", "plain") == ""
    assert study.edition("tiny", "humaneval", "plain") == "_humaneval"
    assert study.edition("smollm2", "humaneval", "chat") == "_smollm2_humaneval_chat"
    assert study.edition("bigcode/StarCoderBase 1B", "mbpp") == "_starcoderbase-1b_mbpp"


def test_the_table_of_the_real_lm_comes_from_its_editions(tmp_path):
    assert real_lm(tmp_path).empty
    name, edition = next(iter(EDITIONS.items()))
    table = pd.DataFrame([{"decoding": "greedy", "one-time": "5.0 %", "feedback_tests": "all"}])
    table.to_csv(tmp_path / f"01_in_short{name.removeprefix(edition.notebook)}.csv", index=False)
    found = real_lm(tmp_path)
    assert list(found.columns) == ["asked", "decoding", "one-time"]
    assert found["asked"][0] == f"{edition.parameters['style']} on {edition.parameters['benchmark']}"


def test_what_an_edition_found_is_told_from_its_tables(tmp_path):
    short = pd.DataFrame([
        {"decoding": "greedy", "one-time": "5 %", "after 4 refinements": "5 %", "5 samples": "",
         "exact copies, round 1": "70 %", "equal by chance": ""},
        {"decoding": "sampled", "one-time": "4 %", "after 4 refinements": "6 %", "5 samples": "8 %",
         "exact copies, round 1": "50 %", "equal by chance": "5 %"},
    ])  # fmt: skip
    chance = pd.DataFrame([{"share": "beyond chance", "value": 0.45, "low": 0.4, "high": 0.5}])
    told = real_finding(short, chance)
    assert told.startswith("**It copies.** 50 % of its first refinements") and "45.0 points more [40.0, 50.0]" in told
    assert "4 refinements bring it from 4 % to 6 %" in told and "5 samples without any refinement solve 8 %" in told
    chance["low"] = -0.1
    assert "not shown to copy more than by chance" in real_finding(short, chance)


def test_what_training_did_is_told_from_the_tables_of_its_edition(tmp_path):
    assert real_trained(tmp_path).empty and trained_findings(tmp_path) == ""
    name, edition = next(iter(TRAINED.items()))
    ending, models = name.removeprefix(edition.notebook), ("pre-trained", "fine-tuned", "CYCLE", "CYCLE without PGM")
    protocols = ("loop: one-time", "loop: after round 1", "loop: after round 2", "3 independent samples")
    scores = [
        {"model": model, "protocol": protocol, "rate": f"{model[0]}{i}"}
        for model in models for i, protocol in enumerate(protocols) if model == "CYCLE" or i < 3
    ]  # fmt: skip
    found = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    copies = [
        {"model": m, "protocol": "loop", "refinements": "round 1", "kind": kind, **found}
        for m in models for kind in ("exact", "syntax")
    ]  # fmt: skip
    chance = [{"model": "CYCLE", "share": share, **found} for share in ("equal by chance", "beyond chance")]
    gap = {"than": "CYCLE without PGM", "protocol": "loop", "refinements": "round 1", "verdict": "lower"}
    gaps = [{**gap, **found, "value": -0.1, "low": -0.2, "high": -0.05}]
    compared = ("loop: CYCLE over fine-tuned", "CYCLE: loop over equal budget", "loop: CYCLE over CYCLE without PGM",
                "CYCLE: loop over loop with feedback blanked")  # fmt: skip
    gains = [{"comparison": one, "verdict": "no difference seen", **found} for one in compared]
    tables = {"benchmarks": scores, "copies": copies, "chance": chance, "copy_gaps": gaps, "gains": gains}
    for table, rows in tables.items():
        pd.DataFrame(rows).to_csv(tmp_path / f"07_{table}{ending}.csv", index=False)
    row = real_trained(tmp_path).set_index("LM").loc["CYCLE"]
    assert row["after round 2"] == "C2" and row["3 independent samples"] == "C3" and row["one-time"] == "C0"
    assert row["exact copies, round 1"] == row["equal by chance"] == "50.0 % [40.0, 60.0]"
    assert real_trained(tmp_path).set_index("LM").loc["fine-tuned", "equal by chance"] == ""
    told = trained_findings(tmp_path)
    assert told.startswith("On mbpp: **Learning to refine is not shown to help.**")
    assert "with PGM it copies 10.0 points less [5.0, 20.0] (shown) and solves 50.0 points more" in told


def test_a_look_trains_nothing():
    whole, look = (publishing._wanted(publishing._options(["--real", *more])) for more in ([], ["--limit", "3"]))
    assert set(whole) == set(EDITIONS) and set(look) == set(DIAGNOSIS)
    assert all(parameters["limit"] == 3 and "train_benchmark" not in parameters for parameters in look.values())


def test_the_real_lm_may_be_trained_with_several_seeds():
    once, thrice = (publishing._wanted(publishing._options(["--real", "--seeds", n])) for n in "13")
    assert not any("seeds" in parameters for parameters in once.values())
    assert {name for name, parameters in thrice.items() if parameters.get("seeds") == 3} == set(TRAINED)


def test_published_runs_do_not_need_the_problems(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(notebook, "load_problems", refuse)
    monkeypatch.delenv(runs.STORED, raising=False)
    with pytest.raises(OSError, match="no network"):
        notebook.problems_at_hand("mbpp")
    for how in (runs.ONLY, runs.FIRST):
        monkeypatch.setenv(runs.STORED, how)
        assert notebook.problems_at_hand("mbpp") == []
