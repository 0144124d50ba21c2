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

from cycle_utils.models.gguf import SMOLLM2


@dataclass(frozen=True)
class Edition:
    """A notebook, and the parameters that make it another one."""

    notebook: str
    parameters: Mapping[str, Any]


def _real(notebook: str, benchmark: str, style: str) -> tuple[str, Edition]:
    parameters = {
        "model": SMOLLM2, "benchmark": benchmark, "style": style, "limit": None, "max_new_tokens": 256,
        "generation_batch": 32,
    }  # fmt: skip
    return f"{notebook}_{SMOLLM2}_{benchmark}_{style}", Edition(notebook, parameters)


EDITIONS = dict(_real("01_copy_rate", "humaneval", style) for style in ("chat",))


def notebook_of(name: str) -> str:
    """The notebook that a published name is of: an edition's, or itself."""
    return EDITIONS[name].notebook if name in EDITIONS else name


def belongs(file: Path, name: str) -> bool:
    """Whether a table, figure or executed copy is of this edition or, for a notebook's own name, of none."""
    endings = {one: one.removeprefix(edition.notebook) for one, edition in EDITIONS.items()}
    if name in endings:
        return file.stem.endswith(endings[name])
    return not any(file.stem.endswith(ending) for ending in endings.values())


def real_lm(tables: Path) -> pd.DataFrame:
    """What the published editions of 01 found, one row for each style and decoding, from their own tables."""
    found = []
    for name, edition in EDITIONS.items():
        path = tables / f"01_in_short{name.removeprefix(edition.notebook)}.csv"
        if path.is_file():
            table = pd.read_csv(path, keep_default_na=False)
            style = f"{edition.parameters['style']}, {edition.parameters['benchmark']}"
            found.append(table.assign(asked=style)[["asked", *(c for c in table.columns if c != "feedback_tests")]])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["asked"])
