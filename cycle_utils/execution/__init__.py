"""The judge: runs generated programs in isolation and says what each test gave. See README.md beside this file."""

from cycle_utils.execution.isolation import IsolationError, isolation_report
from cycle_utils.execution.judge import Judge
from cycle_utils.execution.verdict import TestResult, Verdict

__all__ = ["IsolationError", "Judge", "TestResult", "Verdict", "isolation_report"]
