"""Recipes: files of papermill parameters under ``recipes/``, and how one is found, filled up, tried and run.

    python -m cycle_utils.study.recipes ../recipes/X.yaml           # the notebook, executed among the results
    python -m cycle_utils.study.recipes ../recipes/X.yaml --smoke   # all of it on 20 problems first
    python -m cycle_utils.study.recipes ../recipes/X.yaml --card 80  # batches and the like for a GPU of 80 GB

A recipe is for 07_benchmarks, or for 01_copy_rate where its name begins with ``01-``. The executed copy goes to
``reproduction/notebooks`` under the notebook's name and that of the edition, as its tables and figures do.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import yaml

from cycle_utils import study
from cycle_utils.models.gguf import SMOLLM2
from cycle_utils.paths import DATA, HOME, NOTEBOOKS, ROOT, data_dir, home, results_dir
from cycle_utils.study import costs, parameters
from cycle_utils.study.publishing import run_notebook
from cycle_utils.study.sentinel import variables

FOLDER = ROOT / "recipes"
DIAGNOSIS, BENCHMARKS = "01_copy_rate", "07_benchmarks"
PATTERN = "Salesforce/codegen-350M-mono"
# All stages, as small as says something; batches stay, so that what does not fit is seen.
SMOKE = {"limit": 20, "problems": 20, "finetune_steps": 4, "steps": 4, "samples": 1, "accumulation": 1, "rounds": 1,
         "seeds": 1, "max_new_tokens": 64}  # fmt: skip


def files() -> list[Path]:
    """All recipes of this repository."""
    return sorted(FOLDER.glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    """A recipe's parameters as they stand in its file."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def notebook_of(path: Path) -> str:
    """The notebook that a recipe is for."""
    return DIAGNOSIS if path.name.startswith("01-") else BENCHMARKS


def defaults(notebook: str) -> dict[str, Any]:
    """A notebook's own parameters."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", 4).cells
    source = next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source).body}


def whole(given: Mapping[str, Any], notebook: str) -> dict[str, Any]:
    """A recipe's parameters, filled up by the notebook's own.

    Raises:
        ValueError: one that the notebook does not have, or values of another type or out of their range.
    """
    own = defaults(notebook)
    if unknown := sorted(set(given) - set(own)):
        raise ValueError(f"unknown parameter {unknown[0]!r}; {notebook} has {', '.join(own)}")
    parameters.check(given, own)
    return {**own, **given}


def named(model: str, benchmark: str) -> Path:
    """The recipe of 07 for a model and a benchmark; of several the one with the shortest name.

    Raises:
        FileNotFoundError: there is none.
    """
    found = [path for path in files() if notebook_of(path) == BENCHMARKS and _is_for(path, model, benchmark)]
    if not found:
        raise FileNotFoundError(
            f"no recipe is for {model} on {benchmark}; there are {', '.join(p.name for p in files())}"
        )
    return min(found, key=lambda path: len(path.name))


def _is_for(path: Path, model: str, benchmark: str) -> bool:
    given = read(path)
    return (given["model"], given["benchmark"]) == (model, benchmark)


def result_name(given: Mapping[str, Any], notebook: str) -> str:
    """The executed copy's name: the notebook's, with what the names of its tables and figures end in."""
    more = ["lora"] if given.get("lora") else []
    return notebook + study.edition(given["model"], given["benchmark"], given["style"], *more)


def run(path: Path, changed: Mapping[str, Any]) -> Path:
    """Execute a recipe's notebook, with some parameters changed; the executed copy, which lies among the results.

    Raises:
        ValueError: as :func:`whole`.
        RuntimeError: a cell failed.
    """
    notebook, given = notebook_of(path), {**read(path), **changed}
    name, folder = result_name(whole(given, notebook), notebook), results_dir() / "notebooks"
    cost = run_notebook(name, given, folder)
    print(f"{name}: {cost['minutes']:.1f} minutes, {cost['peak_mb']:,.0f} MB at most; tables and figures beside it")
    return folder / f"{name}.ipynb"


def smoke(path: Path, changed: Mapping[str, Any]) -> Path:
    """All of a recipe at the size of :data:`SMOKE`, in a home of its own: no figure of it is one of the study's."""
    known = defaults(notebook_of(path))
    small = {name: value for name, value in SMOKE.items() if name in known}
    with variables(**{HOME: str(home() / "smoke"), DATA: str(data_dir())}):
        return run(path, {**small, **changed})


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="cycle_utils.study.recipes", description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--smoke", action="store_true", help="all stages on 20 problems, in a home of their own")
    options = parser.parse_args(arguments)
    made = (smoke if options.smoke else run)(*chosen(options))
    print(f"executed: {made}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name a recipe and change its parameters; :func:`chosen` reads them."""
    parser.add_argument("recipe", type=Path, nargs="?", help="a file of papermill parameters")
    parser.add_argument("--model", default=SMOLLM2, help=f"with --benchmark, instead of a file (default: {SMOLLM2})")
    parser.add_argument("--benchmark", default="mbpp", help="(default: mbpp)")
    parser.add_argument("--card", type=float, metavar="GB", help="change what it takes to fit a GPU of so much memory")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="given")


def chosen(options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The recipe that the arguments name, and what they change in it.

    A model that has no recipe takes that of :data:`PATTERN` on the benchmark.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not fit the card.
    """
    path, given = options.recipe, {name: parameters.value_of(text) for name, text in options.given}
    if path is None:
        try:
            path = named(options.model, options.benchmark)
        except FileNotFoundError:
            path, given = named(PATTERN, options.benchmark), {"model": options.model, **given}
    elif not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}")
    if options.card:
        one = whole({**read(path), **given}, notebook_of(path))
        given = {**costs.fitted(one, costs.shape_of(one["model"]), options.card * 1e9), **given}
    return path, given


def as_options(given: Mapping[str, Any]) -> str:
    """Parameters as words of a command."""
    return " ".join(f"-p {name} {value}" for name, value in given.items())


if __name__ == "__main__":
    main()
