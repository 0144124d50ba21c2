"""The ablations: CYCLE's recipe with one thing changed at a time, over several seeds, set beside the recipe itself.

``python -m cycle_utils.study.ablations`` makes every run of every notebook, one seed after the other, on several
processes or machines (:mod:`cycle_utils.execution.cluster`), and says what is left. It may be cut off at any time:
finished runs are found again, published ones are not repeated. The notebooks then only read and draw.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cycle_utils import study
from cycle_utils.analysis import crossed, metrics, stats
from cycle_utils.execution import cluster
from cycle_utils.method import runs
from cycle_utils.method.configs import Loop, RefineTrain
from cycle_utils.method.runs import Run, is_built
from cycle_utils.method.stages import attempts_of, distil, fine_tune, loop, refine_train
from cycle_utils.models.loading import SIZED, shipped
from cycle_utils.study import spent

BASE = "CYCLE"  # the recipe itself, in every ablation
MEASURES = {
    "one-time": "solved at the first try",
    "loop": "solved after the last round",
    "gain": "solved after the last round, not at the first try",
    "exact": "exact copies among refinements",
    "syntax": "copies up to the syntax tree among refinements",
    metrics.UNCHANGED: "other programs that fail alike among refinements",
}


@dataclass(frozen=True)
class Setting:
    """One change of the recipe: options of :func:`study.recipe`, and fields of the :class:`Loop` it is tried in."""

    training: Mapping[str, Any] = field(default_factory=dict)
    loop: Mapping[str, Any] = field(default_factory=dict)


AMBIGUITIES = (0.0, 0.2, 0.6, 0.8, 1.0)  # of 08, beside the study's own
LADDER = ("tiny-0.2M", "tiny-0.5M", "tiny-0.8M")  # of C4, beside the LM of the study: three times, and again
RATIOS = (0.0, 0.02, 0.1, 0.2, 0.4)
SHARES = (0.0, 0.25, 0.75, 0.9, 1.0)
INPUTS = {"no feedback": ("code",), "no faulty code": ("feedback",), "neither": ()}


def masked(ratios: Sequence[float] = RATIOS, base: float = 0.05) -> dict[str, Setting]:
    """Other mask ratios than the recipe's."""
    return {f"ratio {ratio:g}": Setting({"mask_ratio": ratio}) for ratio in ratios if ratio != base}


def ratio_of(name: str, base: float = 0.05) -> float:
    """The mask ratio of a setting of :func:`masked`, or the recipe's."""
    return base if name == BASE else float(name.removeprefix("ratio "))


def mixed(shares: Sequence[float] = SHARES, base: float = 0.5) -> dict[str, Setting]:
    """Other shares of refinement data than the recipe's."""
    return {share_name(share): Setting({"refine_share": share}) for share in shares if share != base}


def share_name(share: float) -> str:
    """What a share of refinement data is called as a setting."""
    return f"{100 * share:g} % refinement"


def share_of(name: str, base: float = 0.5) -> float:
    """The share of refinement data of a setting of :func:`mixed`, or the recipe's."""
    return base if name == BASE else float(name.split(" %")[0]) / 100


MASKED_OTHERWISE = {
    "whole template hidden": Setting({"mask_span": "template"}),
    "mask drawn once": Setting({"mask_redraw": "once"}),
}
SOURCES = {
    "mutated code": Setting({"faults": "mutated"}),
    "passing samples dropped": Setting({"keep_passing": False}),
}
TEMPTING: Mapping[str, Any] = {"faults": "mutated"}  # where copying pays (05, section 6): right programs, one change
TEMPTED = (0.0, 0.4)  # mask ratios there, beside the recipe's
FEW = 400  # training problems of the trainings there that see few mistakes many times
TRAINED_WITHOUT = {
    f"trained with {name}": Setting({"fields": fields}, {"fields": fields}) for name, fields in INPUTS.items()
}
SHOWN = {
    **{f"shown {name}": Setting(loop={"fields": fields}) for name, fields in INPUTS.items()},
    "shown another's feedback": Setting(loop={"shuffled": True}),
    "told only that it fails": Setting(loop={"bare": True}),
}
ALL = masked() | MASKED_OTHERWISE | mixed() | SOURCES | TRAINED_WITHOUT | SHOWN


@dataclass(frozen=True)
class Result:
    """What one setting gave with one seed: its training and its attempts, copies marked."""

    training: Run
    attempts: pd.DataFrame
    loop: Loop
    tried: Run


def run(
    settings: Mapping[str, Setting], where: Loop, seeds: Sequence[int], progress: bool = True, **options: Any
) -> dict[str, list[Result]]:
    """Train and try :data:`BASE` and each setting with each seed; what is finished is reused.

    Args:
        where: the loop; a setting may change fields of it.
        options: of :func:`study.recipe`, for all settings alike; a setting's own go before them.

    Returns:
        the results by setting, one for each seed, :data:`BASE` first.
    """
    wanted = _with_base(settings)
    ahead(planned(settings, where, seeds, **options), progress=progress)
    return {
        name: [_one(recipe_of(setting, s, **options), replace(where, **setting.loop), progress) for s in seeds]
        for name, setting in wanted.items()
    }


def _with_base(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    return {BASE: Setting(), **settings}


def recipe_of(setting: Setting, seed: int, **options: Any) -> RefineTrain:
    """The training of one setting and seed; ``options`` as in :func:`run`."""
    return study.recipe(**{**options, **setting.training, "seed": seed})


Trial = tuple[str, RefineTrain, Loop]  # which contender of which training, in which loop


def planned(settings: Mapping[str, Setting], where: Loop, seeds: Sequence[int], **options: Any) -> list[Trial]:
    """What :func:`run` needs, with the same arguments."""
    return [
        (study.CYCLE, recipe_of(setting, s, **options), replace(where, **setting.loop))
        for s in seeds
        for setting in _with_base(settings).values()
    ]


def ahead(trials: Sequence[Trial], workers: int = 1, scheduler: str | None = None, progress: bool = True) -> None:
    """Make the runs behind some trials, stage by stage, so that what several of them share is made once.

    Args:
        workers, scheduler: where, see :func:`cluster.each`.
    """
    trainings = [config for name, config, _ in trials if name == study.CYCLE]
    floors = {
        "fine-tunings": (fine_tune, [config.distil.fine_tune for _, config, _ in trials]),
        "sets of mistakes": (distil, [config.distil for config in trainings]),
        "refine trainings": (refine_train, trainings),
    }
    for what, (stage, configs) in floors.items():
        left = [config for config in dict.fromkeys(configs) if not is_built(config)]
        cluster.each(partial(stage, progress=False), left, workers, scheduler, progress, what)
    cluster.each(_try, dict.fromkeys(trials), workers, scheduler, progress, "loops")


def left(trials: Sequence[Trial]) -> dict[str, int]:
    """How many runs :func:`ahead` would make, by stage; nothing is made to tell.

    A loop that is not there needs its model's weights: trainings of which only the record is at hand count, too.
    """
    missing: set[Any] = set()
    for name, config, where in trials:
        tune = config.distil.fine_tune
        stages = {study.PRETRAINED: [], study.TUNED: [tune]}.get(name, [tune, config.distil, config])
        if not stages:
            done = is_built(study.contender(name, config, where))
        else:
            done = is_built(stages[-1]) and is_built(study.trained(where, tune, _folder(stages[-1])))
        if not done:
            missing.add((name, config, where))
        if stages and not done and not _is_here(stages[-1]):
            missing |= {one for one in stages if not (is_built if one is config.distil else _is_here)(one)}
    kinds = Counter(type(one).__name__ for one in missing)
    return {words: kinds[name] for name, words in _STAGES.items() if kinds[name]}


_STAGES = {"FineTune": "fine-tunings", "Distil": "sets of mistakes", "RefineTrain": "refine trainings",
           "tuple": "loops"}  # fmt: skip


def _is_here(config: Any) -> bool:
    """Whether a run was made here, so that it has its weights; a published one has not."""
    return (runs.runs_dir() / runs.key_of(config) / runs.RECORD).is_file()


def _folder(config: Any) -> Path:
    return (runs.runs_dir() if _is_here(config) else runs.published_dir()) / runs.key_of(config)


def _try(trial: Trial) -> None:
    name, config, where = trial
    study.run_loops(config, where, (name,), progress=False)


def _one(config: RefineTrain, where: Loop, progress: bool) -> Result:
    tried = loop(study.contender(study.CYCLE, config, where, progress), progress)
    training = refine_train(config, progress)
    attempts = metrics.add_copies(attempts_of(tried))
    return Result(training, attempts, replace(where, model=str(training.folder)), tried)


def measured(results: Sequence[Result], measure: str, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """One of :data:`MEASURES` as parts and wholes, both (seeds, problems): part over whole is a cell's share."""
    if measure in ("one-time", "loop", "gain"):
        tables = [metrics.solved_by_round(r.attempts, rounds).groupby("task_id").mean() for r in results]
        first, last = (np.stack([t[r].to_numpy(float) for t in tables]) for r in (0, rounds))
        parts = {"one-time": first, "loop": last, "gain": last - first}[measure]
        return parts, np.ones_like(parts)
    counts = [metrics.copies_by_problem(r.attempts, measure).sort_index() for r in results]
    copied, of = (np.stack([one[column].to_numpy(float) for one in counts]) for column in ("copies", "attempts"))
    return copied, of


def summary(found: Mapping[str, Sequence[Result]], rounds: int, measures: Sequence[str] = tuple(MEASURES)):
    """One row for each setting and measure: ``setting, measure, value, low, high, n``, ``seeds`` and their spread.

    ``by_seed`` has what each seed gave, for figures.
    """
    rows = []
    for name, results in found.items():
        for measure in measures:
            part, whole = measured(results, measure, rounds)
            each = by_seed(results, measure, rounds)
            over = stats.spread(each)
            rate = stats.ratio_interval(part, whole)
            spread = {"seeds": len(results), "seed_sd": over.sd, "seed_min": over.min, "seed_max": over.max}
            rows.append({"setting": name, "measure": measure, **vars(rate), **spread, "by_seed": each})
    return pd.DataFrame(rows)


def by_seed(results: Sequence[Result], measure: str, rounds: int) -> list[float]:
    """One of :data:`MEASURES` for each seed."""
    return [_rate(*measured([one], measure, rounds)) for one in results]


def _rate(parts: np.ndarray, wholes: np.ndarray) -> float:
    return parts.sum() / wholes.sum() if wholes.sum() else float("nan")


def against(
    found: Mapping[str, Sequence[Result]], rounds: int, base: str = BASE, measures: Sequence[str] = tuple(MEASURES)
) -> pd.DataFrame:
    """Each setting against ``base`` by each measure, seeds and problems paired.

    Returns:
        ``setting, measure, value, low, high, n, p``, ``p_corrected`` (Holm, over the settings of one
        measure) and ``verdict``, which needs both the interval and the corrected p-value.
    """
    rows = []
    for measure in measures:
        ours = measured(found[base], measure, rounds)
        others = [name for name in found if name != base]
        differences = [stats.ratio_difference(*measured(found[name], measure, rounds), *ours) for name in others]
        for name, difference, p in zip(others, differences, stats.corrected([d.p for d in differences])):
            verdict = stats.verdict(difference, p=p)
            rows.append({"setting": name, "measure": measure, **vars(difference), "p_corrected": p, "verdict": verdict})
    return pd.DataFrame(rows)


def trend(
    found: Mapping[str, Sequence[Result]], doses: Mapping[str, float], measure: str, rounds: int, per: float = 0.1
) -> stats.Difference:
    """How much a measure rises for each ``per`` of a dose: the slope of a line through settings, seeds paired.

    Args:
        doses: of the settings that count, such as mask ratios; at least two different ones.

    Returns:
        NaN throughout where the measure is of nothing in some setting, such as copies where all was solved at once.
    """
    tables, x = [measured(found[name], measure, rounds) for name in doses], np.array(list(doses.values()))
    if not all(wholes.sum() for _, wholes in tables):
        return stats.Difference(*[float("nan")] * 3, tables[0][0].shape[1], float("nan"))
    weights = per * (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slope = sum(weight * parts.sum() / wholes.sum() for weight, (parts, wholes) in zip(weights, tables))
    return stats.difference_of(float(slope), sum(w * crossed.of_ratio(*one) for w, one in zip(weights, tables)))


def costs(found: Mapping[str, Sequence[Result]]) -> pd.DataFrame:
    """What each setting cost: its stage 2 (``trained``, in tokens, and ``training_seconds``) and its loop.

    Returns:
        these with ``setting`` first and what :func:`spent.of` says of the loop last. Stage 1 is shared by the settings
        of a seed, and a training by settings that only change the loop.
    """
    rows = []
    for name, results in found.items():
        training, tried = spent.of([r.training for r in results]), spent.of([r.tried for r in results])
        about = {"setting": name, "trained": training["read"], "training_seconds": training["seconds"]}
        rows.append({**about, **tried})
    return pd.DataFrame(rows)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`summary` or :func:`against` as settings by measures, each cell ``value [low, high]`` in per cent.

    Copies up to the syntax tree are left to the saved table: they say nearly what exact ones say.
    """
    table = table[table["measure"] != "syntax"]
    paired = "verdict" in table
    shown = [
        "undefined" if np.isnan(r.value) else f"{100 * r.value:{'+' if paired else ''}.1f} [{100 * r.low:.1f}, "
        f"{100 * r.high:.1f}]" + ("" if not paired or r.verdict == "no difference seen" else f" {r.verdict}")
        for r in table.itertuples()
    ]  # fmt: skip
    return table.assign(shown=shown).pivot_table("shown", "setting", "measure", aggfunc="first", sort=False)


def findings(table: pd.DataFrame, base: str = BASE) -> list[str]:
    """:func:`against` in sentences, by rule: one for each measure that moves, and one for those that do not.

    Copies up to the syntax tree are left out, as by :func:`readable`.
    """
    sentences, still = [], []
    for measure, rows in table[table["measure"] != "syntax"].groupby("measure", sort=False):
        if set(rows["verdict"]) == {"no difference seen"}:
            still.append(f"*{MEASURES[measure]}*")
            continue
        said = []
        for verdict in ("higher", "lower"):
            names = [
                f"{r.setting} ({100 * r.value:+.1f} points [{100 * r.low:.1f}, {100 * r.high:.1f}])"
                for r in rows[rows["verdict"] == verdict].itertuples()
            ]
            if names:
                said.append(f"**{verdict}**: " + ", ".join(names))
        rest = list(rows.loc[rows["verdict"] == "no difference seen", "setting"])
        if rest:
            said.append("no difference seen: " + ", ".join(rest))
        if undefined := list(rows.loc[rows["verdict"] == "undefined", "setting"]):
            said.append("undefined: " + ", ".join(undefined))
        sentences.append(f"*{MEASURES[measure]}*, compared with {base}: " + "; ".join(said) + ".")
    if still:
        sentences.append(f"no difference from {base} seen in any setting: {', '.join(still)}.")
    return sentences


def everything(seed: int) -> list[Trial]:
    """All that notebooks 05, 06, 08 and the ladder of 07 need of one seed, at their defaults.

    Of the ladder, the LMs that are there: 07 itself says how to make one that is not.
    """
    greedily, masks = Loop(temperatures=(0.0, 0.0)), masked() | MASKED_OTHERWISE
    trials = planned(ALL, Loop(), [seed]) + planned(masks, greedily, [seed])
    for where in (Loop(), greedily):
        for among in ({}, {"problems": FEW}):
            trials += planned(masked(TEMPTED), where, [seed], **TEMPTING, **among)
    blank = {"blank": SHOWN["shown no feedback"]}
    for level in AMBIGUITIES:
        trials += planned(blank, Loop(ambiguity=level), [seed])
    for model in (name for name in LADDER if shipped(name.removeprefix(SIZED)).is_dir()):
        config = study.recipe(model=model, seed=seed)
        trials += [(name, config, Loop()) for name in (study.TUNED, study.CYCLE)]
    return trials


def main() -> None:
    """Command line of ``make ablations``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0 (default: 1)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    parser.add_argument("--scheduler", help=f"address of a Dask scheduler (default: ${cluster.SCHEDULER}, if set)")
    parser.add_argument("--left", action="store_true", help="only say what is left to do")
    options = parser.parse_args()
    for seed in range(options.seeds):
        counts = ", ".join(f"{number} {what}" for what, number in left(everything(seed)).items())
        print(f"seed {seed}: {counts or 'nothing'} left", flush=True)
        if options.left:
            continue
        ahead(everything(seed), options.workers, options.scheduler)


if __name__ == "__main__":
    main()
