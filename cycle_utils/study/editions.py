"""Editions: notebooks of the study with other parameters, published beside it under names of their own.

``make real`` runs those of SmolLM2-135M-Instruct, a real LM that the package index carries. An edition's tables and
figures end in what its name adds to that of its notebook (:func:`cycle_utils.study.edition`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.analysis.chance import CHANCE
from cycle_utils.analysis.stats import Interval
from cycle_utils.models.gguf import SMOLLM2
from cycle_utils.paths import NOTEBOOKS
from cycle_utils.study.summary import real_finding, trained_finding


@dataclass(frozen=True)
class Edition:
    """A notebook, and the parameters that make it another one."""

    notebook: str
    parameters: Mapping[str, Any]


_ASKED = {"model": SMOLLM2, "limit": None, "max_new_tokens": 256}
# Chosen on MBPP's validation split, see results/tables/real_settings.
_TRAINED = {
    "train_benchmark": "mbpp", "finetune_steps": 47, "samples": 2, "steps": 94, "batch_size": 8, "learning_rate": 2e-5,
    "bf16": True, "generation_batch": 64, "unmasked": True, "with_greedy": False, "redraws": 0,
    "budget_of": ["fine-tuned", "CYCLE"],
}  # fmt: skip


def _real(notebook: str, benchmark: str, style: str, **more: Any) -> tuple[str, Edition]:
    return (
        f"{notebook}_{SMOLLM2}_{benchmark}_{style}",
        Edition(notebook, {**_ASKED, "benchmark": benchmark, "style": style, **more}),
    )


DIAGNOSIS = dict(_real("01_copy_rate", "humaneval", style, generation_batch=32) for style in ("chat",))
TRAINED = dict(_real("07_benchmarks", benchmark, "chat", **_TRAINED) for benchmark in ("mbpp", "humaneval"))
EDITIONS = {**DIAGNOSIS, **TRAINED}


def notebook_of(name: str) -> str:
    """The notebook that a name is of: an edition's, a recipe's, or itself."""
    found = (path.stem for path in NOTEBOOKS.glob("*.ipynb") if name.startswith(f"{path.stem}_"))
    return next(found, name)


def belongs(file: Path, name: str) -> bool:
    """Whether a table, figure or executed copy is of this edition or, for a notebook's own name, of none."""
    endings = {one: one.removeprefix(edition.notebook) for one, edition in EDITIONS.items()}
    if name in endings:
        return file.stem.endswith(endings[name])
    return not any(file.stem.endswith(ending) for ending in endings.values())


def real_lm(tables: Path) -> pd.DataFrame:
    """What the published editions of 01 found, one row for each style and decoding, from their own tables."""
    found = [
        table.assign(asked=asked(name))[["asked", *(c for c in table.columns if c != "feedback_tests")]]
        for name, table in _read("01_in_short", tables).items()
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["asked"])


def real_trained(tables: Path) -> pd.DataFrame:
    """What the published editions of 07 found, one row for each contender, from their own tables."""
    rows = []
    for name, scores in _read("07_benchmarks", tables).items():
        copies, chance = _read("07_copies", tables)[name], _read("07_chance", tables)[name]
        rates = scores.pivot_table("rate", "model", "protocol", aggfunc="first", sort=False).fillna("")
        copies = copies.query("protocol == 'loop' and refinements == 'round 1' and kind == 'exact'").set_index("model")
        chance = chance[chance["share"] == CHANCE].set_index("model")
        last = [protocol for protocol in rates if protocol.startswith("loop: after round")][-1]
        samples = next(protocol for protocol in rates if protocol.endswith("independent samples"))
        for model, row in rates.iterrows():
            rows.append({
                "benchmark": EDITIONS[name].parameters["benchmark"], "LM": model, "one-time": row["loop: one-time"],
                last.removeprefix("loop: "): row[last], samples: row[samples],
                "exact copies, round 1": _in_words(copies, model), "equal by chance": _in_words(chance, model),
            })  # fmt: skip
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["benchmark"])


def _in_words(table: pd.DataFrame, model: str) -> str:
    """A model's row as ``value [low, high]``; nothing where it has none."""
    if model not in table.index:
        return ""
    value, low, high = (float(table.loc[model, name]) for name in ("value", "low", "high"))
    return str(Interval(value, low, high, int(table.loc[model, "n"])))


def real_findings(tables: Path) -> str:
    """The same in words, a paragraph for each edition of 01."""
    short, chance = _read("01_in_short", tables), _read("01_chance", tables)
    return "\n".join(f"Asked by {asked(name)}: {real_finding(short[name], chance[name])}" for name in short)


def trained_findings(tables: Path) -> str:
    """The same in words, a paragraph for each edition of 07."""
    read = {table: _read(table, tables) for table in ("07_gains", "07_copies", "07_copy_gaps", "07_chance")}
    return "\n".join(
        f"On {EDITIONS[name].parameters['benchmark']}: {trained_finding({t: found[name] for t, found in read.items()})}"
        for name in read["07_gains"]
    )


def asked(name: str) -> str:
    """How an edition asks, and what."""
    return "{style} on {benchmark}".format(**EDITIONS[name].parameters)


def _read(table: str, tables: Path) -> dict[str, pd.DataFrame]:
    """One of the tables of each edition that has it."""
    paths = {
        name: tables / f"{table}{name.removeprefix(e.notebook)}.csv"
        for name, e in EDITIONS.items() if e.notebook[:2] == table[:2]
    }  # fmt: skip
    return {name: _numbers(pd.read_csv(path, keep_default_na=False)) for name, path in paths.items() if path.is_file()}


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, where a column has them beside empty cells."""
    for column in table.columns.intersection(["value", "low", "high", "n", "p", "p_corrected"]):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table
