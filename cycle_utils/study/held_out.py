"""Whole families of TinyPrograms held out of stages 1 and 2: does what was learned there reach other programs?

Each seed's contenders are trained on the ``known`` families alone and asked problems of these and of the ``held-out``
ones, both from the test split. Stages 1 and 2 never see a held-out family; the shipped tiny LM, from which they start,
was pre-trained on text of all families, so that this says nothing about shapes of program that a model never read.

    python -m cycle_utils.study.held_out --seeds 3

makes the runs, which may be cut off and resumed, and writes and prints :func:`rates`, :func:`gaps` and
:func:`claims`. Of the tiny LM, a seed takes about 12 minutes of one core, besides the loops that check.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cycle_utils import study
from cycle_utils.analysis import metrics, stats
from cycle_utils.analysis.figures import save_table
from cycle_utils.method.configs import Loop
from cycle_utils.method.loop import MOST_REDRAWS
from cycle_utils.method.stages import loop_problems
from cycle_utils.paths import PUBLISH
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.study import ablations
from cycle_utils.study.second_cycle import HOT
from cycle_utils.study.sentinel import variables

ASKED = ("held-out", "known")
BLANKED = "CYCLE, feedback blanked"
CHECKED = {name: f"{name}, checked" for name in (study.TUNED, study.CYCLE)}  # on held-out families alone
CEILING = "ideal reader"
Found = Mapping[tuple[str, str], Sequence[pd.DataFrame]]  # families asked, model -> attempts of each seed


def places(where: Loop) -> dict[tuple[str, str], tuple[str, Loop]]:
    """Which contender is asked where, by families and model."""
    found = {}
    for asked in ASKED:
        at = replace(where, families=asked)
        found |= {(asked, name): (name, at) for name in study.CONTENDERS}
        found[asked, BLANKED] = (study.CYCLE, replace(at, fields=("code",)))
    checking = replace(where, families=ASKED[0], redraws=MOST_REDRAWS, checked=True, temperatures=HOT)
    return found | {(ASKED[0], CHECKED[name]): (name, checking) for name in CHECKED}


def run(where: Loop, seeds: Sequence[int], workers: int = 1, progress: bool = False, **options: Any) -> Found:
    """Train on the known families with each seed and ask; what is finished is reused.

    Args:
        where: the loop; its problems are those of a set of families.
        options: of :func:`study.recipe`.
    """
    configs = [study.recipe(**options, seed=seed, families="known") for seed in seeds]
    asked = places(where)
    ablations.ahead([(name, c, at) for c in configs for name, at in asked.values()], workers, progress=progress)
    return {
        key: [study.run_loops(config, at, (name,), progress)[name] for config in configs]
        for key, (name, at) in asked.items()
    }


def _solved(tables: Sequence[pd.DataFrame], round_: int) -> np.ndarray:
    """Which problems passed by a round: an array (seeds, problems)."""
    solved = [metrics.solved_by_round(one, round_)[round_].groupby("task_id").mean().sort_index() for one in tables]
    return np.stack([one.to_numpy(float) for one in solved])


def rates(found: Found, where: Loop) -> pd.DataFrame:
    """What each model solves of known and of held-out families, with the ceiling of :func:`tp.ceiling`.

    Returns:
        ``families, model, round`` (0 and the last), ``value, low, high, n, by_seed, seeds``; of the ideal reader
        ``value`` alone.
    """
    rows = []
    for (asked, name), tables in found.items():
        for r in (0, where.rounds):
            score = _solved(tables, r)
            rate = {**vars(stats.interval(score)), "by_seed": list(score.mean(axis=1)), "seeds": len(tables)}
            rows.append({"families": asked, "model": name, "round": r, **rate})
    for asked in ASKED:
        best = tp.ceiling(loop_problems(replace(where, families=asked)), where.rounds)
        rows += [{"families": asked, "model": CEILING, "round": r, "value": best[r]} for r in (0, where.rounds)]
    return pd.DataFrame(rows)


def gaps(found: Found, rounds: int) -> pd.DataFrame:
    """What learning to refine, refining and reading are worth on either set of families, and the first set beside it.

    Returns:
        ``families, comparison, value, low, high, n, p``, ``p_corrected`` (Holm, over these rows) and ``verdict``.
    """
    rows, ours = [], {}
    for asked in ASKED:
        last = {name: _solved(found[asked, name], rounds) for name in (study.TUNED, study.CYCLE, BLANKED)}
        first = {name: _solved(found[asked, name], 0) for name in (study.TUNED, study.CYCLE)}
        ours[asked] = last[study.CYCLE] - last[study.TUNED]
        pairs = {
            "loop: CYCLE over fine-tuned": (last[study.CYCLE], last[study.TUNED]),
            "one-time: CYCLE over fine-tuned": (first[study.CYCLE], first[study.TUNED]),
            "CYCLE: loop over its own one-time": (last[study.CYCLE], first[study.CYCLE]),
            "CYCLE: loop over loop with feedback blanked": (last[study.CYCLE], last[BLANKED]),
        }
        if asked == ASKED[0]:
            checked = {name: _solved(found[asked, CHECKED[name]], rounds) for name in CHECKED}
            pairs |= {
                "CYCLE: checked loop over loop": (checked[study.CYCLE], last[study.CYCLE]),
                "checked loop: CYCLE over fine-tuned": (checked[study.CYCLE], checked[study.TUNED]),
            }
        rows += [(asked, what, stats.paired_difference(*pair)) for what, pair in pairs.items()]
    lead = "CYCLE's lead over fine-tuned: held-out less known"
    rows.append(("both", lead, stats.difference_apart(*(ours[asked] for asked in ASKED))))
    table = pd.DataFrame([{"families": asked, "comparison": what, **vars(one)} for asked, what, one in rows])
    table["p_corrected"] = stats.corrected(table["p"])
    return table.assign(verdict=[stats.verdict(one, p=p) for (*_, one), p in zip(rows, table["p_corrected"])])


# Of :func:`gaps`: the comparison that speaks for a claim of the paper, and the side on which it lies if that holds.
CLAIMED = {
    "C2: CYCLE beats the fine-tuned LM in the loop": ("loop: CYCLE over fine-tuned", "higher"),
    "C3: one-time generation keeps its quality": ("one-time: CYCLE over fine-tuned", "kept"),
    "C7: the feedback is needed": ("CYCLE: loop over loop with feedback blanked", "higher"),
}


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """What :func:`gaps` says of the paper's claims on the held-out families, as the notebooks' tables of claims."""
    there = table[table["families"] == "held-out"].set_index("comparison")
    rows = []
    for claim, (comparison, claimed) in CLAIMED.items():
        row = there.loc[comparison]
        about = {"claim": f"{claim}, on families left out of training", "paper": "unknown"}
        about["ours"] = f"{stats.of_row(row)} (Holm: held_out_gaps)"
        verdict = stats.claim(stats.of_row(row), claimed, row["p_corrected"])
        rows.append({**about, "verdict": verdict, "notebook": "held_out", "feedback_tests": Loop.feedback_tests})
    return pd.DataFrame(rows)


def main() -> None:
    """The command: the runs of each seed, then what they say."""
    parser = argparse.ArgumentParser(prog="cycle_utils.study.held_out", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0 (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--publish", action="store_true", help="write to results/, not to reproduction/")
    options = parser.parse_args()
    where = Loop()
    found = run(where, range(options.seeds), options.workers, progress=True)
    compared = gaps(found, where.rounds)
    with variables(**({PUBLISH: "1"} if options.publish else {})):
        for name, table in {"rates": rates(found, where), "gaps": compared, "claims": claims(compared)}.items():
            save_table(table, f"held_out_{name}")
            print(table.drop(columns="by_seed", errors="ignore").round(3).to_markdown(index=False), end="\n\n")


if __name__ == "__main__":
    main()
