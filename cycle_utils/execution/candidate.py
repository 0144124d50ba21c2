"""One program under judgement, as something to ask: its process, restarted when it is lost, and its time.

The tests of a function share one time limit. A test that runs into it is a time-out; the tests after it share
half a limit more, in a new process, each at most an equal part of it. Tests after a crash go on in a new process
with the time that is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from cycle_utils.execution.mirror import Outside
from cycle_utils.execution.program import Program, prelude
from cycle_utils.execution.runner import EXITED, LOADING, Answer, Child, Ending, Runner
from cycle_utils.execution.suite import FunctionSuite

RESERVE = 0.5  # of the time limit: what the tests after a first time-out share


class LoadFailed(Exception):
    """The program could not be loaded; ``answer`` says why."""

    def __init__(self, answer: Answer):
        super().__init__(answer)
        self.answer = answer


class Candidate:
    """Asks a program's process; see the module's text for how time is shared.

    Use :meth:`begin` and :meth:`gather` (all questions of the suite together), or :meth:`talk` and then
    :meth:`question` and :meth:`do`; at last :meth:`close`.

    Attributes:
        busy: whether the machine was busy when a limit was hit. Unless the verdict is to be ``final``, the tests
            after that are not asked: the program will be judged again.
        seconds: CPU seconds of the processes that have ended.
        lost: why the last process that was lost ended.
        border: the judge's end of the border to the process that there is now.
    """

    def __init__(self, runner: Runner, suite: FunctionSuite, program: Program, final: bool, limit: float):
        self.runner, self.suite, self._final, self._limit = runner, suite, final, limit
        self.busy, self.seconds = False, 0.0
        self.lost = Answer(LOADING, "crashed", EXITED)
        self._job = {"source": program.source, "code": program.code, "setup": suite.setup, "asked": suite.asked}
        calls = suite.code is None  # call-based tests: programs count on what their site imports
        self._job |= {"entry": suite.entry_point, "prelude": prelude(program.code) if calls else b"", "objects": calls}
        self._left = limit
        self._late = False  # a test has hit the limit
        self._child: Child | None = None
        self._ended: Child | None = None  # told to end, its ending not read yet
        self._numbers = count()
        self._asked: tuple[int, int] = (0, 0)  # the questions that came with the job
        self._make_border: Callable[[], Outside] | None = None
        self.border: Outside | None = None

    # -- all questions together ----------------------------------------------------------------------------------

    def begin(self, first: int = 0) -> None:
        """Start the process, with all questions from ``first`` on; with that one alone, when time is short."""
        self._settle()
        last = first + 1 if self._late else len(self.suite.questions)
        self._asked = (first, last)
        calls = list(enumerate(self.suite.questions))[first:last]
        self._child = Child(self.runner, {**self._job, "calls": calls, "more": False}, time_limit=self._limit)

    def gather(self) -> list[Answer]:
        """The answers to all questions; the process is told to end.

        Raises:
            LoadFailed: the program ended in an exception, a crash or a time-out before it could be asked.
        """
        questions = len(self.suite.questions)
        answers: list[Answer] = []
        while len(answers) < questions:
            if self._left <= 0:
                answers.append(Answer(len(answers), "timeout"))
                continue
            if self._child is None:
                self.begin(len(answers))
            first, last = self._asked
            was_late = self._late
            limit = self._left / (questions - first) if was_late else self._left
            child = self._child
            loaded, *found = child.gather([LOADING, *range(first, last)], limit)
            if loaded.kind != "value" and was_late:
                found = [replace(loaded, index=first)]
            elif loaded.kind != "value":
                raise LoadFailed(self._lose(loaded))
            if found and found[-1].kind in ("timeout", "crashed"):
                found[-1] = self._lose(found[-1])
            elif was_late:
                self._end()
            if was_late:  # what the wait for a CPU took is no other test's loss
                self._left -= min(child.spent, limit)
            answers += found
        self._end()
        return answers

    # -- a talk --------------------------------------------------------------------------------------------------

    def talk(self, make_border: Callable[[], Outside]) -> None:
        """Start the process for requests one by one, and wait until it is ready.

        Args:
            make_border: makes the judge's end of the border to a new process.

        Raises:
            LoadFailed: as :meth:`gather`.
        """
        self._make_border = make_border
        self._begin_talk()

    def _begin_talk(self) -> None:
        self._settle()
        self.border = self._make_border()
        job = {**self._job, "calls": [], "more": True}
        self._child = Child(self.runner, job, border=self.border, time_limit=self._limit)
        loaded = self._child.hear(LOADING, self._left)
        if loaded.kind != "value":
            raise LoadFailed(self._lose(loaded))

    def question(self, index: int) -> Answer:
        """The answer to one question of the suite."""
        return self._exchange("question", [self.suite.questions[index]], len(self.suite.specs) - index)

    def do(self, what: str, arguments: list) -> Answer:
        """The answer to a request; see ``inside/objects.py`` for what there is to request.

        Raises:
            TypeError: an argument cannot be carried to the program.
        """
        return self._exchange(what, arguments, len(self.suite.specs))

    def ready(self) -> Answer | None:
        """Make sure that there is a process; return the reason if there can be none."""
        if self._left <= 0:
            return Answer(LOADING, "timeout")
        try:
            if self._child is None:
                self._begin_talk()
        except LoadFailed as failed:
            return failed.answer
        return None

    def _exchange(self, what: str, arguments: list, remaining: int) -> Answer:
        reason = self.ready()
        if reason is not None:
            return reason
        child, index = self._child, next(self._numbers)
        before = child.spent
        limit = before + self._left / remaining if self._late else self._left
        answer = child.ask(index, what, arguments, limit)
        while answer.kind == "ask" and self._child is child:
            answer = self._reply(child, index, self._served(answer.payload), limit)
        if self._child is not child:  # lost meanwhile, over what an object of the tests asked of it
            return replace(self.lost, index=index)
        if self._late:
            self._left -= min(child.spent, limit) - before
        return self._lose(answer) if answer.kind in ("timeout", "crashed") else answer

    def _served(self, asked: list) -> list:
        """What an object of the tests does for the program: ``[value, None]``, or ``[None, exception]``."""
        try:
            number, what, arguments = asked
            return [self.border.serve(number, what, arguments), None]
        except Exception as error:
            return [None, error]

    @staticmethod
    def _reply(child: Child, index: int, reply: list, limit: float) -> Answer:
        try:
            return child.ask(index, "reply", reply, limit)
        except TypeError as error:  # its value cannot be carried
            return child.ask(index, "reply", [None, error], limit)

    # -- the end of a process ------------------------------------------------------------------------------------

    def _lose(self, answer: Answer) -> Answer:
        """End a process that gave no answer, and compute what time is left; the answer, with what its end tells."""
        timed_out = answer.kind == "timeout"
        self.busy = self.busy or (timed_out and self._child.busy)
        self._end()
        ending = self._settle()
        if timed_out and not self._late:
            self._late = True
            self._left = self._limit * RESERVE if self._final or not self.busy else 0.0
        elif not self._late:
            self._left -= ending.seconds
        self.lost = ending.explain(answer)
        return self.lost

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
        """Leave no process, and have none begun by what is left of this one's objects."""
        self.border, self._left = None, 0.0
        self._end()
        self._settle()
