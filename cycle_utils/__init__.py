"""CYCLE as a runnable study: code LMs that learn to refine their programs instead of copying them.

The notebooks tell the story; this package does the work. Its modules in the order in which the data flow:
``problems``, ``tinyprograms``, ``datafiles``, ``benchmarks``, ``execution``, ``prompts``, ``served``, ``models``,
``generation``, ``training``, ``stages``, ``metrics``, ``stats``, ``figures``; and ``paths`` and ``runs`` below
them all.
"""

from typing import TYPE_CHECKING, Any

from cycle_utils.execution import Judge, Verdict, isolation_report
from cycle_utils.problems import Problem

if TYPE_CHECKING:
    from cycle_utils.benchmarks import load_problems
    from cycle_utils.stages import self_refine

__all__ = ["Judge", "Problem", "Verdict", "isolation_report", "load_problems", "self_refine"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: the judge's users need not wait for it."""
    if name == "load_problems":
        from cycle_utils.benchmarks import load_problems

        return load_problems
    if name == "self_refine":
        from cycle_utils.stages import self_refine

        return self_refine
    raise AttributeError(f"module 'cycle_utils' has no attribute {name!r}")
