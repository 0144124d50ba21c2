"""The study in one command, and what is published under ``results/``.

``python -m cycle_utils.study.publishing`` executes the core notebooks in order, writes to ``reproduction/`` and sets
the outcome beside the published one. With ``--publish`` it writes to ``results/`` instead and keeps the runs there, for
those who publish; ``--stored`` rebuilds all published tables and figures from these runs, without training.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import yaml

from cycle_utils import study
from cycle_utils.analysis.figures import save_table
from cycle_utils.method import runs
from cycle_utils.paths import NOTEBOOKS, PACKAGE, PUBLISH, ROOT, published_dir, results_dir
from cycle_utils.study.ablations import LADDER, everything
from cycle_utils.study.attempts import write_attempts
from cycle_utils.study.editions import (
    DIAGNOSIS,
    EDITIONS,
    notebook_of,
    real_findings,
    real_lm,
    real_trained,
    trained_findings,
)
from cycle_utils.study.reproduction import REPORT, write_report
from cycle_utils.study.run_index import run_index
from cycle_utils.study.sentinel import check_method, variables
from cycle_utils.study.stamps import BY_HAND, KEPT, kept_runs, made_by, read_stamps, stamp, stamped_runs, wanted_runs
from cycle_utils.study.summary import claim_summary, findings

CORE = ("00_overview", "01_copy_rate", "02_finetune_distill", "03_refine_train", "04_self_refine", "07_benchmarks")
ABLATIONS = (  # over several seeds
    "05_pgm_ablation", "06_mixing_ablation", "07_benchmarks", "08_inputs_ablation", "11_second_cycle",
)  # fmt: skip
# Runs one notebook as papermill's own command would, but with the talk between it and its kernel encrypted.
_EXECUTE = """\
import json, sys
import papermill
from traitlets.config import Config
source, target, parameters = sys.argv[1:]
encrypted = Config({"KernelManager": {"transport_encryption": "auto"}})
papermill.execute_notebook(
    source, target, json.loads(parameters), kernel_name="python3", progress_bar=False, config=encrypted
)
"""
_LIVE = "application/vnd.jupyter.widget-view+json"
READMES = (ROOT / "README.md", ROOT / "results" / "README.md", PACKAGE / "execution" / "README.md")


def run_notebook(name: str, parameters: Mapping[str, Any], folder: Path, **environment: str) -> dict[str, float]:
    """Execute a notebook, or an edition of one, headless, and :func:`tidy` the executed copy.

    Args:
        folder: where the executed copy goes.
        environment: variables that the notebook finds.

    Returns:
        ``minutes``, and ``peak_mb``, the memory of its largest process.

    Raises:
        FileNotFoundError: no such notebook.
        RuntimeError: a cell failed; papermill has said which.
    """
    source, begin = NOTEBOOKS / f"{notebook_of(name)}.ipynb", time.monotonic()
    if not source.is_file():
        raise FileNotFoundError(f"there is no notebook {source}; choose one of {', '.join(CORE)}")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.ipynb"
    command = [sys.executable, "-c", _EXECUTE, str(source), str(target), json.dumps(dict(parameters))]
    process = subprocess.Popen(command, env={**os.environ, **environment})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"notebook {name} failed: see above, and the cell marked in {target}")
    tidy(target)
    return {"minutes": round((time.monotonic() - begin) / 60, 2), "peak_mb": round(used.ru_maxrss / 1024)}


def tidy(path: Path) -> None:
    """Take out of an executed copy what only its machine can show: its folders, and live widgets such as bars."""
    notebook = nbformat.reads(runs.portable(path.read_text(encoding="utf-8")), 4)
    notebook.metadata.pop("widgets", None)
    for name in ("input_path", "output_path"):
        notebook.metadata.get("papermill", {}).pop(name, None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if _LIVE not in one.get("data", {}) or "text/html" in one.data]
            for one in cell.outputs:
                one.get("data", {}).pop(_LIVE, None)  # what is left is its still
    nbformat.write(notebook, path)


def publish(name: str, parameters: Mapping[str, Any], stored: str = "") -> None:
    """Execute a notebook, stamp what it made and, where results are published, keep the runs and attempts behind it.

    Args:
        stored: how the published runs are used: ``runs.ONLY``, which trains nothing, ``runs.FIRST``, or not at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ledger, since = Path(scratch) / "runs", _now(Path(scratch))
        folder = results_dir() / "notebooks"
        cost = run_notebook(name, parameters, folder, **{runs.LEDGER: str(ledger), runs.STORED: stored})
        keys = sorted(set(ledger.read_text(encoding="utf-8").split())) if ledger.is_file() else []
    files = made_by(name, since)
    if os.environ.get(PUBLISH):
        for key in keys if stored != runs.ONLY else ():
            runs.publish(key)
        files += write_attempts(name, {key: _record(key) for key in keys})
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
            keys.append(runs.key_of(study.trained(where, tune, folder)))
        finished |= {key for key in keys if (runs.runs_dir() / key / runs.RECORD).is_file()}
    for key in finished:
        if not (runs.published_dir() / key).is_dir():
            runs.publish(key)
    return _keep(kept_runs() | finished)


def _keep(keys: set[str]) -> list[str]:
    """Note which runs are kept for later; those on which something published rests are not."""
    path, kept = published_dir() / KEPT, sorted(keys - stamped_runs())
    if kept:
        runs.write_json(path, kept)
    else:
        path.unlink(missing_ok=True)
    return kept


def sweep() -> None:
    """Remove published runs on which nothing rests any more."""
    _keep(kept_runs())
    wanted = wanted_runs()
    for path in runs.published_dir().iterdir():
        if path.name not in wanted:
            shutil.rmtree(path)


def claims() -> pd.DataFrame:
    """All notebooks' rows on the paper's claims, and those of :mod:`.held_out`, in the order of the claims."""
    folder = results_dir() / "tables"
    paths = [*sorted(folder.glob("[0-9][0-9]_claims.csv")), *folder.glob("held_out_claims.csv")]
    tables = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths]  # the notebook is 05, not 5
    if not tables:
        return pd.DataFrame(columns=["claim"])
    return pd.concat(tables, ignore_index=True).sort_values("claim", key=lambda c: c.str[:2], kind="stable")


def fill_readme(readme: Path, tables: Path) -> str:
    """The README's text with each ``<!-- table NAME -->`` block filled from ``tables/NAME.md``."""

    def block(match: re.Match) -> str:
        table = (tables / f"{match[2]}.md").read_text(encoding="utf-8")
        return f"{match[1]}\n{table.strip()}\n{match[3]}"

    pattern = r"(<!-- table ([\w-]+) -->)\n.*?(<!-- end -->)"
    return re.sub(pattern, block, readme.read_text(encoding="utf-8"), flags=re.DOTALL)


def index() -> pd.DataFrame:
    """One row for each published notebook: its command, what it took, and where and when that was.

    ``minutes`` are of the notebook itself with all its runs found, ``minutes of its runs`` what building these took
    (earlier stages included, which notebooks share).
    """
    rows = []
    for name, found in read_stamps().items():
        records = [_record(key) for key in found["runs"]]
        target = "real" if name in EDITIONS else "ablations" if name in ABLATIONS else "study"
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


def runs_in_words() -> pd.DataFrame:
    """What each run behind the results is, see :func:`~cycle_utils.study.run_index.run_index`."""
    users: dict[str, list[str]] = {}
    for name, one in read_stamps().items():
        for key in one["runs"]:
            users.setdefault(key, []).append(name)
    return run_index({key: _record(key) for key in users}, users)


def _record(key: str) -> dict[str, Any]:
    """What a run recorded: one that was made here, or a published one."""
    places = [runs.runs_dir(), runs.published_dir()]
    if os.environ.get(PUBLISH):
        places.reverse()
    path = next(p for place in places if (p := place / key / runs.RECORD).is_file())
    return json.loads(path.read_text(encoding="utf-8"))


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
    with variables(**({PUBLISH: "1"} if publishes else {})):
        if options.keep:
            print(f"{len(keep(options.seeds))} runs are kept for another sitting")
        elif not options.readme:
            _study(options)
        if options.readme or options.stored:
            for readme in READMES:
                readme.write_text(fill_readme(readme, published_dir() / "tables"), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", default=CORE, help="names without .ipynb (default: the core study)")
    parser.add_argument("--real", action="store_true", help="the editions of a real LM instead of the study")
    parser.add_argument("--rounds", type=int, help="a look at the editions of 01: refinements at most")
    parser.add_argument("--limit", type=int, help="a look at the editions of 01: problems evaluated, at most")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of 05 to 08, 11 and 07's editions (default: 1)")
    parser.add_argument("--ladder", action="store_true", help="07 with the ladder of sizes, and without PGM")
    parser.add_argument("--turns", type=int, nargs="*", help="11 with further turns of the cycle, of these seeds")
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
    save_table(runs_in_words(), "index_of_runs", results_dir())
    if cold and not stored and tuple(options.notebooks) == CORE:
        peak = max(read_stamps()[name]["cost"]["peak_mb"] for name in CORE)
        found = {"notebooks": len(CORE), "seeds": options.seeds, "minutes": round(minutes, 1)}
        machine = runs.environment()["machine"]
        save_table(pd.DataFrame([{**found, "largest process, MB": peak, "machine": machine}]), "study_total")
    if os.environ.get(PUBLISH):
        save_table(claim_summary(claims()), "claims_in_short")
        save_table(real_lm(results_dir() / "tables"), "real_lm")
        save_table(real_trained(results_dir() / "tables"), "real_trained")
        in_words = {"findings": findings, "real_findings": real_findings, "trained_findings": trained_findings}
        for name, said in in_words.items():
            (results_dir() / "tables" / f"{name}.md").write_text(said(results_dir() / "tables"), encoding="utf-8")
        sweep()
    else:
        reduced = any(one["scale"] == "reduced" for one in read_stamps().values())
        told = not options.real  # the report is about the study's own figures
        said = f"{write_report(results_dir(), ROOT / 'results', reduced)} See {REPORT} there. " if told else ""
        print(f"{said}Tables and figures are in {results_dir().name}/.")


def _wanted(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The notebooks to execute, with their parameters."""
    if options.stored:
        return {name: one["parameters"] for name, one in read_stamps().items() if name not in BY_HAND}
    if options.real:
        changed = {name: value for name in ("rounds", "limit") if (value := getattr(options, name)) is not None}
        looked_at = DIAGNOSIS if changed else EDITIONS  # a look trains nothing
        several = {"seeds": options.seeds} if options.seeds > 1 else {}
        return {
            name: {**one.parameters, **changed, **(several if one.notebook in ABLATIONS else {})}
            for name, one in looked_at.items()
        }
    given = yaml.safe_load(options.parameters.read_text(encoding="utf-8")) if options.parameters else {}
    wanted = {name: {"seeds": options.seeds} if name in ABLATIONS else {} for name in options.notebooks}
    if options.ladder:
        wanted["07_benchmarks"] = {"seeds": options.seeds, "ladder": list(LADDER), "unmasked": True}
    if options.turns:
        wanted["11_second_cycle"] = {"seeds": options.seeds, "turns": options.turns}
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
        with variables(**one_thread):
            list(pool.map(one, wanted))
    return (time.monotonic() - begin) / 60


if __name__ == "__main__":
    main()
