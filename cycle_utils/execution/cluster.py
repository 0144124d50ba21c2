"""Independent pieces of work on several processes or machines, through joblib: judging, and the runs of a sweep.

By default the processes are this machine's. Where the address of a Dask scheduler is given (``scheduler=`` or the
variable ``CYCLE_SCHEDULER``, such as ``tcp://host:8786``), they are that cluster's, and the piece of a worker that died
is done again by another. Start workers with one thread each (``dask worker ADDRESS --nthreads 1``), in an environment
with this package; for runs, ``CYCLE_HOME`` must be a folder that all machines share.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.parallel import ParallelBackendBase
from tqdm.auto import tqdm
from transformers.utils import logging as transformers_logging

from cycle_utils.execution import Judge, Verdict
from cycle_utils.execution.judge import DEFAULTS, from_environment
from cycle_utils.problems import Problem

OURS = "CYCLE_"  # how environment variables begin that pieces must see
SCHEDULER = "CYCLE_SCHEDULER"  # environment variable: the cluster's address
PATIENCE = 10  # seconds that a scheduler has to answer
CHUNK = 200  # programs judged in one piece: a judge takes half a second to start and a program some milliseconds


class NoCluster(RuntimeError):
    """The cluster that was asked for cannot be used."""


def each(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int = 1, scheduler: str | None = None,
    progress: bool = True, what: str = "pieces",
) -> list[Any]:  # fmt: skip
    """``function`` of each item, in the order of the items.

    A local process computes with one thread: two processes of two threads on two cores stall each other, and two of one
    thread do more than one of two.

    Args:
        function: of one argument, importable by name.
        workers: processes of this machine, where no cluster does the work.
        scheduler: the cluster's address; by default what ``CYCLE_SCHEDULER`` says, if anything.
        what: the items' name, for the progress bar.

    Raises:
        NoCluster: Dask is not installed, or no scheduler answers at the address.
        Exception: what a piece raised, with a note that says which it was; other pieces that were begun are lost.
    """
    items, scheduler = list(items), scheduler or os.environ.get(SCHEDULER)
    variables = {name: value for name, value in os.environ.items() if name.startswith(OURS) and name != SCHEDULER}
    bar = partial(tqdm, desc=what, total=len(items), disable=not (progress and items), leave=False)
    if not scheduler and (workers <= 1 or len(items) <= 1):
        return [_piece(function, item, i) for i, item in enumerate(bar(items))]
    with _backend(workers, scheduler):
        parallel = Parallel(return_as="generator", batch_size=1, pre_dispatch="all")
        done = parallel(delayed(_far_piece)(variables, function, item, i) for i, item in enumerate(items))
        return list(bar(done))


def _piece(function: Callable[[Any], Any], item: Any, index: int) -> Any:
    try:
        return function(item)
    except Exception as error:
        error.add_note(f"in piece {index}: {str(item)[:300]}")
        raise


def _far_piece(variables: Mapping[str, str], function: Callable[[Any], Any], item: Any, index: int) -> Any:
    """A piece in another process, with this one's variables: it may have been started when they had other values.

    The cluster's address is not among them: what a piece judges, its own machine judges.
    """
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(variables)
    transformers_logging.disable_progress_bar()  # several bars at once are no progress
    return _piece(function, item, index)


@contextlib.contextmanager
def _backend(workers: int, scheduler: str | None) -> Iterator[None]:
    if not scheduler:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            yield
        return
    with _client(scheduler) as client, parallel_config(_dask_backend(client)):
        yield


def _dask_backend(client: Any) -> ParallelBackendBase:
    from joblib._dask import DaskDistributedBackend

    class Cluster(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int) -> int:
            """At least 2: joblib would do the work of a cluster with one worker left in this process."""
            return max(2, super().effective_n_jobs(n_jobs))

    return Cluster(client=client)


def _client(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise NoCluster(f"{scheduler} was asked for, and Dask is not installed: pip install '.[cluster]'") from error
    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NoCluster(
            f"no Dask scheduler answers at {scheduler} ({type(error).__name__}): start one with `dask scheduler`, "
            f"or unset {SCHEDULER}"
        ) from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        client.close()
        raise NoCluster(f"{scheduler} has no workers: start some with `dask worker {scheduler}`") from error
    return client


# --- judging ---------------------------------------------------------------------------------------------


def judge(**options: Any) -> Judge | ClusterJudge:
    """A judge of this machine, or of the cluster that ``CYCLE_SCHEDULER`` names; ``options`` as of :class:`Judge`."""
    scheduler = os.environ.get(SCHEDULER)
    return ClusterJudge(scheduler, **options) if scheduler else Judge(**options)


class ClusterJudge:
    """Judges as :class:`Judge` does, with the same verdicts, on a cluster's machines.

    Args:
        scheduler: its address; ``None`` for ``workers`` processes of this machine.
        chunk: programs in a piece, at least; those of one problem are judged together.
        options: of :class:`Judge`. ``workers`` is how many programs each process of the cluster judges at a time.
    """

    def __init__(self, scheduler: str | None, chunk: int = CHUNK, workers: int | None = None, **options: Any) -> None:
        self.scheduler, self.chunk = scheduler, chunk
        self.workers = workers or (DEFAULTS | from_environment())["workers"]
        self.options = {**options, "workers": self.workers if scheduler else 1}

    def __enter__(self) -> ClusterJudge:
        return self

    def __exit__(self, *exception: object) -> None:
        """Each piece has ended its own judge."""

    def run(self, problems: Sequence[Problem], completions: Sequence[str], progress: bool = False) -> list[Verdict]:
        """Judge the i-th completion as an answer to the i-th problem; the verdicts in that order.

        Raises:
            ValueError: problems and completions differ in number.
            NoCluster: see :func:`each`.
        """
        if len(problems) != len(completions):
            raise ValueError(f"{len(problems)} problems and {len(completions)} completions: give one for each.")
        chunks = list(_chunks(problems, self.chunk))
        pieces = [([problems[i] for i in places], [completions[i] for i in places], self.options) for places in chunks]
        judged = each(_judged, pieces, self.workers, self.scheduler, progress, "judging")
        found = {i: verdict for places, verdicts in zip(chunks, judged) for i, verdict in zip(places, verdicts)}
        return [found[i] for i in range(len(problems))]


def _judged(piece: tuple[list[Problem], list[str], dict[str, Any]]) -> list[Verdict]:
    problems, completions, options = piece
    with Judge(**options) as own:
        return own.run(problems, completions)


def _chunks(problems: Sequence[Problem], least: int) -> Iterator[list[int]]:
    """Places of problems, those of one problem together."""
    by_problem: dict[str, list[int]] = {}
    for place, problem in enumerate(problems):
        by_problem.setdefault(problem.task_id, []).append(place)
    chunk: list[int] = []
    for places in by_problem.values():
        chunk += places
        if len(chunk) >= least:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
