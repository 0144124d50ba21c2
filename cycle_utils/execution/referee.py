"""Judges one program at a time: asks the candidate, runs the tests' own code, makes the verdict.

This runs in a trusted process of its own (:func:`serve`), one a worker. Tests are evaluated here, on plain
values; the candidate runs elsewhere.
"""

from __future__ import annotations

import builtins
import random
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection

from cycle_utils.execution import suite as suites
from cycle_utils.execution.candidate import RESERVE, Candidate, LoadFailed
from cycle_utils.execution.compare import same_output, same_value
from cycle_utils.execution.feedback import FIELD_LIMIT, TIME_OUT, clip, show
from cycle_utils.execution.program import NoProgram, Program, compiled
from cycle_utils.execution.runner import EXITED, LOADING, Answer, Child, Runner, SandboxDied, Settings
from cycle_utils.execution.suite import FunctionSuite, StdinSuite
from cycle_utils.execution.verdict import CRASHED, ERROR, FAILED, PASSED, TIMEOUT, TestResult, Verdict, verdict_of
from cycle_utils.problems import Problem

OUTPUT_ROOM = 1 << 20  # bytes a stdin program may print beyond four times what is expected


class CandidateGone(BaseException):
    """The candidate gave no answer. No ``Exception``, so that a test's own ``except`` does not swallow it."""


def outcome(answer: Answer) -> dict:
    """The fields of a test result that follow from an answer that is no value."""
    if answer.kind == "timeout":
        return {"status": TIMEOUT, "exception": TIME_OUT}
    if answer.kind == "crashed":
        return {"status": CRASHED, "exception": f"crashed ({answer.payload})"}
    name, message, line = answer.payload
    if name == "SystemExit":
        return {"status": CRASHED, "exception": "crashed (exited early)", "line": line or None}
    if name == "MemoryError":
        return {"status": CRASHED, "exception": "crashed (out of memory)", "line": line or None}
    message = " ".join(message.split())
    exception = clip(f"{name}: {message}" if message else name, FIELD_LIMIT)
    return {"status": ERROR, "exception": exception, "line": line or None}


def _unloaded(task_id: str, suite: FunctionSuite | StdinSuite, answer: Answer, seconds: float = 0.0) -> Verdict:
    """The verdict on a program that was never ready to be asked: all its tests share the reason."""
    fields = outcome(answer)
    if isinstance(suite, StdinSuite):
        shown = [
            {"input": clip(text, FIELD_LIMIT), "expected": clip(expected, FIELD_LIMIT)}
            for text, expected in zip(suite.inputs, suite.outputs)
        ]
    else:
        shown = [{"input": spec.input} for spec in suite.specs]
    tests = [TestResult(**each, **fields) for each in shown]
    return Verdict(task_id, fields["status"], tests, fields["exception"], fields.get("line"), seconds)


def _compared(suite: FunctionSuite, answers: list[Answer]) -> list[TestResult]:
    """The results of call-based tests."""
    results = []
    for spec, expected, answer in zip(suite.specs, suite.expected, answers):
        fields = {"input": spec.input, "expected": show(expected), "stdout": answer.printed, "seconds": answer.seconds}
        if answer.kind == "value":
            right = same_value(answer.payload, expected)
            fields |= {"status": PASSED if right else FAILED, "actual": show(answer.payload)}
        else:
            fields |= outcome(answer)
        results.append(TestResult(**fields))
    return results


class Examination:
    """One run of a problem's judging code against one candidate.

    Args:
        candidate: whom the code's calls go to.
        early: the answers that are known already, by their question.
    """

    def __init__(self, candidate: Candidate, early: Sequence[Answer]):
        self.candidate, self.suite, self._early = candidate, candidate.suite, early
        self.results: list[TestResult | None] = [None] * len(self.suite.specs)
        self._answers: list[Answer] = []  # of the test that is being evaluated
        self._called_with = ""

    def run(self) -> list[TestResult]:
        """Evaluate all tests; those that the code never reached share the reason that stopped it."""
        reason = {"status": FAILED, "exception": "the test was not reached"}
        random.seed(0)
        space = {"__name__": "tests", "__test__": self._test, "__answer__": self._answer, "__call__": self._call}
        try:
            exec(self.suite.own_setup, space)
            if not self.suite.together:
                space[self.suite.entry_point] = self._call
            space["candidate"] = self._call
            exec(self.suite.code, space)
        except BaseException as error:
            reason = self._reason(error)
        specs = self.suite.specs
        return [result or TestResult(input=spec.input, **reason) for result, spec in zip(self.results, specs)]

    def _answer(self, index: int) -> object:
        """The value of a question; raises what the candidate raised, or :class:`CandidateGone`."""
        return self._value(self._early[index] if self._early else self.candidate.ask(index))

    def _call(self, *args: object, **kwargs: object) -> object:
        """Stands for the candidate in the tests' code. Arguments that it changes in place change here, too."""
        self._called_with = suites.call_text(self.suite.entry_point, list(args), kwargs)
        answer = self.candidate.call(args, kwargs)
        if answer.arguments is not None:
            _overwrite(list(args), list(answer.arguments[0]))
            _overwrite(kwargs, answer.arguments[1])
        return self._value(answer)

    def _value(self, answer: Answer) -> object:
        self._answers.append(answer)
        if answer.kind == "value":
            return answer.payload
        error = _exception(answer.payload[0]) if answer.kind == "error" else CandidateGone()
        error.answer = answer
        raise error

    def _test(self, number: int, actual, expected, how: str) -> None:
        """Evaluate one assertion, and record it. In a loop, the first that fails stays."""
        known = self.results[number]
        if known is not None and not known.passed:
            return
        self._answers, self._called_with, sides = [], "", {}
        try:
            first, second = (expected, actual) if how == "reversed ==" else (actual, expected)
            sides[first], sides[second] = first(), None
            sides[second] = second()
            right = self._holds(sides[actual], sides[expected], how)
            fields = {"status": PASSED if right else FAILED, "actual": show(sides[actual])}
            fields["expected"] = show(sides[expected])
        except BaseException as error:
            fields = {**self._reason(error), "expected": _shown(expected)}
        self.results[number] = TestResult(input=self._input(number), **self._observed(), **fields)

    @staticmethod
    def _holds(actual: object, expected: object, how: str) -> bool:
        if how == "truth":
            return bool(actual) is expected
        if how == "is":
            return actual is expected
        return bool(actual == expected if how == "==" else expected == actual)

    def _input(self, number: int) -> str:
        spec = self.suite.specs[number]
        return self._called_with if spec.is_call and self._called_with else spec.input

    def _observed(self) -> dict:
        printed = "".join(answer.printed for answer in self._answers)
        return {"stdout": clip(printed, FIELD_LIMIT), "seconds": sum(answer.seconds for answer in self._answers)}

    @staticmethod
    def _reason(error: BaseException) -> dict:
        """What to record of an exception: the candidate's, where it is one, or that of the test's own code."""
        answer = getattr(error, "answer", None)
        if answer is not None:
            return outcome(answer)
        message = " ".join(str(error).split())
        return {"status": ERROR, "exception": clip(f"{type(error).__name__}: {message}", FIELD_LIMIT)}


def _exception(name: str) -> Exception:
    """An exception of the built-in kind of that name, so that tests may expect it; else a ``RuntimeError``."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        return kind.__new__(kind)
    return RuntimeError(name)


def _shown(expected) -> str:
    """The expected side's value, where it can be had without the candidate's answer."""
    try:
        return show(expected())
    except BaseException:
        return ""


_CHANGEABLE = (list, dict, set, deque, bytearray, tuple)


def _overwrite(target: object, source: object) -> None:
    """Make a mutable value equal to another of its kind, in place and inwards."""
    if type(target) is not type(source):
        return
    if isinstance(target, list) and len(target) == len(source):
        for index, (old, new) in enumerate(zip(target, source)):
            if isinstance(old, _CHANGEABLE) and type(old) is type(new):
                _overwrite(old, new)
            else:
                target[index] = new
    elif isinstance(target, tuple):
        for old, new in zip(target, source):
            _overwrite(old, new)
    elif isinstance(target, _CHANGEABLE):
        target.clear()
        target.update(source) if isinstance(target, dict | set) else target.extend(source)


class FunctionTrial:
    """The judgement of one program whose function is called.

    :meth:`begin` starts its process, :meth:`collect` takes all that needs it, :meth:`verdict` does the rest, for
    which the sandbox need not wait: the next program's trial may have begun.
    """

    def __init__(self, runner: Runner, task_id: str, suite: FunctionSuite, program: Program, final: bool):
        self.task_id, self.suite = task_id, suite
        self._candidate = Candidate(runner, suite, program, final)
        self._answers: list[Answer] = []
        self._tests: list[TestResult] | None = None
        self._unloaded: Answer | None = None

    def begin(self) -> None:
        self._candidate.begin()

    def collect(self) -> None:
        try:
            if self.suite.together:
                self._answers = self._candidate.gather()
            else:
                self._candidate.load()
                self._tests = Examination(self._candidate, []).run()
                self._candidate.close()
        except LoadFailed as failed:
            self._unloaded = failed.answer

    def verdict(self) -> tuple[Verdict, bool]:
        """The verdict, and whether the machine was busy when a limit was hit (it is cut short then, unless final)."""
        self._candidate.close()
        seconds, busy = self._candidate.seconds, self._candidate.busy
        if self._unloaded is not None:
            return _unloaded(self.task_id, self.suite, self._unloaded, seconds), busy
        if self.suite.code is None:
            self._tests = _compared(self.suite, self._answers)
        elif self._tests is None:
            self._tests = Examination(self._candidate, self._answers).run()
        return verdict_of(self.task_id, self._tests, seconds), busy


class StdinTrial:
    """The judgement of one program that reads standard input: it runs once a test.

    After a first time-out, the other tests have equal parts of the reserve.
    """

    def __init__(self, runner: Runner, task_id: str, suite: StdinSuite, program: Program, final: bool):
        self.runner, self.task_id, self.suite, self.program, self.final = runner, task_id, suite, program, final
        self._results: list[TestResult] = []
        self._busy, self._seconds = False, 0.0

    def begin(self) -> None:
        """Nothing: its processes begin and end one by one."""

    def collect(self) -> None:
        limit = self.runner.settings.time_limit
        for text, expected in zip(self.suite.inputs, self.suite.outputs):
            answer, output = self._run(text, expected, limit)
            self._results.append(_printed(answer, output, text, expected))
            if answer.kind == "timeout":
                if self._busy and not self.final:
                    return
                remaining = len(self.suite.inputs) - len(self._results)
                limit = min(limit, self.runner.settings.time_limit * RESERVE / max(1, remaining))

    def _run(self, text: str, expected: str, limit: float) -> tuple[Answer, str]:
        """Run the program on one input: how it ended, and what it printed."""
        job = {"source": self.program.source, "code": self.program.code, "setup": self.suite.setup}
        job |= {"entry": None, "calls": [], "more": False}
        child = Child(self.runner, job, stdin=text, output_limit=4 * len(expected) + OUTPUT_ROOM)
        answer = child.gather([0], limit)[0]
        child.end()
        ending = child.ending()
        self._seconds += ending.seconds
        self._busy = self._busy or (answer.kind == "timeout" and child.busy)
        return replace(ending.explain(answer), seconds=ending.seconds), child.output.decode("utf-8", "replace")

    def verdict(self) -> tuple[Verdict, bool]:
        """As :meth:`FunctionTrial.verdict`."""
        return verdict_of(self.task_id, self._results, self._seconds), self._busy


def _printed(answer: Answer, output: str, text: str, expected: str) -> TestResult:
    """The result of one run of a program that reads standard input."""
    if answer.kind == "value" or answer.payload == EXITED:  # os._exit: the output counts, the exit code does not
        fields = {"status": PASSED if same_output(output, expected) else FAILED}
    else:
        fields = outcome(answer)
    shown = {"input": text, "expected": expected, "actual": output}
    fields |= {name: clip(value, FIELD_LIMIT) for name, value in shown.items()}
    return TestResult(seconds=answer.seconds, **fields)


class _Refused:
    """Stands for the trial of what cannot be tried: its verdict is known."""

    def __init__(self, verdict: Verdict):
        self._verdict = verdict

    def begin(self) -> None: ...

    def collect(self) -> None: ...

    def verdict(self) -> tuple[Verdict, bool]:
        return self._verdict, False


class Desk:
    """A referee's work: messages in, verdicts out, one program in the sandbox while the last one is evaluated.

    In: ``("problem", key, problem)``, ``("job", number, key, sources, alone)``, ``("forget",)``. Out: which layers
    of isolation hold; then ``(number, verdict, busy)`` for each job, in order.
    """

    def __init__(self, connection: Connection, settings: Settings):
        self._connection, self._settings = connection, settings
        self.runner = Runner(settings)
        self._known: dict[bytes, tuple[str, FunctionSuite | StdinSuite | suites.BadProblem]] = {}

    def serve(self) -> None:
        """Work until the judge closes the connection."""
        self._connection.send(self.runner.layers)
        job, trial = self._next(wait=True)
        while True:
            trial = self._safely(job, trial, "collect")
            following = self._next(wait=False)
            trial, answer = self._verdict(job, trial)
            self._connection.send((job[0], *answer))
            job, trial = following or self._next(wait=True)

    def _next(self, wait: bool):
        """The next job and its trial, begun; ``None`` when there is none yet and it is not to ``wait``."""
        while wait or self._connection.poll():
            what, *message = self._connection.recv()
            if what == "job":
                number, key, sources, final = message
                job = (number, *self._known[key], sources, final)
                return job, self._safely(job, self._trial(job), "begin")
            if what == "problem":
                self._read(*message)
            else:
                self._known.clear()
        return None

    def _read(self, key: bytes, problem: Problem) -> None:
        """Read a problem's tests; what is wrong with them will be the verdict on its programs."""
        try:
            self._known[key] = (problem.task_id, suites.read(problem))
        except suites.BadProblem as error:
            self._known[key] = (problem.task_id, error)

    def _trial(self, job: tuple) -> FunctionTrial | StdinTrial | _Refused:
        _, task_id, suite, sources, final = job
        if isinstance(suite, suites.BadProblem):
            return _Refused(Verdict(task_id, ERROR, error=str(suite)))
        try:
            program = compiled(sources)
        except NoProgram as wrong:
            answer = Answer(LOADING, "error", [wrong.name, wrong.message, wrong.line])
            return _Refused(_unloaded(task_id, suite, answer))
        kind = StdinTrial if isinstance(suite, StdinSuite) else FunctionTrial
        return kind(self.runner, task_id, suite, program, final)

    def _verdict(self, job: tuple, trial) -> tuple[object, tuple[Verdict, bool]]:
        try:
            return trial, trial.verdict()
        except SandboxDied:
            trial = self._anew(job)
            return trial, trial.verdict()

    def _safely(self, job: tuple, trial, step: str):
        """Take a step of a trial; when the sandbox is lost over it, the trial as it went in a new one."""
        try:
            getattr(trial, step)()
            return trial
        except SandboxDied:
            return self._anew(job)

    def _anew(self, job: tuple):
        """The whole trial once more, in a new sandbox; if that is lost as well, it is the program's doing."""
        self._replace_runner()
        trial = self._trial(job)
        try:
            trial.begin()
            trial.collect()
            return _Refused(trial.verdict()[0])
        except SandboxDied:
            self._replace_runner()
            return _Refused(Verdict(job[1], CRASHED, error="crashed (the sandbox was lost twice)"))

    def _replace_runner(self) -> None:
        self.runner.close()
        self.runner = Runner(self._settings)


def serve(connection: Connection, settings: Settings) -> None:
    """A referee's process, until the judge closes the connection."""
    sys.set_int_max_str_digits(0)  # APPS has integers of thousands of digits
    desk = Desk(connection, settings)
    try:
        desk.serve()
    except (EOFError, ConnectionError):
        pass  # the judge has ended
    finally:
        desk.runner.close()
