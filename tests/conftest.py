"""A tiny random LM, a Dask cluster, and a private home for runs and results: no test touches the published ones."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network fails at once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two spinning thread pools on two cores stall each other


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """A fresh ``CYCLE_HOME`` for each test."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CYCLE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def random_lm(tmp_path_factory) -> str:
    """A folder with the real tokenizer and an untrained LM of the smallest shape."""
    from cycle_utils.models import tiny_lm

    folder = tmp_path_factory.mktemp("random-lm")
    tiny_lm.new_model("0.2M").save_pretrained(folder)
    tiny_lm.train_tokenizer(files=400).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tokenizer(random_lm):
    from cycle_utils.models import load_tokenizer

    return load_tokenizer(random_lm)


@pytest.fixture
def cut_off(monkeypatch):
    """Run a fine-tuning that is cut off behind its last checkpoint; gives the run's folder."""
    from cycle_utils.method import runs, stages

    def run(config) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(stages, "_save", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                stages.fine_tune(config, progress=False)
        return runs.runs_dir() / runs.key_of(config)

    return run


@pytest.fixture
def cluster_of_two(tmp_path):
    """The address of a Dask scheduler with two workers, and the workers' processes."""
    from cycle_utils.paths import ROOT

    pytest.importorskip("distributed", reason="Dask is not installed: pip install '.[cluster]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, here = f"tcp://127.0.0.1:{port}", os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": here, "DASK_DISTRIBUTED__ADMIN__EVENT_LOOP": "tornado"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": tmp_path}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    started = [subprocess.Popen([*scheduler, "--no-dashboard"], **quiet)]
    started += [subprocess.Popen([*worker, "--no-dashboard", "--host", "127.0.0.1"], **quiet) for _ in range(2)]
    _wait_for_workers(address, 2)
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


def _wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    deadline = time.monotonic() + 60
    while True:
        try:
            with Client(address, timeout=5, set_as_default=False) as client:
                client.wait_for_workers(count, timeout=30)
                return
        except (OSError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
