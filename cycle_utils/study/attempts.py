"""Every program behind a published notebook in one table, ``results/attempts/NOTEBOOK.parquet``, columns in words.

The runs' own folders have the same rows, one folder a run: stages reuse those. This table is for people:
``pd.read_parquet`` of one file, and each program stands with its model, setting, seed, verdict and feedback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils import paths
from cycle_utils.method import runs
from cycle_utils.models.prompts import FIELDS
from cycle_utils.study.run_index import DEFAULTS, described

FOLDER = "attempts"
COLUMNS = {
    "model": "what answered", "setting": "in which loop", "seed": "of training and sampling",
    "benchmark": "where the problems are from", "problem": "its name", "sample": "number of the trajectory",
    "round": "0 is the first try", "program": "what was executed", "verdict": "the judge's status",
    "passed": "whether it counts as solved", "feedback": "what the model is shown of a failure",
    "run": "folder under results/runs",
}  # fmt: skip
_NAMES = {"task_id": "problem", "code": "program", "status": "verdict"}  # of the columns that a run keeps
_BLANKED = {("code",): "no feedback", ("feedback",): "no faulty code", (): "neither"}
_SAID = (  # fields of a loop that are put in words
    "rounds", "samples", "temperatures", "fields", "shuffled", "bare", "redraws", "recalled", "checked", "style",
)  # fmt: skip
_HOW = ("limit", "sampling", "strays")  # fields that make no other setting, only another size or speed


def write_attempts(name: str, records: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Write the attempts behind a notebook.

    Args:
        name: the notebook, or an edition of it.
        records: what each of its runs recorded, by key; the tables are read from the published runs.

    Returns:
        the file; nothing where no loop was run.
    """
    table = attempts_table(records)
    if table.empty:
        return []
    folder = paths.results_dir() / FOLDER
    with paths.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.parquet"
        table.to_parquet(path, index=False, compression="zstd", compression_level=19)
    return [path]


def attempts_table(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each program of each loop, columns as in :data:`COLUMNS`."""
    tables = []
    for key, record in sorted(records.items()):
        if record["config"]["stage"] == "Loop":
            table = pd.read_parquet(runs.published_dir() / key / runs.ATTEMPTS).rename(columns=_NAMES)
            about = described(record["config"], records) | {"setting": in_words(record["config"]), "run": key}
            tables.append(table.assign(**about).reindex(columns=list(COLUMNS)))
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    order = ["benchmark", "model", "setting", "seed", "problem", "sample", "round"]
    return pd.concat(tables, ignore_index=True).sort_values(order, kind="stable", ignore_index=True)


def in_words(loop: Mapping[str, Any]) -> str:
    """What a loop does otherwise than the paper's: ``loop, greedy``, ``5 independent samples``, ..."""
    return ", ".join(_words(loop))


def _words(loop: Mapping[str, Any]) -> Iterator[str]:
    many = loop["samples"]
    yield "loop" if loop["rounds"] else "one try" if many == 1 else f"{many} independent samples"
    if list(loop["temperatures"]) == [0.0, 0.0]:
        yield "greedy"
    if (fields := tuple(loop["fields"])) != tuple(FIELDS):
        yield f"shown {_BLANKED[fields]}"
    if loop.get("shuffled"):
        yield "shown another's feedback"
    if loop.get("bare"):
        yield "told only that it fails"
    if loop.get("redraws"):
        yield "without repeats"
    if loop.get("recalled"):
        yield f"shown {loop['recalled']} earlier attempts, too"
    if loop.get("checked"):
        yield "checked against what was shown"
    if loop["style"] != "cycle":
        yield f"asked in {loop['style']} style"
    usual: Sequence[str] = [*_SAID, *_HOW, "stage", "model", "benchmark", "data", "seed"]
    yield from (f"{name} {value}" for name, value in loop.items() if name not in usual and value != _default(name))


def _default(name: str) -> Any:
    return DEFAULTS["Loop"].get(name)
