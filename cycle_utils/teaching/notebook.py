"""What every notebook does at its start and end: check its parameters, print its environment, save its results."""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from transformers.utils import logging as transformers_logging

from cycle_utils.analysis import metrics
from cycle_utils.execution import isolation_report
from cycle_utils.method import runs
from cycle_utils.problems import Problem
from cycle_utils.problems.benchmarks import load_problems
from cycle_utils.study import parameters

DEFAULTS = "# Defaults"  # first words of each notebook's parameters cell
INJECTED = "# Parameters"  # first words of the cell that papermill puts after it


def begin(namespace: Mapping[str, Any], seed: int) -> None:
    """Check the parameters, seed everything, and print what the numbers below depend on; tables show whole texts.

    ``namespace`` is the notebook's ``globals()``, before anything but the parameters goes by their names.

    Raises:
        ValueError: a parameter that the notebook does not have (papermill itself only warns), or values of another type
            or out of their range.
    """
    cells = namespace.get("In", [])
    check_parameters(cells)
    parameters.check({name: namespace[name] for name in _defaults(cells) if name in namespace}, _defaults(cells))
    transformers_logging.disable_progress_bar()  # of loading weights: many, and gone in a moment
    pd.set_option("display.max_colwidth", None)  # a claim is read to its end
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    facts = runs.environment()
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    print(isolation_report().summary)


def check_parameters(cells: list[str]) -> None:
    """Compare the names that papermill injected with those of the notebook's own parameters cell.

    Args:
        cells: sources of the cells run so far, as IPython's ``In`` keeps them.
    """
    known = [name for cell in cells if cell.startswith(DEFAULTS) for name in _assigned(cell)]
    injected = [name for cell in cells if cell.startswith(INJECTED) for name in _assigned(cell)]
    for name in injected:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown parameter {name!r}.{hint} This notebook has: {', '.join(dict.fromkeys(known))}")


def _assigned(cell: str) -> list[str]:
    return [t.id for node in ast.parse(cell).body if isinstance(node, ast.Assign) for t in node.targets]


def _defaults(cells: list[str]) -> dict[str, Any]:
    """The values in the notebook's own parameters cell, which are plain literals."""
    nodes = [node for cell in cells if cell.startswith(DEFAULTS) for node in ast.parse(cell).body]
    return {t.id: ast.literal_eval(node.value) for node in nodes if isinstance(node, ast.Assign) for t in node.targets}


def chosen(namespace: Mapping[str, Any], function: Callable[..., Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Those of the notebook's parameters that a function takes, by name.

    ``namespace`` is the notebook's ``globals()``, before anything but the parameters goes by these names.
    """
    known = inspect.signature(function).parameters
    return {name: namespace[name] for name in known if name in namespace and name not in without}


def problems_at_hand(benchmark: str, **options: Any) -> list[Problem]:
    """:func:`~cycle_utils.load_problems`, or none, with a note, where published runs are used and data are missing.

    Raises:
        OSError: the data are not here, and nothing published is to be used.
    """
    try:
        return load_problems(benchmark, **options)
    except OSError as missing:
        if not os.environ.get(runs.STORED):
            raise
        say(f"**Note:** {missing}. Scores below come from stored verdicts; what needs the problems is left out.")
        return []


def tell_cut(found: Any, most: int) -> None:
    """Say how many programs were cut at ``most`` tokens, and warn where there are so many that scores suffer.

    Args:
        found: tables of attempts, or what holds some: mappings, sequences, results of ablations.
    """
    counts = pd.DataFrame(
        [(name, *metrics.cut_off(table)) for name, table in _tables("", found)], columns=["name", "cut", "known"]
    ).groupby("name", sort=False).sum()  # fmt: skip
    cut, known = counts["cut"].sum(), counts["known"].sum()
    if not known:
        return say("How many programs were cut is not known: their runs were made before it was kept.")
    say(f"{cut} of {known} programs ({100 * cut / known:.1f} %) were cut at {most} tokens.")
    many = counts[counts["cut"] > metrics.FEW_CUT * counts["known"]]
    if len(many):
        named = "; ".join(f"{name or 'these'}: {100 * one.cut / one.known:.1f} %" for name, one in many.iterrows())
        say(
            f"**Warning: more than {100 * metrics.FEW_CUT:.0f} % were cut ({named}).** A program that is cut fails, "
            "however good it was: give more `max_new_tokens`, unless the model only repeats itself."
        )


def _tables(name: str, found: Any) -> Iterator[tuple[str, pd.DataFrame]]:
    """All tables in something, each with the last name on the way to it."""
    if isinstance(found, pd.DataFrame):
        yield name, found
    elif isinstance(found, Mapping):
        for key, one in found.items():
            yield from _tables(", ".join(key) if isinstance(key, tuple) else str(key), one)
    elif isinstance(found, Sequence):
        for one in found:
            yield from _tables(name, one)
    else:
        yield name, found.attempts


def say(text: str) -> None:
    """Show a sentence made from results, as Markdown."""
    display(Markdown(text))


def show(frame: pd.DataFrame, digits: int = 1) -> None:
    """Show a table with rounded numbers."""
    display(frame.round(digits))
