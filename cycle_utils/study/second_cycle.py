"""Past CYCLE: what a further turn of the cycle may learn from, at about as many judged programs.

Every arm goes on from the same CYCLE-trained LM. Two turns judge twice as many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cycle_utils import study
from cycle_utils.execution import cluster
from cycle_utils.method.configs import Grpo, Loop, Practice, RefineTrain, Turn, first_training
from cycle_utils.method.grpo import learn_from_verdicts
from cycle_utils.method.loop import MOST_REDRAWS
from cycle_utils.method.runs import Run
from cycle_utils.method.stages import loop, on_model, practise, take_turn

WORKERS = min(2, os.cpu_count() or 1)
LONGEST = "verdicts alone"  # of ARMS
WARM = (0.8, 0.8)  # temperatures of stage 1(b)
HOT = (0.2, 1.0)  # of a loop that draws again; chosen on the validation split, see :mod:`.settings`


@dataclass(frozen=True)
class Arm:
    """A further turn: what it learns from, in words, and its config after a training."""

    learns_from: str
    after: Callable[[RefineTrain], Turn | Grpo]


def _turn(after: RefineTrain | Turn, **practice: Any) -> Turn:
    """A turn with as many steps as stage 2 had."""
    return Turn(Practice(after, **practice), train=first_training(after).train)


ARMS: Mapping[str, Arm] = {
    "all rounds": Arm(
        "mistakes of all rounds of CYCLE's own loop, with the feedback that each got",
        lambda first: _turn(first),
    ),
    "all rounds, twice": Arm(
        "the same, and then mistakes of all rounds of the LM that came of it, on other problems",
        lambda first: _turn(_turn(first)),
    ),
    "attempts shown": Arm(
        "mistakes of all rounds; prompts show up to three earlier attempts with their feedback, beside the latest",
        lambda first: replace(_turn(first), recalled=3),
    ),
    "first tries again": Arm(
        "mistakes of CYCLE's own first tries alone: the control, with about as many judged programs",
        lambda first: _turn(first, problems=4000, rounds=0, redraws=0, temperatures=WARM),
    ),
    "hindsight": Arm(
        "five programs of each problem, any of which is taken for the right one: the feedback alone tells which",
        lambda first: replace(
            _turn(first, problems=1000, rounds=0, samples=5, temperatures=WARM, hindsight=20), earlier=False
        ),
    ),
    LONGEST: Arm("which of its own programs passed, by GRPO: no right program is shown (needs the extra `rl`)", Grpo),
}


@dataclass(frozen=True)
class Tried:
    """The loops of a training, as it is and with no program judged twice, and ``made``: the practices and trainings of
    its turns."""

    loops: Mapping[str, Run]
    made: Sequence[Run] = ()

    @property
    def costs(self) -> dict[str, Any]:
        """Judged programs, tokens read or written to have them, tokens trained on, and minutes: of its turns alone."""
        notes = [run.notes for run in self.made]
        drawn = sum(one.get("prompt_tokens", 0) + one.get("completion_tokens", 0) for one in notes)
        return {
            "judged programs": sum(one.get("attempts", one.get("judged", 0)) for one in notes),
            "tokens drawn": drawn,
            "tokens of training": sum(one.get("tokens", 0) for one in notes) or drawn,  # GRPO trains on what it draws
            "minutes": sum(run.record["seconds"] for run in self.made) / 60,
        }


def memories(where: Loop) -> dict[str, Loop]:
    """A loop as it is, and one in which no program is judged twice."""
    return {"as it is": where, "no program twice": replace(where, redraws=MOST_REDRAWS)}


def without_a_turn(first: RefineTrain, where: Loop, progress: bool = True) -> Tried:
    """CYCLE itself, with which the arms are compared."""
    ways = memories(where).items()
    return Tried({how: loop(study.contender(study.CYCLE, first, way, progress), progress) for how, way in ways})


def take(arm: str, first: RefineTrain, where: Loop, progress: bool = True) -> Tried:
    """One of :data:`ARMS` after a training, built where it is missing."""
    config, tune = ARMS[arm].after(first), first.distil.fine_tune
    stage = learn_from_verdicts if isinstance(config, Grpo) else take_turn
    shown = where if isinstance(config, Grpo) else replace(where, recalled=config.recalled)

    def asked(way: Loop) -> Loop:
        return on_model(lambda folder: study.trained(way, tune, folder), stage, config, progress)

    loops = {how: loop(asked(way), progress) for how, way in memories(shown).items()}
    return Tried(loops, [*_practices(config, progress), stage(config, progress)])


def ahead(firsts: Sequence[RefineTrain], where: Loop, workers: int = WORKERS, progress: bool = True) -> None:
    """Make what :func:`take` of every arm after each of some trainings needs, on several processes.

    Args:
        workers: see :func:`cluster.each`. Of the tiny LM's arms after one training, which take about 80 minutes of one
            core in all, the longest is begun first.
    """
    wanted = [(arm, first) for first in firsts for arm in sorted(ARMS, key=lambda arm: arm != LONGEST)]
    cluster.each(partial(_taken, where), wanted, workers, progress=progress, what="further turns")


def _taken(where: Loop, wanted: tuple[str, RefineTrain]) -> None:
    take(*wanted, where, progress=False)


def _practices(config: Turn | Grpo, progress: bool) -> list[Run]:
    """The practices behind a turn and, of an earlier one, its training too."""
    if not isinstance(config, Turn):
        return []
    before = config.practice.after
    earlier = [*_practices(before, progress), take_turn(before, progress)] if isinstance(before, Turn) else []
    return [*earlier, practise(config.practice, progress)]
