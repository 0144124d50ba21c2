"""The index of runs: what each folder under ``results/runs`` holds, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.config import config_dict
from cycle_utils.method.configs import Distil, FineTune, Grpo, Loop, Practice, Pretrain, RefineTrain, Turn
from cycle_utils.method.runs import fine_tuning

STAGES = {
    "Pretrain": "pre-training", "FineTune": "1a fine-tuning", "Distil": "1b own mistakes",
    "RefineTrain": "2 refine training", "Loop": "3 loop", "Practice": "further turn, practice",
    "Turn": "further turn, refine training", "Grpo": "further turn, verdicts alone", "Probe": "probe",
    "Attend": "attention",
}  # fmt: skip
_TRAININGS = (Pretrain, FineTune, Distil, RefineTrain, Practice, Turn, Grpo)
DEFAULTS = {cls.__name__: config_dict(cls()) for cls in (*_TRAININGS, Loop)}
ELSEWHERE = ("stage", "seed", "model", "benchmark")  # fields that have a column of their own, or follow from one


def run_index(records: Mapping[str, Mapping[str, Any]], users: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row for each run.

    Args:
        records: what each run recorded, by key.
        users: the notebooks that rest on a run, by key.

    Returns:
        columns ``stage``, ``model`` (what is trained or tried), ``benchmark``, ``seed``, ``settings`` (what differs
        from the stage's defaults), ``notebooks``, ``minutes`` and ``key``, which is the run's folder.
    """
    rows = [
        {
            **described(record["config"], records),
            "notebooks": ", ".join(name[:2] for name in users.get(key, ())),
            "minutes": round(record["seconds"] / 60, 1),
            "key": key,
        }
        for key, record in records.items()
    ]
    columns = ["stage", "model", "benchmark", "seed", "settings", "notebooks", "minutes", "key"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:5]).reset_index(drop=True)


def described(config: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``stage``, ``model``, ``benchmark``, ``seed`` and ``settings`` of a run with this config, in words."""
    tune, is_samples = fine_tuning(config), config["stage"] == "Loop" and config.get("rounds") == 0
    return {
        "stage": "3 independent samples" if is_samples else STAGES[config["stage"]],
        "model": _model(config, records),
        "benchmark": config.get("tried", config if "benchmark" in config else tune).get("benchmark", "-"),
        "seed": config.get("seed", tune.get("seed", 0)),
        "settings": ", ".join(_differences(config, DEFAULTS.get(config["stage"], {}))),
    }


def _model(config: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> str:
    """What is trained or tried, in words: a folder of ``runs/`` is described by how it was trained."""
    place = str(fine_tuning(config).get("model", config.get("shape", "")))
    if (key := Path(place).name) not in records:
        return place
    made = records[key]["config"]
    base = _model(made, records)
    if made["stage"] == "FineTune":
        return f"{base}, fine-tuned"
    changes = ", ".join(_differences(made, DEFAULTS[made["stage"]]))
    turned = {"Turn": ", further turn", "Grpo": ", verdicts alone"}.get(made["stage"], "")
    return f"{base}, CYCLE{turned}" + (f" ({changes})" if changes else "")


def _differences(config: Mapping[str, Any], usual: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """``name=value`` of each field that is not as usual; a field of an earlier stage by its full name."""
    for name, value in config.items():
        if name in ELSEWHERE or (name == "tried" and not usual):
            continue
        if isinstance(value, Mapping):
            yield from _differences(value, usual.get(name) or {}, f"{inside}{name}.")
        elif name not in usual or value != usual[name]:
            yield f"{inside}{name}={value}"
