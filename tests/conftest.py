"""A tiny random LM and a private home for runs and results: no test touches the published ones."""

import os
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
