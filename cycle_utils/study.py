"""The study: one recipe for all notebooks, its three contenders, and the command that runs the notebooks.

``python -m cycle_utils.study`` executes the core notebooks in order and leaves the executed copies under
``results/notebooks``; their tables and figures go beside them.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.figures import save_table
from cycle_utils.generation import Sampling
from cycle_utils.models import TINY
from cycle_utils.paths import NOTEBOOKS, PACKAGE, ROOT, results_dir, runs_dir
from cycle_utils.runs import RECORD, environment
from cycle_utils.stages import (
    FIELDS,
    Distil,
    FineTune,
    Loop,
    RefineTrain,
    attempts_of,
    fine_tune,
    loop,
    refine_train,
)
from cycle_utils.tinyprograms import AMBIGUITY
from cycle_utils.training import Masking

CORE = ("00_overview", "01_copy_rate", "02_finetune_distill", "03_refine_train", "04_self_refine", "07_benchmarks")
READMES = (ROOT / "README.md", ROOT / "results" / "README.md", PACKAGE / "execution" / "README.md")
PRETRAINED, TUNED, CYCLE = CONTENDERS = ("pre-trained", "fine-tuned", "CYCLE")


def recipe(
    model: str = TINY, train_benchmark: str = "tinyprograms", train_data: str | None = None, seed: int = 0,
    ambiguity: float = AMBIGUITY, problems: int | None = None, finetune_steps: int | None = None,
    samples: int | None = None, target: str = "bm25", steps: int | None = None, mask_ratio: float = 0.05,
    mask_span: str = "past_generation", mask_redraw: str = "every batch", refine_share: float = 0.5,
    batch_size: int | None = None, accumulation: int | None = None, learning_rate: float | None = None,
    lora: bool = False, gradient_checkpointing: bool = False, max_new_tokens: int | None = None,
    generation_batch: int | None = None, faults: str = "own", keep_passing: bool = True,
    fields: tuple[str, ...] = FIELDS,
) -> RefineTrain:  # fmt: skip
    """The whole training as one config; ``None`` keeps a stage's own default.

    Args:
        problems: training problems; finetune_steps, steps: optimiser steps of stages 1(a) and 2.
        samples: programs drawn for each training problem in stage 1(b).
        mask_ratio, mask_span, mask_redraw: Past Generation Masking.
        refine_share: share of refinement data in the mixture.
        batch_size, accumulation, learning_rate, lora, gradient_checkpointing: of both trainings, see
            :class:`~cycle_utils.training.TrainSettings`.
        max_new_tokens, generation_batch: of the sampling in stage 1(b), see :func:`sampling`.
        faults, keep_passing: what stage 1(b) makes examples of, see :class:`~cycle_utils.stages.Distil`.
        fields: what refine prompts hold in training.

    Raises:
        ValueError: a value outside its range, or an unknown choice.
    """
    tune = FineTune(
        model=model,
        benchmark=train_benchmark,
        data=train_data,
        ambiguity=ambiguity,
        seed=seed,
        **_given(problems=problems),
    )
    how = _given(batch_size=batch_size, accumulation=accumulation, learning_rate=learning_rate)
    how |= {"lora": lora, "gradient_checkpointing": gradient_checkpointing}
    tune = replace(tune, train=replace(tune.train, **how, **_given(steps=finetune_steps)))
    drawn = sampling(max_new_tokens, generation_batch, Distil().sampling)
    data = Distil(
        fine_tune=tune, target=target, sampling=drawn, faults=faults, keep_passing=keep_passing,
        **_given(samples=samples),
    )  # fmt: skip
    masking = Masking(mask_ratio, mask_span, mask_redraw)
    refine = RefineTrain(distil=data, masking=masking, refine_share=refine_share, fields=tuple(fields))
    return replace(refine, train=replace(refine.train, **how, **_given(steps=steps)))


def sampling(
    max_new_tokens: int | None = None, generation_batch: int | None = None, start: Sampling | None = None
) -> Sampling:
    """``start`` (the default sampling) with another length of programs, in tokens, or batch, in sequences."""
    return replace(start or Sampling(), **_given(max_new_tokens=max_new_tokens, batch_size=generation_batch))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def contender(name: str, config: RefineTrain, where: Loop, progress: bool = True) -> Loop:
    """``where`` for one of :data:`CONTENDERS`, its model trained first if it is not there yet.

    The pre-trained LM never saw the template, so it is prompted in the plain style, as in the artifact.
    """
    tune = config.distil.fine_tune
    if name == PRETRAINED:
        return replace(where, model=tune.model, style="plain", seed=tune.seed)
    stage = fine_tune(tune, progress) if name == TUNED else refine_train(config, progress)
    return replace(where, model=str(stage.folder), style="cycle", seed=tune.seed)


def run_loops(
    config: RefineTrain, where: Loop, names: Sequence[str] = CONTENDERS, progress: bool = True
) -> dict[str, pd.DataFrame]:
    """Attempts of each contender in the loop that ``where`` describes."""
    return {name: attempts_of(loop(contender(name, config, where, progress), progress)) for name in names}


def run_budget(
    config: RefineTrain, where: Loop, names: Sequence[str] = CONTENDERS, temperature: float = 0.6, progress: bool = True
) -> dict[str, pd.DataFrame]:
    """The control at equal budget: ``1 + rounds`` independent samples of each contender, no refinement."""
    control = replace(where, rounds=0, samples=1 + where.rounds, temperatures=(temperature, temperature))
    return run_loops(config, control, names, progress)


# --- running the notebooks -------------------------------------------------------------------------------


def run_notebook(name: str, parameters: dict[str, Any] | None = None, folder: Path | None = None) -> Path:
    """Execute ``notebooks/<name>.ipynb`` headless; the executed copy goes to ``folder``.

    Raises:
        FileNotFoundError: no such notebook. papermill's own error where a cell fails.
    """
    import papermill

    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.is_file():
        raise FileNotFoundError(f"there is no notebook {source}; choose one of {', '.join(CORE)}")
    folder = folder or results_dir() / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.ipynb"
    papermill.execute_notebook(source, target, parameters=parameters or {}, kernel_name="python3", progress_bar=False)
    return target


def fill_readme(readme: Path, tables: Path) -> str:
    """The README's text with each ``<!-- table NAME -->`` block filled from ``tables/NAME.md``."""

    def block(match: re.Match) -> str:
        return f"{match[1]}\n{(tables / f'{match[2]}.md').read_text().strip()}\n{match[3]}"

    pattern = r"(<!-- table ([\w-]+) -->)\n.*?(<!-- end -->)"
    return re.sub(pattern, block, readme.read_text(), flags=re.DOTALL)


def costs() -> pd.DataFrame:
    """What the runs at hand took to build: stage, number of runs and minutes, as each run recorded it."""
    records = [json.loads(path.read_text()) for path in runs_dir().glob(f"*/{RECORD}")]
    frame = pd.DataFrame([{"stage": r["config"]["stage"], "minutes": r["seconds"] / 60} for r in records])
    table = frame.groupby("stage")["minutes"].agg(["count", "mean", "sum"]).round(1).reset_index()
    return table.set_axis(["stage", "runs", "minutes each", "minutes in all"], axis=1)


def total(rows: Sequence[dict[str, Any]], seeds: int, megabytes: float) -> pd.DataFrame:
    """One row: the minutes of the whole command, the memory of its largest process, and the machine."""
    minutes = sum(row["minutes"] for row in rows)
    found = {
        "notebooks": len(rows),
        "seeds": seeds,
        "minutes": round(minutes, 1),
        "largest process, MB": round(megabytes),
    }
    return pd.DataFrame([found | {"machine": environment()["machine"]}])


def main() -> None:
    """Command line of ``make study``."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", default=CORE, help="names without .ipynb (default: the core study)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of the tables in 07 (default: 1)")
    parser.add_argument("--readme", action="store_true", help="only fill the README's tables from results/tables")
    options = parser.parse_args()
    if options.readme:
        for readme in READMES:
            readme.write_text(fill_readme(readme, results_dir() / "tables"))
        return
    rows = []
    for name in options.notebooks:
        begin = time.monotonic()
        print(f"{name} ...", flush=True)
        target = run_notebook(name, {"seeds": options.seeds} if name == "07_benchmarks" else None)
        minutes = (time.monotonic() - begin) / 60
        rows.append({"notebook": name, "minutes": round(minutes, 1)})
        print(f"{name}: {minutes:.1f} minutes -> {target}", flush=True)
    save_table(costs(), "study_runs")
    save_table(pd.DataFrame(rows).assign(**environment()), "study_notebooks")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # kilobytes on Linux
    save_table(total(rows, options.seeds, peak), "study_total")


if __name__ == "__main__":
    main()
