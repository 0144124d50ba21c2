"""The referees' processes, and the batch that is divided among them.

Nothing is lost when a referee is killed: it is replaced, and its programs are judged again. A program that
takes its referee down twice is called crashed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic

from cycle_utils.execution.runner import WALL_EXTRA, WALL_FACTOR, Settings
from cycle_utils.execution.verdict import CRASHED, Verdict
from cycle_utils.problems import Problem

# A referee needs none of what ``import cycle_utils`` may load, so an empty package stands in for it.
_BOOT = """\
import json, sys, types
package = types.ModuleType("cycle_utils")
package.__path__ = [sys.argv[1]]
sys.modules["cycle_utils"] = package
from multiprocessing.connection import Connection
from cycle_utils.execution.referee import serve
from cycle_utils.execution.runner import Settings
serve(Connection(int(sys.argv[2])), Settings(**json.loads(sys.argv[3])))
"""
_PACKAGE = Path(__file__).resolve().parents[1]
CHUNK = 8  # programs of one problem that go to the same referee: it reads a problem's tests once
KNOWN_PROBLEMS = 1000  # whose tests a referee keeps, read, from one batch to the next
LOSSES = 2  # referees that a program may take down before it is called crashed
GRACE = 30.0  # seconds beyond all limits before a referee counts as hung


# The tests of problems, read, by the problems' keys: what one referee has read no other needs to, nor a later judge's.
_SUITES: dict[bytes, bytes] = {}


class WorkerLost(RuntimeError):
    """A referee's process has ended."""


@dataclass(frozen=True)
class Job:
    """One program to judge.

    Attributes:
        number: its number in the batch.
        key: what its problem is known by.
        sources: the program's possible readings.
        alone: whether nothing else is judged meanwhile, so that a time-out is final.
    """

    number: int
    key: bytes
    problem: Problem
    sources: list[str]
    alone: bool = False


class Worker:
    """One referee's process, and the jobs that it has been given.

    Attributes:
        layers: which layers of isolation hold; see :mod:`cycle_utils.execution.isolation`.
        jobs: jobs given and not yet answered, in order.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix=f"cycle-judge-{os.getpid()}-", ignore_cleanup_errors=True)
        self.connection, theirs = Pipe()
        arguments = [str(_PACKAGE), str(theirs.fileno()), json.dumps(asdict(settings))]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-B", "-c", _BOOT, *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "TZ": "UTC", "TMPDIR": self._folder.name},
            start_new_session=True,  # Ctrl-C is the judge's to handle
        )
        theirs.close()
        self.jobs: deque[Job] = deque()
        self._known: set[bytes] = set()
        self._deadline = 0.0
        self.layers: dict[str, str] = self._receive()

    @property
    def pid(self) -> int:
        return self._process.pid

    def give(self, jobs: list[Job]) -> None:
        """Add jobs to the referee's queue.

        Raises:
            WorkerLost: it has ended; the jobs are in ``self.jobs`` all the same.
        """
        if not self.jobs:
            self._extend_deadline(jobs[0])
        self.jobs.extend(jobs)
        try:
            for job in jobs:
                if job.key not in self._known:
                    self._make_room()
                    self._known.add(job.key)
                    self.connection.send(("problem", job.key, job.problem, _SUITES.get(job.key)))
                self.connection.send(("job", job.number, job.key, job.sources, job.alone))
        except OSError as error:
            raise WorkerLost from error

    def answer(self) -> tuple[Job, Verdict, bool] | None:
        """The next verdict, with its job, and whether the machine was busy when a limit was hit.

        ``None`` where it was a problem's tests, read, that came instead: they are kept for all referees.

        Raises:
            WorkerLost: the referee has ended.
        """
        number, *found = self._receive()
        if number == "read":
            _SUITES[found[0]] = found[1]
            while len(_SUITES) > KNOWN_PROBLEMS:
                del _SUITES[next(iter(_SUITES))]
            return None
        verdict, busy = found
        job = self.jobs.popleft()
        assert job.number == number
        if self.jobs:
            self._extend_deadline(self.jobs[0])
        return job, verdict, busy

    def _receive(self):
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerLost from error

    def _extend_deadline(self, job: Job) -> None:
        """The next job has begun: estimate when even the slowest judgement of it must have ended."""
        limit = max(self._settings.time_limit, job.problem.time_limit or 0.0)
        each = WALL_FACTOR * limit + WALL_EXTRA
        self._deadline = monotonic() + GRACE + each * (2 + len(job.problem.tests))

    @property
    def hung(self) -> bool:
        """Whether the current job has taken longer than all its limits together."""
        return bool(self.jobs) and monotonic() > self._deadline

    def _make_room(self) -> None:
        """Let the referee drop the problems it knows when they are many."""
        if len(self._known) >= KNOWN_PROBLEMS:
            self._known.clear()
            self.connection.send(("forget",))

    def close(self) -> None:
        """End the referee; at once where it is at work or does not answer. Its sandbox ends with it."""
        self.connection.close()
        if self.jobs:
            self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


class Pool:
    """A number of referees, replaced as they are lost."""

    def __init__(self, size: int, settings: Settings):
        self.size, self.settings = size, settings
        self.workers: list[Worker] = []
        self._losses: dict[int, int] = {}

    def start(self) -> None:
        """Bring the pool to its size."""
        while len(self.workers) < self.size:
            self.workers.append(Worker(self.settings))

    def close(self) -> None:
        """End all referees."""
        while self.workers:
            self.workers.pop().close()

    def judge(self, jobs: list[Job], workers: int | None = None) -> Iterator[tuple[Job, Verdict, bool]]:
        """Judge jobs on ``workers`` referees (default: all), and yield what comes back, as it comes."""
        self.start()
        self._losses = {}
        todo = deque(_chunks(jobs))
        active = self.workers[:workers]
        while todo or any(worker.jobs for worker in active):
            for worker in list(active):
                if todo and len(worker.jobs) <= 1:  # one lies ready while another is judged
                    self._attempt(active, worker, todo, lambda worker=worker: worker.give(todo.popleft()))
            waiting = {worker.connection: worker for worker in active if worker.jobs}
            for connection in wait(list(waiting), timeout=1.0):
                worker = waiting[connection]
                answer = self._attempt(active, worker, todo, worker.answer)
                if answer is not None:
                    yield answer
            yield from self._given_up(todo)
            for worker in [worker for worker in active if worker.hung]:
                self._replace(active, worker, todo)

    def _attempt(self, active: list[Worker], worker: Worker, todo: deque, action):
        """Do something with a worker; replace it if it turns out to be lost."""
        try:
            return action()
        except (WorkerLost, OSError):
            self._replace(active, worker, todo)
            return None

    def _replace(self, active: list[Worker], worker: Worker, todo: deque) -> None:
        """A new worker for a lost one. The job it was at goes first, alone; the others follow."""
        jobs = list(worker.jobs)
        worker.close()
        fresh = Worker(self.settings)
        active[active.index(worker)] = fresh
        self.workers[self.workers.index(worker)] = fresh
        if jobs:
            self._losses[jobs[0].number] = self._losses.get(jobs[0].number, 0) + 1
            todo.extendleft(reversed([jobs[:1], *_chunks(jobs[1:])]))

    def _given_up(self, todo: deque) -> Iterator[tuple[Job, Verdict, bool]]:
        """Verdicts on the jobs that have taken down too many referees."""
        for chunk in [chunk for chunk in todo if self._losses.get(chunk[0].number, 0) >= LOSSES]:
            todo.remove(chunk)
            reason = "crashed (its answers could not be handled)"
            yield chunk[0], Verdict(chunk[0].problem.task_id, CRASHED, error=reason), False


def _chunks(jobs: list[Job]) -> list[list[Job]]:
    """Jobs in order, in runs of one problem."""
    chunks: list[list[Job]] = []
    for job in jobs:
        if chunks and len(chunks[-1]) < CHUNK and chunks[-1][0].key == job.key:
            chunks[-1].append(job)
        else:
            chunks.append([job])
    return chunks
