"""How settings were chosen, and what the real LM's precision changes.

``python -m cycle_utils.study.settings [--publish]`` trains and samples what is missing and writes these tables:

- ``real_settings``: a few ways of fine-tuning (ten minutes each on one core), each tried once on MBPP's validation
  split. It needs MBPP's full file, see :func:`cycle_utils.paths.data_dir`. The number of steps, one pass over the 374
  training problems, and everything about stage 2 were not searched.
- ``real_precision``: the untrained LM's greedy answers to HumanEval in float32 and in bfloat16.
- ``memory_settings``: temperatures of refinement for the checked loop of notebook 11, on the validation split of
  TinyPrograms; one training of the tiny LM.
- ``budget_settings``: temperatures of the control, five different samples, likewise.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from cycle_utils import study
from cycle_utils.analysis import metrics, stats
from cycle_utils.analysis.figures import save_table
from cycle_utils.method.loop import MOST_REDRAWS, TEMPERATURES
from cycle_utils.method.stages import Loop, attempts_of, fine_tune, loop
from cycle_utils.models.gguf import SMOLLM2
from cycle_utils.paths import PUBLISH, data_dir
from cycle_utils.study.editions import DIAGNOSIS, TRAINED
from cycle_utils.study.sentinel import variables

TUNED_ON = 3  # the seed of the one training
WARMER = (0.6, 0.8, 1.0)  # of refinement
SAMPLED_AT = (0.2, 0.6, 0.8, 1.0)  # of the control at equal budget
TRIED: tuple[Mapping[str, Any], ...] = (
    {"learning_rate": 2e-5, "lora": False},
    {"learning_rate": 5e-5, "lora": False},
    {"learning_rate": 3e-4, "lora": True},
)


def settings_tried() -> pd.DataFrame:
    """One row for the untrained LM and each of :data:`TRIED`: share of the validation problems solved at once."""
    given = next(iter(TRAINED.values())).parameters
    common = {name: given[name] for name in ("train_benchmark", "finetune_steps", "batch_size", "bf16", "style")}
    where = Loop(
        benchmark="mbpp", data=str(data_dir() / "mbpp.jsonl"), split="validation", limit=None, rounds=0,
        sampling=study.sampling(given["max_new_tokens"], 32, benchmark="mbpp"),
    )  # fmt: skip
    rows = []
    for setting in ({}, *TRIED):
        config = study.recipe(SMOLLM2, **common, **setting)
        run = loop(study.contender(study.TUNED if setting else study.PRETRAINED, config, where))
        passed = attempts_of(run)["passed"].astype(float)
        training = fine_tune(config.distil.fine_tune).record["seconds"] / 60 if setting else 0.0
        about = {"learning rate": setting.get("learning_rate", ""), "trained": "nothing"}
        if setting:
            about["trained"] = "low-rank adapters" if setting["lora"] else "all weights"
        rows.append({**about, "solved": int(passed.sum()), "of": len(passed), "share": str(stats.interval(passed)),
                     "minutes": round(training, 1)})  # fmt: skip
    return pd.DataFrame(rows)


def precisions() -> pd.DataFrame:
    """Greedy first tries and first refinements in float32 and bfloat16: problems solved, copies, programs in common."""
    given = next(iter(DIAGNOSIS.values())).parameters
    sampling = study.sampling(given["max_new_tokens"], given["generation_batch"], benchmark=given["benchmark"])
    where = Loop(
        SMOLLM2, given["benchmark"], limit=None, temperatures=(0.0, 0.0), style=given["style"], sampling=sampling
    )
    once = replace(where, rounds=1, sampling=replace(sampling, bf16=True))  # the other loop is that of notebook 01
    tried = {"float32": attempts_of(loop(where)), "bfloat16": attempts_of(loop(once))}
    first = {name: table[table["round"] == 0].set_index("task_id")["code"] for name, table in tried.items()}
    rows = []
    for name, table in tried.items():
        passed = table[table["round"] == 0]["passed"].astype(float)
        counts = metrics.copies_by_problem(metrics.add_copies(table), "exact", 1)
        rows.append({
            "generation in": name, "solved at the first try": str(stats.interval(passed)),
            "exact copies, round 1": str(stats.ratio_interval(counts["copies"], counts["attempts"])),
            "first tries as in float32": f"{int((first[name] == first['float32']).sum())} of {len(first[name])}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def memory_temperatures(seed: int = TUNED_ON) -> pd.DataFrame:
    """Share of the validation problems that the checked loop solves, by the temperature of its refinements."""
    config, rows = study.recipe(seed=seed), []
    for temperature in WARMER:
        both = (TEMPERATURES[0], temperature)
        where = Loop(split="validation", redraws=MOST_REDRAWS, checked=True, temperatures=both)
        solved = attempts_of(loop(study.contender(study.CYCLE, config, where))).groupby("task_id")["passed"].any()
        found = {"solved": str(stats.interval(solved.astype(float))), "of": len(solved), "training": f"seed {seed}"}
        rows.append({"temperature of refinements": temperature, **found})
    return pd.DataFrame(rows)


def budget_temperatures(seed: int = TUNED_ON) -> pd.DataFrame:
    """Share of the validation problems that five different samples solve, by LM and temperature."""
    config, rows = study.recipe(seed=seed), []
    for name in (study.TUNED, study.CYCLE):
        for temperature in SAMPLED_AT:
            where = study.control(Loop(split="validation", redraws=MOST_REDRAWS), temperature)
            solved = attempts_of(loop(study.contender(name, config, where))).groupby("task_id")["passed"].any()
            found = {"solved": str(stats.interval(solved.astype(float))), "of": len(solved), "training": f"seed {seed}"}
            rows.append({"LM": name, "temperature": temperature, **found})
    return pd.DataFrame(rows)


TABLES = {
    "real_settings": settings_tried, "real_precision": precisions, "memory_settings": memory_temperatures,
    "budget_settings": budget_temperatures,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", nargs="*", default=TABLES, help="which of them (default: all)")
    parser.add_argument("--publish", action="store_true", help="write to results/, not to reproduction/")
    options = parser.parse_args(arguments)
    with variables(**({PUBLISH: "1"} if options.publish else {})):
        for name in options.tables:
            table = TABLES[name]()
            save_table(table, name)
            print(table.to_string(index=False))


if __name__ == "__main__":
    main()
