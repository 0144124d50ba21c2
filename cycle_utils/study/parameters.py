"""What a parameter of a notebook or a recipe may be: its type and its range, by name.

papermill and YAML hand over what they read: ``-p lora false`` is the text ``false``, which counts as true, and ``5e-4``
is text to YAML 1.1. So a notebook and a launched training hold all values against this table before anything is made.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Literal

from cycle_utils.config import Count, Natural, Place, Positive, Seed, Share, Texts, checked
from cycle_utils.method.configs import FAULTS, Redraws
from cycle_utils.method.distillation import TARGETS
from cycle_utils.method.judging import FEEDBACK_TESTS
from cycle_utils.method.masking import REDRAWS, SPANS
from cycle_utils.models.prompts import STYLES
from cycle_utils.models.tiny_lm import SHAPES
from cycle_utils.problems.benchmarks import BENCHMARKS
from cycle_utils.problems.tinyprograms import FamilySet

_SIZES = ("steps", "finetune_steps", "problems", "samples", "batch_size", "accumulation",
          "max_new_tokens", "generation_batch", "limit")  # fmt: skip
_SWITCHES = ("lora", "merged", "gradient_checkpointing", "bf16", "unmasked", "with_greedy", "keep_passing",
             "interactive", "compiled", "ship", "own_options")  # fmt: skip
KINDS: dict[str, Any] = {
    **dict.fromkeys(_SIZES, Count | None),  # None: the stage's or the benchmark's own
    **dict.fromkeys(_SWITCHES, bool),
    **dict.fromkeys(("seeds", "looked_at", "sample"), Count),
    **dict.fromkeys(("ambiguity", "mask_ratio", "refine_share"), Share),
    **dict.fromkeys(("ratios", "tempted", "shares", "ambiguities"), list[Share]),
    "turns": list[Seed],
    **dict.fromkeys(("other_models", "ladder", "budget_of"), list[str]),
    **dict.fromkeys(("data", "train_data"), Place | None),
    **dict.fromkeys(("style", "other_style"), Literal[STYLES]),
    **dict.fromkeys(("benchmark", "train_benchmark"), Literal[tuple(BENCHMARKS)]),
    **dict.fromkeys(("rounds", "few", "recurring_steps", "tried"), Natural),
    "model": Place, "seed": Seed, "redraws": Redraws, "learning_rate": Positive | None, "fields": Texts,
    "families": FamilySet,
    "target": Literal[TARGETS], "faults": Literal[FAULTS], "mask_span": Literal[SPANS],
    "mask_redraw": Literal[REDRAWS], "feedback_tests": Literal[FEEDBACK_TESTS], "shape": Literal[tuple(SHAPES)],
}  # fmt: skip


def check(values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
    """Hold parameters against :data:`KINDS` and against their defaults.

    Args:
        defaults: by name, as far as they are known. One that is not None says that None means nothing here; a parameter
            that has no kind must be of its default's type.

    Raises:
        ValueError: each that is not allowed, with its value and what is.
    """
    wrong = [said for name, value in values.items() if (said := _wrong(name, value, defaults or {}))]
    if wrong:
        raise ValueError("\n".join(wrong))


def _wrong(name: str, value: Any, defaults: Mapping[str, Any]) -> str:
    if value is None and defaults.get(name, value) is None:
        return ""
    plain = type(defaults[name]) if name in defaults else None
    kind = KINDS.get(name, plain if plain in (bool, int, float, str) else None)
    try:
        if kind is not None:
            checked(name, value, kind)
    except ValueError as error:
        return str(error)
    return ""


def value_of(text: str) -> Any:
    """A parameter's value as Python writes it; anything else is text, as for papermill."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
