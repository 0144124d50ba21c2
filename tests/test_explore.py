"""What the explore notebook shows: right, escaped, and quick to change."""

import pandas as pd
import pytest

from cycle_utils.analysis.attention import attention_on
from cycle_utils.method import stages
from cycle_utils.method.mixture import encode_example
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.problems import tinyprograms as tp
from cycle_utils.teaching import explore

PROBLEMS = tp.generate("test", 6, ambiguity=1.0)
EVIL = "<script>alert(1)</script>"


def attempt(task: int, round_: int, code: str, status: str) -> dict:
    passed = status == "passed"
    return {
        "task_id": PROBLEMS[task].task_id, "sample": 0, "round": round_, "code": code, "status": status,
        "passed": passed, "done": passed, "feedback": "" if passed else EVIL, "behaviour": code,
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs() -> dict[str, pd.DataFrame]:
    right = [tp.program(p.meta["task"]) for p in PROBLEMS]
    ours = [attempt(0, 0, right[0], "passed"), attempt(1, 0, "a = 1", "failed"), attempt(1, 1, right[1], "passed")]
    ours += [attempt(2, 0, "b", "failed"), attempt(2, 1, "b", "failed"), attempt(2, 2, "c(", "error")]
    theirs = [attempt(0, 0, "x", "failed"), attempt(0, 1, "x", "failed"), attempt(1, 0, right[1], "passed")]
    theirs += [attempt(2, r, EVIL, "failed") for r in range(3)]
    return {"theirs": pd.DataFrame(theirs), "ours": pd.DataFrame(ours)}


def test_trajectories_and_their_kinds(runs):
    found = explore.trajectories(runs["ours"])
    tasks = {kind: [task for task, _ in explore.chosen(found, kind)] for kind in explore.FILTERS}
    ids = [p.task_id for p in PROBLEMS]
    assert tasks["all"] == ids[:3] and tasks["solved at once"] == ids[:1] and tasks["mended"] == ids[1:2]
    assert tasks["never mended"] == tasks["copied"] == tasks["broken again"] == ids[2:3]
    assert explore.chosen(found, "mended", 1) and not explore.chosen(found, "mended", 2)
    with pytest.raises(ValueError, match="unknown filter 'mend'"):
        explore.chosen(found, "mend")


def test_differences_are_marked_by_line_and_token_and_escaped():
    page = explore.side_by_side("def f(x):\n    return x < 1\n", f"def f(x):\n    return x < 2\n    # {EVIL}\n")
    assert page.count("<tr>") == 3 and "<mark><b>1</b></mark>" in page and "<mark><b>2</b></mark>" in page
    assert "<mark>" not in page.split("<tr>")[1] and "<script>" not in page and "&lt;script&gt;" in page
    assert "<mark>" not in explore.side_by_side("a\nb", "a\nb")


def test_readings_narrow_to_what_was_meant():
    problem = max(PROBLEMS, key=lambda p: len(p.meta["open"]))
    task, walk = problem.meta["task"], tp.read_ideally(problem)
    tried = explore.Verdicts().of(problem, [tp.program(task, {**task.values, **values}) for values in walk.tried])
    table = explore.narrowing(problem, tried)
    columns = [c for c in table if c == "prior" or c.startswith("after")]
    assert len(columns) == 1 + sum(not v.passed for v in tried)
    assert all(table[c].sum() == pytest.approx(1) for c in columns)
    assert [int((table[c] > 0).sum()) for c in columns][: len(walk.left)] == list(walk.left)
    assert (table.loc[table["meant"] == "yes", columns[-1]] > 0).all()
    assert table.loc[table["tried in"].str.contains(str(len(tried) - 1)), "meant"].eq("yes").any()


def test_two_runs_problem_by_problem(runs):
    first = explore.compare(runs["ours"], runs["theirs"], 0)["outcome"].tolist()
    last = explore.compare(runs["ours"], runs["theirs"], 2)["outcome"].tolist()
    assert first == ["ours only", "theirs only", "neither"] and last == ["ours only", "both", "neither"]


@pytest.mark.parametrize(
    ("prompt", "tests", "message"),
    [
        ('def f(x):\n    """Add."""', "", "no test"),
        ("f(x)", "assert f(1) == 2", "no function"),
        ("def f(x:", "assert f(1) == 2", "no function with a docstring"),
    ],
)
def test_a_problem_that_is_none(prompt, tests, message):
    with pytest.raises(ValueError, match=message):
        explore.own_problem(prompt, tests)


def test_the_trajectory_view_follows_its_controls(runs):
    view = explore.TrajectoryView(runs, PROBLEMS)
    assert "round 1 of 1, passed, no copy" in view.page.value
    view.kind.value = "copied"
    assert "an exact copy" in view.page.value
    view.step.value = 0
    assert "round 0 of 2, failed" in view.page.value and "first try" in view.page.value
    view.model.value = "theirs"
    view.kind.value = "never mended"
    assert EVIL not in view.page.value and "&lt;script&gt;" in view.page.value
    view.kind.value = "broken again"
    assert "No trajectory" in view.page.value


def test_the_comparison_and_the_readings_follow_their_controls(runs):
    versus = explore.CompareView(runs)
    before = versus.page.value
    versus.round.value = 0
    assert versus.page.value != before and "After round 0" in versus.page.value
    view = explore.ReadingsView(runs, PROBLEMS, 1.0)
    assert "Tried by: ours" in view.page.value
    view.ambiguity.value = 0.0
    assert "Open: nothing" in view.page.value and "ideal reader" in view.page.value


def test_without_a_kernel_a_view_shows_pages_to_unfold(runs):
    view = explore.TrajectoryView(runs, PROBLEMS)
    before = [control.value for control in view.controls]
    still = view._repr_mimebundle_()["text/html"]
    assert still.count("<details open>") == 1 and still.count("<details>") == 4 and EVIL not in still
    assert "ours, mended: round 1" in still and "ours, copied: round 2" in still
    assert [control.value for control in view.controls] == before
    assert explore.CompareView(runs).still().count("<summary>") == 2
    assert "needs a running kernel" in explore.OwnProblemView({"a": ("x", "plain")}, PROBLEMS[0]).still()


def test_masks_and_attention(random_lm):
    tokenizer, model = load_tokenizer(random_lm), load_model(random_lm)
    row = {"kind": "refine", "code": tp.program(PROBLEMS[0].meta["task"]), "feedback": "Input: f()"}
    row["target"] = PROBLEMS[0].canonical_solutions[0]
    features = encode_example(tokenizer, PROBLEMS[0], row)
    view = explore.MaskView(tokenizer, features, model)
    start, end = features["spans"]["past_generation"]
    view.ratio.value = 1.0
    assert explore.masked_positions(features, 1.0) == list(range(start, end))
    assert f"{end - start} of the {end - start} tokens" in view.page.value and "0.0 % masked" in view.page.value
    weights = attention_on(model, features, range(start, end))
    assert weights.sum() == pytest.approx(1, abs=1e-4) and weights[start:end].sum() == pytest.approx(0, abs=1e-6)


def test_a_problem_of_ones_own_runs_round_by_round(random_lm, monkeypatch):
    seen = []
    view = explore.OwnProblemView({"random": (random_lm, "plain")}, PROBLEMS[0], rounds=1)
    monkeypatch.setattr(view, "draw", lambda change=None: seen.append(view.content()))
    view.start()
    assert [page.count("<h4>") for page in seen] == [0, 1, 2, 2] and "done" in seen[-1]
    view.tests.value = "print(1)"
    view.start()
    assert "print(1)" in seen[-1] and "assert" in seen[-1]
    view.tests.value = ""
    view.start()
    assert "cannot be run" in seen[-1] and "no test" in seen[-1]


def test_on_round_is_given_each_round(random_lm):
    rounds = []
    attempts = stages.self_refine(
        random_lm, PROBLEMS[:2], rounds=1, progress=False, on_round=lambda rows: rounds.append(len(rows))
    )
    assert sum(rounds) == len(attempts) and len(rounds) == 2
