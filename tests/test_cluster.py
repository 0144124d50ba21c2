"""Work on several processes and on a Dask cluster of two workers started by hand: same results, nothing lost."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from joblib.externals.loky import get_reusable_executor

from cycle_utils import Judge, Problem, load_problems, study
from cycle_utils.execution import cluster
from cycle_utils.method import runs, stages
from cycle_utils.study import ablations

PROGRAMS = {
    "right": "\n    return a + b",
    "wrong": "\n    return a - b",
    "raises": "\n    return a['b']",
    "endless": "\n    while True: pass",
    "exits": "\n    import os; os._exit(0)",
}


@pytest.fixture(scope="module", autouse=True)
def no_idle_workers():
    """joblib keeps its processes for minutes, for the next call."""
    yield
    get_reusable_executor().shutdown(wait=True)


def batch(count: int) -> tuple[list[Problem], list[str]]:
    """Each of :data:`PROGRAMS` for ``count`` problems, problem after problem in turn."""
    problems = [
        Problem(f"t/{i}", "def add(a, b):", "add", ["assert add(1, 2) == 3", f"assert add({i}, 0) == {i}"])
        for i in range(count)
    ]
    pairs = [(problem, program) for program in PROGRAMS.values() for problem in problems]
    return [p for p, _ in pairs], [c for _, c in pairs]


def told(verdicts) -> list[tuple]:
    """Verdicts without their timings."""
    return [(v.task_id, v.status, v.error, [(t.status, t.actual, t.exception) for t in v.tests]) for v in verdicts]


def cubed(number: int) -> int:
    return number**3


def halved(number: int) -> float:
    return 1 / (number - 3)


def threads(_) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "")


def test_local_processes_keep_the_order_and_name_the_piece_that_failed():
    assert cluster.each(cubed, range(7), workers=2, progress=False) == [i**3 for i in range(7)]
    assert cluster.each(cubed, [2], workers=2, progress=False) == [8] and cluster.each(cubed, [], workers=2) == []
    for workers in (1, 2):
        with pytest.raises(ZeroDivisionError) as caught:
            cluster.each(halved, range(5), workers=workers, progress=False)
        assert "in piece 3: 3" in "\n".join(caught.value.__notes__)


def test_each_local_process_computes_with_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert set(cluster.each(threads, range(2), workers=2, progress=False)) == {(1, "1")}


def variables(_) -> tuple[str | None, str | None]:
    return os.environ.get("CYCLE_HOME"), os.environ.get("CYCLE_LEDGER")


def test_processes_see_the_variables_of_now(monkeypatch):
    monkeypatch.setenv("CYCLE_LEDGER", "a")
    home = os.environ["CYCLE_HOME"]
    assert set(cluster.each(variables, range(2), workers=2, progress=False)) == {(home, "a")}
    monkeypatch.setenv("CYCLE_HOME", "/elsewhere")
    monkeypatch.delenv("CYCLE_LEDGER")
    assert set(cluster.each(variables, range(2), workers=2, progress=False)) == {("/elsewhere", None)}


def test_a_missing_cluster_is_named(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    pytest.importorskip("distributed")
    with pytest.raises(cluster.NoCluster, match=r"no Dask scheduler answers at .*: start one with `dask scheduler`"):
        cluster.each(cubed, [1], scheduler=address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(cluster.NoCluster, match=r"Dask is not installed: pip install '\.\[cluster\]'"):
        cluster.each(cubed, [1], scheduler=address)


def test_problems_stay_together():
    problems, _ = batch(5)
    chunks = list(cluster._chunks(problems, 12))
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(problems))) and len(chunks) > 1
    owners = [{problems[i].task_id for i in chunk} for chunk in chunks]
    assert not set.intersection(*owners)


def test_judged_by_pieces_as_by_one_judge():
    problems, programs = batch(3)
    with Judge(time_limit=1.0) as judge:
        alone = judge.run(problems, programs)
    with cluster.ClusterJudge(None, chunk=4, time_limit=1.0) as judge:
        assert told(judge.run(problems, programs)) == told(alone)
    assert {v.status for v in alone} == {"passed", "failed", "error", "timeout", "crashed"}


def test_a_sweep_on_two_processes_gives_what_one_gives(random_lm, tmp_path, monkeypatch):
    options = {"model": random_lm, "problems": 8, "finetune_steps": 1, "samples": 1, "steps": 1}
    where, settings = stages.Loop(limit=3, rounds=1), ablations.masked([0.0])
    found = {}
    for workers in (1, 2):
        monkeypatch.setenv("CYCLE_HOME", str(tmp_path / str(workers)))
        trials = ablations.planned(settings, where, [0], **options)
        ablations.ahead(trials, workers, progress=False)
        made = {path.parent.name for path in runs.runs_dir().glob(f"*/{runs.RECORD}")}
        results = ablations.run(settings, where, [0], progress=False, **options)
        assert {path.parent.name for path in runs.runs_dir().glob(f"*/{runs.RECORD}")} == made  # nothing was left to do
        found[workers] = {name: one[0].attempts["code"].tolist() for name, one in results.items()}
    assert found[1] == found[2] and set(found[1]) == {study.CYCLE, "ratio 0"}


# --- a cluster -------------------------------------------------------------------------------------------


def test_a_cluster_judges_alike_and_survives_a_worker(cluster_of_two, monkeypatch):
    address, workers = cluster_of_two
    problems, programs = batch(4)
    with Judge(time_limit=1.0) as judge:
        alone = told(judge.run(problems, programs))
    monkeypatch.setenv(cluster.SCHEDULER, address)
    with cluster.judge(chunk=5, time_limit=1.0) as judge:
        assert isinstance(judge, cluster.ClusterJudge)
        assert told(judge.run(problems, programs)) == alone
        pids = set(cluster.each(_pid, range(8), progress=False))
        assert pids == {process.pid for process in workers}  # both were at work, and none of them is this process
        killer = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1.5); "
                                   f"os.kill({workers[0].pid}, {int(signal.SIGKILL)})"])  # fmt: skip
        assert told(judge.run(problems, programs)) == alone
        killer.wait()
    workers[0].wait(10)
    assert workers[0].returncode == -signal.SIGKILL and workers[1].poll() is None
    assert set(cluster.each(_pid, range(4), progress=False)) == {workers[1].pid}


def _pid(_) -> int:
    time.sleep(0.2)
    return os.getpid()


def test_the_loop_judges_on_the_cluster(cluster_of_two, monkeypatch, random_lm):
    address, workers = cluster_of_two
    problems = load_problems("tinyprograms", limit=3)
    alone = stages.self_refine(random_lm, problems, rounds=1, progress=False)
    monkeypatch.setenv(cluster.SCHEDULER, address)
    assert stages.self_refine(random_lm, problems, rounds=1, progress=False).equals(alone)
    for process in workers:
        process.kill()
        process.wait()
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(cluster.NoCluster, match="has no workers: start some with `dask worker"):
        stages.self_refine(random_lm, problems, rounds=0, progress=False)
