"""Figures are made, are the same twice, and show what they were given."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cycle_utils.analysis import figures, headlines
from cycle_utils.analysis.stats import Interval

SCRIPT = """
import sys, pandas as pd
from cycle_utils.analysis import figures
figures.set_style()
figures.save(figures.loss_curves({"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}), "loss", sys.argv[1])
"""


def curve(*values: float) -> pd.DataFrame:
    rows = [{"round": r, "value": v, "low": v / 2, "high": (1 + v) / 2, "n": 300} for r, v in enumerate(values)]
    return pd.DataFrame(rows)


def copy_table() -> pd.DataFrame:
    rows = [
        {"model": model, "kind": kind, "value": 0.5, "low": 0.4, "high": 0.6, "n": 300}
        for model in ("vanilla", "CYCLE")
        for kind in ("exact", "whitespace", "syntax")
    ]
    return pd.DataFrame(rows)


TOKENS = ["def", " f", "(x):\n", "    ", "return $x$", "\n\n", "\t# é\0", " ok", "<|end|>", "x" * 200]
BUDGET = {"a": Interval(0.5, 0.4, 0.6, 300), "c": Interval(0, 0, 0.02, 300)}
MAKE = {
    "pass": lambda: figures.pass_by_round({"a": curve(0.4, 0.5), "b": curve(0, 0)}, [0.5, 1.0], BUDGET),
    "copy": lambda: figures.copy_bars(copy_table(), "kind"),
    "rates": lambda: figures.titled(figures.rate_bars(copy_table(), "kind", "model", "solved (%)", "Solved"), "Half are copies"),
    "phases": lambda: figures.loss_curves({name: [{"step": 1, "loss": 2.0}] for name in "ab"}, "token", True),
    "loss": lambda: figures.loss_curves({"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2}]}),
    "status": lambda: figures.status_bars(pd.DataFrame({"failed": [1, 2], "passed": [3, 0]}, index=["a", "b"])),
    "ceiling": lambda: figures.ceiling_by_ambiguity(
        pd.DataFrame({"ambiguity": [0, 1, 0, 1], "round": [0, 0, 1, 1], "ceiling": [1, 0.2, 1, 0.5]})
    ),
    "repair": lambda: figures.repair_rates(
        {"a": curve(0.4, 0.5), "b": curve(0, 0)}, {"a": (0.4, -0.2), "b": (np.nan, np.nan)}
    ),
    "pgm": lambda: figures.pgm_example(TOKENS, (2, 5), {3, 4}, 7),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _style():
    figures.set_style()


@pytest.mark.parametrize("name", MAKE)
def test_each_plot_is_saved_and_twice_the_same(name, tmp_path):
    once = figures.save(MAKE[name](), name, tmp_path / "once")
    twice = figures.save(MAKE[name](), name, tmp_path / "twice")
    assert [path.name for path in once] == [f"{name}.png", f"{name}.pdf"]
    for a, b in zip(once, twice):
        assert a.stat().st_size > 1_000 and a.read_bytes() == b.read_bytes()


def test_another_process_on_another_day_writes_the_same_bytes(tmp_path):
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / seed], check=True, env={"PYTHONHASHSEED": seed})
    for name in ("loss.png", "loss.pdf"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_results_go_under_cycle_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLE_HOME", str(tmp_path))
    assert figures.save(MAKE["loss"](), "a")[0] == tmp_path / "reproduction" / "figures" / "a.png"
    assert figures.save_table(curve(0.1), "a")[0] == tmp_path / "reproduction" / "tables" / "a.csv"


def test_names_are_file_names(tmp_path):
    with pytest.raises(ValueError, match="no file name"):
        figures.save(MAKE["loss"](), "../a", tmp_path)


def test_titles_say_what_is_drawn():
    assert _title(MAKE["pass"]()) == "After 1 round: a 50 %, b 0 %"
    assert _title(MAKE["loss"]()) == "Loss: a 2 to 1 nats"
    assert _title(MAKE["status"]()) == "Passed: a 75 %, b 0 %"
    assert _title(MAKE["ceiling"]()).startswith("With 100 % left open, an ideal reader solves 20 % at once and 50 %")
    assert _title(MAKE["pgm"]()) == "2 of 3 tokens of the past generation are hidden"
    assert headlines.listed({"a": 0.1, "b": float("nan"), "c": 0.11}) == "a 10.0 %, c 11.0 %"
    assert headlines.listed(dict(zip("abcd", (0.1, 0.4, 0.2, 0.3)))) == "from 10 % (a) to 40 % (b)"
    assert headlines.listed({"a": float("nan")}) == "undefined"
    rates = {"a": np.log(2), "b": -np.log(1.1), "c": float("nan")}
    assert headlines.decays(rates) == "Repair rate from round to round: a -50 %, b +10 %"


def test_seeds_are_dots():
    seen = curve(0.4, 0.5).assign(by_seed=[[0.3, 0.5], [0.4, 0.6]])
    (ax,) = figures.pass_by_round({"a": seen}).axes
    dots = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
    assert [sorted(line.get_ydata()) for line in dots] == [pytest.approx([30, 40, 50, 60])]
    assert ax.get_title(loc="left").startswith("n = 300 problems, 2 seeds (dots); ")
    assert "n = 300 problems, 1 seed; " in figures.pass_by_round({"a": curve(0.4)}).axes[0].get_title(loc="left")


def test_compared_points_are_joined_and_their_difference_is_said():
    sizes = [{"x": x, "value": v, "low": v, "high": v, "n": 9} for x, v in ((10, 0.2), (30, 0.5))]
    curves = {"small": pd.DataFrame(sizes), "large": pd.DataFrame(sizes).assign(value=[0.1, 0.4])}
    fig = figures.over(curves, "size", logarithmic=True, compared=[("small", 10, "large", 30)])
    assert _title(fig) == "small at 10 against large at 30: -20 points"
    assert "-20" in [text.get_text() for text in fig.axes[0].texts]


def test_a_training_of_several_phases_is_one_line_of_steps():
    log = [{"step": i, "loss": 2.0 / i} for i in (1, 2, 3)]
    (ax,) = figures.loss_curves({"one": log, "two": log}, end_to_end=True).axes
    assert [list(line.get_xdata()) for line in ax.get_lines()[1::2]] == [[1, 2, 3], [4, 5, 6]]
    jagged = [{"step": i, "loss": 1.0 + i % 2} for i in range(40)]
    assert headlines.smoothed(jagged).iloc[10:30].std() < 0.1 and headlines.smoothed(log).tolist() == [2.0, 1.0, 2 / 3]


def _title(fig) -> str:
    texts = [text.get_text() for ax in fig.axes for text in ax.texts if text.get_fontweight() == "bold"]
    return texts[-1].replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


def test_plots_are_not_left_open_for_a_notebook_to_show_again():
    MAKE["pass"]()
    assert figures.plt.get_fignums() == []


def test_axes_are_labelled_in_per_cent():
    for name in ("pass", "copy", "ceiling"):
        (ax,) = MAKE[name]().axes
        assert "(%)" in ax.get_ylabel() and ax.get_ylim()[0] == 0
    assert "n = 300 problems" in MAKE["copy"]().axes[0].get_title(loc="left")


def test_curves_differ_without_colour():
    (ax,) = figures.pass_by_round({str(i): curve(0.1 * i) for i in range(7)}).axes
    lines = ax.get_lines()
    assert len({line.get_marker() for line in lines}) == 7
    bars = figures.copy_bars(copy_table(), "kind").axes[0].patches
    assert len({bar.get_hatch() for bar in bars}) == 3


def test_statuses_are_the_judges():
    with pytest.raises(ValueError, match="unknown status 'odd'"):
        figures.status_bars(pd.DataFrame({"odd": [1]}))


def test_pgm_example_lays_out_every_character_once():
    pieces = figures._lay_out(TOKENS)
    texts = ["".join(text for index, *_, text in pieces if index == i) for i in range(len(TOKENS))]
    assert texts == [figures._visible(token) for token in TOKENS]
    taken = [(row, column + i) for _, row, column, text in pieces for i in range(len(text))]
    assert len(taken) == len(set(taken)) and max(column for _, column in taken) < figures.COLUMNS
    after_break = next(piece for piece in pieces if piece[0] == 3)
    assert after_break[1:3] == (1, 0)


def test_pgm_example_marks_span_hidden_and_target():
    (ax,) = figures.pgm_example(TOKENS, (2, 5), {3, 4}, 7).axes
    faces = [tuple(np.round(patch.get_facecolor()[:3], 2)) for patch in ax.patches]
    assert faces.count((0, 0, 0)) == 2 and len(faces) == 3
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        "past generation (3 tokens)", "hidden by the mask (2)", "target, the only loss (3)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("span", "hidden", "target"), [((0, 11), [], 0), ((3, 2), [], 0), ((0, 1), [10], 0), ((0, 1), [], 11)]
)
def test_pgm_example_refuses_what_lies_outside(span, hidden, target):
    with pytest.raises(ValueError, match="outside the example's 10 tokens"):
        figures.pgm_example(TOKENS, span, hidden, target)


def test_tables_keep_precision_in_csv_and_are_read_back(tmp_path):
    columns = {"rate": [1 / 3, np.nan], "said": ["a|b", "c\nd"], "interval": [Interval(0.4, 0.3, 0.5, 9), None]}
    frame = pd.DataFrame(columns, index=pd.Index(["x", "y"], name="model"))
    csv, markdown = figures.save_table(frame, "t", tmp_path)
    back = pd.read_csv(csv, index_col="model")
    assert back["rate"]["x"] == 1 / 3 and back["interval"]["x"] == "40.0 % [30.0, 50.0]"
    lines = markdown.read_text().splitlines()
    assert len(lines) == 4 and "0.3333" in lines[2] and r"a\|b" in lines[2] and "c<br>d" in lines[3]
