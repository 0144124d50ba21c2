"""The judge: programs in, verdicts out."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cycle_utils.execution import program
from cycle_utils.execution.isolation import require
from cycle_utils.execution.pool import Job, Pool
from cycle_utils.execution.runner import Settings
from cycle_utils.execution.verdict import ERROR, TIMEOUT, Verdict
from cycle_utils.problems import Problem

# A limit of which a known solution needs more than a quarter is stretched to four times what it needs [EvalPlus].
REFERENCE_FACTOR, REFERENCE_LIMIT, REFERENCES = (
    4.0,
    20.0,
    2,
)  # and the limit of that solution, over the judge's own; tried
LEAST_MEMORY_MB = 64  # Python itself needs about half of this
DEFAULTS: dict[str, Any] = {
    "workers": 2, "time_limit": 3.0, "memory_limit_mb": 1024, "packages": ("numpy",), "allow_unisolated": False,
}  # fmt: skip
OPTIONS = "CYCLE_JUDGE"  # environment variable: what judges are told that are given nothing else
_KINDS = {int: "a whole number", float: "a number", tuple: "a list of names", bool: "true or false"}


def from_environment() -> dict[str, Any]:
    """The options in :data:`OPTIONS`, a JSON object such as ``{"workers": 8, "allow_unisolated": true}``.

    Raises:
        ValueError: it is none, or has an option that a judge does not know, or of another type.
    """
    text = os.environ.get(OPTIONS) or "{}"
    try:
        given = dict(json.loads(text))
    except (TypeError, ValueError):
        raise ValueError(f"{OPTIONS} is {text!r}; give a JSON object of {', '.join(DEFAULTS)}") from None
    for name, value in given.items():
        if name not in DEFAULTS:
            raise ValueError(f"{OPTIONS} has {name!r}; a judge has {', '.join(DEFAULTS)}")
        kind = type(DEFAULTS[name])
        if type(value) not in {float: (int, float), tuple: (list,)}.get(kind, (kind,)):
            raise ValueError(f"{OPTIONS} has {name} {value!r}; give {_KINDS[kind]}")
    return given


def limits() -> dict[str, Any]:
    """Those of :func:`from_environment` on which verdicts depend."""
    return {name: value for name, value in from_environment().items() if name not in ("workers", "allow_unisolated")}


class Judge:
    """Judges programs in isolated processes. Use it in a ``with`` statement, or call :meth:`close`.

    What is not given is as the environment variable :data:`OPTIONS` says, else as :data:`DEFAULTS`.

    Args:
        workers: programs judged at the same time.
        time_limit: seconds of a program's own time (CPU and sleep, not the waiting for a CPU); all tests of a
            function together, each test of a program that reads standard input. A problem that allows more
            (``Problem.time_limit``), or whose own solution needs more on this machine, gets more.
        memory_limit_mb: MiB of address space of a program.
        packages: installed packages that programs may import, besides the standard library. Few by default: a
            verdict should not depend on what else is installed.
        without: layers of isolation to leave out, by their names in :func:`isolation_report`: to measure their cost.
        allow_unisolated: go on where the machine cannot isolate programs (see :func:`isolation_report`).

    Raises:
        ValueError: an argument is out of range.
        IsolationError: an essential layer of isolation is missing, and ``allow_unisolated`` was not given.
    """

    def __init__(
        self,
        workers: int | None = None,
        time_limit: float | None = None,
        memory_limit_mb: int | None = None,
        packages: Sequence[str] | None = None,
        allow_unisolated: bool | None = None,
        without: Sequence[str] = (),
    ):
        asked = (workers, time_limit, memory_limit_mb, packages, allow_unisolated)
        own = {name: value for name, value in zip(DEFAULTS, asked) if value is not None}
        workers, time_limit, memory_limit_mb, packages, allow_unisolated = (
            DEFAULTS | from_environment() | own
        ).values()
        if workers < 1:
            raise ValueError(f"workers={workers}: give at least 1.")
        if not time_limit > 0:
            raise ValueError(f"time_limit={time_limit}: give a number of seconds above 0.")
        if memory_limit_mb < LEAST_MEMORY_MB:
            raise ValueError(f"memory_limit_mb={memory_limit_mb}: give at least {LEAST_MEMORY_MB}.")
        self._settings = Settings(float(time_limit), int(memory_limit_mb), tuple(packages), tuple(without))
        self._references: dict[bytes, float] = {}
        self._pool = Pool(workers, self._settings)
        try:
            self._pool.start()
            if not allow_unisolated:
                require(self._pool.workers[0].layers)
        except BaseException:
            self._pool.close()
            raise

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and remove all temporary files."""
        self._pool.close()

    def run(
        self,
        problems: Sequence[Problem],
        completions: Sequence[str],
        progress: bool = False,
        save_to: str | Path | None = None,
    ) -> list[Verdict]:
        """Judge the i-th completion as an answer to the i-th problem; the verdicts in that order.

        Identical programs of a problem are judged once. What cannot be judged (a problem without tests, a
        completion that is not text) gets a verdict ``error`` that says so, and the rest is judged.

        Args:
            progress: show a progress bar with programs a second.
            save_to: a JSON-lines file to which each verdict is added as it comes. Verdicts that are there already
                (same problem, program and limits) are taken from it, so that an interrupted batch goes on.

        Raises:
            ValueError: problems and completions differ in number.
        """
        if len(problems) != len(completions):
            raise ValueError(f"{len(problems)} problems and {len(completions)} completions: give one for each.")
        batch = _Batch(problems, completions, self._settings, progress, Record(save_to))
        try:
            batch.settle_known()
            late = []
            for job, verdict, busy in self._pool.judge(batch.jobs()):
                if _timed_out(verdict):
                    late.append((job, verdict, busy))
                else:
                    batch.settle(job, verdict)
            alone = list(self._once_more(batch, late))
            for job, verdict, _ in self._pool.judge(alone, workers=1):  # nothing of ours beside it
                batch.settle(job, verdict)
        except BaseException:
            self._pool.close()  # answers may be under way: the next run begins with new processes
            raise
        finally:
            batch.close()
        return batch.verdicts

    def _once_more(self, batch: _Batch, late: list[tuple[Job, Verdict, bool]]) -> Iterator[Job]:
        """The jobs that are to be judged again, of those that hit the limit; the others' verdicts are final.

        Again are judged, alone, those that hit it on a busy machine, and those whose problem's own solution needs
        so much of it on this machine that the limit says nothing.
        """
        for job, verdict, busy in late:
            problem = batch.problem(job)
            limit = REFERENCE_FACTOR * self._reference_seconds(problem)
            if limit > max(self._settings.time_limit, problem.time_limit or 0.0):
                slim = replace(_slim(problem), time_limit=limit)
                yield replace(job, problem=slim, key=_content(slim), alone=True)
            elif busy:
                yield replace(job, alone=True)
            else:
                batch.settle(job, verdict)

    def _reference_seconds(self, problem: Problem) -> float:
        """Seconds, of what the limit counts, that a known solution of a problem takes on this machine; 0: unknown."""
        key = _content(problem)
        if key not in self._references:
            slim = replace(_slim(problem), time_limit=REFERENCE_LIMIT * self._settings.time_limit)
            sources = [program.readings(problem, solution) for solution in problem.canonical_solutions[:REFERENCES]]
            jobs = [Job(i, _content(slim), slim, source, alone=True) for i, source in enumerate(sources)]
            found = [verdict for _, verdict, _ in self._pool.judge(jobs, workers=1) if verdict.passed]
            self._references[key] = min((_slowest(problem, verdict) for verdict in found), default=0.0)
        return self._references[key]


def _slowest(problem: Problem, verdict: Verdict) -> float:
    """What counts against the limit: all tests of a function together, each run of a program that reads input."""
    return verdict.seconds if problem.entry_point else max(test.seconds for test in verdict.tests)


def _timed_out(verdict: Verdict) -> bool:
    return verdict.status == TIMEOUT or any(test.status == TIMEOUT for test in verdict.tests)


@dataclass
class _Group:
    """All places in a batch of one program of one problem."""

    key: bytes
    problem: Problem
    completion: str
    places: list[int] = field(default_factory=list)


class _Batch:
    """One call of :meth:`Judge.run`: what is asked, what is known, what remains."""

    def __init__(self, problems, completions, settings: Settings, progress: bool, record: Record):
        self.verdicts: list[Verdict | None] = [None] * len(problems)
        self._limits = repr(asdict(settings)).encode()
        self._record = record
        self._bar = _progress_bar(len(problems)) if progress else None
        self._groups = list(self._grouped(problems, completions).values())

    @staticmethod
    def _grouped(problems, completions) -> dict[tuple, _Group]:
        """Equal programs together, and the programs of a problem one after another."""
        keys = {id(problem): _content(problem) for problem in problems}
        groups: dict[tuple, _Group] = {}
        for place, (problem, completion) in enumerate(zip(problems, completions)):
            key = keys[id(problem)]
            name = (key, completion if isinstance(completion, str) else repr(completion))
            groups.setdefault(name, _Group(key, problem, completion)).places.append(place)
        order = {key: i for i, key in enumerate(dict.fromkeys(group.key for group in groups.values()))}
        return dict(sorted(groups.items(), key=lambda item: order[item[1].key]))

    def settle_known(self) -> None:
        """Give a verdict to all that needs no judging: what the record has, and what is no program."""
        for number, group in enumerate(self._groups):
            known = self._record.known.get(self._name(number))
            wrong = _why_no_program(group.completion)
            if known is not None:
                self._put(group, known)
            elif wrong:
                self._put(group, Verdict(group.problem.task_id, ERROR, error=wrong))

    def jobs(self) -> list[Job]:
        """What there is to judge."""
        return [
            Job(number, group.key, _slim(group.problem), program.readings(group.problem, group.completion))
            for number, group in enumerate(self._groups)
            if self.verdicts[group.places[0]] is None
        ]

    def problem(self, job: Job) -> Problem:
        """The whole problem that a job is about."""
        return self._groups[job.number].problem

    def settle(self, job: Job, verdict: Verdict) -> None:
        """Take a verdict."""
        self._record.add(self._name(job.number), verdict)
        self._put(self._groups[job.number], verdict)

    def _put(self, group: _Group, verdict: Verdict) -> None:
        for place in group.places:
            self.verdicts[place] = verdict
        if self._bar is not None:
            self._bar.update(len(group.places))

    def _name(self, number: int) -> str:
        """What a record knows a judgement by: problem, program and limits."""
        group = self._groups[number]
        parts = (group.key, repr(group.completion).encode(), self._limits)
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def close(self) -> None:
        self._record.close()
        if self._bar is not None:
            self._bar.close()


class Record:
    """Verdicts in a JSON-lines file, added one by one. Without a path it keeps nothing."""

    def __init__(self, path: str | Path | None):
        self.known: dict[str, Verdict] = {}
        self._file = None
        if path is None:
            return
        path = Path(path)
        if path.exists():
            self._read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+", encoding="utf-8")
        self._end_last_line(path)

    def _read(self, path: Path) -> None:
        """Take what whole lines there are; the last one may have been cut off."""
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                    self.known[entry["key"]] = Verdict.from_dict(entry["verdict"])
                except (ValueError, KeyError, TypeError):
                    continue

    def _end_last_line(self, path: Path) -> None:
        data = path.read_bytes()[-1:]
        if data not in (b"", b"\n"):
            self._file.write("\n")

    def add(self, key: str, verdict: Verdict) -> None:
        """Write one verdict, at once."""
        if self._file is not None:
            self._file.write(json.dumps({"key": key, "verdict": verdict.to_dict()}) + "\n")
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _why_no_program(completion: object) -> str | None:
    """Why a completion cannot be run, in one sentence, or ``None``."""
    if not isinstance(completion, str):
        return f"The completion is a {type(completion).__name__}: give text."
    try:
        completion.encode("utf-8")
    except UnicodeEncodeError:
        return "The completion is no valid UTF-8 (it holds a lone surrogate): decode it with errors='replace'."
    return None


def _content(problem: Problem) -> bytes:
    """What of a problem decides its verdicts, as bytes that are equal when it is equal."""
    tests = [test if isinstance(test, str) else dict(test) for test in problem.tests]
    content = [problem.task_id, problem.prompt, problem.entry_point, problem.setup, tests]
    content += [] if problem.time_limit is None else [problem.time_limit]
    content = tuple(content)
    try:
        return marshal.dumps(content, 2)  # version 2: by value, without references to objects
    except ValueError:
        return pickle.dumps(content)


def _slim(problem: Problem) -> Problem:
    """The problem without what judging it does not need."""
    return replace(problem, canonical_solutions=(), public_tests=(), meta={})


def _progress_bar(total: int):
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="program", desc="judging")
