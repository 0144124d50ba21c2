"""The tables in the READMEs are those under results/: a number there was made by a run."""

import pytest

from cycle_utils.paths import ROOT
from cycle_utils.study.publishing import READMES, fill_readme


@pytest.mark.parametrize("name", [str(path.relative_to(ROOT)) for path in READMES])
def test_the_readmes_tables_are_the_published_ones(name):
    text = (ROOT / name).read_text()
    assert "<!-- table " in text
    assert fill_readme(ROOT / name, ROOT / "results" / "tables") == text, (
        "run: python -m cycle_utils.study.publishing --readme"
    )
