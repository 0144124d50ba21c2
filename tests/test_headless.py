"""Where nobody looks on: figures appear whatever backend is set, and files are read alike in every locale."""

import ast
import base64
import os
import subprocess
import sys
from collections.abc import Iterator

import papermill
import pytest
import yaml

from cycle_utils.paths import NOTEBOOKS, PACKAGE, ROOT

SOURCES = [*PACKAGE.rglob("*.py"), *(ROOT / "recipes").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]


@pytest.mark.parametrize("backend", ["Agg", "pdf"])
def test_figures_appear_whatever_the_backend(backend, home, random_lm, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setenv("CYCLE_HOME", str(home))
    sizes = yaml.safe_load((ROOT / "tests" / "overrides.yaml").read_text(encoding="utf-8"))["01_copy_rate"]
    done = papermill.execute_notebook(
        NOTEBOOKS / "01_copy_rate.ipynb", home / "out.ipynb", {**sizes, "model": random_lm}, progress_bar=False,
        kernel_name="python3",
    )  # fmt: skip
    outputs = [one for cell in done.cells if cell.cell_type == "code" for one in cell.outputs if "data" in one]
    pictures = [one for one in outputs if "image/png" in one.data]
    wanted = sum("figures.show(" in cell.source for cell in done.cells if cell.cell_type == "code")
    assert len(pictures) == wanted >= 2
    assert all(base64.b64decode(one.data["image/png"]).startswith(b"\x89PNG") for one in pictures)
    assert all(one.metadata["image/png"]["alt"] for one in pictures)


def bare(tree: ast.AST) -> Iterator[int]:
    """Lines where text is read or written, or a program's output is, in an encoding that is not named."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        words = {word.arg for word in node.keywords}
        values = [one.value for one in [*node.args, *(w.value for w in node.keywords)] if isinstance(one, ast.Constant)]
        is_text = not any(isinstance(value, str) and "b" in value and len(value) <= 3 for value in values)
        is_named = "encoding" in words or None in words or "utf-8" in values
        if name in ("read_text", "write_text") and not is_named:
            yield node.lineno
        if name == "open" and owner not in ("os", "gzip", "tarfile") and is_text and not is_named:
            yield node.lineno
        if name in ("run", "Popen", "check_output") and "text" in words and not is_named:
            yield node.lineno


def test_what_is_bare_is_found():
    told = ["open('f')", "open('f', 'rb')", "p.open(encoding='utf-8')", "p.read_text()", "run(c, text=True)"]
    assert list(bare(ast.parse("\n".join([*told, "p.read_text('utf-8')"])))) == [1, 4, 5]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_read_by_the_locale(path):
    if path.is_relative_to(PACKAGE / "execution") or path.name == "bench_judge.py":
        pytest.skip("the judge names the encoding of candidates' streams once, and else reads the kernel's ASCII")
    assert list(bare(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_a_locale_of_ascii_alone_changes_nothing(tmp_path):
    """Recipes, sources and records with letters beyond ASCII, in a process whose locale knows none."""
    (tmp_path / "recipe.yaml").write_text("# naïve\nmodel: tiny\nsteps: 0\n", encoding="utf-8")
    program = f"""
import json, locale, sys
from pathlib import Path
from cycle_utils.method import runs
from cycle_utils.study import launch, publishing, stamps
assert locale.getpreferredencoding(False).lower() not in ("utf-8", "utf8"), locale.getpreferredencoding(False)
print(runs.source_hash(), runs.commit() != "", len(stamps.read_stamps(Path({str(ROOT / "results")!r}))))
runs.write_json(Path({str(tmp_path)!r}) / "r.json", {{"said": "na\\u00efve"}})
publishing.fill_readme(Path({str(ROOT / "README.md")!r}), Path({str(ROOT / "results" / "tables")!r}))
try:
    launch.main([{str(tmp_path / "recipe.yaml")!r}])
except ValueError as error:
    print(error)
"""
    plain = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    plain.pop("PYTHONIOENCODING", None)
    done = subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "steps is 0; give a whole number" in done.stdout
