"""What is published can be trusted: nothing stale, reduced or out of order, and tables come from stored generations."""

import os
import re
import shutil
import threading
from dataclasses import replace

import nbformat
import pandas as pd
import pytest

from cycle_utils import paths, study
from cycle_utils.method import runs, stages
from cycle_utils.method.training import TrainSettings
from cycle_utils.study import (
    ablations,
    attempts,
    publishing,
    reproduction,
    run_index,
    second_cycle,
    sentinel,
    stamps,
    summary,
)

HERE = paths.ROOT / "results"


@pytest.fixture
def copied(home, monkeypatch):
    """The published results in a home of their own, to be written to."""
    monkeypatch.setenv(paths.PUBLISH, "1")
    shutil.copytree(HERE, home / "results")
    return home / "results"


def test_nothing_published_is_stale(monkeypatch):
    monkeypatch.setenv("CYCLE_HOME", str(paths.ROOT))
    assert list(stamps.stale()) == []


def test_a_change_of_a_stage_makes_it_stale(copied, monkeypatch, tmp_path):
    package = tmp_path / "cycle_utils"
    shutil.copytree(paths.PACKAGE, package)
    monkeypatch.setattr(runs, "PACKAGE", package)
    monkeypatch.setattr(stamps, "PACKAGE", package)
    before = list(stamps.stale())
    source = package / "method" / "distillation.py"
    source.write_text("# a comment changes nothing\n" + source.read_text())
    assert list(stamps.stale()) == before
    source.write_text(source.read_text().replace("rng.choice(solutions)", "solutions[0]"))
    after = set(stamps.stale()) - set(before)
    assert any("07_benchmarks: the code of a stage was changed" in one for one in after)


def test_files_and_parameters_are_watched(copied, monkeypatch):
    before = set(stamps.stale())
    table = copied / "tables" / "07_claims.csv"
    table.write_text(table.read_text().replace("holds", "hold"))
    (copied / "figures" / "07_invented.png").touch()
    (copied / "runs" / "loop-000000000000").mkdir(parents=True)
    found = stamps.read_stamps()
    found["04_self_refine"] |= {"scale": "reduced", "parameters": {"limit": 5}}
    found["07_benchmarks"] |= {"seeds": 1, "parameters": {"seeds": 1}}
    runs.write_json(copied / stamps.STAMPS, found)
    executed = copied / "notebooks" / "02_finetune_distill.ipynb"
    notebook = nbformat.read(executed, 4)
    next(c for c in notebook.cells if c.cell_type == "code").execution_count = 9
    nbformat.write(notebook, executed)
    other = copied / "notebooks" / "03_refine_train.ipynb"
    notebook = nbformat.read(other, 4)
    notebook.cells[-1].source += " and more"
    next(c for c in notebook.cells if c.cell_type == "code" and c.outputs).outputs[0].text = "commit none  python 2.7"
    nbformat.write(notebook, other)
    told = "\n".join(set(stamps.stale()) - before)
    for words in (
        "tables/07_claims.csv is not the file that was stamped", "figures/07_invented.png has no stamp",
        "runs/loop-000000000000: nothing published rests on it", "04_self_refine: it comes from a reduced run",
        "07_benchmarks: it rests on 1 seeds", "02_finetune_distill: its executed copy was not run from top to bottom",
        "03_refine_train: its executed copy is not this notebook: cells ",
        "03_refine_train: its executed copy was executed elsewhere than its stamp says: it prints another commit",
    ):  # fmt: skip
        assert words in told


def test_published_runs_stand_in_for_built_ones(random_lm, monkeypatch):
    config = stages.Loop(model=random_lm, limit=3, rounds=1)
    built = stages.loop(config, progress=False)
    monkeypatch.setenv(runs.STORED, runs.ONLY)
    with pytest.raises(runs.MissingRun, match="is not among the published ones"):
        stages.loop(config, progress=False)
    runs.publish(built.key)
    stored = stages.loop(config, progress=False)
    whole, kept = stages.attempts_of(built), stages.attempts_of(stored)
    assert kept.equals(whole.drop(columns=["prompt", "completion"])) and stored.folder != built.folder


def test_a_published_model_counts_by_the_weights_that_it_had(random_lm, monkeypatch):
    tune = stages.FineTune(model=random_lm, problems=8, train=TrainSettings(steps=1, batch_size=4))
    tuned = stages.fine_tune(tune, progress=False)
    wanted = runs.key_of(stages.Loop(model=str(tuned.folder)))
    runs.publish(tuned.key)
    monkeypatch.setenv(runs.STORED, runs.ONLY)
    stored = stages.fine_tune(tune, progress=False)
    assert not list(stored.folder.glob("*.safetensors"))
    assert runs.key_of(stages.Loop(model=str(stored.folder))) == wanted


def test_published_runs_are_reused_and_their_weights_made_again_only_when_needed(random_lm, monkeypatch, home):
    config = study.recipe(model=random_lm, problems=12, finetune_steps=2, samples=1, steps=2)
    where, ledger = stages.Loop(limit=4, rounds=1), home / "ledger"
    monkeypatch.setenv(runs.LEDGER, str(ledger))
    tried = study.run_loops(config, where, (study.CYCLE,), progress=False)[study.CYCLE]
    for key in set(ledger.read_text().split()):
        runs.publish(key)
    shutil.rmtree(home / "runs")
    monkeypatch.setenv(runs.STORED, runs.FIRST)
    again = study.run_loops(config, where, (study.CYCLE,), progress=False)[study.CYCLE]
    assert again["code"].equals(tried["code"]) and not (home / "runs").exists()
    more = study.run_loops(config, replace(where, limit=5), (study.CYCLE,), progress=False)[study.CYCLE]
    assert more["task_id"].nunique() == 5
    stages_built = {path.parent.name.split("-")[0] for path in (home / "runs").glob(f"*/{runs.RECORD}")}
    assert stages_built == {"finetune", "refinetrain", "loop"}


def test_runs_of_an_unfinished_sweep_are_kept_for_another_sitting(random_lm, monkeypatch, home):
    small = {"model": random_lm, "problems": 12, "finetune_steps": 2, "samples": 1, "steps": 2}
    trials = ablations.planned(ablations.masked([0.0]), stages.Loop(limit=4, rounds=1), [0], **small)
    monkeypatch.setattr(publishing, "everything", lambda seed: trials)
    assert ablations.left(trials) == {"fine-tunings": 1, "sets of mistakes": 1, "refine trainings": 2, "loops": 2}
    ablations.ahead(trials[:1], progress=False)
    assert ablations.left(trials) == {"refine trainings": 1, "loops": 1}
    (runs.runs_dir() / runs.key_of(trials[1][1])).mkdir()  # a training that was cut off
    kept = publishing.keep(1)
    assert sorted(key.split("-")[0] for key in kept) == ["distil", "finetune", "loop", "refinetrain"]
    (home / "results" / "runs" / "loop-000000000000").mkdir()
    publishing.sweep()
    assert sorted(path.name for path in runs.published_dir().iterdir()) == kept
    shutil.rmtree(home / "runs")
    monkeypatch.setenv(runs.STORED, runs.FIRST)
    assert ablations.left(trials) == {"fine-tunings": 1, "refine trainings": 1, "loops": 1}
    ablations.ahead(trials, progress=False)
    assert ablations.left(trials) == {}
    built = sorted(path.parent.name.split("-")[0] for path in (home / "runs").glob(f"*/{runs.RECORD}"))
    assert built == ["finetune", "loop", "refinetrain"]  # the other setting, and the weights that it starts from
    assert len(publishing.keep(1)) == 6


def test_tables_are_rebuilt_from_several_notebooks_at_a_time(copied, monkeypatch):
    both = {name: stamps.read_stamps()[name]["parameters"] for name in ("02_finetune_distill", "04_self_refine")}
    meeting = threading.Barrier(2)

    def executed(name, parameters, folder, **environment):
        meeting.wait(60)  # for the other one
        assert environment[runs.STORED] == runs.ONLY
        (folder / f"{name}.ipynb").touch()
        return {"minutes": 0.5, "peak_mb": 10}

    monkeypatch.setattr(publishing, "run_notebook", executed)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    publishing._publish_all(both, runs.ONLY)
    found = stamps.read_stamps()
    assert {found[name]["cost"]["peak_mb"] for name in both} == {10} and len(found) > len(both)


def test_claims_name_their_notebooks(monkeypatch):
    monkeypatch.setenv("CYCLE_HOME", str(paths.ROOT))
    monkeypatch.setenv(paths.PUBLISH, "1")
    named = set(", ".join(publishing.claims()["notebook"]).split(", "))
    assert named and named <= {"held_out", *(path.name[:2] for path in paths.NOTEBOOKS.glob("*.ipynb"))}


def test_a_changed_method_is_told_from_a_reworded_one(monkeypatch):
    monkeypatch.setenv(paths.PUBLISH, "1")
    monkeypatch.setattr(sentinel, "sentinel_digest", lambda: "the same")
    sentinel.check_method()
    monkeypatch.setattr(sentinel, "method_hash", lambda: "reworded")
    sentinel.check_method()
    monkeypatch.setattr(sentinel, "method_hash", lambda: "changed")
    monkeypatch.setattr(sentinel, "sentinel_digest", lambda: "other")
    with pytest.raises(sentinel.Changed, match="Raise METHOD"):
        sentinel.check_method()
    monkeypatch.setattr(runs, "METHOD", 2)
    sentinel.check_method()


@pytest.mark.parametrize("name", ["06_mixing_ablation"])
def test_tables_come_from_the_stored_generations_byte_by_byte(name, copied, monkeypatch):
    stamp = stamps.read_stamps()[name]
    tables = {file: (copied / file).read_bytes() for file in stamp["files"] if file.startswith("tables/")}
    assert tables
    for file in tables:
        (copied / file).unlink()
    publishing.publish(name, stamp["parameters"], stored=runs.ONLY)
    assert {file: (copied / file).read_bytes() for file in tables} == tables


def test_a_readers_study_leaves_what_is_published_alone(copied, monkeypatch, home):
    monkeypatch.delenv(paths.PUBLISH)
    published = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    tables = home / "reproduction" / "tables"

    def executed(name, parameters, folder, **environment):
        tables.mkdir(parents=True, exist_ok=True)
        for table in ("07_benchmarks", "07_copies", "07_gains"):
            shutil.copy(copied / "tables" / f"{table}.csv", tables)
        return {"minutes": 0.5, "peak_mb": 10}

    monkeypatch.setattr(publishing, "run_notebook", executed)
    publishing.main(["07_benchmarks", "--seeds", "1"])
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == published
    report = (home / "reproduction" / "report.md").read_text()
    assert "15 of 15 headline figures agree" in report and "CYCLE: solved after 4 rounds" in report


def test_a_figure_that_came_out_otherwise_is_told(copied, home):
    shutil.copytree(copied / "tables", home / "mine" / "tables")
    path = home / "mine" / "tables" / "07_gains.csv"
    text = path.read_text().splitlines()
    row = text[1].split(",")
    path.write_text("\n".join([text[0], ",".join([row[0], "0.01", "-0.02", "0.04", *row[4:]])]))
    said = reproduction.write_report(home / "mine", copied, reduced=True)
    assert said.startswith("This was a reduced run") and "10 of 11 headline figures agree" in said
    assert "+1.0 points [-2.0, 4.0] | no" in (home / "mine" / "report.md").read_text()


def test_nothing_published_names_a_folder_of_this_machine():
    text = [path for path in HERE.rglob("*") if path.suffix in (".json", ".ipynb", ".csv", ".md")]
    assert len(text) > 100
    named = re.compile(r"(?<![\w.])/(home|root|work|tmp|Users|mnt|opt|var)/[\w.-]+")
    assert {str(path.relative_to(HERE)) for path in text if named.search(path.read_text(encoding="utf-8"))} == set()


def test_an_executed_copy_is_tidied(home):
    outputs = [
        nbformat.v4.new_output("stream", text=f"results go to {home}/results\n"),
        nbformat.v4.new_output("display_data", {publishing._LIVE: {}, "text/plain": "0%|  |"}),
        nbformat.v4.new_output("display_data", {publishing._LIVE: {}, "text/html": "a still"}),
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=outputs)
    copy = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"input_path": "/a/b", "duration": 1}})
    nbformat.write(copy, home / "copy.ipynb")
    publishing.tidy(home / "copy.ipynb")
    read = nbformat.read(home / "copy.ipynb", 4)
    text, still = read.cells[0].outputs
    assert text.text == "results go to results\n" and still.data == {"text/html": "a still"}
    assert read.metadata.papermill == {"duration": 1}


def test_runs_are_told_in_words():
    tune = runs.config_dict(stages.FineTune(seed=2))
    refine = runs.config_dict(study.recipe(seed=2, mask_ratio=0.4))
    loop = runs.config_dict(stages.Loop(model="runs/refinetrain-1", rounds=0, samples=5, seed=2))
    turn = runs.config_dict(second_cycle.ARMS["all rounds"].after(study.recipe(seed=2)))
    asked = runs.config_dict(stages.Loop(model="runs/turn-1", seed=2))
    configs = {"finetune-1": tune, "refinetrain-1": refine, "loop-1": loop, "turn-1": turn, "loop-2": asked}
    records = {key: {"config": config, "seconds": 90} for key, config in configs.items()}
    table = run_index.run_index(records, {"loop-1": ["07_benchmarks", "08_inputs_ablation"]}).set_index("key")
    columns = ["stage", "model", "seed", "settings"]
    assert table.loc["finetune-1", columns].tolist() == ["1a fine-tuning", "tiny", 2, ""]
    assert table.loc["refinetrain-1", "settings"] == "masking.ratio=0.4"
    assert table.loc["loop-1", ["stage", "model", "settings", "notebooks", "minutes"]].tolist() == [
        "3 independent samples", "tiny, CYCLE (masking.ratio=0.4)", "rounds=0, samples=5", "07, 08", 1.5,
    ]  # fmt: skip
    assert table.loc["turn-1", columns].tolist() == ["further turn, refine training", "tiny", 2, ""]
    assert table.loc["loop-2", "model"] == "tiny, CYCLE, further turn"


def test_every_program_stands_in_one_table_in_words(random_lm, monkeypatch, home):
    monkeypatch.setenv(paths.PUBLISH, "1")
    loop = stages.Loop(model=random_lm, limit=3, rounds=1)
    other = replace(loop, temperatures=(0.0, 0.0), fields=("code",), seed=2)
    built = [stages.loop(config, progress=False) for config in (loop, other)]
    for run in built:
        runs.publish(run.key)
    (path,) = attempts.write_attempts("04_self_refine", {run.key: run.record for run in built})
    table = pd.read_parquet(path)
    assert path == home / "results" / "attempts" / "04_self_refine.parquet"
    assert list(table.columns) == list(attempts.COLUMNS) and table["benchmark"].eq("tinyprograms").all()
    for run, setting, seed in zip(built, ("loop", "loop, greedy, shown no feedback"), (0, 2)):
        mine = table[table["run"] == run.key]
        tried = stages.attempts_of(run).sort_values(["task_id", "sample", "round"])
        assert mine["program"].tolist() == tried["code"].tolist() and set(mine["setting"]) == {setting}
        assert mine["verdict"].tolist() == tried["status"].tolist() and set(mine["seed"]) == {seed}


def test_findings_say_what_the_tables_say(copied):
    tables = copied / "tables"
    told = summary.findings(tables)
    assert "**Learning to refine helps.**" in told and told.count("\n- ") == 6
    gains = pd.read_csv(tables / "07_gains.csv")
    gains.loc[gains["comparison"] == "CYCLE: loop over distinct samples", "verdict"] = "no difference seen"
    gains.to_csv(tables / "07_gains.csv", index=False)
    masks = pd.read_csv(tables / "07_copy_gaps.csv")
    row = (masks["than"] == "CYCLE without PGM") & (masks["protocol"] == "loop") & (masks["refinements"] == "round 1")
    masks.loc[row, ["value", "low", "high"]] = -0.1, -0.15, -0.05
    masks.to_csv(tables / "07_copy_gaps.csv", index=False)
    trend = pd.read_csv(tables / "05_shortcut_trend.csv")
    row = (trend["protocol"] == "loop") & (trend["measure"] == "exact")
    trend.loc[row, ["value", "low", "high", "p_corrected"]] = -0.05, -0.08, -0.02, 0.01
    trend.loc[row, "verdict"] = "lower"
    row = (trend["protocol"] == "loop, few mistakes") & (trend["measure"] == "exact")
    trend.loc[row, ["value", "low", "high", "p_corrected"]] = 0.0, -0.1, 0.1, 1.0
    trend.to_csv(tables / "05_shortcut_trend.csv", index=False)
    told = summary.findings(tables)
    assert "**Learning to refine was not shown to help.**" in told
    assert "against the claims" not in told and "copies 10.0 points less [5.0, 15.0]" in told
    assert "the mask lowers copies in one of two ways of training, and" in told
    assert "copies 5.0 points less [2.0, 8.0] (shown)" in told and "which the last phase of pre-training" in told
    planted = pd.read_csv(tables / "10_planted.csv")
    row = planted["lm"].str.contains(" over ")
    planted.loc[row, ["value", "low", "high", "p_corrected"]] = 0.01, -0.05, 0.07, 1.0
    planted.to_csv(tables / "10_planted.csv", index=False)
    assert "which the last phase of pre-training" not in summary.findings(tables)


def test_each_claim_has_one_row():
    columns = ["claim", "ours", "verdict", "notebook"]
    rows = [
        ("C2: CYCLE beats the fine-tuned LM in the loop", "+16.7 points [1, 2], p = 0.002", "holds", "04, 07"),
        ("C2: the same, greedy", "+1 points", "not shown", "07"),
        ("Control: more", "+1 points", "holds", "07"),
    ]
    table = summary.claim_summary(pd.DataFrame(rows, columns=columns))
    assert len(table) == 1 and table["verdict"][0] == "**holds in part** (1 of 2)"
    assert table["figure"][0] == "+16.7 points [1, 2]" and table["notebooks"][0] == "04, 07"
