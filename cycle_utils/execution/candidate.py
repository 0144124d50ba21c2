"""One program under judgement, as something to ask: its process, begun anew when it is lost, and its time.

The tests of a function share one time limit. A test that runs into it is a time-out; the tests after it share
half a limit more, in a new process, each at most its equal part. Tests after a crash go on in a new process
with the time that is left.
"""

from __future__ import annotations

from dataclasses import replace

from cycle_utils.execution.inside import plain
from cycle_utils.execution.program import Program
from cycle_utils.execution.runner import LOADING, Answer, Child, Ending, Runner
from cycle_utils.execution.suite import FunctionSuite

RESERVE = 0.5  # of the time limit: what the tests after a first time-out share


class LoadFailed(Exception):
    """The program could not be loaded; ``answer`` says why."""

    def __init__(self, answer: Answer):
        super().__init__(answer)
        self.answer = answer


class Candidate:
    """Asks a program's process; see the module's text for how time is shared.

    Use :meth:`begin`, then either :meth:`gather` (all questions of the suite together) or :meth:`ask` and
    :meth:`call`, then :meth:`close`.

    Attributes:
        busy: whether the machine was busy when a limit was hit. Unless the verdict is to be ``final``, the tests
            after that are not asked: the program will be judged again.
        seconds: CPU seconds of the processes that have ended.
    """

    def __init__(self, runner: Runner, suite: FunctionSuite, program: Program, final: bool):
        self.runner, self.suite, self._final = runner, suite, final
        self.busy, self.seconds = False, 0.0
        self._job = {"source": program.source, "code": program.code, "setup": suite.setup, "asked": suite.asked}
        self._job["entry"] = suite.entry_point
        self._left = runner.settings.time_limit
        self._late = False  # a test has hit the limit
        self._child: Child | None = None
        self._ended: Child | None = None  # told to end, its ending not read yet
        self._first = 0

    def begin(self, first: int = 0) -> None:
        """Start the process; with all questions from ``first`` on, if they may be asked together."""
        self._settle()
        together = self.suite.together and not self._late
        self._first = first
        calls = list(enumerate(self.suite.questions))[first:] if together else []
        self._child = Child(self.runner, {**self._job, "calls": calls, "more": not together})

    def gather(self) -> list[Answer]:
        """The answers to all questions; the process is told to end.

        Raises:
            LoadFailed: the program ended in an exception, a crash or a time-out before it could be asked.
        """
        count = len(self.suite.questions)
        answers: list[Answer] = []
        while len(answers) < count:
            if self._late:
                answers.append(self.ask(len(answers)))
                continue
            if self._child is None:
                self.begin(len(answers))
            loaded, *found = self._child.gather([LOADING, *range(self._first, count)], self._left)
            if loaded.kind != "value":
                raise LoadFailed(self._lost(loaded))
            if found and found[-1].kind in ("timeout", "crashed"):
                found[-1] = self._lost(found[-1])
            answers += found
        self._end()
        return answers

    def ask(self, index: int) -> Answer:
        """The answer to one question of the suite."""
        return self._exchange(index, self.suite.questions[index], len(self.suite.specs) - index)

    def call(self, args: tuple, kwargs: dict) -> Answer:
        """The answer to a call with these values."""
        return self._exchange(0, plain.dumps((args, kwargs)), len(self.suite.specs))

    def load(self) -> None:
        """Wait until the program is ready to be asked.

        Raises:
            LoadFailed: as :meth:`gather`.
        """
        loaded = self._child.hear(LOADING, self._left)
        if loaded.kind != "value":
            raise LoadFailed(self._lost(loaded))

    def _exchange(self, index: int, call: int | str, remaining: int) -> Answer:
        if self._left <= 0:
            return Answer(index, "timeout")
        try:
            if self._child is None:
                self.begin()
                self.load()
        except LoadFailed as failed:
            return replace(failed.answer, index=index)
        before = self._child.spent
        limit = before + self._left / remaining if self._late else self._left
        answer = self._child.ask(index, call, limit)
        if self._late:
            self._left -= self._child.spent - before
        return self._lost(answer) if answer.kind in ("timeout", "crashed") else answer

    def _lost(self, answer: Answer) -> Answer:
        """End a process that gave no answer, and reckon what time is left; the answer, with what its end tells."""
        timed_out = answer.kind == "timeout"
        self.busy = self.busy or (timed_out and self._child.busy)
        self._end()
        ending = self._settle()
        if timed_out and not self._late:
            self._late = True
            self._left = self.runner.settings.time_limit * RESERVE if self._final or not self.busy else 0.0
        elif not self._late:
            self._left -= ending.seconds
        return ending.explain(answer)

    def _end(self) -> None:
        """Tell the process to end, if there is one."""
        if self._child is not None:
            self._child.end()
            self._ended, self._child = self._child, None

    def _settle(self) -> Ending | None:
        """Wait until a process told to end is gone, and count its time."""
        if self._ended is None:
            return None
        ending = self._ended.ending()
        self._ended = None
        self.seconds += ending.seconds
        return ending

    def close(self) -> None:
        """Leave no process."""
        self._end()
        self._settle()
