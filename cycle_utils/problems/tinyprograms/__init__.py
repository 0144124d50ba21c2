"""TinyPrograms: a generated benchmark that a small code LM can fail, mend and be measured on.

A problem is a short Python function with a few *slots* (which numbers to keep, how to order them, which
separator to join by, ...). Its description names the value of a slot or leaves it **open** ("arranged" for
five orders): then only execution can tell, which is the situation that self-refinement exists for. The
share of open slots is the ``ambiguity``.

Because the generator's distribution is known (:func:`prior`), so is what an ideal reader can do: at the first try
(:func:`ceiling`, round 0) and after reading the feedback of failed tests (later rounds). Splits hold programs out, not
families (:func:`split_of`); :func:`family_set` holds whole families out, of trainings alone: the shipped tiny LM was
pre-trained on text of all of them. The ideal reader does not know which program a split owns: a reader that did could
rule readings out before its first try. Nothing here is trained, downloaded or random beyond its seed.

The generator's own programs are trusted and run in this process; a model's programs never are.
"""

from cycle_utils.problems.tinyprograms.families import FAMILIES, HELD_OUT, Family
from cycle_utils.problems.tinyprograms.generator import (
    AMBIGUITY,
    FAILS,
    HIDDEN,
    PUBLIC,
    SPLITS,
    FamilySet,
    Task,
    body,
    count_problems,
    distinct_calls,
    draw_calls,
    draw_task,
    evaluate,
    family_set,
    generate,
    make_problem,
    program,
    prompt,
    same,
    signature,
    split_of,
)
from cycle_utils.problems.tinyprograms.ideal_reader import (
    Outcome,
    Reader,
    ceiling,
    likeliest,
    outcomes,
    read_ideally,
    readings,
)
from cycle_utils.problems.tinyprograms.recovery import recover
from cycle_utils.problems.tinyprograms.slots import MODE, Slot, Value, prior

__all__ = [
    "AMBIGUITY",
    "FAILS",
    "FAMILIES",
    "HELD_OUT",
    "HIDDEN",
    "MODE",
    "PUBLIC",
    "SPLITS",
    "Family",
    "FamilySet",
    "Outcome",
    "Reader",
    "Slot",
    "Task",
    "Value",
    "body",
    "ceiling",
    "count_problems",
    "distinct_calls",
    "draw_calls",
    "draw_task",
    "evaluate",
    "family_set",
    "generate",
    "likeliest",
    "make_problem",
    "outcomes",
    "prior",
    "program",
    "prompt",
    "read_ideally",
    "readings",
    "recover",
    "same",
    "signature",
    "split_of",
]  # fmt: skip
