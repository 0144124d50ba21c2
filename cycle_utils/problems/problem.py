"""A programming problem: what a model is asked, and the tests that say whether it answered.

Everything downstream (judge, prompts, stages, metrics) knows problems by this one class, whatever
benchmark they came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# One test. As a string: an ``assert`` statement, or source that defines HumanEval's ``check(candidate)``.
# As a mapping: ``{"input": ..., "output": ...}`` -- text for a program that reads standard input
# (no entry point), or a list of positional arguments and the value to return (with an entry point).
Test = str | Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One task, with its tests and known solutions.

    Attributes:
        task_id: unique within its benchmark, such as ``"HumanEval/0"``.
        prompt: the text a model continues. It never ends in a newline (see ``cycle_utils.models.prompts``).
        entry_point: the function that the tests call; ``None`` for a program that reads standard input.
        tests: the tests that score.
        public_tests: the tests that may be shown under ``feedback_tests="public"``. They may be part of
            ``tests``; :attr:`hidden_tests` are the others.
        canonical_solutions: programs known to be right, each a completion of ``prompt`` or a whole program.
        setup: source run before the program's tests, such as MBPP's ``test_imports``.
        time_limit: seconds that the benchmark allows a program, where that is more than the judge's own limit.
        meta: whatever else the benchmark knows (difficulty, family, open slots, ...).
    """

    task_id: str
    prompt: str
    entry_point: str | None = None
    tests: Sequence[Test] = ()
    public_tests: Sequence[Test] = ()
    canonical_solutions: Sequence[str] = ()
    setup: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    time_limit: float | None = None

    @property
    def hidden_tests(self) -> list[Test]:
        """The scoring tests that are not public."""
        shown = list(self.public_tests)
        return [test for test in self.tests if test not in shown]

    def with_tests(self, tests: Sequence[Test]) -> Problem:
        """The same problem, scored by other tests."""
        return replace(self, tests=tuple(tests))
