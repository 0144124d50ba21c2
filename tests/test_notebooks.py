"""Every notebook, headless, at small size: it runs anywhere, makes what it says, refuses what it does not know."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import yaml

from cycle_utils.paths import NOTEBOOKS, ROOT
from cycle_utils.teaching import notebook

SMALL = yaml.safe_load((Path(__file__).parent / "overrides.yaml").read_text())
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
# Tables that each notebook must leave, with the least number of rows.
TABLES = {
    "01_copy_rate": {"01_copy_rate": 3},
    "02_finetune_distill": {"02_stage1": 2},
    "03_refine_train": {"03_one_time": 2, "03_masking": 1},
    "04_self_refine": {"04_loop": 2, "04_evidence": 1},
    "05_pgm_ablation": {"05_pgm": 30, "05_pgm_differences": 24, "05_attention": 12, "05_claims": 4},
    "06_mixing_ablation": {"06_mixing": 18, "06_mixing_differences": 12, "06_sources": 18, "06_claims": 2},
    "08_inputs_ablation": {"08_inputs": 48, "08_by_error": 1, "08_by_ambiguity": 9, "08_claims": 7},
    "07_benchmarks": {"07_benchmarks": 3, "07_gains": 2, "07_claims": 3},
}


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory):
    """One home for all notebooks, as in use: later ones find the runs of earlier ones."""
    return tmp_path_factory.mktemp("study")


def run(name: str, home: Path, monkeypatch, **parameters) -> nbformat.NotebookNode:
    monkeypatch.setenv("CYCLE_HOME", str(home))
    out = home / f"{name}.ipynb"
    return papermill.execute_notebook(
        NOTEBOOKS / f"{name}.ipynb", out, parameters, progress_bar=False, kernel_name="python3"
    )


def test_each_notebook_has_small_sizes():
    assert sorted(SMALL) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_runs_headless_and_makes_its_files(name, shared_home, random_lm, monkeypatch):
    model = {} if name in ("00_overview", "10_tiny_lm") else {"model": random_lm}
    run(name, shared_home, monkeypatch, **model, **SMALL[name])
    results = shared_home / "reproduction"
    for table, rows in TABLES.get(name, {}).items():
        assert len(pd.read_csv(results / "tables" / f"{table}.csv")) >= rows
        assert (results / "tables" / f"{table}.md").stat().st_size > 0
    figures = {path.stem: path.suffix for path in (results / "figures").glob(f"{name[:2]}_*")}
    assert figures, "no figure was saved"
    for stem in figures:
        assert (results / "figures" / f"{stem}.png").is_file() and (results / "figures" / f"{stem}.pdf").is_file()


@pytest.mark.parametrize("name", ["01_copy_rate", "07_benchmarks"])
def test_runs_on_humaneval(name, shared_home, random_lm, monkeypatch):
    run(name, shared_home, monkeypatch, model=random_lm, benchmark="humaneval", **{**SMALL[name], "limit": 3})
    assert list((shared_home / "reproduction" / "tables").glob(f"{name[:2]}*humaneval*.csv"))


def test_a_misspelt_parameter_is_an_error(shared_home, random_lm, monkeypatch):
    with pytest.raises(
        papermill.PapermillExecutionError, match=r"unknown parameter 'mask_ration'\. Did you mean 'mask_ratio'"
    ):
        run("03_refine_train", shared_home, monkeypatch, model=random_lm, mask_ration=0.1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"mask_ratio": 1.5}, "mask_ratio is 1.5"),
        ({"refine_share": -0.5}, "refine_share is -0.5"),
        ({"train_benchmark": "tinyprogams"}, "tinyprogams"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_bad_values_are_named(bad, message, shared_home, random_lm, monkeypatch):
    with pytest.raises(papermill.PapermillExecutionError, match=message):
        run("03_refine_train", shared_home, monkeypatch, **{"model": random_lm, **SMALL["03_refine_train"], **bad})


@pytest.mark.parametrize("where", ["notebooks", ".", "elsewhere"])
def test_papermill_from_anywhere(where, shared_home, random_lm, monkeypatch, tmp_path):
    monkeypatch.setenv("CYCLE_HOME", str(shared_home))
    cwd = tmp_path if where == "elsewhere" else ROOT / where
    source = NOTEBOOKS / "03_refine_train.ipynb"
    shown = source.relative_to(cwd) if source.is_relative_to(cwd) else source
    sizes = {"model": random_lm, **SMALL["03_refine_train"]}
    options = [word for item in sizes.items() for word in ("-p", *map(str, item))]
    out = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(shown), str(out), "-p", "mask_ratio", "0.05", *options]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert out.is_file()


@pytest.mark.parametrize("name", NAMES)
def test_sources_keep_the_house_style(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "a source notebook carries outputs"
    assert "parameters" in code[0].metadata.get("tags", []) and code[0].source.startswith("# Defaults")
    assert max(len(cell.source.splitlines()) for cell in code) <= 40
    assert not re.search(r"['\"]/(home|work|root|tmp)/", "".join(cell.source for cell in code)), "an absolute path"
    assert "papermill" not in notebook.metadata


def test_links_between_notebooks_lead_somewhere():
    for path in NOTEBOOKS.glob("*.ipynb"):
        text = "".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)#:]+\.\w+)\)", text):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_parameters_reach_a_function_by_name():
    def train(steps, lora=False, seed=0): ...

    assert notebook.chosen({"steps": 3, "seed": 1, "other": 2}, train, without=["seed"]) == {"steps": 3}
