"""The script for a lent GPU makes the very runs that the real LM's editions read."""

import importlib.util

import pytest

from cycle_utils import study
from cycle_utils.method import runs
from cycle_utils.paths import ROOT


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gpu_study", ROOT / "benchmarks" / "gpu_study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_whatever_a_task_rests_on_is_in_the_list_before_it(script):
    listed = list(script.tasks([3, 4]))
    assert len(set(listed)) == len(listed)
    for place, task in enumerate(listed):
        assert set(task.needs) <= set(listed[:place]), str(task)


def test_its_runs_are_those_of_the_published_editions(script, monkeypatch):
    monkeypatch.setenv(runs.STORED, runs.ONLY)
    monkeypatch.setenv("CYCLE_HOME", str(ROOT))
    published = [task for task in script.tasks([0]) if task.how in (*script.TRAININGS, "loop", "blanked", "samples")]
    assert {task.who for task in published} == {"", study.TUNED, study.CYCLE, study.UNMASKED}
    for task in published:
        assert script.run_of(task, "smollm2", small=False).reused, str(task)
