"""What the rows of a table cost: tokens, programs judged and seconds, as the runs behind them recorded it.

Tokens and programs are means over the seeds whose runs recorded them: early runs did not keep tokens of prompts and
programs. Seconds are medians, of the machines that made the runs and of whatever else these were doing: they say what
order of magnitude to expect, and compare nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cycle_utils.method.runs import Run


def of(runs: Sequence[Run]) -> dict[str, float]:
    """The cost of one stage or loop, from its runs of several seeds.

    Returns:
        ``read``: tokens that a training looked at, or that prompts had; ``written``: tokens of programs; ``judged``:
        programs; ``seconds``. NaN for what a stage has not, or its run did not record.
    """
    return {
        "read": _mean(runs, "tokens", "prompt_tokens"),
        "written": _mean(runs, "completion_tokens"),
        "judged": _mean(runs, "attempts", "samples"),
        "seconds": float(np.median([run.record["seconds"] for run in runs])),
    }


def _mean(runs: Sequence[Run], *names: str) -> float:
    """The mean of that note among ``names`` which a run has, over the runs that have one."""
    known = [run.notes[name] for run in runs for name in names if name in run.notes]
    return float(np.mean(known)) if known else float("nan")
