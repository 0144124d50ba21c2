"""What the judge says of a program: one :class:`Verdict`, with one :class:`TestResult` for each test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from cycle_utils.execution import feedback

PASSED, FAILED, ERROR, TIMEOUT, CRASHED = STATUSES = ("passed", "failed", "error", "timeout", "crashed")


@dataclass(frozen=True)
class TestResult:
    """How one test went. All fields are plain; texts are clipped at ``feedback.FIELD_LIMIT`` characters.

    Attributes:
        status: one of ``STATUSES``.
        input: the call, or the text on standard input.
        expected: the value to give, as ``repr`` shows it, or the text to print.
        actual: the value given or the text printed; ``None`` when the program gave none.
        stdout: what the call printed (function tasks; for stdin tasks the output is ``actual``).
        exception: ``"KeyError: 'price'"``, or the reason of a crash or time-out; ``None`` when there is none.
        line: the candidate's own source line that the exception came from, stripped.
        seconds: wall time as the candidate's process measured it: information, never a criterion.
    """

    __test__ = False  # not a pytest class

    status: str
    input: str = ""
    expected: str = ""
    actual: str | None = None
    stdout: str = ""
    exception: str | None = None
    line: str | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status == PASSED


@dataclass(frozen=True)
class Verdict:
    """What became of one program.

    Attributes:
        task_id: the problem's.
        status: ``passed``, or the status of the first test that did not pass.
        tests: one result for each test, in order.
        error: why no test could run, such as ``"SyntaxError: invalid syntax"``; ``None`` otherwise.
        line: the source line belonging to ``error``.
        seconds: CPU seconds that the program's processes used.
    """

    task_id: str
    status: str
    tests: list[TestResult] = field(default_factory=list)
    error: str | None = None
    line: str | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every test passed. A verdict without tests never passed."""
        return self.status == PASSED

    @property
    def first_failure(self) -> int | None:
        """The number of the first test that did not pass; ``None`` if there is none, or no test could run."""
        return next((i for i, test in enumerate(self.tests) if not test.passed), None)

    def feedback(self, index: int | None = None) -> str:
        """The feedback text of test ``index``, by default of the first that did not pass; ``""`` if it passed.

        Raises:
            IndexError: the verdict has no test ``index``.
        """
        if self.error is not None:
            return feedback.of_error(self.error, self.line)
        if index is None:
            index = self.first_failure
            if index is None:
                return ""
        if not -len(self.tests) <= index < len(self.tests):
            raise IndexError(f"test {index} of {self.task_id}: it has {len(self.tests)} tests, counted from 0.")
        one = self.tests[index]
        return "" if one.passed else feedback.of_test(one.input, one.expected, one.actual, one.exception, one.line)

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping) -> Verdict:
        """The verdict that :meth:`to_dict` described."""
        fields = dict(data)
        fields["tests"] = [TestResult(**test) for test in data["tests"]]
        return cls(**fields)


def verdict_of(task_id: str, tests: list[TestResult], seconds: float) -> Verdict:
    """The verdict that follows from its tests: the first that did not pass decides."""
    status = next((test.status for test in tests if not test.passed), PASSED)
    return Verdict(task_id, status if tests else ERROR, tests, seconds=seconds)
