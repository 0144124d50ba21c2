"""Figures and tables in one style, told apart by shape as well as by colour, and saved byte for byte alike.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; markers, line styles and hatches carry
the same distinctions in grey. Shares come in as 0 to 1 and are drawn in per cent. Every plot returns its figure
closed, so that a notebook shows it once, as a cell's last value.

Each figure's title is what it shows, in a sentence made from its own numbers (:mod:`~cycle_utils.analysis.headlines`);
the line below it says from how many problems and seeds it comes. A table that a plot is given may have a column
``by_seed``, with what each seed gave: drawn as dots, and not saved.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, groupby
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from cycle_utils import paths
from cycle_utils.analysis import headlines
from cycle_utils.analysis.stats import Interval

# Okabe & Ito 2008, ordered so that neighbours differ in lightness too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#404040")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (2, 2)), (0, (5, 1, 1, 1, 1, 1)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo")
WIDTH = 6.5  # inches: the text width of a paper
TITLE = 74  # letters in a line of a title
BY_SEED = "by_seed"  # a column of lists: what each seed gave
GREY = "0.35"

# A verdict keeps its look in every figure, whichever of them occur.
STATUS_LOOKS = {
    "passed": (COLOURS[2], ""), "failed": (COLOURS[1], "///"), "error": (COLOURS[3], "xxx"),
    "timeout": (COLOURS[4], "..."), "crashed": (COLOURS[6], ""),
}  # fmt: skip


def set_style() -> None:
    """The one style; figures made afterwards have it.

    A figure that is a cell's last value is drawn there too, also where ``MPLBACKEND`` names a backend that would not.
    """
    if shell := get_ipython():
        shell.display_formatter.formatters["image/png"].for_type(Figure, _png)
    sns.set_theme(context="paper", style="ticks", palette=COLOURS, font="DejaVu Sans")
    plt.rcParams.update({
        "axes.grid": True, "axes.grid.axis": "y", "grid.alpha": 0.35, "grid.linewidth": 0.6, "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.labelsize": 9.5,
        "legend.frameon": False, "legend.fontsize": 8.5, "legend.handlelength": 3.2,
        "hatch.linewidth": 0.6, "figure.dpi": 100,
        "pdf.fonttype": 42,  # whole letters rather than outlines: text in a PDF can be searched
    })  # fmt: skip


def save(fig: Figure, name: str, folder: str | Path | None = None) -> list[Path]:
    """Write ``name.png`` (200 dpi) and ``name.pdf`` under :func:`paths.results_dir` (or ``folder``).

    The same figure gives the same bytes: neither date nor version of the library is written into them.
    """
    place = _folder(name, folder, "figures")
    png, pdf = place / f"{name}.png", place / f"{name}.pdf"
    with paths.writing(place):
        fig.savefig(png, dpi=200, bbox_inches="tight", metadata={"Software": None})
        fig.savefig(pdf, bbox_inches="tight", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    return [png, pdf]


def show(fig: Figure, alt: str) -> None:
    """Show a figure in a notebook, with the sentence that stands for it where it cannot be seen."""
    shown = {"image/png": _png(fig), "text/plain": repr(fig)}
    display(shown, raw=True, metadata={"image/png": {"alt": alt}})


def _png(fig: Figure) -> str:
    """A figure as notebooks hold it: base64 of a PNG, whatever backend matplotlib draws with."""
    return print_figure(fig, fmt="png", bbox_inches="tight", base64=True)


def save_table(frame: pd.DataFrame, name: str, folder: str | Path | None = None, **same: object) -> list[Path]:
    """Write ``name.csv`` (full precision) and ``name.md`` (4 digits) under :func:`paths.results_dir` (or ``folder``).

    A named index becomes the first columns; an unnamed one is row numbers and left out. ``same`` are last columns
    that say the same in each row, such as the feedback protocol of all of a table's scores. :data:`BY_SEED` is for
    figures alone and left out.
    """
    place = _folder(name, folder, "tables")
    csv, markdown = place / f"{name}.csv", place / f"{name}.md"
    table = (frame.reset_index() if any(frame.index.names) else frame).assign(**same)
    table = table.drop(columns=BY_SEED, errors="ignore")
    shown = table.map(_cell).rename(columns=_cell)
    with paths.writing(place):
        table.to_csv(csv, index=False, lineterminator="\n")
        markdown.write_text(shown.to_markdown(index=False, disable_numparse=True) + "\n", encoding="utf-8")
    return [csv, markdown]


def _folder(name: str, folder: str | Path | None, kind: str) -> Path:
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"{name!r} is no file name; use letters, digits, '-', '_' and '.', without a suffix")
    place = Path(folder) if folder is not None else paths.results_dir() / kind
    with paths.writing(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def _cell(value: object) -> str:
    """A value as one cell of a Markdown table."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return "" if value is None or value is pd.NA else str(value).replace("|", "\\|").replace("\n", "<br>")


# --- the study's plots -----------------------------------------------------------------------------------


def pass_by_round(
    curves: Mapping[str, pd.DataFrame], ceiling: Sequence[float] | None = None,
    budget: Mapping[str, Interval] | None = None, samples: str = "",
) -> Figure:  # fmt: skip
    """Pass rate after each round of self-refinement.

    Args:
        curves: label -> columns ``round, value, low, high`` and, if known, ``n`` (``stats.curve_by_round``).
        ceiling: the best possible pass rate by round (``tinyprograms.ceiling``), drawn dashed.
        budget: label -> pass rate of as many independent samples as the loop takes programs, drawn at the right;
            a label of ``curves`` keeps its colour.
        samples: what these samples are, such as ``distinct``.
    """
    fig, ax = _axes(WIDTH, 3.8)
    last = max(int(curve["round"].max()) for curve in curves.values())
    looks = _looks([*curves, *(budget or {})])
    for label, curve in curves.items():
        colour, marker, line = looks[label]
        ax.fill_between(curve["round"], 100 * curve["low"], 100 * curve["high"], color=colour, alpha=0.15, lw=0)
        ax.plot(curve["round"], 100 * curve["value"], color=colour, marker=marker, ls=line, label=label, clip_on=False)
        _dots(ax, curve["round"], curve, colour)
    if ceiling is not None:
        ax.plot(range(len(ceiling)), 100 * np.asarray(ceiling), color="black", ls="--", lw=1.1, label="ceiling")
    ticks = ["0\n(one-time)", *map(str, range(1, last + 1))]
    if budget:
        _draw_budget(ax, budget, looks, last)
        ticks.append(f"{last + 1} {samples} samples\n(equal budget)".replace("  ", " "))
    ax.set_xticks([*range(last + 1), *([last + 1] if budget else [])], ticks)
    ax.set(xlabel="round of self-refinement", ylabel="problems solved (%)")
    _from_zero(ax, most=100)
    _legend_right(ax)
    known = {int(curve["n"].iloc[0]) for curve in curves.values() if "n" in curve}
    seeds = _seeds(*curves.values())
    _caption(ax, known | {i.n for i in (budget or {}).values()}, f"bands and bars: {_over(seeds)}", seeds)
    return titled(fig, headlines.after_rounds(curves))


def repair_rates(curves: Mapping[str, pd.DataFrame], fits: Mapping[str, tuple[float, float]]) -> Figure:
    """Share of the programs still wrong that each round mends, and the exponential fitted to it.

    Args:
        curves: label -> columns ``round, value, low, high`` and, if known, ``n`` (``repair.repair_rates``).
        fits: label -> rate of round 1 and decay a round (``repair.fitted``).
    """
    fig, ax = _axes(WIDTH, 3.6)
    last = max(int(curve["round"].max()) for curve in curves.values())
    at = np.linspace(1, last, 50)
    for place, (label, (colour, marker, line)) in zip(_side_by_side(len(curves), 0.5), _looks(curves).items()):
        curve, (start, decay) = curves[label], fits[label]
        reach = 100 * np.array([curve["value"] - curve["low"], curve["high"] - curve["value"]], float).clip(0)
        x = curve["round"] + place
        ax.errorbar(x, 100 * curve["value"], reach, fmt=marker, color=colour, capsize=2, ms=4.5, label=label)
        _dots(ax, x + 0.05, curve, colour)
        ax.plot(at + place, 100 * start * np.exp(-decay * (at - 1)), color=colour, ls=line, lw=1)
    ax.set_xticks(range(1, last + 1))
    ax.set(xlabel="round of self-refinement, or sample after the first", ylabel="mended of those still wrong (%)")
    _from_zero(ax, most=100)
    _legend_right(ax)
    seeds = _seeds(*curves.values())
    counts = {int(curve["n"].iloc[0]) for curve in curves.values() if "n" in curve}
    _caption(ax, counts, f"bars: {_over(seeds)}; lines: fitted decay", seeds)
    return titled(fig, headlines.decays({label: decay for label, (_, decay) in fits.items()}))


def _draw_budget(ax: Axes, budget: Mapping[str, Interval], looks: Mapping[str, tuple], last: int) -> None:
    """One point with its interval for each label, side by side, and a faint line back to the last round."""
    drawn = ax.get_legend_handles_labels()[1]
    ax.axvline(last + 0.5, color="0.8", lw=0.8)
    for place, (label, found) in zip(_side_by_side(len(budget), 0.5), budget.items()):
        colour, marker, _ = looks[label]
        ax.hlines(100 * found.value, last, last + 1 + place, color=colour, ls=":", lw=0.8)
        point = (last + 1 + place, 100 * found.value)
        name = None if label in drawn else label
        bar = ax.errorbar(*point, _reach(found), fmt=marker, color=colour, mfc="white", capsize=3, label=name)
        bar.lines[0].set_clip_on(False)


def forest(
    table: pd.DataFrame, titles: Mapping[str, str], base: str | None = None, reference: str | None = None,
    about: str | None = None,
) -> Figure:  # fmt: skip
    """Settings from top to bottom, one panel for each measure: a point with its interval.

    Args:
        table: ``setting, measure, value, low, high`` and, if known, ``by_seed`` and ``n``; what ``ablations.summary``
            gives.
        titles: measure -> what its axis says, in the order of the panels.
        base: the setting whose values are drawn as a vertical line through all others.
        reference: a setting that is drawn as a line only, such as what chance would give.
        about: the measure that the title is about; the first one if not given.
    """
    settings = [name for name in dict.fromkeys(table["setting"]) if name != reference]
    fig, axes = plt.subplots(
        1, len(titles), figsize=(WIDTH, 0.9 + 0.3 * len(settings)), sharey=True, squeeze=False, layout="constrained"
    )
    plt.close(fig)
    for number, (ax, (measure, title)) in enumerate(zip(axes[0], titles.items())):
        rows = table[table["measure"] == measure].set_index("setting").reindex(settings)
        colour, marker = COLOURS[number], MARKERS[number]
        values = 100 * rows[["value", "low", "high"]].to_numpy(float).T
        places = np.arange(len(settings))
        reach = np.clip([values[0] - values[1], values[2] - values[0]], 0, None)
        ax.errorbar(values[0], places, xerr=reach, fmt=marker, color=colour, capsize=3, ms=4.5)
        _dots(ax, places + 0.3, rows, colour, across=True)
        if base in settings:
            ax.axvline(values[0][settings.index(base)], color="0.6", lw=0.8, ls="--", zorder=0)
        if reference:
            at = table[(table["measure"] == measure) & (table["setting"] == reference)]["value"]
            ax.axvline(100 * at.iloc[0], color="black", lw=1.1, ls=":", zorder=0)
        ax.set_xlabel(title.replace(" (", "\n("))  # two lines: long titles would touch their neighbours
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.grid(axis="x")
        ax.grid(visible=False, axis="y")
    axes[0, 0].set_yticks(range(len(settings)), settings)
    axes[0, 0].set_ylim(len(settings) - 0.4, -0.6)
    drawn = f"bars: {_over(_seeds(table))}" + (f"; dashed: {base}" if base in settings else "")
    drawn += f"; dotted: {reference}" if reference else ""
    _caption(axes[0, 0], set(table["n"]) if "n" in table else set(), drawn, _seeds(table))
    about = about or next(iter(titles))
    words = titles[about].partition(" (")[0]
    compared = table[table["setting"] != reference]
    return titled(fig, headlines.settings(compared, about, words[:1].upper() + words[1:], base))


def front(table: pd.DataFrame, across: str, upwards: str, labels: Mapping[str, str]) -> Figure:
    """A trade-off: each setting a point by two measures, with its intervals.

    A setting that lies far below all others by the upward measure stands in a note, so that the others can be told
    apart.

    Args:
        table: as for :func:`forest`.
        across, upwards: the measures of the two axes.
        labels: setting -> what stands beside its point; measure -> its axis.
    """
    fig, ax = _axes(WIDTH, 4.2)
    wide = table.set_index(["measure", "setting"])
    settings = [name for name in labels if name in set(table["setting"])]
    settings, apart = _without_outliers(settings, 100 * wide.loc[upwards, "value"])
    x, y = (100 * wide.loc[m].loc[settings, ["value", "low", "high"]].to_numpy(float).T for m in (across, upwards))
    reach = [np.clip([v[0] - v[1], v[2] - v[0]], 0, None) for v in (x, y)]
    ax.errorbar(x[0], y[0], yerr=reach[1], xerr=reach[0], fmt="none", ecolor="0.75", elinewidth=0.9, capsize=2)
    ax.plot(x[0], y[0], color=COLOURS[0], marker=MARKERS[0], ls="")
    if BY_SEED in table and _seeds(table) > 1:
        each = [100 * np.array(wide.loc[m].loc[settings, BY_SEED].tolist()) for m in (across, upwards)]
        for places, heights, middle in zip(*each, zip(x[0], y[0])):
            for end in zip(places, heights):  # which dot belongs to which point
                ax.plot(*zip(middle, end), color=COLOURS[0], ls=":", lw=0.7)
            ax.plot(places, heights, ls="", marker="o", ms=2.6, mfc="white", mec=GREY, mew=0.8)
    for name in apart:
        place = ", ".join(f"{100 * wide.loc[(measure, name), 'value']:.1f}" for measure in (across, upwards))
        ax.annotate(f"{labels[name]}: far below, at ({place})", (0.02, 0.03), xycoords="axes fraction", fontsize=8.5)
    _name_points(ax, x[0], y[0], [labels[name] for name in settings])
    ax.set(xlabel=labels[across], ylabel=labels[upwards])
    ax.grid(axis="both")
    drawn = f"bars: {_over(_seeds(table))}"
    _caption(ax, set(table["n"]) if "n" in table else set(), drawn, _seeds(table))
    words = [labels[one].partition(" (")[0].capitalize() for one in (across, upwards)]
    ends = [100 * wide.loc[m, "value"].reindex(list(settings) + apart).rename(labels) for m in (across, upwards)]
    return titled(fig, headlines.best_of_both(*map(dict, ends), [words[0], words[1].lower()]))


def _without_outliers(settings: Sequence[str], values: pd.Series) -> tuple[list[str], list[str]]:
    """The settings whose values lie together, and the lowest one if it is farther away than the others are apart."""
    ordered = sorted(settings, key=values.get)
    if len(ordered) < 3 or values[ordered[1]] - values[ordered[0]] <= 2 * (values[ordered[-1]] - values[ordered[1]]):
        return list(settings), []
    return [name for name in settings if name != ordered[0]], ordered[:1]


def _name_points(ax: Axes, x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> None:
    """Write each point's name beside it, in that corner which is farthest from other points and names."""
    ax.autoscale_view()  # now, not when it is drawn: places are computed from the limits
    pixels = ax.figure.dpi / 72  # in a point, the unit of offsets
    points = ax.transData.transform(np.column_stack([x, y])) / pixels
    taken = list(points)
    for i, name in enumerate(names):
        width = 5 * len(name)
        corners = {  # name's place, and its middle
            (dx, dy): points[i] + (np.sign(dx) * (abs(dx) + width / 2), dy + 4) for dx in (6, -6) for dy in (6, -13)
        }
        others = [place for j, place in enumerate(taken) if j != i]
        room = {corner: min((abs(m - o).max() for o in others), default=1) for corner, m in corners.items()}
        corner = max(room, key=room.get)
        taken.append(corners[corner])
        side = "left" if corner[0] > 0 else "right"
        ax.annotate(name, (x[i], y[i]), xytext=corner, textcoords="offset points", fontsize=9, ha=side,
                    path_effects=[withStroke(linewidth=2.5, foreground="white")])  # fmt: skip


def over(
    curves: Mapping[str, pd.DataFrame], label: str, bounds: Mapping[str, Sequence[float]] | None = None,
    logarithmic: bool = False, compared: Sequence[tuple[str, float, str, float]] = (),
) -> Figure:  # fmt: skip
    """Pass rates over another quantity than rounds, such as a property of the problems or the size of the model.

    Args:
        curves: label -> columns ``x, value, low, high`` and, if known, ``n``.
        label: what x is.
        bounds: label -> the best possible value at each x of the first curve, drawn without marks.
        logarithmic: whether x grows by factors; each x of the first curve is then a tick.
        compared: pairs of points, each as curve, x, other curve, other x: joined by a line.
    """
    fig, ax = _axes(WIDTH, 3.6)
    for name, (colour, marker, line) in _looks(curves).items():
        curve = curves[name]
        ax.fill_between(curve["x"], 100 * curve["low"], 100 * curve["high"], color=colour, alpha=0.15, lw=0)
        ax.plot(curve["x"], 100 * curve["value"], color=colour, marker=marker, ls=line, label=name, clip_on=False)
        _dots(ax, curve["x"], curve, colour)
    x = next(iter(curves.values()))["x"]
    for (name, best), line in zip((bounds or {}).items(), ("--", ":")):
        ax.plot(x, 100 * np.asarray(best), color="black", ls=line, lw=1.1, label=name)
    if logarithmic:
        ax.set_xscale("log")
        ax.set_xticks(list(x), [f"{value:,.0f}" for value in x])
        ax.minorticks_off()
    ax.set(xlabel=label, ylabel="problems solved (%)")
    _from_zero(ax, most=100)
    _legend_right(ax)
    gaps = [_compare(ax, curves, *pair) for pair in compared]
    drawn = f"bands: {_over(_seeds(*curves.values()))}" + ("; arrows: compared pairs" if gaps else "")
    _caption(ax, {n for c in curves.values() if "n" in c for n in c["n"]}, drawn, _seeds(*curves.values()))
    return titled(fig, headlines.pairs(gaps) if gaps else headlines.from_to(curves))


def _compare(
    ax: Axes, curves: Mapping[str, pd.DataFrame], one: str, x: float, other: str, far: float
) -> tuple[str, str, float]:
    """Join two points by an arrow with the difference at its middle; what they are, and that difference."""
    here, there = (curves[c].set_index("x")["value"].loc[at] for c, at in ((one, x), (other, far)))
    ends = {"xy": (far, 100 * there), "xytext": (x, 100 * here)}
    ax.annotate("", **ends, arrowprops={"arrowstyle": "<->", "color": "black", "lw": 1.2, "shrinkA": 5, "shrinkB": 5})
    ax.annotate(f"{100 * (here - there):+.0f}", (np.sqrt(x * far), 50 * (here + there)), (0, 5), fontsize=9,
                textcoords="offset points", ha="center", fontweight="bold",
                path_effects=[withStroke(linewidth=2.5, foreground="white")])  # fmt: skip
    return f"{one} at {x:,.0f}", f"{other} at {far:,.0f}", here - there


def attention_by_line(lines: Sequence[str], weights: Mapping[str, Sequence[float]]) -> Figure:
    """How much attention each line of a prompt gets.

    Args:
        lines: the prompt's lines, which stand at the left.
        weights: model -> the share of its attention on each line (0 to 1).
    """
    fig, ax = _axes(WIDTH, 0.8 + 0.24 * len(lines))
    places, bar = np.arange(len(lines)), 0.8 / len(weights)
    for (name, shares), shift, colour, hatch in zip(
        weights.items(), _side_by_side(len(weights), 0.8 - bar), COLOURS, HATCHES
    ):
        ax.barh(places + shift, 100 * np.asarray(shares), bar, color=colour, hatch=hatch, edgecolor="white", label=name)
    ax.set_yticks(places, [line if len(line) <= 64 else line[:61] + "..." for line in lines],
                  family="DejaVu Sans Mono", fontsize=6.5)  # fmt: skip
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
    ax.invert_yaxis()
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("attention of the target (%)")
    _legend_right(ax)
    _caption(ax, set(), "one prompt, line by line")
    return titled(fig, headlines.line(lines, weights))


def copy_bars(table: pd.DataFrame, by: str) -> Figure:
    """Copy rates by model, and within a model by another column of the table, such as ``refinements``."""
    return rate_bars(table, "model", by, "refinements that hand back\nthe faulty program (%)", "Exact copies")


def rate_bars(table: pd.DataFrame, across: str, by: str, label: str, what: str, about: str | None = None) -> Figure:
    """Groups of bars, each a rate with its interval.

    Args:
        table: one row per bar: columns ``across`` (the groups), ``by`` (the bars of a group), ``value, low, high`` (no
            interval where these are missing) and, if known, ``n``.
        label: what is a rate of what.
        what: the same in a word or two, for the title.
        about: which bar of each group the title is about; the first if not given.
    """
    fig, ax = _axes(WIDTH, 3.4)
    groups, bars = list(dict.fromkeys(table[across])), list(dict.fromkeys(table[by]))
    width = 0.8 / len(bars)
    for name, place, colour, hatch in zip(bars, _side_by_side(len(bars), 0.8 - width), COLOURS, HATCHES):
        rows = table[table[by] == name]
        x = np.array([groups.index(group) for group in rows[across]]) + place
        ax.bar(x, 100 * rows["value"], width, color=colour, hatch=hatch, edgecolor="white", lw=0.8, label=name)
        reach = 100 * np.array([rows["value"] - rows["low"], rows["high"] - rows["value"]], float).clip(0)
        ax.errorbar(x, 100 * rows["value"], reach, fmt="none", ecolor="black", elinewidth=1, capsize=3)
        _dots(ax, x + width / 4, rows, "black")
    ax.set_xticks(range(len(groups)), groups)
    ax.set(ylabel=label, ylim=(0, 100))
    _legend_right(ax)
    drawn = f"whiskers: {_over(_seeds(table))}"
    _caption(ax, set(table["n"]) if "n" in table else set(), drawn, _seeds(table))
    return titled(fig, headlines.bars(table, across, by, what, about))


def loss_curves(
    logs: Mapping[str, Sequence[Mapping[str, float]]], token: str = "target token", end_to_end: bool = False
) -> Figure:
    """Training loss by step, on a logarithmic axis.

    Args:
        logs: label -> ``[{"step": ..., "loss": ...}, ...]``; entries without a loss are skipped.
        token: what the loss is a mean over.
        end_to_end: whether the logs are phases of one training, each of which goes on where the one before ended.

    Batches grouped by length make it jump, since long examples are harder than short ones: the line is smoothed
    (:func:`~cycle_utils.analysis.headlines.smoothed`), the entries themselves are drawn faintly.
    """
    fig, ax = _axes(WIDTH, 3.2)
    begin = 0
    for label, (colour, marker, line) in _looks(logs).items():
        loss = pd.Series({entry["step"]: entry["loss"] for entry in logs[label] if "loss" in entry})
        ax.plot(begin + loss.index, loss, color=colour, lw=0.8, alpha=0.35)
        every = max(1, len(loss) // 8)
        smooth = headlines.smoothed(logs[label])
        ax.plot(begin + loss.index, smooth, color=colour, ls=line, marker=marker, markevery=every, label=label)
        begin = begin + loss.index[-1] if end_to_end else 0
    steps = "optimiser step" + (" of all phases" if end_to_end else "")
    ax.set(xlabel=steps, ylabel=f"loss (nats per {token})", yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    _legend_right(ax)
    _caption(ax, set(), "training loss; faint: as logged, line: smoothed", 1)
    return titled(fig, headlines.losses(logs))


def status_bars(table: pd.DataFrame) -> Figure:
    """What became of the programs: one bar of 100 % per row.

    Args:
        table: counts; index the bars' labels, columns the statuses (as ``pd.crosstab`` gives them).

    Raises:
        ValueError: a status that the judge does not give.
    """
    fig, ax = _axes(WIDTH, 0.9 + 0.42 * len(table))
    ordered = [status for status in STATUS_LOOKS if status in table]
    if unknown := sorted(set(table) - set(ordered)):
        raise ValueError(f"unknown status {unknown[0]!r}; the judge's are {', '.join(STATUS_LOOKS)}")
    shares = 100 * table.div(table.sum(axis=1), axis=0)
    left = np.zeros(len(table))
    for status in ordered:
        colour, hatch = STATUS_LOOKS[status]
        ax.barh(range(len(table)), shares[status], 0.72, left, color=colour, hatch=hatch, ec="white", label=status)
        _label_bars(ax, shares[status], left)
        left += shares[status].to_numpy()
    ax.set_yticks(range(len(table)), [f"{label} (n = {total})" for label, total in table.sum(axis=1).items()])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="programs (%)", xlim=(0, 100))
    _legend_right(ax)
    _caption(ax, set(), "n: programs", 1)
    return titled(fig, headlines.statuses(table[ordered]))


def _label_bars(ax: Axes, widths: Iterable[float], left: Iterable[float]) -> None:
    """The figure inside each part that is wide enough for it, on white so that no hatch crosses it."""
    paper = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
    for row, (width, start) in enumerate(zip(widths, left)):
        if width >= 5:
            ax.text(start + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=8, bbox=paper)


def ceiling_by_ambiguity(frame: pd.DataFrame) -> Figure:
    """What an ideal reader could reach, by the share of choices that the descriptions leave open.

    Args:
        frame: columns ``ambiguity, round, ceiling`` and, if known, ``n`` (problems).
    """
    fig, ax = _axes(WIDTH, 3.4)
    rounds = sorted(frame["round"].unique())
    for r, colour, marker, line in zip(rounds, sns.color_palette("viridis", len(rounds)), cycle(MARKERS), cycle(LINES)):
        rows = frame[frame["round"] == r].sort_values("ambiguity")
        name = "one-time" if r == 0 else f"after round {r}"
        ax.plot(100 * rows["ambiguity"], 100 * rows["ceiling"], color=colour, marker=marker, ls=line, label=name)
    ax.set(xlabel="ambiguity: choices left open by the description (%)", ylabel="solved by an ideal reader (%)")
    ax.set_ylim(0, 103)
    _legend_right(ax)
    _caption(ax, set(frame["n"]) if "n" in frame else set(), "computed by enumeration, without a model")
    return titled(fig, headlines.ceiling(frame))


# --- one training example --------------------------------------------------------------------------------

COLUMNS = 92  # characters a line of a token figure
_SHADE = "#BFD9EA"


def pgm_example(tokens: Sequence[str], span: tuple[int, int], hidden: Iterable[int], target_start: int) -> Figure:
    """One training example token by token, with what Past Generation Masking does to it.

    Args:
        tokens: the decoded text of each token.
        span: half-open token range of the past generation, shaded.
        hidden: indices of the tokens that nothing attends to, white on black.
        target_start: first token of the target, which alone has a loss; it and all after it are underlined.

    Raises:
        ValueError: a span, hidden token or target outside the example.
    """
    masked = set(hidden)
    if not 0 <= span[0] <= span[1] <= len(tokens) or not 0 <= target_start <= len(tokens):
        raise ValueError(f"span {span} or target {target_start} lies outside the example's {len(tokens)} tokens")
    if masked and not (min(masked) >= 0 and max(masked) < len(tokens)):
        raise ValueError(f"a hidden token lies outside the example's {len(tokens)} tokens; give indices into tokens")
    pieces = _lay_out(tokens)
    rows = pieces[-1][1] + 1 if pieces else 1
    size = 0.96 * 72 * WIDTH / COLUMNS / 0.602  # points; a letter of DejaVu Sans Mono is 0.602 em wide
    fig, ax = _axes(WIDTH, rows * 1.55 * size / 72)
    ax.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    ax.set_axis_off()
    fig.subplots_adjust(0, 0, 1, 1)
    for index, row, column, text in pieces:
        look = "hidden" if index in masked else "span" if span[0] <= index < span[1] else ""
        _draw_token(ax, row, column, text, look, index >= target_start, size)
    _pgm_legend(ax, len(masked), span[1] - span[0], len(tokens) - target_start)
    return titled(fig, f"{len(masked)} of {span[1] - span[0]} tokens of the past generation are hidden")


def _lay_out(tokens: Sequence[str]) -> list[tuple[int, int, int, str]]:
    """(token, row, column, text) of each piece: lines end after a newline, and before a token that does not fit."""
    pieces, row, column = [], 0, 0
    for index, token in enumerate(tokens):
        for text in filter(None, re.split(r"(?<=↵)", _visible(token))):
            if column and column + len(text) > COLUMNS:
                row, column = row + 1, 0
            for start in range(0, len(text), COLUMNS):
                part = text[start : start + COLUMNS]
                row += start > 0
                pieces.append((index, row, column, part))
            column += len(part)
            if text.endswith("↵"):
                row, column = row + 1, 0
    return pieces


def _visible(token: str) -> str:
    """Line breaks as ↵, tabs as →, other characters that do not print as escapes."""
    shown = token.replace("\r\n", "↵").replace("\n", "↵").replace("\t", "→   ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def _draw_token(ax: Axes, row: int, column: int, text: str, look: str, target: bool, size: float) -> None:
    """One piece: its box, a little narrower than its text so that neighbours stay apart, and its letters."""
    if look:
        face = "black" if look == "hidden" else _SHADE
        ax.add_patch(Rectangle((column + 0.06, row + 0.1), len(text) - 0.12, 0.8, fc=face, ec="none"))
    if target:
        ax.hlines(row + 0.93, column + 0.06, column + len(text) - 0.06, color=COLOURS[3], lw=1.2)
    for breaks, letters in groupby(enumerate(text), lambda pair: pair[1] == "↵"):
        start, _ = first = next(letters)
        part = "".join(letter for _, letter in [first, *letters])
        colour = "white" if look == "hidden" else "0.55" if breaks else "black"
        ax.text(column + start, row + 0.52, part, va="center_baseline", family="DejaVu Sans Mono", fontsize=size,
                color=colour, parse_math=False)  # fmt: skip


def _pgm_legend(ax: Axes, hidden: int, span: int, target: int) -> None:
    handles = [
        Patch(fc=_SHADE, label=f"past generation ({span} tokens)"),
        Patch(fc="black", label=f"hidden by the mask ({hidden})"),
        plt.Line2D([], [], color=COLOURS[3], lw=1.2, label=f"target, the only loss ({target})"),
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.4, borderpad=0.2)


def titled(fig: Figure, finding: str) -> Figure:
    """The figure with what it shows in a sentence above it."""
    text = textwrap.fill(finding.replace(" %", "\N{NO-BREAK SPACE}%"), TITLE)
    look = {"fontsize": 10.5, "fontweight": "bold", "ha": "left", "va": "bottom", "parse_math": False}
    if len(fig.axes) > 1:
        fig.text(0.01, 1, text, **look)
    else:
        fig.axes[0].annotate(text, (0, 1), (0, 20), xycoords="axes fraction", textcoords="offset points", **look)
    return fig


# --- parts -----------------------------------------------------------------------------------------------


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    fig, ax = plt.subplots(figsize=(width, height))
    plt.close(fig)
    return fig, ax


def _looks(labels: Iterable[str]) -> dict[str, tuple]:
    """Colour, marker and line style of each label; again from the first when they run out."""
    return dict(zip(dict.fromkeys(labels), cycle(zip(COLOURS, MARKERS, LINES))))


def _side_by_side(count: int, width: float) -> np.ndarray:
    """Offsets of ``count`` things centred on 0 over ``width``."""
    return np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(1)


def _reach(found: Interval) -> list[list[float]]:
    """Lengths of an error bar below and above its point, in per cent."""
    return [[max(0.0, 100 * (found.value - found.low))], [max(0.0, 100 * (found.high - found.value))]]


def _from_zero(ax: Axes, most: float = np.inf) -> None:
    """The y axis from 0 to the next tick above what is drawn, and to no more than ``most``."""
    high = min(ax.get_ylim()[1], most)
    ax.set_ylim(0, ax.yaxis.get_major_locator().tick_values(0, high)[-1])


def _legend_right(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def _over(seeds: int) -> str:
    """What intervals are over, see :mod:`~cycle_utils.analysis.stats`."""
    return f"95 % intervals over {'trainings and ' if seeds > 1 else ''}problems"


def _seeds(*tables: pd.DataFrame) -> int:
    """From how many seeds the drawing comes: one where the tables do not say."""
    lists = (values for table in tables if BY_SEED in table for values in table[BY_SEED])
    return max((len(values) for values in lists if isinstance(values, list)), default=1)


def _dots(ax: Axes, places: Sequence[float], rows: pd.DataFrame, colour: str, across: bool = False) -> None:
    """What each seed gave, where there are several: a dot each, at its row's place."""
    if BY_SEED not in rows or _seeds(rows) == 1:
        return
    known = ((place, values) for place, values in zip(places, rows[BY_SEED]) if isinstance(values, list))
    points = [(place, 100 * one) for place, values in known for one in values]
    x, y = zip(*(point[::-1] if across else point for point in points))
    ax.plot(x, y, ls="", marker="o", ms=2.6, mfc="white", mec=colour, mew=0.8, zorder=4, clip_on=False)


def _caption(ax: Axes, counts: set[int], text: str, seeds: int | None = None) -> None:
    """A line above the axes, where no label can meet it: how many problems and seeds, and what the intervals are."""
    known = [f"n = {' to '.join(str(c) for c in sorted({min(counts), max(counts)}))} problems"] if counts else []
    if seeds:
        known.append("1 seed" if seeds == 1 else f"{seeds} seeds (dots)")
    line = "; ".join([*([", ".join(known)] if known else []), text])
    if len(ax.figure.axes) > 1:  # above all panels: the first one alone would be spread by it
        ax.figure.suptitle(line, x=0.01, ha="left", fontsize=8, color=GREY)
    else:
        ax.set_title(line, loc="left", fontsize=8, color=GREY)
