"""Many runs: the study's recipe and contenders, its ablations, and how results are launched, published and shared.

``from cycle_utils import study`` gives the contenders, which every notebook needs. Rooms here decide what is run and
where it goes; what a stage does is the method's business, and what a reader is shown the teaching floor's.
"""

from cycle_utils.study.contenders import (
    BUDGET_AT,
    CONTENDERS,
    CYCLE,
    PRETRAINED,
    TUNED,
    UNMASKED,
    contender,
    control,
    edition,
    recipe,
    run_budget,
    run_loops,
    sampling,
    trained,
)

__all__ = [
    "BUDGET_AT", "CONTENDERS", "CYCLE", "PRETRAINED", "TUNED", "UNMASKED", "contender", "control", "edition", "recipe",
    "run_budget", "run_loops", "sampling", "trained",
]  # fmt: skip
