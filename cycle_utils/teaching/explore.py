"""Looking at runs by hand: what the explore notebook shows, and the widgets that show it.

The functions make tables and HTML of attempts, programs, masks and readings. The views are boxes of widgets around
them; beside its widgets each has a still, a few of its pages to be unfolded, for where no kernel answers. All text that
comes from a model or a reader is escaped.
"""

from __future__ import annotations

import ast
import difflib
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from cycle_utils.analysis import metrics
from cycle_utils.analysis.attention import attention_on
from cycle_utils.execution import Judge, Verdict
from cycle_utils.execution.verdict import CRASHED, ERROR, TIMEOUT
from cycle_utils.method.loop import self_refine
from cycle_utils.method.masking import Masking, PGMCollator
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp

FILTERS = ("all", "solved at once", "mended", "never mended", "copied", "broken again")
MOST_READINGS = 12  # rows of a table of readings
_BROKEN = (ERROR, TIMEOUT, CRASHED)
_CELL = "text-align:left;vertical-align:top;white-space:pre-wrap;padding:2px 12px 2px 0"
_CODE = "font-family:monospace;white-space:pre-wrap;font-size:12px;line-height:1.4;padding:2px 6px;vertical-align:top"
_HIDDEN, _SPAN, _TARGET = (
    "background:#000;color:#fff",
    "background:#bcd7ea;color:#000",
    "border-bottom:2px solid #D55E00",
)


# --- trajectories ----------------------------------------------------------------------------------------


def trajectories(attempts: pd.DataFrame) -> pd.DataFrame:
    """What became of each trajectory of a loop.

    Returns:
        index ``task_id, sample``; ``rounds`` (the last one), ``solved`` (the round, NA if never), ``copied`` (whether
        a refinement was an exact copy) and ``broken`` (whether a program that ran was followed by one that did not).
    """
    table = metrics.add_copies(attempts).sort_values("round")
    is_broken = table["status"].isin(_BROKEN)
    was_broken = is_broken.groupby([table[c] for c in metrics.TRAJECTORY]).shift(fill_value=True)
    table["broke"] = is_broken & ~was_broken.astype(bool)
    passed = table[table["passed"].astype(bool)].groupby(metrics.TRAJECTORY)["round"].min()
    groups = table.groupby(metrics.TRAJECTORY, sort=False)
    found = pd.DataFrame({"rounds": groups["round"].max(), "solved": passed.astype("Int64")})
    found["copied"] = groups["copy_exact"].any().astype(bool)
    return found.assign(broken=groups["broke"].any())


def chosen(found: pd.DataFrame, kind: str, round_: int | None = None) -> list[tuple[str, int]]:
    """The trajectories of one kind of :data:`FILTERS`; ``mended`` in one round, where that is given.

    Raises:
        ValueError: unknown kind.
    """
    solved = found["solved"]
    kinds = {
        "all": solved.notna() | solved.isna(),
        "solved at once": (solved == 0).fillna(False),
        "mended": ((solved > 0) if round_ is None else (solved == round_)).fillna(False),
        "never mended": solved.isna(),
        "copied": found["copied"],
        "broken again": found["broken"],
    }
    if kind not in kinds:
        raise ValueError(f"unknown filter {kind!r}; choose one of {', '.join(FILTERS)}")
    return list(found.index[kinds[kind].astype(bool)])


def side_by_side(before: str, after: str) -> str:
    """Two programs as an HTML table: changed lines with ``-`` and ``+``, changed tokens marked."""
    rows = []
    ours, theirs = before.splitlines(), after.splitlines()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for i in range(max(b - a, d - c)):
            left, right = (ours[a + i] if a + i < b else None), (theirs[c + i] if c + i < d else None)
            rows.append(_row(left, right, kind != "equal"))
    return f"<table style='border-collapse:collapse;width:100%'>{''.join(rows)}</table>"


def _row(left: str | None, right: str | None, changed: bool) -> str:
    shown = _marked(left or "", right or "") if changed and None not in (left, right) else map(_plain, (left, right))
    cells = []
    for sign, line, text in zip("-+", (left, right), shown):
        colour = ("#fdebd0", "#d5f0e3")[sign == "+"] if changed and line is not None else "transparent"
        mark = sign if changed and line is not None else "&nbsp;"
        cells.append(f"<td style='{_CODE};width:50%;background:{colour};text-align:left'>{mark} {text}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _plain(line: str | None) -> str:
    return html.escape(line or "")


def _marked(left: str, right: str) -> tuple[str, str]:
    """Both lines as HTML, with the tokens marked in which they differ."""
    ours, theirs = (re.findall(r"\s+|\w+|[^\w\s]", line) for line in (left, right))
    texts: tuple[list[str], list[str]] = ([], [])
    for kind, a, b, c, d in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        for text, part in zip(texts, ("".join(ours[a:b]), "".join(theirs[c:d]))):
            escaped = html.escape(part)
            text.append(escaped if kind == "equal" or not part else f"<mark><b>{escaped}</b></mark>")
    return "".join(texts[0]), "".join(texts[1])


def tests_table(verdict: Verdict) -> str:
    """Each test of a verdict: status, input, expected, actual or what was raised."""
    if not verdict.tests:
        return f"<p><b>{verdict.status}</b>: {html.escape(verdict.error or 'no test was run')}</p>"
    rows = [
        {"test": i, "status": t.status, "input": t.input, "expected": t.expected, "actual": t.exception or t.actual}
        for i, t in enumerate(verdict.tests)
    ]
    return _table(pd.DataFrame(rows))


def _table(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", None):
        text = frame.fillna("").to_html(index=False, border=0, escape=True)
    return re.sub(r"<(t[hd])\b", rf"<\1 style='{_CELL}'", text)


class Verdicts:
    """Verdicts on programs, each judged once. No judge is left running between two questions."""

    def __init__(self, time_limit: float = 3.0):
        self._limit, self._known = time_limit, {}

    def of(self, problem: Problem, programs: Sequence[str]) -> list[Verdict]:
        keys = [(problem.task_id, problem.prompt, tuple(map(str, problem.tests)), program) for program in programs]
        fresh = [(key, program) for key, program in zip(keys, programs) if key not in self._known]
        if fresh:
            with Judge(workers=1, time_limit=self._limit) as judge:
                found = judge.run([problem] * len(fresh), [program for _, program in fresh])
            self._known |= {key: verdict for (key, _), verdict in zip(fresh, found)}
        return [self._known[key] for key in keys]


# --- masks and attention ---------------------------------------------------------------------------------


def masked_positions(features: Mapping[str, Any], ratio: float, epoch: int = 0, seed: int = 0) -> list[int]:
    """The positions that Past Generation Masking hides in one example (see ``PGMCollator.hidden``)."""
    collator = PGMCollator(0, Masking(ratio), seed)
    collator.epoch = epoch
    return collator.hidden(features).nonzero().flatten().tolist()


def tokens_html(
    tokens: Sequence[str], span: tuple[int, int], hidden: Iterable[int], target: int, weights: np.ndarray | None = None
) -> str:
    """An example token by token: the span tinted, hidden tokens black, the target underlined.

    With ``weights`` (attention, one for each token), the tint of a token is how much it gets instead.
    """
    dark, out = set(hidden), []
    strongest = float(weights.max()) if weights is not None and len(weights) else 1.0
    for i, token in enumerate(tokens):
        style = _SPAN if span[0] <= i < span[1] else ""
        if weights is not None:
            style = f"background:rgba(0,114,178,{0.85 * weights[i] / strongest:.2f})"
        style = _HIDDEN if i in dark else style
        style += f";{_TARGET}" if i >= target else ""
        title = f" title='{100 * weights[i]:.2f} % of the attention'" if weights is not None else ""
        out.append(f"<span style='{style}'{title}>{html.escape(token)}</span>")
    return f"<div style='{_CODE}'>{''.join(out)}</div>"


# --- readings --------------------------------------------------------------------------------------------


def narrowing(problem: Problem, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """How the probability of each reading of a description changes with each failing test.

    Args:
        problem: of TinyPrograms.
        verdicts: of the programs that were tried, in order; each failure shows its first failing test.

    Returns:
        one row for each reading, the most probable at the end first: the code of each open slot, ``prior``,
        ``after round r`` for each failure, ``tried in`` (the rounds whose program does the same) and ``meant``.
    """
    task, calls = problem.meta["task"], problem.meta["calls"]
    slots = {s.name: s for s in task.family.slots}
    found = [(values, weight, tp.evaluate(task, calls, values)) for values, weight in tp.readings(task)]
    truth = tp.evaluate(task, calls)
    table = pd.DataFrame([{name: slots[name].values[i].code for name, i in values.items()} for values, _, _ in found])
    chance = np.array([weight for _, weight, _ in found])
    table["prior"] = chance / chance.sum()
    for round_, verdict in enumerate(verdicts):
        failing = next((i for i, t in enumerate(verdict.tests) if not t.passed), None)
        if failing is not None:
            chance = chance * [repr(outputs[failing]) == repr(truth[failing]) for _, _, outputs in found]
            table[f"after round {round_}"] = chance / chance.sum()
    table["tried in"] = [_tried(outputs, verdicts) for _, _, outputs in found]
    table["meant"] = ["yes" if list(map(repr, outputs)) == list(map(repr, truth)) else "" for _, _, outputs in found]
    last = [c for c in table if c == "prior" or c.startswith("after")][-1]
    return table.sort_values([last, "prior"], ascending=False, kind="stable").reset_index(drop=True)


def _tried(outputs: Sequence[Any], verdicts: Sequence[Verdict]) -> str:
    does = [repr(value) for value in outputs]
    rounds = [str(r) for r, v in enumerate(verdicts) if v.tests and [t.actual for t in v.tests] == does]
    return ", ".join(rounds)


# --- two runs --------------------------------------------------------------------------------------------


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, round_: int) -> pd.DataFrame:
    """Problem by problem, which of two runs had solved it by a round.

    Returns:
        index task_id; ``ours`` and ``theirs`` (share of the trajectories that passed) and ``outcome``: ``both``,
        ``ours only``, ``theirs only`` or ``neither``.
    """
    rounds = max(round_, 1)
    shares = [metrics.solved_by_round(t, rounds).groupby("task_id").mean()[round_] for t in (ours, theirs)]
    table = pd.concat(shares, axis=1, keys=["ours", "theirs"]).dropna()
    won, lost = table["ours"] > 0, table["theirs"] > 0
    names = np.select([won & lost, won, lost], ["both", "ours only", "theirs only"], "neither")
    return table.assign(outcome=names)


# --- a problem of one's own ------------------------------------------------------------------------------


def own_problem(prompt: str, assertions: str) -> Problem:
    """A problem from what a reader wrote: a function's signature and docstring, and assertions, one a line.

    Raises:
        ValueError: what is missing, in one sentence.
    """
    text = prompt.rstrip()
    tests = [line.strip() for line in assertions.splitlines() if line.strip()]
    if not tests:
        raise ValueError("there is no test; write an assertion, such as: assert f(1) == 2")
    try:
        tree = ast.parse(f"{text}\n    pass")
    except SyntaxError as error:
        raise ValueError(f"the description is no function with a docstring: {error.msg}, line {error.lineno}") from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not functions:
        raise ValueError('there is no function; begin with a signature and a docstring: def f(x):\\n    """..."""')
    return Problem("your own", text, functions[-1], tuple(tests))


# --- views -----------------------------------------------------------------------------------------------


def present(view: View, interactive: bool = True) -> None:
    """Show a view with its widgets, or only its still."""
    display(view if interactive else HTML(view.still()))


class View(widgets.VBox):
    """Controls above a page of HTML; the page is redrawn whenever a control changes."""

    def __init__(self, controls: Sequence[widgets.Widget]):
        self.page = widgets.HTML()
        self.controls = [control for control in controls if not isinstance(control, widgets.Button)]
        super().__init__([widgets.HBox(list(controls), layout=widgets.Layout(flex_flow="row wrap")), self.page])
        for control in self.controls:
            control.observe(self.draw, "value")
        self.draw()

    def draw(self, change: Any = None) -> None:
        """Fill the page."""
        self.page.value = self.content()

    def content(self) -> str:
        """The page as HTML, for what the controls say."""
        raise NotImplementedError

    def tour(self) -> Iterator[tuple[str, Mapping[widgets.Widget, Any]]]:
        """The pages of the still: of each its title, and what the controls are set to."""
        yield "as it begins", {}

    def still(self) -> str:
        """The pages of the tour, one below the other, to be unfolded; the controls stay as they are."""
        kept, pages = [(control, control.value) for control in self.controls], []
        for title, values in self.tour():
            for control, value in values.items():
                control.value = value
            shown = f"<details{'' if pages else ' open'}><summary>{html.escape(title)}</summary>"
            pages.append(f"{shown}{self.content()}</details>")
        for control, value in kept:
            control.value = value
        return "".join(pages) or self.content()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """What a notebook shows: the live view, and its still for pages that have no kernel."""
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self.still()}


class TrajectoryView(View):
    """Step through the attempts of one problem: programs side by side, tests, feedback, copies."""

    def __init__(self, runs: Mapping[str, pd.DataFrame], problems: Sequence[Problem]):
        self.runs = {name: metrics.add_copies(table) for name, table in runs.items()}
        self.found = {name: trajectories(table) for name, table in self.runs.items()}
        self.problems, self.verdicts = {p.task_id: p for p in problems}, Verdicts()
        self.model = widgets.Dropdown(options=list(runs), value=list(runs)[-1], description="model")
        self.kind = widgets.Dropdown(options=FILTERS, value="mended", description="filter")
        last = max(int(t["round"].max()) for t in self.runs.values())
        rounds = [("any round", 0), *((f"round {r}", r) for r in range(1, last + 1))]
        self.mended = widgets.Dropdown(options=rounds, description="mended in")
        self.which = widgets.Dropdown(description="problem")
        self.step = widgets.IntSlider(min=0, max=last, description="round")
        for control in (self.model, self.kind, self.mended):
            control.observe(self._choose, "value")
        self.which.observe(self._rewind, "value")
        self._choose()
        super().__init__([self.model, self.kind, self.mended, self.which, self.step])

    def _choose(self, change: Any = None) -> None:
        names = chosen(self.found[self.model.value], self.kind.value, self.mended.value or None)
        self.which.options = [(f"{task}, sample {sample}", (task, sample)) for task, sample in names]
        self.which.value = names[0] if names else None
        self._rewind()

    def _rewind(self, change: Any = None) -> None:
        self.step.value = min(1, self._last())

    def _last(self) -> int:
        return int(self.found[self.model.value].loc[self.which.value, "rounds"]) if self.which.value else 0

    def content(self) -> str:
        if self.which.value is None:
            return "<p>No trajectory of this model is of this kind.</p>"
        task, sample = self.which.value
        table = self.runs[self.model.value]
        trail = table[(table["task_id"] == task) & (table["sample"] == sample)].set_index("round")
        now = trail.loc[min(self.step.value, self._last())]
        before = trail.loc[now.name - 1] if now.name else now
        programs = f"<b>round {before.name} (left), round {now.name} (right)</b>" if now.name else "<b>first try</b>"
        programs += side_by_side(before["code"] if now.name else "", now["code"])
        feedback = html.escape(now["feedback"] or "none: all tests pass")
        return "".join([
            f"<h4>{html.escape(task)}: round {now.name} of {self._last()}, {now['status']}{_copy_words(now)}</h4>",
            f"<pre>{html.escape(self.problems[task].prompt)}</pre>",
            programs,
            tests_table(self.verdicts.of(self.problems[task], [now["code"]])[0]),
            f"<b>feedback after round {now.name}</b><pre>{feedback}</pre>",
        ])  # fmt: skip

    def tour(self) -> Iterator[tuple[str, Mapping[widgets.Widget, Any]]]:
        for kind in ("mended", "copied", "never mended"):
            self.kind.value = kind
            for step in range(1, min(self._last(), 2) + 1):
                yield f"{self.model.value}, {kind}: round {step}", {self.step: step}


def _copy_words(row: pd.Series) -> str:
    if row.name == 0:
        return ""
    kinds = dict(zip(metrics.COPY_KINDS, ("an exact copy", "a copy up to white space", "a copy up to the syntax tree")))
    return next((f", {words}" for kind, words in kinds.items() if row[f"copy_{kind}"]), ", no copy")


class OwnProblemView(View):
    """Write a problem, run the loop on it, and watch each round arrive."""

    def __init__(
        self, models: Mapping[str, tuple[str, str]], example: Problem, rounds: int = 4, run: Callable = self_refine
    ):
        """``models``: for each name, a folder or ID and its style of refine prompt; ``example`` is there first."""
        self.models, self.run, self._loaded, self._parts = models, run, {}, []
        wide = widgets.Layout(width="48%", height="90px")
        self.prompt = widgets.Textarea(value=example.prompt, description="problem", layout=wide)
        self.tests = widgets.Textarea(value="\n".join(example.tests), description="tests", layout=wide)
        self.model = widgets.Dropdown(options=list(models), value=list(models)[-1], description="model")
        self.rounds = widgets.IntSlider(value=rounds, min=0, max=max(rounds, 4), description="rounds")
        self.button = widgets.Button(description="Run the loop", button_style="primary")
        self.button.on_click(self.start)
        super().__init__([self.prompt, self.tests, self.model, self.rounds, self.button])

    def draw(self, change: Any = None) -> None:
        if change is None:  # a changed text is run by the button, not at each keystroke
            super().draw()

    def content(self) -> str:
        return "".join(self._parts) or "<p>Press the button: each round appears here as it ends.</p>"

    def still(self) -> str:
        texts = "".join(f"<pre>{html.escape(box.value)}</pre>" for box in (self.prompt, self.tests))
        return f"<p>This tool needs a running kernel. It begins with this problem and these tests:</p>{texts}"

    def start(self, button: Any = None) -> None:
        """Run the loop; bad input is answered in a sentence."""
        self._parts, before = ["<p>running ...</p>"], [""]
        self.draw()
        try:
            problem = own_problem(self.prompt.value, self.tests.value)
            model, tokenizer, style = self._load()
            self.run(
                model, [problem], tokenizer=tokenizer, style=style, rounds=self.rounds.value, progress=False,
                on_round=lambda rows: self._arrived(rows[0], before),
            )  # fmt: skip
            self._parts[0] = "<p><b>done</b></p>"
        except (ValueError, OSError) as error:
            self._parts = [f"<p><b>This cannot be run:</b> {html.escape(str(error))}.</p>"]
        self.draw()

    def _load(self) -> tuple:
        place, style = self.models[self.model.value]
        if place not in self._loaded:
            self._loaded[place] = (load_model(place), load_tokenizer(place))
        return (*self._loaded[place], style)

    def _arrived(self, row: Mapping[str, Any], before: list[str]) -> None:
        what = f"<h4>round {row['round']}: {row['status']}</h4>"
        says = f"<pre>{html.escape(row['feedback'] or '')}</pre>"
        self._parts.append(what + side_by_side(before[0], row["code"]) + says)
        before[0] = row["code"]
        self.draw()


class MaskView(View):
    """Past Generation Masking on one example: another ratio, another epoch, and where the target looks."""

    def __init__(self, tokenizer, features: Mapping[str, Any], model=None, seed: int = 0):
        self.features, self.seed, self.lm = features, seed, model
        self.tokens = [tokenizer.decode([i]) for i in features["input_ids"]]
        self.ratio = widgets.FloatSlider(value=0.05, min=0, max=1, step=0.01, description="mask ratio")
        self.epoch = widgets.IntSlider(value=0, min=0, max=50, description="epoch")
        self.attention = widgets.Checkbox(value=model is not None, description="attention", disabled=model is None)
        if model is not None:
            model.set_attn_implementation("eager")
        super().__init__([self.ratio, self.epoch, self.attention])

    def content(self) -> str:
        span = self.features["spans"]["past_generation"]
        hidden = masked_positions(self.features, self.ratio.value, self.epoch.value, self.seed)
        first = next(i for i, label in enumerate(self.features["labels"]) if label >= 0)
        parts = [tokens_html(self.tokens, span, hidden, first)]
        head = f"<p>{len(hidden)} of the {span[1] - span[0]} tokens of the faulty program are hidden in this epoch."
        if self.attention.value:
            plain, masked = (attention_on(self.lm, self.features, h) for h in ((), hidden))
            on_span = [f"{100 * w[span[0] : span[1]].sum():.1f} %" for w in (plain, masked)]
            head += f" Attention of the target on the faulty program: {on_span[0]} unmasked, {on_span[1]} masked."
            parts.append(tokens_html(self.tokens, span, hidden, first, masked))
        cells = "".join(f"<td style='vertical-align:top;text-align:left;width:50%'>{part}</td>" for part in parts)
        return f"{head}</p><table style='width:100%'><tr>{cells}</tr></table>"

    def tour(self) -> Iterator[tuple[str, Mapping[widgets.Widget, Any]]]:
        for ratio in (0.05, 0.2, 0.5):
            yield f"mask ratio {ratio:g}", {self.ratio: ratio}


class ReadingsView(View):
    """What a description leaves open, and how failing tests narrow it: for a model's run, or for the ideal reader."""

    def __init__(self, runs: Mapping[str, pd.DataFrame], problems: Sequence[Problem], ambiguity: float, seed: int = 0):
        self.runs, self.given, self.at, self.seed = runs, list(problems), ambiguity, seed
        self.verdicts = Verdicts()
        self.ambiguity = widgets.FloatSlider(value=ambiguity, min=0, max=1, step=0.05, description="ambiguity")
        self.who = widgets.Dropdown(options=[*runs, "ideal reader"], value=list(runs)[-1], description="who")
        self.number = widgets.Dropdown(description="problem")
        self.ambiguity.observe(self._draw_problems, "value")
        self._draw_problems()
        super().__init__([self.ambiguity, self.who, self.number])

    def _draw_problems(self, change: Any = None) -> None:
        same = abs(self.ambiguity.value - self.at) < 1e-9
        self.shown = self.given if same else tp.generate("test", 30, self.seed, self.ambiguity.value)
        many = [len(problem.meta["open"]) for problem in self.shown]
        most_open = sorted(range(len(many)), key=lambda i: -many[i])
        self.number.options = [(f"{self.shown[i].task_id}: {many[i]} open", i) for i in most_open]
        self.number.value = most_open[0]

    def content(self) -> str:
        if self.number.value is None:
            return ""
        problem = self.shown[self.number.value]
        tried, who = self._tried(problem)
        table = narrowing(problem, self.verdicts.of(problem, tried))
        open_ = ", ".join(f"{name} ({how})" for name, how in problem.meta["open"].items()) or "nothing"
        left = [int((table[c] > 0).sum()) for c in table if c == "prior" or c.startswith("after")]
        shown = _readings(table.head(MOST_READINGS))
        rest = len(table) - len(shown)
        more = f"<p>{rest} less probable readings are not shown.</p>" if rest else ""
        return "".join([
            f"<pre>{html.escape(problem.prompt)}</pre><p>Open: {html.escape(open_)}. Readings that fit, at first and "
            f"after each failure: {', '.join(map(str, left))}. Tried by: {html.escape(who)}.</p>", _table(shown), more,
        ])  # fmt: skip

    def tour(self) -> Iterator[tuple[str, Mapping[widgets.Widget, Any]]]:
        for name in reversed(self.runs):
            yield f"tried by {name}", {self.who: name}

    def _tried(self, problem: Problem) -> tuple[list[str], str]:
        """The programs that were tried, and by whom: the ideal reader where the model never saw the problem."""
        run = self.runs.get(self.who.value)
        rows = run[(run["task_id"] == problem.task_id) & (run["sample"] == 0)] if run is not None else ()
        if len(rows) and self.shown is self.given:
            return list(rows.sort_values("round")["code"]), self.who.value
        task, walk = problem.meta["task"], tp.read_ideally(problem)
        return [tp.program(task, {**task.values, **values}) for values in walk.tried], "ideal reader"


def _readings(table: pd.DataFrame) -> pd.DataFrame:
    """A table of :func:`narrowing` in five columns: each reading, its probabilities in a row, who tried it."""
    after = [c for c in table if c.startswith("after")]
    slots = [c for c in table if c not in ("prior", *after, "tried in", "meant")]
    return pd.DataFrame({
        "reading": ["; ".join(f"{name}: {row[name]}" for name in slots) for _, row in table.iterrows()],
        "prior": [f"{100 * x:.1f} %" for x in table["prior"]],
        "after each failure": ["; ".join(f"{100 * row[c]:.1f} %" for c in after) for _, row in table.iterrows()],
        "tried in": table["tried in"],
        "meant": table["meant"],
    })  # fmt: skip


class CompareView(View):
    """Two runs, problem by problem, after a round."""

    def __init__(self, runs: Mapping[str, pd.DataFrame]):
        self.runs, names = runs, list(runs)
        last = max(int(table["round"].max()) for table in runs.values())
        self.ours = widgets.Dropdown(options=names, value=names[-1], description="ours")
        self.theirs = widgets.Dropdown(options=names, value=names[0], description="theirs")
        self.round = widgets.IntSlider(value=last, min=0, max=last, description="round")
        super().__init__([self.ours, self.theirs, self.round])

    def content(self) -> str:
        found = compare(self.runs[self.ours.value], self.runs[self.theirs.value], self.round.value)
        names = {"both": "both", "neither": "neither"}
        names |= {"ours only": f"{self.ours.value} only", "theirs only": f"{self.theirs.value} only"}
        rows = [
            {"solved by": names[kind], "problems": len(part), "such as": ", ".join(part.index[:6])}
            for kind, part in found.groupby("outcome")
        ]
        return f"<p>After round {self.round.value}, of {len(found)} problems:</p>{_table(pd.DataFrame(rows))}"

    def tour(self) -> Iterator[tuple[str, Mapping[widgets.Widget, Any]]]:
        for round_ in sorted({0, self.round.max}):
            yield f"{self.ours.value} and {self.theirs.value} after round {round_}", {self.round: round_}
