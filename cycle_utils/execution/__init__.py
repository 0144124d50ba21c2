"""The judge: runs generated programs in isolation and says what each test gave. See README.md beside this file.

This is the only floor that runs a program which a model wrote; it knows problems and texts, and neither models nor
prompts. ``inside/``, the sandbox's side, imports nothing of the project. ``cluster`` spreads judging and other
independent work over processes and machines.
"""

from cycle_utils.execution.isolation import IsolationError, isolation_report
from cycle_utils.execution.judge import Judge
from cycle_utils.execution.verdict import TestResult, Verdict

__all__ = ["IsolationError", "Judge", "TestResult", "Verdict", "isolation_report"]
