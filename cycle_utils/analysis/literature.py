"""What others measured of the same models, and whether ours agrees with it: a check of the harness, not of the method.

Prompts, stop rules and trimming move a score, and the same model has been published 20 points apart by two harnesses.
One that is off by more than the method's gain shows nothing of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cycle_utils.analysis.stats import Interval

CODEPARROT = "evaluation page of the space codeparrot/code-generation-models"
LEADERBOARD = "leaderboard bigcode/bigcode-models-leaderboard"
EVALPLUS = "leaderboard of EvalPlus"
PAPER_GAIN = 0.635  # relative, of the loop by learning to refine, at most [paper]


@dataclass(frozen=True)
class Published:
    """A published pass@``k``, as a share, of a model on a benchmark."""

    model: str
    benchmark: str
    k: int
    rate: float
    source: str


PUBLISHED = (
    Published("Salesforce/codegen-350M-mono", "humaneval", 1, 0.1276, CODEPARROT),
    Published("Salesforce/codegen-350M-mono", "humaneval", 10, 0.2311, CODEPARROT),
    Published("Salesforce/codegen-2B-mono", "humaneval", 1, 0.2370, CODEPARROT),
    Published("Salesforce/codegen-2B-mono", "humaneval", 10, 0.3664, CODEPARROT),
    Published("Salesforce/codegen-2B-mono", "humaneval", 1, 0.244, EVALPLUS),
    Published("Salesforce/codegen-2B-mono", "humanevalplus", 1, 0.226, EVALPLUS),
    Published("bigcode/starcoderbase-1b", "humaneval", 1, 0.1517, LEADERBOARD),
    Published("bigcode/starcoderbase-1b", "humaneval", 1, 0.146, EVALPLUS),
    Published("bigcode/starcoderbase-3b", "humaneval", 1, 0.215, LEADERBOARD),
    Published("bigcode/starcoderbase-3b", "humaneval", 1, 0.177, EVALPLUS),
    Published("bigcode/tiny_starcoder_py", "humaneval", 1, 0.0784, "its model card"),
)


def published(model: str, benchmark: str, k: int = 1) -> list[Published]:
    """What is known of a model, by its Hub ID or a folder's name."""
    name = Path(model).name.lower()
    return [one for one in PUBLISHED
            if (Path(one.model).name.lower(), one.benchmark, one.k) == (name, benchmark, k)]  # fmt: skip


def compared(model: str, benchmark: str, ours: Interval) -> str:
    """In a sentence, whether our one-time pass rate differs from all published ones by more than its interval.

    Args:
        ours: of the model as it is published, before any training.
    """
    known = published(model, benchmark)
    if not known:
        return f"No pass@1 of {model} on {benchmark} is known here: whether the harness agrees is not checked."
    said = f"One-time, {model} solves {ours} of {benchmark}; published are {_told(known)}"
    if any(ours.low <= one.rate <= ours.high for one in known):
        return f"{said}: no difference is seen."
    return (
        f"**Warning:** {said}: ours differs by more than its interval. Prompt, trimming, sampling or judge may differ, "
        "and a harness that is off by more than the method's gain shows nothing."
    )


def _told(known: Sequence[Published]) -> str:
    return ", ".join(f"{100 * one.rate:g} % ({one.source})" for one in known)


def resampling(model: str, benchmark: str) -> str:
    """In a sentence, what ten samples alone give over one, beside the gain that the paper states; else nothing."""
    pairs = [(once, ten) for once in published(model, benchmark) for ten in published(model, benchmark, 10)
             if once.source == ten.source]  # fmt: skip
    return " ".join(
        f"Ten independent samples of {model} without any refinement take it from {100 * once.rate:g} % to "
        f"{100 * ten.rate:g} % of {benchmark}, {100 * (ten.rate / once.rate - 1):+.0f} % relative ({once.source}); the "
        f"paper states up to {100 * PAPER_GAIN:+g} % for learning to refine in a loop of five tries."
        for once, ten in pairs
    )
