"""A reader's own study beside the published one: each headline figure with its interval, and whether the two agree.

Another processor adds in another order, so its weights, its programs and its figures differ, even with the same
seeds. What must come out again is the finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cycle_utils.study.contenders import CONTENDERS, CYCLE, PRETRAINED, TUNED

REPORT = "report.md"
RATES, COPIES, GAINS = "07_benchmarks", "07_copies", "07_gains"  # two tables of shares, one of differences


def headlines() -> Iterator[tuple[str, str, dict[str, str]]]:
    """What a headline figure is, its table, and the columns that tell its row."""
    for name in CONTENDERS:
        yield f"{name}: solved at the first try", RATES, {"model": name, "protocol": "loop: one-time"}
        yield f"{name}: solved after 4 rounds", RATES, {"model": name, "protocol": "loop: after round 4"}
    yield f"{CYCLE}: solved by 5 independent samples", RATES, {"model": CYCLE, "protocol": "5 independent samples"}
    for name in (PRETRAINED, TUNED, CYCLE):
        row = {"model": name, "protocol": "loop", "refinements": "round 1", "kind": "exact"}
        yield f"{name}: exact copies at the first refinement", COPIES, row
    for what, comparison in (
        ("the loop over CYCLE's own first try", "CYCLE: loop over its own one-time"),
        ("the loop over 5 samples of CYCLE", "CYCLE: loop over equal budget"),
        ("CYCLE over the fine-tuned LM, in the loop", "loop: CYCLE over fine-tuned"),
        ("CYCLE over the fine-tuned LM, at the first try", "one-time: CYCLE over fine-tuned"),
        ("CYCLE's loop over the same without feedback", "CYCLE: loop over loop with feedback blanked"),
    ):
        yield what, GAINS, {"comparison": comparison}


def compare(made: Path, published: Path) -> pd.DataFrame:
    """The headline figures of two folders of results.

    Returns:
        columns ``figure``, ``published``, ``yours`` and ``agrees``: yes where the two intervals overlap, no where they
        do not, and nothing where a figure was not made.
    """
    rows = []
    for what, table, columns in headlines():
        theirs, ours = (_row(folder / "tables" / f"{table}.csv", columns) for folder in (published, made))
        row = {"figure": what, "published": _said(theirs, table), "yours": _said(ours, table), "agrees": ""}
        if theirs is not None and ours is not None:
            row["agrees"] = "yes" if ours["low"] <= theirs["high"] and theirs["low"] <= ours["high"] else "no"
        rows.append(row)
    return pd.DataFrame(rows)


def write_report(made: Path, published: Path, reduced: bool) -> str:
    """Write the comparison to ``made/report.md``.

    Args:
        reduced: whether the study was run at a smaller size than the published one.

    Returns:
        the outcome in a sentence.
    """
    table = compare(made, published)
    both = table[table["agrees"] != ""]
    said = f"{(both['agrees'] == 'yes').sum()} of {len(both)} headline figures agree with the published ones."
    if reduced:
        said = f"This was a reduced run, which shows that everything runs; its figures mean nothing. {said}"
    text = (
        f"# Your study beside the published one\n\n{said}\n\n{table.to_markdown(index=False)}\n\n"
        "In brackets: 95 % intervals. Two figures agree here if their intervals overlap. With one seed, your intervals "
        "cover the draw of problems and not that of a training, so a figure or two may lie outside. The published "
        "figures rest on several seeds and on another machine.\n"
    )
    (made / REPORT).write_text(text, encoding="utf-8")
    return said


def _row(path: Path, columns: dict[str, str]) -> pd.Series | None:
    """The first row of a table that has these values, if there are the table and the row."""
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    for name, value in columns.items():
        table = table[table[name] == value]
    return None if table.empty else table.iloc[0]


def _said(row: pd.Series | None, table: str) -> str:
    if row is None:
        return "-"
    value, low, high = (100 * row[name] for name in ("value", "low", "high"))
    shown = f"{value:+.1f} points" if table == GAINS else f"{value:.1f} %"
    return f"{shown} [{low:.1f}, {high:.1f}]"
