"""Stamps: what each notebook's published files came from, and whether that still is what lies here.

A *stamp* names the notebook, package, method, parameters, versions and runs behind the files. The *method* is the part
of the package that makes runs; the rest only scores and draws them. An executed copy must be the notebook itself, run
from top to bottom, where and with what the stamp says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from threading import Lock
from typing import Any

import nbformat
from nbformat import NotebookNode

from cycle_utils.method import runs
from cycle_utils.paths import NOTEBOOKS, PACKAGE, digest, published_dir, results_dir
from cycle_utils.study.editions import EDITIONS, belongs, notebook_of

STAMPS, KEPT = "stamps.json", "kept.json"
MAKES_RUNS = ("problems", "execution", "models", "method", "analysis/attention.py")  # floors, and one room
BY_HAND = ("09_explore", "10_tiny_lm")  # not rebuilt with the others: one is to be played with, one makes LMs
WIDENING = {"seeds", "ladder", "unmasked", "turns", "interactive"}  # parameters that make no result smaller
LEAST_SEEDS = 3
# Timings, which carry the machine that they rest on.
_MEASURED = ("study_", "judge_", "training_", "generation_")
# Made of the tables of several notebooks, or of runs of their own.
_ABOUT_ALL = ("claims", "findings", "real_", "trained_", "memory_", "budget_", "held_out_")
_stamping = Lock()  # several notebooks may be published at once


def method_hash() -> str:
    """Digest of the code that makes runs, see the module."""
    places = [PACKAGE / name for name in MAKES_RUNS]
    return runs.source_hash(sorted(file for p in places for file in ([p] if p.is_file() else p.rglob("*.py"))))


def notebook_hash(path: Path) -> str:
    """Digest of a notebook's cells as written: neither outputs nor metadata."""
    cells = [(c.cell_type, c.source) for c in nbformat.read(path, 4).cells if not _injected(c)]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:12]


def _injected(cell) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", [])


def read_stamps(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """The stamps by notebook, of what is made now or of what lies in ``folder``."""
    path = (folder or results_dir()) / STAMPS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def stamp(
    name: str, parameters: Mapping[str, Any], keys: Sequence[str], files: Sequence[Path], cost: Mapping[str, float]
) -> None:  # fmt: skip
    """Stamp what a notebook just made.

    Args:
        name: of the notebook, without suffix, or of the edition.
        parameters: those that papermill was given.
        keys: the runs that it used.
        files: what it wrote under :func:`paths.results_dir`.
        cost: minutes and memory, see :func:`run_notebook`.
    """
    one = {
        "notebook": notebook_hash(NOTEBOOKS / f"{notebook_of(name)}.ipynb"),
        "package": runs.source_hash(),
        "method": method_hash(),
        "parameters": dict(parameters),
        "seeds": parameters.get("seeds", 1),
        "scale": "full" if _is_full(name, parameters) else "reduced",
        "environment": runs.environment(),
        "cost": dict(cost),
        "runs": sorted(set(keys)),
        "files": {str(p.relative_to(results_dir())): digest(p) for p in sorted(files)},
    }
    with _stamping:
        runs.write_json(results_dir() / STAMPS, dict(sorted({**read_stamps(), name: one}.items())))


def _is_full(name: str, parameters: Mapping[str, Any]) -> bool:
    return parameters == EDITIONS[name].parameters if name in EDITIONS else set(parameters) <= WIDENING


def made_by(name: str, since: float) -> list[Path]:
    """The figures, tables and the executed copy of a notebook that were written after a point in time."""
    found = [p for kind in ("tables", "figures", "notebooks") for p in (results_dir() / kind).glob(f"{name[:2]}_*")]
    return [p for p in found if belongs(p, name) and p.stat().st_mtime >= since]


def stale() -> Iterator[str]:
    """What is wrong with the published results, each in a sentence; nothing if they can be trusted."""
    stamps = read_stamps(published_dir())
    for name in sorted([*(path.stem for path in NOTEBOOKS.glob("*.ipynb")), *EDITIONS]):
        if name not in stamps:
            yield f"{name} was never published"
            continue
        found = stamps[name]
        yield from (f"{name}: {problem}" for problem in _stale(name, found))
    stamped = {file for one in stamps.values() for file in one["files"]}
    for kind in ("tables", "figures", "notebooks"):
        for path in sorted((published_dir() / kind).iterdir()):
            if f"{kind}/{path.name}" not in stamped and not path.name.startswith((*_MEASURED, *_ABOUT_ALL)):
                yield f"{kind}/{path.name} has no stamp: no notebook of this tree made it"
    wanted = wanted_runs()
    for path in sorted(runs.published_dir().iterdir() if runs.published_dir().is_dir() else []):
        if path.name not in wanted:
            yield f"runs/{path.name}: nothing published rests on it"


def _stale(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    by_hand = f"run `python -m cycle_utils.study.publishing {name} --publish`"
    again = by_hand if name in BY_HAND else "run `make results`"
    source = NOTEBOOKS / f"{notebook_of(name)}.ipynb"
    if found["notebook"] != notebook_hash(source):
        yield f"the notebook was changed since it was executed; {again}"
    if name not in BY_HAND and found["package"] != runs.source_hash():
        yield f"cycle_utils was changed since its tables and figures were made; {again}"
    if name not in BY_HAND and found["method"] != method_hash():
        yield f"the code of a stage was changed since its runs were made; {again}, which tries whether it matters"
    if found["scale"] != "full":
        yield f"it comes from a reduced run ({found['parameters']})"
    if "seeds" in found["parameters"] and found["seeds"] < LEAST_SEEDS:
        yield f"it rests on {found['seeds']} seeds; publish at least {LEAST_SEEDS}"
    if any(key.startswith("loop-") for key in found["runs"]) and f"attempts/{name}.parquet" not in found["files"]:
        yield f"its attempts do not stand in one table; {again}"
    for file, stamped in found["files"].items():
        path = published_dir() / file
        if not path.is_file() or digest(path) != stamped:
            yield f"{file} is not the file that was stamped"
    copy = published_dir() / "notebooks" / f"{name}.ipynb"
    if copy.is_file():
        executed = nbformat.read(copy, 4)
        yield from _unlike(executed, nbformat.read(source, 4), found["environment"])
        yield from _disordered(executed)
    else:
        yield "its executed copy is missing"


def _unlike(executed: NotebookNode, source: NotebookNode, environment: Mapping[str, Any]) -> Iterator[str]:
    """How an executed copy differs from its notebook, and from where its stamp says that it was executed."""
    copied = [cell for cell in executed.cells if not _injected(cell)]
    pairs = enumerate(zip_longest(copied, source.cells, fillvalue={}))
    differ = [i for i, (one, other) in pairs if one.get("source") != other.get("source")]
    if differ:
        yield f"its executed copy is not this notebook: cells {', '.join(map(str, differ))} differ"
    printed = "".join(o.get("text", "") for c in copied if c.cell_type == "code" for o in c.outputs)
    if odd := [name for name, value in environment.items() if f"{name} {value}" not in printed]:
        yield f"its executed copy was executed elsewhere than its stamp says: it prints another {', '.join(odd)}"


def _disordered(executed: NotebookNode) -> Iterator[str]:
    code = [c for c in executed.cells if c.cell_type == "code" and c.source.strip()]
    if [c.execution_count for c in code] != list(range(1, len(code) + 1)):
        yield "its executed copy was not run from top to bottom"
    if any(output.output_type == "error" for c in code for output in c.outputs):
        yield "its executed copy ends in an error"


def kept_runs() -> set[str]:
    """Runs of an unfinished sweep that are published for another sitting."""
    path = published_dir() / KEPT
    return set(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else set()


def stamped_runs() -> set[str]:
    """Runs on which something published rests."""
    return {key for one in read_stamps(published_dir()).values() for key in one["runs"]}


def wanted_runs() -> set[str]:
    """Runs on which something published rests, or will."""
    return stamped_runs() | kept_runs()
