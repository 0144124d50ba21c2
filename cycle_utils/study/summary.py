"""The study in a few lines: its findings in words, and one row for each claim of the paper.

Every figure is read from the published tables, and every sentence is chosen by what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cycle_utils.analysis.chance import BEYOND
from cycle_utils.analysis.stats import Interval, verdict
from cycle_utils.study.contenders import CYCLE, PRETRAINED, TUNED, UNMASKED

# What each claim says, and the beginning of the row in the table of claims that speaks for it.
CLAIMS = {
    "C1": ("Shown its faulty program, a pre-trained LM copies it; CYCLE less", "C1: the pre-trained LM copies"),
    "C2": ("Learning to refine raises the pass rate of the loop", "C2: CYCLE beats the fine-tuned LM in the loop"),
    "C3": ("One-time generation keeps its quality", "C3: one-time generation"),
    "C4": ("It matches or beats LMs of three times its size", "C4: CYCLE of tiny-0.5M"),
    "C5": ("Hiding parts of the faulty program (PGM) discourages copying", "C5: with PGM the loop solves more"),
    "C6": ("Mixing in plain generation balances both abilities", "C6: without refinement data the loop"),
    "C7": ("Feedback, faulty code and description are all needed", "C7: the feedback is needed"),
}  # fmt: skip

BLANKED = "CYCLE: loop over loop with feedback blanked"
FIRST_PHASE = "first phase alone"  # of pre-training, before that in which most code recurs
TABLES = (
    "05_shortcut", "05_shortcut_trend", "07_benchmarks", "07_gains", "07_controls", "07_copies", "07_copy_gaps",
    "07_excess_gaps", "07_chance", "08_inputs_differences", "10_planted", "11_memory", "11_memory_gaps",
    "held_out_rates", "held_out_gaps",
)  # fmt: skip


def claim_summary(claims: pd.DataFrame) -> pd.DataFrame:
    """One row for each of :data:`CLAIMS` that was tested.

    Args:
        claims: the table of all claims, with columns ``claim``, ``ours``, ``verdict`` and ``notebook``.

    Returns:
        columns ``claim``, ``verdict`` with the number of comparisons in which it holds, fails, or is open and points
        against the claim, ``for example``, ``figure`` and ``notebooks``.
    """
    rows = []
    for name, (words, example) in CLAIMS.items():
        all_of_it = claims[claims["claim"].str.startswith(name)]
        shown = all_of_it[all_of_it["claim"].str.startswith(example)]
        if shown.empty:
            continue
        said = all_of_it["verdict"].str
        holds, fails = said.startswith("holds").sum(), said.startswith("fails").sum()
        part = "fails in part" if fails else "holds in part" if holds else "not shown"
        verdict = "mixed" if holds and fails else part
        verdict = {holds: "holds", fails: "fails"}.get(len(all_of_it), verdict)
        sides = {"against it": fails, "open, pointing against it": said.endswith("points against it").sum()}
        rest = "".join(f"; {count} {side}" for side, count in sides.items() if count)
        notebooks = sorted({one for cell in all_of_it["notebook"] for one in cell.split(", ")})
        rows.append({
            "claim": f"{name}: {words}",
            "verdict": f"**{verdict}** ({holds} of {len(all_of_it)}{rest})",
            "for example": shown["claim"].iloc[0].split(": ", 1)[1],
            "figure": shown["ours"].iloc[0].split(", p ")[0].split(";")[0],
            "notebooks": ", ".join(notebooks),
        })  # fmt: skip
    return pd.DataFrame(rows)


def findings(tables: Path) -> str:
    """The findings as a Markdown list, and what they rest on, from the published tables (:data:`TABLES`)."""
    read = {name: pd.read_csv(tables / f"{name}.csv") for name in TABLES}
    said = (_helps, _carries_over, _remembers, _reads, _no_effect, _tempted, _copies)
    listed = "\n".join(f"- {one(read)}" for one in said)
    basis = _row(read["07_benchmarks"], model=CYCLE, protocol="loop: after round 4")
    return (
        f"{listed}\n\nMeans over {basis['seeds']} trainings (seeds) and {basis['n']} problems, of ablations over "
        "fewer; in brackets, 95 % intervals over trainings and problems.\n"
    )


def _helps(tables: dict[str, pd.DataFrame]) -> str:
    end = {name: _row(tables["07_benchmarks"], model=name, protocol="loop: after round 4") for name in (TUNED, CYCLE)}
    samples, apart = (
        _row(tables["07_benchmarks"], model=CYCLE, protocol=f"5 {kind} samples") for kind in ("independent", "distinct")
    )
    memory = _row(tables["07_benchmarks"], model=CYCLE, protocol="loop without repeats: after round 4")
    over = ("loop: CYCLE over fine-tuned", "CYCLE: loop over distinct samples")
    helps = all(_row(tables["07_gains"], comparison=one)["verdict"] == "higher" for one in over)
    return (
        f"**Learning to refine {'helps' if helps else 'was not shown to help'}.** After four rounds CYCLE has solved "
        f"{_rate(end[CYCLE])} of the held-out problems, the fine-tuned LM from which it was trained "
        f"{_rate(end[TUNED])} in the same loop. As many independent tries of CYCLE solve {_rate(samples)}, and "
        f"{_rate(apart)} if none may repeat another. A loop that may not repeat a program either solves "
        f"{_rate(memory)}. At temperatures that were chosen for them on the validation split, different tries of CYCLE "
        f"solve {_at_best(tables, CYCLE)}, and of the fine-tuned LM {_at_best(tables, TUNED)}."
    )


def _at_best(tables: dict[str, pd.DataFrame], name: str) -> str:
    """What a contender's distinct samples solve at their best temperature, and CYCLE's loop over them."""
    controls = tables["07_controls"]
    row = controls[controls["control"].str.startswith(f"{name}, 5 distinct samples")].iloc[0]
    more = pd.Series({"value": -row["value"], "low": -row["high"], "high": -row["low"]})
    word = "not shown" if _verdict(row) == "no difference seen" else "shown"
    return f"{row['after the loop'].split(' [')[0]} (the loop {_points(more)}, {word})"


def _carries_over(tables: dict[str, pd.DataFrame]) -> str:
    def gap(families: str, comparison: str = "loop: CYCLE over fine-tuned") -> pd.Series:
        return _row(tables["held_out_gaps"], families=families, comparison=comparison)

    rates = tables["held_out_rates"][tables["held_out_rates"]["families"] == "held-out"]
    first, last = (rates[rates["round"] == r].set_index("model") for r in (0, rates["round"].max()))
    there, lead = gap("held-out"), _row(tables["held_out_gaps"], families="both")
    word = "carries" if there["verdict"] == "higher" else "is not shown to carry"
    word = "does not carry" if "lower" in (there["verdict"], lead["verdict"]) else word
    once, fed = gap("held-out", "one-time: CYCLE over fine-tuned"), gap("held-out", BLANKED)
    trainings = int(last.loc[CYCLE, "seeds"])
    return (
        f"**Its lead {word} over to families of programs that were left out of training.** There CYCLE solves "
        f"{_points(there)} in the loop than the fine-tuned LM ({_rate(last.loc[CYCLE])} against "
        f"{_rate(last.loc[TUNED])}); trained alike and asked for families that it knows, {_points(gap('known'))}. "
        f"Its lead is {_points(lead).replace('less', 'smaller').replace('more', 'larger')} there ({_word(lead)}). At "
        f"the first try it solves {_points(once)} there than the fine-tuned LM ({_rate(first.loc[CYCLE])} against "
        f"{_rate(first.loc[TUNED])}; {_word(once)}). With the feedback its refinements solve {_points(fed)} there than "
        f"without ({_word(fed)}). The loop that checks, of which below, solves {_rate(last.loc[f'{CYCLE}, checked'])} "
        f"there, and {_rate(last.loc[f'{TUNED}, checked'])} with the fine-tuned LM. ({trainings} "
        f"training{'s' if trainings > 1 else ''}.)"
    )


def _remembers(tables: dict[str, pd.DataFrame]) -> str:
    def end(name: str) -> str:
        return _rate(_row(tables["11_memory"], loop=name))

    def gap(other: str) -> pd.Series:
        return _row(tables["11_memory_gaps"], comparison=f"checked over {other}")

    others = (CYCLE, "5 different samples", "three loops side by side")
    further = all(gap(other)["verdict"] == "higher" for other in others)
    return (
        f"**A loop that checks what it was told {'goes' if further else 'was not shown to go'} further.** If a "
        f"program is drawn again while it fails a test that its feedback has shown, the same CYCLE solves "
        f"{end('checked')} with no more judged programs: {_points(gap(others[2]))} than three loops side by side, "
        f"which take about as many tokens ({end(others[2])}). Some of the reading is then the loop's: checked, the "
        f"fine-tuned LM solves {end('checked, fine-tuned LM')}, and CYCLE with the feedback blanked in its prompt "
        f"{end('checked, feedback blanked')}."
    )


def _reads(tables: dict[str, pd.DataFrame]) -> str:
    fed = _row(tables["07_gains"], comparison=BLANKED)
    none = pd.Series({"value": -fed["value"], "low": -fed["high"], "high": -fed["low"]})
    other = _row(tables["08_inputs_differences"], setting="shown another's feedback", measure="loop")
    reads = fed["verdict"] == "higher" and other["verdict"] == "lower"
    return (
        f"**What it learned {'is' if reads else 'may not be'} to read the feedback.** Without it the same model solves "
        f"{_points(none)} in the loop, with another problem's feedback {_points(other)}."
    )


def _no_effect(tables: dict[str, pd.DataFrame]) -> str:
    copies = _row(tables["07_copy_gaps"], than=UNMASKED, protocol="loop", refinements="round 1")
    solves = _row(tables["07_gains"], comparison="loop: CYCLE over CYCLE without PGM")
    code = _row(tables["08_inputs_differences"], setting="trained with no faulty code", measure="loop")
    seen = any(row["verdict"] != "no difference seen" for row in (copies, solves, code))
    points_against = copies["value"] > 0 > solves["value"] and code["value"] > 0
    return (
        f"**Masking and the faulty program {'show an' if seen else 'show no'} effect here"
        f"{', and the estimates point against the claims' if points_against else ''}.** With Past Generation Masking, "
        f"the model copies {_points(copies)} and solves {_points(solves)} than without; trained without the faulty "
        f"program in its prompts, it solves {_points(code)}. "
        + ("" if seen else "None of these is beyond chance once corrected for the number of comparisons.")
    ).strip()


def _tempted(tables: dict[str, pd.DataFrame]) -> str:
    trend = tables["05_shortcut_trend"]

    def told(protocol: str) -> tuple[pd.Series, pd.Series, str]:
        copied = tables["05_shortcut"].query("protocol == @protocol and measure == 'exact'").sort_values("ratio")
        bare, hidden = copied.iloc[0], copied.iloc[-1]
        copies, solves = (_row(trend, protocol=protocol, measure=measure) for measure in ("exact", "loop"))
        text = (
            f"the model copies {_rate(bare)} of the programs that it is to refine without a mask, {_rate(hidden)} with "
            f"{100 * hidden['ratio']:.0f} % hidden: for each tenth more that is hidden it copies {_points(copies)} "
            f"({_word(copies)}) and solves {_points(solves)} ({_word(solves)})."
        )
        return copies, solves, text

    many, few = told("loop"), told("loop, few mistakes")
    less, more = ([_verdict(one[i]) == word for one in (many, few)] for i, word in enumerate(("lower", "higher")))
    does = "the mask lowers copies" if any(less) else "the mask is not shown to lower copies"
    where = "" if all(less) or not any(less) else " in one of two ways of training"
    brings = "more is solved" if any(more) else "no more is shown to be solved"
    return (
        f"**Where copying pays, {does}{where}, and {brings}.** "
        f"Trained on right programs with one change in place of its own mistakes, {many[2]} Trained as long on few "
        f"such mistakes, each of them seen many times, {few[2]}"
    )


def _copies(tables: dict[str, pd.DataFrame]) -> str:
    def copied(name: str) -> str:
        return _rate(_row(tables["07_copies"], model=name, protocol="loop", refinements="round 1", kind="exact"))

    gap = _row(tables["07_excess_gaps"], than=TUNED)
    beyond = {name: _row(tables["07_chance"], model=name, share=BEYOND) for name in (PRETRAINED, TUNED, CYCLE)}
    early, added = (
        _row(tables["10_planted"], lm=lm, share=BEYOND) for lm in (FIRST_PHASE, f"both phases over {FIRST_PHASE}")
    )
    shown = [name for name in (PRETRAINED, TUNED) if _verdict(beyond[name]) == "higher"]
    fewer = _verdict(gap) == "lower"
    planted = _verdict(added) == "higher" and _verdict(early) != "higher"
    why = ", which the last phase of pre-training taught it" if planted else ""
    return (
        f"**{_listed(shown, 'LM') or 'No LM'} {'copy' if len(shown) > 1 else 'copies'} more than chance would{why}; "
        f"that learning to refine lowers copies is shown{'' if fewer else ' only in part'}.** Exact copies are "
        f"{copied(PRETRAINED)} of the pre-trained LM's first refinements, {copied(TUNED)} of the fine-tuned one's and "
        f"{copied(CYCLE)} of CYCLE's. Independent answers of one model to one prompt agree, too: compared with them "
        f"the pre-trained LM, whose training text was made so that code recurs, copies {_points(beyond[PRETRAINED])}, "
        f"the fine-tuned one {_points(beyond[TUNED])} and CYCLE {_points(beyond[CYCLE])}. Between fine-tuned LM and "
        f"CYCLE the difference is {'shown' if fewer else 'not shown'}: beyond chance, CYCLE copies {_points(gap)}. Was "
        f"the copying planted? An LM made anew by the same recipe copies {_points(early)} than chance would "
        f"({_word(early)}) before the phase in which most code recurs; that phase makes it copy {_points(added)} "
        f"({_word(added)}; [10](notebooks/10_tiny_lm.ipynb), section 6)."
    )


def _verdict(row: pd.Series) -> str:
    return verdict(Interval(row["value"], row["low"], row["high"], row["n"]), p=row["p_corrected"])


def _listed(names: Sequence[str], what: str) -> str:
    return f"The {' and the '.join(names)} {what}" if names else ""


def real_finding(short: pd.DataFrame, chance: pd.DataFrame) -> str:
    """What one edition of 01 found, in a sentence or two, from its tables ``01_in_short`` and ``01_chance``."""
    sampled = short[short["equal by chance"] != ""].iloc[0]
    after, samples = (next(c for c in short.columns if c.endswith(end)) for end in (" refinements", " samples"))
    beyond = _row(chance, share=BEYOND)
    word = "copies" if beyond["low"] > 0 else "is not shown to copy more than by chance"
    return (
        f"**It {word}.** {sampled['exact copies, round 1']} of its first refinements hand the faulty program back, "
        f"{_points(beyond)} than independent answers agree by chance. {after.removeprefix('after ')} bring it from "
        f"{sampled['one-time']} to {sampled[after]} of the problems; {samples} without any refinement solve "
        f"{sampled[samples]}.\n"
    )


def trained_finding(tables: dict[str, pd.DataFrame]) -> str:
    """What an edition of 07 found, in a few sentences.

    Args:
        tables: ``07_gains``, ``07_copies``, ``07_copy_gaps`` and ``07_chance`` of the edition.
    """
    over = _row(tables["07_gains"], comparison="loop: CYCLE over fine-tuned")
    budget = _row(tables["07_gains"], comparison="CYCLE: loop over equal budget")
    mask = _row(tables["07_gains"], comparison="loop: CYCLE over CYCLE without PGM")
    feedback = _row(tables["07_gains"], comparison=BLANKED)
    copied = {
        name: _row(tables["07_copies"], model=name, protocol="loop", refinements="round 1", kind="exact")
        for name in (PRETRAINED, TUNED, CYCLE, UNMASKED)
    }
    gap = _row(tables["07_copy_gaps"], than=UNMASKED, protocol="loop", refinements="round 1")
    helps = over["verdict"] == "higher"
    return (
        f"**Learning to refine {'helps' if helps else 'is not shown to help'}.** In the loop CYCLE solves "
        f"{_points(over)} than the fine-tuned LM ({_word(over)}), and {_points(budget)} than as many independent "
        f"samples of its own ({_word(budget)}). Of the first refinements "
        + ", ".join(f"{_rate(row)} of the {name} LM's" for name, row in copied.items() if name in (PRETRAINED, TUNED))
        + f", {_rate(copied[CYCLE])} of CYCLE's and {_rate(copied[UNMASKED])} of CYCLE's without PGM are exact copies: "
        f"with PGM it copies {_points(gap)} ({_word(gap)}) and solves {_points(mask)} ({_word(mask)}). With the "
        f"feedback it solves {_points(feedback)} than with blanked feedback ({_word(feedback)}).\n"
    )


def _word(row: pd.Series) -> str:
    return {"no difference seen": "not shown", "undefined": "undefined"}.get(row["verdict"], "shown")


def _row(table: pd.DataFrame, **columns: str) -> pd.Series:
    """The row of a table that has these values."""
    for name, value in columns.items():
        table = table[table[name] == value]
    return table.iloc[0]


def _rate(row: pd.Series) -> str:
    return f"{100 * row['value']:.1f} %"


def _points(row: pd.Series) -> str:
    """A difference in words, with its interval in the same direction."""
    less = row["value"] < 0
    ends = sorted((-100 if less else 100) * row[end] for end in ("low", "high"))
    size = f"{abs(100 * row['value']):.1f} points {'less' if less else 'more'}"
    return f"{size} [{ends[0]:.1f}, {ends[1]:.1f}]"
