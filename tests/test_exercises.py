"""Each exercise takes a right answer, refuses a wrong one, and knows that there is none yet."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from cycle_utils.analysis import metrics, stats
from cycle_utils.paths import NOTEBOOKS
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.teaching import exercises

PROBLEM = tp.generate("test", 1)[0]
RIGHT = {
    "00a": lambda n, r: min(1, (r + 1) / n),
    "00b": "assert pick([5, 4]) == [5, 4]",
    "01a": lambda a, b: metrics.copies(a, b)["whitespace"],
    "01b": lambda copies, attempts: sum(copies) / sum(attempts),
    "02a": metrics.pass_at_k,
    "02b": {"a": "passed", "b": "failed", "c": "error", "d": "timeout", "e": "crashed"},
    "03a": lambda mask, start, end, drawn: [0 if i in drawn and start <= i < end else m for i, m in enumerate(mask)],
    "03b": lambda n: 1 - 0.5 ** (1 / n),
    "04a": PROBLEM.canonical_solutions[0],
    "04b": lambda passed: [any(passed[: i + 1]) for i in range(len(passed))],
    "05a": stats.corrected,
    "05b": lambda before, after, a, b: "copy" if before == after else "unchanged" if a == b else "changed",
    "06a": lambda points: [
        i for i, (a, b) in enumerate(points) if not any(x >= a and y >= b and (x, y) != (a, b) for x, y in points)
    ],
    "06b": lambda steps, batch, share, mistakes: share * steps * batch / mistakes,
    "08a": lambda n, r: 1 - (1 - 1 / n) ** (r + 1),
    "08b": lambda n: [(i + 1) % n for i in range(n)],
    "07a": lambda chances, k: np.mean(1 - (1 - np.array(chances)) ** k),
    "07b": lambda a, b: (lambda found: (found.low, found.high))(stats.paired_difference(a, b)),
    "10a": math.exp,
    "10b": lambda loss, tokens, characters: loss * tokens / characters / math.log(2),
}
WRONG = {
    "00a": lambda n, r: 1 / n,
    "00b": "assert pick([4, 5]) == [4, 5]",
    "01a": lambda a, b: a.split() == b.split(),
    "01b": lambda copies, attempts: float(np.mean([c / a if a else 0 for c, a in zip(copies, attempts)])),
    "02a": lambda n, c, k: 1 - (1 - c / n) ** k,
    "02b": {"a": "passed", "b": "failed", "c": "failed", "d": "timeout", "e": "passed"},
    "03a": lambda mask, start, end, drawn: [0 if i in drawn else m for i, m in enumerate(mask)],
    "03b": lambda n: 1 / n,
    "04a": f"def {PROBLEM.entry_point}(*args):\n    return None\n",
    "04b": lambda passed: passed,
    "05a": lambda p: [min(1, x * len(p)) for x in p],
    "05b": lambda before, after, a, b: "unchanged" if a == b else "changed",
    "06a": lambda points: [int(np.argmax([a + b for a, b in points]))],
    "06b": lambda steps, batch, share, mistakes: steps * batch / mistakes,
    "08a": lambda n, r: min(1, (r + 1) / n),
    "08b": lambda n: list(reversed(range(n))),
    "07a": lambda chances, k: 1 - (1 - np.mean(chances)) ** k,
    "07b": lambda a, b: (np.mean(a) - np.mean(b) - 0.12, np.mean(a) - np.mean(b) + 0.12),
    "10a": lambda loss: 2**loss,
    "10b": lambda loss, tokens, characters: loss * tokens / characters,
}
OPEN = next(p for p in tp.generate("test", 50, ambiguity=1.0) if p.meta["family"] == "keep_numbers")
CODE = "def f(x):\n    return x + 1\n"
RIGHT |= {"09a": "[3, -4, 5, 12, 7, -3, 10, 2]", "09b": "def f(x):\n    return (x + 1)  # the same\n"}
WRONG |= {"09a": "[]", "09b": "def f(x):\n    return x+1\n"}
MISREAD = {"keep": (OPEN.meta["task"].values["keep"] + 1) % 6}
RIGHT |= {"11a": lambda n, tries: n - n * (1 - 1 / n) ** tries, "11b": tp.program(OPEN.meta["task"], MISREAD)}
WRONG |= {"11a": min, "11b": tp.program(OPEN.meta["task"])}
GIVEN = {"04a": (PROBLEM,), "09a": (OPEN,), "09b": (CODE,), "11b": (OPEN,)}


def test_all_are_tried_here():
    assert set(RIGHT) == set(WRONG) == set(exercises._CHECKS)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_right_and_wrong_answers(name, capsys):
    given = GIVEN.get(name, ())
    assert exercises.check(name, RIGHT[name], *given) is True
    assert exercises.check(name, WRONG[name], *given) is False
    assert exercises.check(name, None, *given) is None
    if callable(RIGHT[name]):
        assert exercises.check(name, lambda *args: None, *given) is None
        assert exercises.check(name, lambda *args: 1 / 0, *given) is False


def test_an_unknown_exercise():
    with pytest.raises(ValueError, match="no exercise '99z'"):
        exercises.check("99z", 1)


def test_every_notebook_checks_its_exercises_and_gives_none_away():
    used = set()
    for path in NOTEBOOKS.glob("[0-9]*.ipynb"):
        cells = json.loads(Path(path).read_text())["cells"]
        found = {n for c in cells for n in re.findall(r'exercises\.check\("(\w+)"', "".join(c["source"]))}
        assert all(name.startswith(path.stem[:2]) for name in found)
        used |= found
    assert used == set(exercises._CHECKS)
