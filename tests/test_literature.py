"""Published figures stand with their sources, and ours are held against them by their intervals."""

import pytest

from cycle_utils.analysis.literature import EVALPLUS, PUBLISHED, compared, published, resampling
from cycle_utils.analysis.stats import Interval

CODEGEN = "Salesforce/codegen-350M-mono"


def ours(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 164)


def test_each_figure_is_a_share_with_a_source_and_stands_once():
    assert all(0 < one.rate < 1 and one.source for one in PUBLISHED)
    keys = [(one.model, one.benchmark, one.k, one.source) for one in PUBLISHED]
    assert len(set(keys)) == len(keys)


def test_the_figures_that_calibrate():
    first = [one for one in PUBLISHED if (one.benchmark, one.k) == ("humaneval", 1) and one.source != EVALPLUS]
    assert {one.model.split("/")[1]: one.rate for one in first} == {
        "codegen-350M-mono": 0.1276, "codegen-2B-mono": 0.2370, "starcoderbase-1b": 0.1517,
        "starcoderbase-3b": 0.215, "tiny_starcoder_py": 0.0784,
    }  # fmt: skip


def test_a_folder_is_known_by_its_name():
    assert published("/models/codegen-350m-mono", "humaneval") == published(CODEGEN, "humaneval") != []


@pytest.mark.parametrize(("low", "high", "agrees"), [(0.08, 0.18, True), (0.01, 0.05, False), (0.2, 0.3, False)])
def test_ours_is_held_against_the_published_one_by_its_interval(low, high, agrees):
    told = compared(CODEGEN, "humaneval", ours(low, high))
    assert "12.76 % (evaluation page" in told
    assert ("no difference is seen" in told) == agrees and told.startswith("**Warning:**") == (not agrees)


def test_one_of_several_sources_is_enough():
    starcoder = "bigcode/starcoderbase-3b"
    assert "no difference" in compared(starcoder, "humaneval", ours(0.15, 0.19))
    between = compared(starcoder, "humaneval", ours(0.18, 0.21))
    assert between.startswith("**Warning:**") and "21.5 %" in between and "17.7 %" in between


def test_what_is_not_published_is_said():
    assert "No pass@1" in compared("tiny", "humaneval", ours(0.1, 0.2))
    assert "No pass@1" in compared(CODEGEN, "mbpp", ours(0.1, 0.2))


def test_resampling_stands_beside_the_papers_gain():
    told = resampling(CODEGEN, "humaneval")
    assert "from 12.76 % to 23.11 %" in told and "+81 % relative" in told and "+63.5 %" in told
    assert resampling("bigcode/starcoderbase-1b", "humaneval") == ""
