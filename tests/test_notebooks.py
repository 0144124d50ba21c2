"""Every notebook, headless, at small size: it runs anywhere, makes what it says, refuses what it does not know."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import yaml
from bs4 import BeautifulSoup

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
    "05_pgm_ablation": {
        "05_pgm": 30, "05_pgm_differences": 24, "05_attention": 12, "05_pgm_trend": 4, "05_costs": 8, "05_claims": 8,
        "05_shortcut": 24, "05_shortcut_trend": 8, "05_shortcut_costs": 8,
    },
    "06_mixing_ablation": {
        "06_mixing": 18, "06_mixing_differences": 12, "06_sources": 18, "06_costs": 5, "06_claims": 2,
    },
    "08_inputs_ablation": {"08_inputs": 48, "08_costs": 8, "08_by_error": 1, "08_by_ambiguity": 9, "08_claims": 7},
    "07_benchmarks": {
        "07_benchmarks": 3, "07_gains": 2, "07_claims": 3, "07_repair": 3, "07_decay": 3, "07_decay_gaps": 3,
        "07_first_fix": 9, "07_both_failed": 2, "07_both_failed_gaps": 2, "07_regressions": 12, "07_kinds": 1,
        "07_costs": 12,
    },
    "10_tiny_lm": {"10_tiny_lm": 4, "10_planted": 13},
    "11_second_cycle": {"11_faults": 8, "11_moves": 5, "11_families": 2, "11_slots": 2, "11_limits": 6, "11_gaps": 3},
}  # fmt: skip


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
    executed = run(name, shared_home, monkeypatch, **model, **SMALL[name])
    _check_tables_on_screen(executed)
    results = shared_home / "reproduction"
    for table, rows in TABLES.get(name, {}).items():
        assert len(pd.read_csv(results / "tables" / f"{table}.csv")) >= rows
        assert (results / "tables" / f"{table}.md").stat().st_size > 0
    figures = {path.stem: path.suffix for path in (results / "figures").glob(f"{name[:2]}_*")}
    assert figures, "no figure was saved"
    for stem in figures:
        assert (results / "figures" / f"{stem}.png").is_file() and (results / "figures" / f"{stem}.pdf").is_file()


def _check_tables_on_screen(executed: nbformat.NotebookNode) -> None:
    """At most six columns, no row that repeats the one above, and a sentence, a figure or code before the next one."""
    for cell, following in zip(executed.cells, [*executed.cells[1:], None]):
        tables = [table for output in cell.get("outputs", []) for table in _tables(output)]
        for columns, rows in tables:
            assert columns <= 6, f"{columns} columns:\n{cell.source}"
            assert all(one != other for one, other in zip(rows, rows[1:])), f"a row twice:\n{cell.source}"
        if tables and following is not None and following.cell_type == "code":
            shown = [output for one in (cell, following) for output in one.outputs]
            kinds = {kind for output in shown for kind in output.get("data", {})}
            assert {"text/markdown", "image/png"} & kinds, f"nothing is said of this table:\n{cell.source}"


def _tables(output: nbformat.NotebookNode) -> list[tuple[int, list[str]]]:
    """The number of columns, row numbers left out, and the rows as text of each data frame in an output."""
    page, found = BeautifulSoup("".join(output.get("data", {}).get("text/html", "")), "html.parser"), []
    for table in page.select("table.dataframe"):
        rows = table.select("tbody tr")
        names = [row.th.text for row in rows if row.th]
        numbered = names == [str(i) for i in range(len(rows))]
        widths = [len(row.find_all(["th", "td"])) - numbered for row in rows]
        texts = [" | ".join(cell.text for cell in row.find_all(["th", "td"])[numbered:]) for row in rows]
        found.append((max(widths, default=0), texts))
    return found


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


@pytest.mark.parametrize("name", NAMES)
def test_parameters_stand_in_two_groups(name):
    """Those that a reader changes, at most eight with their values written out, and those for recipes."""
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells
    source = next(cell.source for cell in cells if cell.cell_type == "code")
    first, *rest = source.split("\n\n")
    assert first.splitlines()[0].endswith("Change these:")
    assert len(rest) <= 1 and all(group.startswith("# For ") for group in rest)
    changed = ast.parse(first).body
    assert len(changed) <= 8
    assert not any(isinstance(one.value, ast.Constant) and one.value.value is None for one in changed)
    told = [line for line in source.splitlines() if line and not line.startswith("#")]
    assert all("  # " in line for line in told) and "default" not in "".join(told)


@pytest.mark.parametrize("name", NAMES)
def test_prose_and_cells_are_short(name):
    """Three to eight words a line of code; cells of about six lines, parameters apart."""
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells
    code = [len(list(filter(str.strip, cell.source.splitlines()))) for cell in cells if cell.cell_type == "code"]
    words = sum(len(_prose(cell.source).split()) for cell in cells if cell.cell_type == "markdown")
    assert 3 <= words / sum(code) <= 8
    assert statistics.median(code) <= 9 and max(code[1:]) <= 20


def _prose(text: str) -> str:
    """Markdown without tables, blocks of text and the targets of links."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    return re.sub(r"\]\([^)]*\)", "]", text)


def test_links_between_notebooks_lead_somewhere():
    for path in NOTEBOOKS.glob("*.ipynb"):
        text = "".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)#:]+\.\w+)\)", text):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_parameters_reach_a_function_by_name():
    def train(steps, lora=False, seed=0): ...

    assert notebook.chosen({"steps": 3, "seed": 1, "other": 2}, train, without=["seed"]) == {"steps": 3}
