"""CYCLE as a runnable study: code LMs that learn to refine their programs instead of copying them.

The notebooks tell the story; this package does the work, on floors in the order in which data flow, imports only
downwards: ``problems``, ``execution``, ``models``, ``method``, ``analysis``, ``study``, ``teaching``, and below them
all ``paths`` and ``config``. README.md beside this file shows them, and the path of one problem through them.
"""

from typing import TYPE_CHECKING, Any

from cycle_utils.execution import Judge, Verdict, isolation_report
from cycle_utils.problems import Problem

if TYPE_CHECKING:
    from cycle_utils.method.loop import self_refine
    from cycle_utils.problems.benchmarks import load_problems

__all__ = ["Judge", "Problem", "Verdict", "isolation_report", "load_problems", "self_refine"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for: the judge's users need not wait for it."""
    if name == "load_problems":
        from cycle_utils.problems.benchmarks import load_problems

        return load_problems
    if name == "self_refine":
        from cycle_utils.method.loop import self_refine

        return self_refine
    raise AttributeError(f"module 'cycle_utils' has no attribute {name!r}")
