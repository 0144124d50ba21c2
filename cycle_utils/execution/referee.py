"""Judges one program at a time: asks the candidate, runs the tests' own code, makes the verdict.

This runs in a trusted process of its own (:func:`serve`), one a worker. Tests are evaluated here, on plain
values; the candidate runs elsewhere.
"""

from __future__ import annotations

import builtins
import contextlib
import random
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FunctionType

from cycle_utils.execution import suite as suites
from cycle_utils.execution.candidate import RESERVE, Candidate, LoadFailed
from cycle_utils.execution.compare import same_output, same_value
from cycle_utils.execution.feedback import FIELD_LIMIT, TESTS, TIME_OUT, clip, show
from cycle_utils.execution.mirror import Outside, Reference
from cycle_utils.execution.program import NoProgram, Program, compiled
from cycle_utils.execution.runner import EXITED, LOADING, Answer, Child, Runner, SandboxDied, Settings
from cycle_utils.execution.suite import FunctionSuite, StdinSuite
from cycle_utils.execution.verdict import CRASHED, ERROR, FAILED, PASSED, TIMEOUT, TestResult, Verdict, verdict_of
from cycle_utils.problems import Problem

ENTRY = 0  # the number of the function under test, known to both sides of the border
OWN_SECONDS, OWN_FACTOR = 10.0, 3.0  # of this process over one program: CPU seconds, or so many limits if that is more
OWN_MEMORY = 4 << 30  # bytes of address space of this process
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
            right = _is_same(answer.payload, expected)
            fields |= {"status": PASSED if right else FAILED, "actual": show(answer.payload)}
        else:
            fields |= outcome(answer)
        results.append(TestResult(**fields))
    return results


def _is_same(actual: object, expected: object) -> bool:
    """Whether a call-based test passed. What cannot be compared (an array, a signalling NaN) is not the same."""
    try:
        return same_value(actual, expected)
    except Exception:
        return False


class Examination:
    """One run of a problem's judging code against one candidate.

    Args:
        candidate: whom the code's calls go to.
        early: the answers that are known already, by their question; ``None``: all is to be asked in a talk.
    """

    def __init__(self, candidate: Candidate, early: Sequence[Answer] | None):
        self.candidate, self.suite, self._early = candidate, candidate.suite, early
        self.results: list[TestResult | None] = [None] * len(self.suite.specs)
        self._answers: list[Answer] = []  # of the test that is being evaluated
        self._called_with = ""
        self._stdout = sys.stdout
        self._space = {"__name__": TESTS, "__test__": self._test, "__answer__": self._answer, "__call__": self._call}
        self._space["__name_of_program__"] = self._name

    def run(self) -> list[TestResult]:
        """Evaluate all tests; those that the code never reached share the reason that stopped it, if any did."""
        reason = {"status": PASSED}
        random.seed(0)
        try:
            exec(self.suite.own_setup, self._space)
            self._space["candidate"] = Entry(self._call, self._entry)
            if self._early is None:
                self.candidate.talk(self._border)
                self._space[self.suite.entry_point] = self._space["candidate"]
            exec(self.suite.code, self._space)
        except LoadFailed:
            raise
        except BaseException as error:
            reason = self._reason(error)
            if _RESULT in error.__dict__:
                number, result = error.__dict__[_RESULT]
                self.results[number] = result
        finally:
            sys.stdout = self._stdout
        specs = self.suite.specs
        return [result or TestResult(input=spec.input, **reason) for result, spec in zip(self.results, specs)]

    def _border(self) -> Outside:
        """The judge's end of the border to a new process; what is left of an old one has no one to ask."""

        def ask(what: str, *arguments: object) -> object:
            if self.candidate.border is not border:
                raise self._gone(self.candidate.lost)
            return self._value(self.candidate.do(what, list(arguments)))

        border = Outside(ask, self._space)
        border.keep(self._space["candidate"], ENTRY)
        return border

    def _ready(self) -> Outside:
        """The border to a process that can be asked.

        Raises:
            CandidateGone: there can be none.
        """
        reason = self.candidate.ready()
        if reason is not None:
            raise self._gone(reason)
        return self.candidate.border

    def _entry(self, name: str) -> object:
        """An attribute of the function under test."""
        return self._ready().ask("getattr", FUNCTION, name)

    def _name(self, name: str) -> object:
        """What the program's global name stands for.

        Raises:
            NameError: the program has none.
        """
        try:
            return self._ready().ask("name", name)
        except KeyError:
            raise NameError(f"name {name!r} is not defined") from None

    def _answer(self, index: int) -> object:
        """The value of a question; raises what the candidate raised, or :class:`CandidateGone`."""
        return self._value(self.candidate.question(index) if self._early is None else self._early[index])

    def _call(self, *args: object, **kwargs: object) -> object:
        """Stands for the candidate in the tests' code. Arguments that it changes in place change here, too."""
        self._called_with = suites.call_text(self.suite.entry_point, list(args), kwargs)
        return self._ready().ask("call", FUNCTION, args, tuple(kwargs.items()))

    def _value(self, answer: Answer) -> object:
        self._answers.append(answer)
        if answer.printed and sys.stdout is not self._stdout:  # a test reads what is printed
            sys.stdout.write(answer.printed)
        if answer.kind == "value":
            return answer.payload
        if answer.kind != "error":
            raise self._gone(answer)
        error = answer.error or _exception(answer.payload[0])
        error.__dict__[_ANSWER] = answer
        raise error

    @staticmethod
    def _gone(answer: Answer) -> CandidateGone:
        gone = CandidateGone()
        gone.__dict__[_ANSWER] = answer
        return gone

    def _test(self, number: int, actual, expected, how: str, is_guarded: bool = False) -> None:
        """Evaluate one assertion, and record it. In a loop, the first that fails stays.

        Where the test's own ``try`` or ``with`` stands around it (``is_guarded``), it raises as an assertion does, and
        what becomes of that is the test's affair.
        """
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
            raised = None if right else AssertionError()
        except BaseException as error:
            raised, fields = error, {**self._reason(error), "expected": _shown(expected)}
        result = TestResult(input=self._input(number), **self._observed(), **fields)
        if raised is not None and is_guarded:
            raised.__dict__.setdefault(_RESULT, (number, result))
            raise raised
        self.results[number] = result

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
        answer = error.__dict__.get(_ANSWER)
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


# Where an exception carries the answer that it came with, and the result of the assertion that it stopped.
_ANSWER, _RESULT = "__answer_of_the_program__", "__result_of_the_assertion__"
FUNCTION = Reference(ENTRY)  # under test, in the program's process


class Entry:
    # The function under test, in the tests' code. Without a docstring: it has the function's.

    def __init__(self, call: Callable, attribute: Callable):
        self.__dict__["__call"], self.__dict__["__attribute"] = call, attribute

    @property
    def __class__(self) -> type:
        return FunctionType

    @property
    def __doc__(self) -> str | None:
        return self.__dict__["__attribute"]("__doc__")

    def __call__(self, *args, **kwargs):
        return self.__dict__["__call"](*args, **kwargs)

    def __getattr__(self, name: str):
        return self.__dict__["__attribute"](name)


class FunctionTrial:
    """The judgement of one program whose function is called.

    :meth:`begin` starts its process, :meth:`collect` takes all that needs it, :meth:`verdict` does the rest, for
    which the sandbox need not wait: the next program's trial may have begun.
    """

    def __init__(self, runner: Runner, task_id: str, suite: FunctionSuite, program: Program, final: bool, limit: float):
        self.task_id, self.suite = task_id, suite
        self._candidate = Candidate(runner, suite, program, final, limit)
        self._again = Candidate(runner, suite, program, final, limit)  # for a talk, where plain values do not do
        self._answers: list[Answer] = []
        self._tests: list[TestResult] | None = None
        self._unloaded: Answer | None = None

    def begin(self) -> None:
        if self.suite.together:
            self._candidate.begin()

    def collect(self) -> None:
        try:
            if self.suite.together:
                self._answers = self._candidate.gather()
            if not self.suite.together or any(answer.kind == "object" for answer in self._answers):
                self._candidate.close()
                self._tests = Examination(self._again, None).run()
                self._again.close()
        except LoadFailed as failed:
            self._unloaded = failed.answer

    def verdict(self) -> tuple[Verdict, bool]:
        """The verdict, and whether the machine was busy when a limit was hit (it is cut short then, unless final)."""
        self._candidate.close()
        self._again.close()
        seconds = self._candidate.seconds + self._again.seconds
        busy = self._candidate.busy or self._again.busy
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

    def __init__(self, runner: Runner, task_id: str, suite: StdinSuite, program: Program, final: bool, limit: float):
        self.runner, self.task_id, self.suite, self.program = runner, task_id, suite, program
        self._final, self._limit = final, limit
        self._results: list[TestResult] = []
        self._busy, self._seconds = False, 0.0

    def begin(self) -> None:
        """Nothing: its processes begin and end one by one."""

    def collect(self) -> None:
        limit = self._limit
        for text, expected in zip(self.suite.inputs, self.suite.outputs):
            answer, output = self._run(text, expected, limit)
            self._results.append(_printed(answer, output, text, expected))
            if answer.kind == "timeout":
                if self._busy and not self._final:
                    return
                remaining = len(self.suite.inputs) - len(self._results)
                limit = min(limit, self._limit * RESERVE / max(1, remaining))

    def _run(self, text: str, expected: str, limit: float) -> tuple[Answer, str]:
        """Run the program on one input: how it ended, and what it printed."""
        job = {"source": self.program.source, "code": self.program.code, "setup": self.suite.setup}
        job |= {"entry": None, "prelude": b"", "calls": [], "more": False}
        room = 4 * len(expected) + OUTPUT_ROOM
        child = Child(self.runner, job, stdin=text, output_limit=room, time_limit=self._limit)
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


@contextlib.contextmanager
def own_time(limit: float) -> Iterator[None]:
    """Bounds the CPU time of this process over one program: what a value makes the tests' code do may never end.

    The first bound is a time-out, raised wherever the tests' code is. Where that is not heard, because a single step
    of the interpreter takes for ever, the second ends the process, which the judge replaces.

    Raises:
        CandidateGone: the first bound was hit.
    """
    bound = max(OWN_SECONDS, OWN_FACTOR * limit)
    signal.setitimer(signal.ITIMER_PROF, bound, 1.0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * bound)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _out_of_time(*_: object) -> None:
    raise Examination._gone(Answer(LOADING, "timeout"))


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

    In: ``("problem", key, problem, suite)`` (the suite as it was read before, or ``None``), ``("job", number, key,
    sources, alone)``, ``("forget",)``. Out: which layers of isolation hold; then ``(number, verdict, busy)`` for each
    job, in order, and ``("read", key, suite)`` when a suite was read that may be kept for others.
    """

    def __init__(self, connection: Connection, settings: Settings):
        self._connection, self._settings = connection, settings
        self.runner = Runner(settings)
        self._known: dict[bytes, tuple[str, FunctionSuite | StdinSuite | suites.BadProblem, float]] = {}

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

    def _read(self, key: bytes, problem: Problem, known: bytes | None) -> None:
        """Read a problem's tests; what is wrong with them will be the verdict on its programs."""
        try:
            suite = suites.read(problem) if known is None else suites.unpacked(known)
            if known is None and (data := suites.packed(suite)) is not None:
                self._connection.send(("read", key, data))
        except suites.BadProblem as error:
            suite = error
        except Exception as error:  # a problem is data, too: no form of it may end this process
            suite = suites.BadProblem(f"{problem.task_id}: its tests cannot be read ({type(error).__name__}: {error}).")
        self._known[key] = (problem.task_id, suite, max(self._settings.time_limit, problem.time_limit or 0.0))

    def _trial(self, job: tuple) -> FunctionTrial | StdinTrial | _Refused:
        _, task_id, suite, limit, sources, final = job
        if isinstance(suite, suites.BadProblem):
            return _Refused(Verdict(task_id, ERROR, error=str(suite)))
        try:
            program = compiled(sources)
        except NoProgram as wrong:
            answer = Answer(LOADING, "error", [wrong.name, wrong.message, wrong.line])
            return _Refused(_unloaded(task_id, suite, answer))
        kind = StdinTrial if isinstance(suite, StdinSuite) else FunctionTrial
        return kind(self.runner, task_id, suite, program, final, limit)

    def _verdict(self, job: tuple, trial) -> tuple[object, tuple[Verdict, bool]]:
        try:
            with own_time(self._settings.time_limit):
                return trial, trial.verdict()
        except SandboxDied:
            trial = self._anew(job)
        except (Exception, CandidateGone) as error:
            trial = self._unjudged(job, error)
        return trial, trial.verdict()

    def _safely(self, job: tuple, trial, step: str):
        """Take a step of a trial; when the sandbox is lost over it, the trial as it went in a new one."""
        try:
            with own_time(self._settings.time_limit):
                getattr(trial, step)()
            return trial
        except SandboxDied:
            return self._anew(job)
        except (Exception, CandidateGone) as error:
            return self._unjudged(job, error)

    def _unjudged(self, job: tuple, error: BaseException) -> _Refused:
        """The verdict on a program whose answers cannot be handled here: it costs no other program anything."""
        self._replace_runner()
        if isinstance(error, CandidateGone):
            return _Refused(Verdict(job[1], TIMEOUT, error=TIME_OUT))
        return _Refused(Verdict(job[1], ERROR, error=f"the answer cannot be judged ({type(error).__name__})"))

    def _anew(self, job: tuple):
        """The whole trial once more, in a new sandbox; if that is lost as well, it is the program's doing."""
        self._replace_runner()
        trial = self._trial(job)
        try:
            with own_time(self._settings.time_limit):
                trial.begin()
                trial.collect()
                return _Refused(trial.verdict()[0])
        except (SandboxDied, Exception, CandidateGone):
            self._replace_runner()
            return _Refused(Verdict(job[1], CRASHED, error="crashed (the sandbox was lost twice)"))

    def _replace_runner(self) -> None:
        self.runner.close()
        self.runner = Runner(self._settings)


def serve(connection: Connection, settings: Settings) -> None:
    """A referee's process, until the judge closes the connection."""
    signal.signal(signal.SIGPROF, _out_of_time)
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None  # generators of programs that are gone end as they may
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (OWN_MEMORY if hard == resource.RLIM_INFINITY else min(OWN_MEMORY, hard), hard)
    )
    sys.set_int_max_str_digits(0)  # APPS has integers of thousands of digits
    desk = Desk(connection, settings)
    try:
        desk.serve()
    except (EOFError, ConnectionError):
        pass  # the judge has ended
    finally:
        desk.runner.close()
