"""The study in one command, what is published under ``results/``, and what that rests on.

``python -m cycle_utils.study.publishing`` executes the core notebooks in order, writes to ``reproduction/`` and sets
the outcome beside the published one. With ``--publish`` it writes to ``results/`` instead and keeps the runs there, for
those who publish; ``--stored`` rebuilds all published tables and figures from these runs, without training.

A *stamp* says of one notebook's published files which notebook, package, method, parameters, versions and runs they
came from. :func:`stale` compares it with the working tree. The *method* is the part of the package that makes runs;
the rest only scores and draws them. The *sentinel* is a small study whose programs are the same as long as the method
does the same: it tells a rewording of the method, after which runs may be kept, from a change, which voids them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import nbformat
import pandas as pd
import yaml

from cycle_utils import study
from cycle_utils.analysis.figures import save_table
from cycle_utils.method import runs, stages
from cycle_utils.paths import NOTEBOOKS, PACKAGE, PUBLISH, ROOT, published_dir, results_dir
from cycle_utils.study.ablations import LADDER, everything
from cycle_utils.study.reproduction import REPORT, write_report

CORE = ("00_overview", "01_copy_rate", "02_finetune_distill", "03_refine_train", "04_self_refine", "07_benchmarks")
ABLATIONS = ("05_pgm_ablation", "06_mixing_ablation", "07_benchmarks", "08_inputs_ablation")  # over several seeds
READMES = (ROOT / "README.md", ROOT / "results" / "README.md", PACKAGE / "execution" / "README.md")
STAMPS, SENTINEL, KEPT = "stamps.json", "sentinel.json", "kept.json"
MAKES_RUNS = ("problems", "execution", "models", "method", "analysis/attention.py")  # floors, and one room
NEEDS_WEIGHTS = ("03_refine_train",)  # its executed copy also shows what only the models themselves can
BY_HAND = ("09_explore", "10_tiny_lm")  # executed for their own sake: no table of the study comes from them
WIDENING = {"seeds", "ladder", "interactive"}  # parameters that make no result smaller
LEAST_SEEDS = 3
# Tables that carry what they rest on: timings their machine, programs from elsewhere the file that they came in.
_MEASURED = ("study_", "judge_", "training_", "programs_")
_stamping = Lock()  # several notebooks may be published at once


class Changed(RuntimeError):
    """The method does something else than when the published runs were made."""


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


# --- stamps ----------------------------------------------------------------------------------------------


def read_stamps(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """The stamps by notebook, of what is made now or of what lies in ``folder``."""
    path = (folder or results_dir()) / STAMPS
    return json.loads(path.read_text()) if path.is_file() else {}


def stamp(
    name: str, parameters: Mapping[str, Any], keys: Sequence[str], files: Sequence[Path], cost: Mapping[str, float]
) -> None:  # fmt: skip
    """Stamp what a notebook just made.

    Args:
        name: of the notebook, without suffix.
        parameters: those that papermill was given.
        keys: the runs that it used.
        files: what it wrote under :func:`paths.results_dir`.
        cost: minutes and memory, see :func:`run_notebook`.
    """
    one = {
        "notebook": notebook_hash(NOTEBOOKS / f"{name}.ipynb"),
        "package": runs.source_hash(),
        "method": method_hash(),
        "parameters": dict(parameters),
        "seeds": parameters.get("seeds", 1),
        "scale": "full" if set(parameters) <= WIDENING else "reduced",
        "environment": runs.environment(),
        "cost": dict(cost),
        "runs": sorted(set(keys)),
        "files": {str(p.relative_to(results_dir())): runs.digest(p) for p in sorted(files)},
    }
    with _stamping:
        runs.write_json(results_dir() / STAMPS, dict(sorted({**read_stamps(), name: one}.items())))


def made_by(name: str, since: float) -> list[Path]:
    """The figures, tables and the executed copy of a notebook that were written after a point in time."""
    found = [p for kind in ("tables", "figures", "notebooks") for p in (results_dir() / kind).glob(f"{name[:2]}_*")]
    return [p for p in found if p.stat().st_mtime >= since]


def stale() -> Iterator[str]:
    """What is wrong with the published results, each in a sentence; nothing if they can be trusted."""
    stamps = read_stamps(published_dir())
    for name in sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")):
        if name not in stamps:
            yield f"{name} was never published"
            continue
        found = stamps[name]
        yield from (f"{name}: {problem}" for problem in _stale(name, found))
    stamped = {file for one in stamps.values() for file in one["files"]}
    for kind in ("tables", "figures", "notebooks"):
        for path in sorted((published_dir() / kind).iterdir()):
            if f"{kind}/{path.name}" not in stamped and not path.name.startswith((*_MEASURED, "claims.")):
                yield f"{kind}/{path.name} has no stamp: no notebook of this tree made it"
    wanted = _wanted_runs()
    for path in sorted(runs.published_dir().iterdir() if runs.published_dir().is_dir() else []):
        if path.name not in wanted:
            yield f"runs/{path.name}: nothing published rests on it"


def _stale(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    again = "run `make results`"
    if found["notebook"] != notebook_hash(NOTEBOOKS / f"{name}.ipynb"):
        yield f"the notebook was changed since it was executed; {again}"
    if name not in BY_HAND and found["package"] != runs.source_hash():
        yield f"cycle_utils was changed since its tables and figures were made; {again}"
    if name not in BY_HAND and found["method"] != method_hash():
        yield f"the code of a stage was changed since its runs were made; {again}, which tries whether it matters"
    if found["scale"] != "full":
        yield f"it comes from a reduced run ({found['parameters']})"
    if "seeds" in found["parameters"] and found["seeds"] < LEAST_SEEDS:
        yield f"it rests on {found['seeds']} seeds; publish at least {LEAST_SEEDS}"
    for file, digest in found["files"].items():
        path = published_dir() / file
        if not path.is_file() or runs.digest(path) != digest:
            yield f"{file} is not the file that was stamped"
    yield from _disordered(published_dir() / "notebooks" / f"{name}.ipynb")


def _disordered(path: Path) -> Iterator[str]:
    if not path.is_file():
        yield "its executed copy is missing"
        return
    code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code" and c.source.strip()]
    if [c.execution_count for c in code] != list(range(1, len(code) + 1)):
        yield "its executed copy was not run from top to bottom"
    if any(output.output_type == "error" for c in code for output in c.outputs):
        yield "its executed copy ends in an error"


# --- publishing ------------------------------------------------------------------------------------------


def run_notebook(name: str, parameters: Mapping[str, Any], folder: Path, **environment: str) -> dict[str, float]:
    """Execute ``notebooks/<name>.ipynb`` headless, as ``papermill`` on the command line would.

    Args:
        folder: where the executed copy goes.
        environment: variables that the notebook finds.

    Returns:
        ``minutes``, and ``peak_mb``, the memory of its largest process.

    Raises:
        FileNotFoundError: no such notebook.
        RuntimeError: a cell failed; papermill has said which.
    """
    source, begin = NOTEBOOKS / f"{name}.ipynb", time.monotonic()
    if not source.is_file():
        raise FileNotFoundError(f"there is no notebook {source}; choose one of {', '.join(CORE)}")
    folder.mkdir(parents=True, exist_ok=True)
    target, given = folder / f"{name}.ipynb", json.dumps(dict(parameters))  # JSON is YAML
    command = [sys.executable, "-m", "papermill", source, target, "-k", "python3", "--no-progress-bar", "-y", given]
    process = subprocess.Popen(command, env={**os.environ, **environment})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"notebook {name} failed: see above, and the cell marked in {target}")
    return {"minutes": round((time.monotonic() - begin) / 60, 2), "peak_mb": round(used.ru_maxrss / 1024)}


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def publish(name: str, parameters: Mapping[str, Any], stored: str = "") -> None:
    """Execute a notebook, stamp what it made and, where results are published, keep the runs that it used.

    Args:
        stored: how the published runs are used: ``runs.ONLY``, which trains nothing, ``runs.FIRST``, or not at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ledger, since = Path(scratch) / "runs", _now(Path(scratch))
        aside = stored == runs.ONLY and name in NEEDS_WEIGHTS
        folder = Path(scratch) if aside else results_dir() / "notebooks"
        cost = run_notebook(name, parameters, folder, **{runs.LEDGER: str(ledger), runs.STORED: stored})
        keys = sorted(set(ledger.read_text().split())) if ledger.is_file() else []
    if stored != runs.ONLY and os.environ.get(PUBLISH):
        for key in keys:
            runs.publish(key)
    files = made_by(name, since)
    if aside:
        files.append(results_dir() / "notebooks" / f"{name}.ipynb")
    stamp(name, parameters, keys, files, cost)


def _now(folder: Path) -> float:
    """The time as this file system tells it."""
    mark = folder / "now"
    mark.touch()
    return mark.stat().st_mtime


def keep(seeds: int) -> list[str]:
    """Publish the ablations' finished runs of some seeds before all of a seed are there, for another sitting.

    Returns:
        the keys of what is kept in this way. A run that is published already stays as it is.
    """
    finished = set()
    for name, config, where in (trial for seed in range(seeds) for trial in everything(seed)):
        tune = config.distil.fine_tune
        trainings = [tune, config.distil, config] if name == study.CYCLE else [tune]
        keys = [runs.key_of(one) for one in trainings]
        if ((folder := runs.runs_dir() / keys[-1]) / runs.RECORD).is_file():
            keys.append(runs.key_of(study.trained(where, tune.seed, folder)))
        finished |= {key for key in keys if (runs.runs_dir() / key / runs.RECORD).is_file()}
    for key in finished:
        if not (runs.published_dir() / key).is_dir():
            runs.publish(key)
    return _keep(_kept() | finished)


def _keep(keys: set[str]) -> list[str]:
    """Note which runs are kept for later; those on which something published rests are not."""
    path, kept = published_dir() / KEPT, sorted(keys - _stamped_runs())
    if kept:
        runs.write_json(path, kept)
    else:
        path.unlink(missing_ok=True)
    return kept


def _kept() -> set[str]:
    path = published_dir() / KEPT
    return set(json.loads(path.read_text())) if path.is_file() else set()


def _stamped_runs() -> set[str]:
    return {key for one in read_stamps(published_dir()).values() for key in one["runs"]}


def _wanted_runs() -> set[str]:
    """Runs on which something published rests, or will."""
    return _stamped_runs() | _kept()


def sweep() -> None:
    """Remove published runs on which nothing rests any more."""
    _keep(_kept())
    wanted = _wanted_runs()
    for path in runs.published_dir().iterdir():
        if path.name not in wanted:
            shutil.rmtree(path)


def claims() -> pd.DataFrame:
    """All notebooks' rows on the paper's claims, in the order of the claims."""
    paths = sorted((results_dir() / "tables").glob("[0-9][0-9]_claims.csv"))
    tables = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths]  # the notebook is 05, not 5
    if not tables:
        return pd.DataFrame(columns=["claim"])
    return pd.concat(tables, ignore_index=True).sort_values("claim", key=lambda c: c.str[:2], kind="stable")


# --- the sentinel ----------------------------------------------------------------------------------------


def sentinel_digest() -> str:
    """Digest of every program, verdict and feedback of a small study of all stages and options of the method."""
    with tempfile.TemporaryDirectory() as home, _environment(CYCLE_HOME=home, **{runs.STORED: ""}):
        small = {"problems": 48, "finetune_steps": 4, "steps": 4, "batch_size": 8}
        where = stages.Loop(limit=12, rounds=2)
        whole, mutated = study.recipe(**small), study.recipe(**small, faults="mutated", mask_ratio=0.4)
        tables = [stages.attempts_of(stages.distil(c.distil, False)) for c in (whole, mutated)]
        tables += study.run_loops(whole, where, progress=False).values()
        for options in ({"shuffled": True}, {"fields": ("feedback",)}, {"feedback_tests": "public"}):
            tables += study.run_loops(mutated, replace(where, **options), (study.CYCLE,), progress=False).values()
    columns = ["task_id", "round", "completion", "status", "passed", "feedback", "behaviour"]
    return hashlib.sha256("".join(t[columns].to_csv() for t in tables).encode()).hexdigest()[:16]


def check_method() -> None:
    """Make sure that the method still does what it did when the published runs were made, if its code was changed.

    Raises:
        Changed: it does not.
    """
    path = published_dir() / SENTINEL
    saved = json.loads(path.read_text()) if path.is_file() else {}
    if saved.get("method") == method_hash() and saved.get("version") == runs.METHOD:
        return
    print("the code that makes runs was changed: trying whether it still makes the same ...", flush=True)
    digest = sentinel_digest()
    if saved and saved["version"] == runs.METHOD and saved["digest"] != digest:
        raise Changed(
            "stages do not make what they made when the published runs were made (or this machine computes "
            f"otherwise than theirs: {saved['machine']}). Raise METHOD in {ROOT / 'cycle_utils' / 'runs.py'}, so that "
            "no run of before is reused, and train anew: make study SEEDS=3, make ablations SEEDS=3"
        )
    if not os.environ.get(PUBLISH):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = runs.environment()["machine"]
    runs.write_json(path, {"version": runs.METHOD, "method": method_hash(), "digest": digest, "machine": machine})


# --- the command ------------------------------------------------------------------------------------------


def fill_readme(readme: Path, tables: Path) -> str:
    """The README's text with each ``<!-- table NAME -->`` block filled from ``tables/NAME.md``."""

    def block(match: re.Match) -> str:
        return f"{match[1]}\n{(tables / f'{match[2]}.md').read_text().strip()}\n{match[3]}"

    pattern = r"(<!-- table ([\w-]+) -->)\n.*?(<!-- end -->)"
    return re.sub(pattern, block, readme.read_text(), flags=re.DOTALL)


def index() -> pd.DataFrame:
    """One row for each published notebook: its command, what it took, and where and when that was.

    ``minutes`` are of the notebook itself with all its runs found, ``minutes of its runs`` what building these took
    (earlier stages included, which notebooks share).
    """
    rows = []
    for name, found in read_stamps().items():
        records = [_record(key) for key in found["runs"]]
        target = "ablations" if name in ABLATIONS else "study"
        seeds = f" SEEDS={found['seeds']}" if name in ABLATIONS else ""
        made = found["environment"]
        rows.append({
            "notebook": name,
            "command": f"papermill {name}.ipynb out.ipynb" if name in BY_HAND else f"make {target}{seeds}",
            "minutes": found["cost"]["minutes"],
            "runs": len(records),
            "minutes of its runs": round(sum(r["seconds"] for r in records) / 60, 1),
            "peak memory, MB": found["cost"]["peak_mb"],
            "machine": made["machine"],
            "commit": made["commit"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _record(key: str) -> dict[str, Any]:
    """What a run recorded: one that was made here, or a published one."""
    places = [runs.runs_dir(), runs.published_dir()]
    if os.environ.get(PUBLISH):
        places.reverse()
    path = next(p for place in places if (p := place / key / runs.RECORD).is_file())
    return json.loads(path.read_text())


def costs() -> pd.DataFrame:
    """What the runs behind the results took to build: stage, number of runs and minutes, as each run recorded it."""
    records = [_record(key) for key in sorted({key for one in read_stamps().values() for key in one["runs"]})]
    rows = [(r["config"]["stage"], r["seconds"] / 60) for r in records]
    frame = pd.DataFrame(rows, columns=["stage", "minutes"])
    table = frame.groupby("stage")["minutes"].agg(["count", "mean", "sum"]).round(1).reset_index()
    return table.set_axis(["stage", "runs", "minutes each", "minutes in all"], axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of ``make study``, ``make ablations``, ``make keep`` and ``make results``."""
    options = _options(arguments)
    publishes = options.publish or options.stored or options.keep or options.readme
    with _environment(**({PUBLISH: "1"} if publishes else {})):
        if options.keep:
            print(f"{len(keep(options.seeds))} runs are kept for another sitting")
        elif not options.readme:
            _study(options)
        if options.readme or options.stored:
            for readme in READMES:
                readme.write_text(fill_readme(readme, published_dir() / "tables"))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", default=CORE, help="names without .ipynb (default: the core study)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the tables in 05 to 08 (default: 1)")
    parser.add_argument("--ladder", action="store_true", help="07 with the ladder of sizes")
    parser.add_argument("--parameters", type=Path, help="a YAML file of parameters by notebook")
    parser.add_argument("--first", action="store_true", help="train only what is not published yet")
    parser.add_argument("--publish", action="store_true", help="write to results/, not to reproduction/")
    parser.add_argument("--stored", action="store_true", help="rebuild all published tables and figures; train nothing")
    parser.add_argument("--keep", action="store_true", help="only publish the ablations' finished runs, for later")
    parser.add_argument("--readme", action="store_true", help="only fill the README's tables from results/tables")
    return parser.parse_args(arguments)


def _study(options: argparse.Namespace) -> None:
    """Execute the notebooks, and write the tables that are about all of them."""
    if os.environ.get(PUBLISH) or options.first:
        check_method()
    cold = not any(runs.runs_dir().glob(f"*/{runs.RECORD}"))
    stored = runs.ONLY if options.stored else runs.FIRST if options.first else ""
    minutes = _publish_all(_wanted(options), stored)
    save_table(claims(), "claims")
    save_table(costs(), "study_runs")
    save_table(index(), "study_index")
    if cold and not stored and tuple(options.notebooks) == CORE:
        peak = max(read_stamps()[name]["cost"]["peak_mb"] for name in CORE)
        found = {"notebooks": len(CORE), "seeds": options.seeds, "minutes": round(minutes, 1)}
        machine = runs.environment()["machine"]
        save_table(pd.DataFrame([{**found, "largest process, MB": peak, "machine": machine}]), "study_total")
    if os.environ.get(PUBLISH):
        sweep()
    else:
        reduced = any(one["scale"] == "reduced" for one in read_stamps().values())
        said = write_report(results_dir(), ROOT / "results", reduced)
        print(f"{said} See {results_dir().name}/{REPORT}; the tables and figures are beside it.")


def _wanted(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The notebooks to execute, with their parameters."""
    if options.stored:
        return {name: one["parameters"] for name, one in read_stamps().items() if name not in BY_HAND}
    given = yaml.safe_load(options.parameters.read_text()) if options.parameters else {}
    wanted = {name: {"seeds": options.seeds} if name in ABLATIONS else {} for name in options.notebooks}
    if options.ladder:
        wanted["07_benchmarks"] = {"seeds": options.seeds, "ladder": list(LADDER)}
    return {name: {**parameters, **given.get(name, {})} for name, parameters in wanted.items()}


def _publish_all(wanted: Mapping[str, Mapping[str, Any]], stored: str) -> float:
    """The minutes that publishing these notebooks, with their parameters, took.

    One after the other, as the later ones use what the earlier ones train; several at a time where nothing is trained.
    """

    def one(name: str) -> None:
        print(f"{name} ...", flush=True)
        publish(name, wanted[name], stored)
        print(f"{name}: {read_stamps()[name]['cost']['minutes']:.1f} minutes", flush=True)

    begin, together = time.monotonic(), stored == runs.ONLY
    with ThreadPoolExecutor(os.cpu_count() if together else 1) as pool:
        one_thread = {"OMP_NUM_THREADS": "1"} if together else {}
        with _environment(**one_thread):
            list(pool.map(one, wanted))
    return (time.monotonic() - begin) / 60


if __name__ == "__main__":
    main()
