"""Past CYCLE: what a further turn of the cycle may learn from, at about as many judged programs.

Every arm goes on from the same CYCLE-trained LM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cycle_utils import study
from cycle_utils.method.configs import Grpo, Loop, Practice, RefineTrain, Turn
from cycle_utils.method.grpo import learn_from_verdicts
from cycle_utils.method.loop import MOST_REDRAWS
from cycle_utils.method.runs import Run
from cycle_utils.method.stages import loop, on_model, practise, take_turn

WARM = (0.8, 0.8)  # temperatures of stage 1(b)
HOT = (0.2, 1.0)  # of a loop that draws again; chosen on the validation split, see :mod:`.settings`


@dataclass(frozen=True)
class Arm:
    """A further turn: what it learns from, in words, and its config after a training."""

    learns_from: str
    after: Callable[[RefineTrain], Turn | Grpo]


def _turn(first: RefineTrain, **practice: Any) -> Turn:
    """A turn with as many steps as stage 2 had."""
    return Turn(Practice(first, **practice), train=first.train)


ARMS: Mapping[str, Arm] = {
    "all rounds": Arm(
        "mistakes of all rounds of CYCLE's own loop, with the feedback that each got",
        lambda first: _turn(first),
    ),
    "hindsight": Arm(
        "five programs of each problem, any of which is taken for the right one: the feedback alone tells which",
        lambda first: replace(
            _turn(first, problems=1000, rounds=0, samples=5, temperatures=WARM, hindsight=20), earlier=False
        ),
    ),
    "verdicts alone": Arm(
        "which of its own programs passed, by GRPO: no right program is shown (needs the extra `rl`)", Grpo
    ),
}


@dataclass(frozen=True)
class Tried:
    """A training and its loops: as it is, and with no program judged twice; ``practice`` and ``trained`` where it has
    such."""

    loops: Mapping[str, Run]
    practice: Run | None = None
    trained: Run | None = None

    @property
    def costs(self) -> dict[str, Any]:
        """Judged programs, tokens read or written to have them, tokens trained on, and minutes: of this turn alone."""
        runs = [run for run in (self.practice, self.trained) if run]
        notes = {name: value for run in runs for name, value in run.notes.items()}
        drawn = notes.get("prompt_tokens", 0) + notes.get("completion_tokens", 0)
        return {
            "judged programs": notes.get("attempts", notes.get("judged", 0)),
            "tokens drawn": drawn,
            "tokens of training": notes.get("tokens", drawn),  # GRPO trains on what it draws
            "minutes": sum(run.record["seconds"] for run in runs) / 60,
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
    practice = practise(config.practice, progress) if isinstance(config, Turn) else None
    return Tried(loops, practice, stage(config, progress))
