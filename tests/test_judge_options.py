"""What the environment tells judges: checked, second to what is asked for, and told apart by in the names of runs."""

import pytest

from cycle_utils import Judge
from cycle_utils.execution.cluster import ClusterJudge
from cycle_utils.execution.judge import OPTIONS, from_environment
from cycle_utils.method import runs
from cycle_utils.method.configs import FineTune, Loop


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("allow_unisolated", "give a JSON object of workers, time_limit"),
        ("[1]", "give a JSON object"),
        ('{"worker": 2}', "has 'worker'; a judge has workers"),
        ('{"workers": "2"}', "workers '2'; give a whole number"),
        ('{"allow_unisolated": 1}', "give true or false"),
        ('{"packages": "numpy"}', "give a list of names"),
    ],
)
def test_what_is_no_option_is_refused(text, says, monkeypatch):
    monkeypatch.setenv(OPTIONS, text)
    with pytest.raises(ValueError, match=OPTIONS) as refused:
        from_environment()
    assert says in str(refused.value)


def test_judges_take_them_unless_they_are_given_others(monkeypatch):
    monkeypatch.setenv(OPTIONS, '{"workers": 3, "time_limit": 1, "packages": ["numpy", "pandas"]}')
    with Judge(time_limit=2.0) as judge:
        assert len(judge._pool.workers) == 3
        assert judge._settings.time_limit == 2.0 and judge._settings.packages == ("numpy", "pandas")
    assert ClusterJudge(None).workers == 3 and ClusterJudge(None, workers=1).workers == 1
    monkeypatch.setenv(OPTIONS, '{"time_limit": 0}')
    with pytest.raises(ValueError, match="above 0"):
        Judge()


def test_runs_are_told_apart_by_limits_and_packages_alone(monkeypatch):
    loop, tuning = Loop(), FineTune()
    before = [runs.key_of(loop), runs.key_of(tuning)]
    monkeypatch.setenv(OPTIONS, '{"workers": 8, "allow_unisolated": true}')
    assert [runs.key_of(loop), runs.key_of(tuning)] == before
    monkeypatch.setenv(OPTIONS, '{"time_limit": 10}')
    assert runs.key_of(loop) != before[0] and runs.key_of(tuning) == before[1]
    assert runs.environment()["judge"] == {"time_limit": 10}
    monkeypatch.delenv(OPTIONS)
    assert "judge" not in runs.environment()
