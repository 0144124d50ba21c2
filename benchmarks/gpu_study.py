"""The real LM's study where a GPU is lent for a quarter of an hour: several trainings, all loops, and the throughput.

    python benchmarks/gpu_study.py --minutes 12 --trainings 5 --out FOLDER                 # what 07's editions need
    python benchmarks/gpu_study.py --model tiny --small --out FOLDER                       # tries the script on a CPU
    python benchmarks/gpu_study.py --parts smollm2.gguf.* --out FOLDER ...                 # a model that came in parts

No network is needed: MBPP's two files lie in CYCLE_DATA, and the model is the package's, or a GGUF file that was cut
into parts (``split -b 55m``) to be carried. One seed after the other is trained and tried on both benchmarks; nothing
is begun after ``--minutes``, and what is finished is found again by the next call. FOLDER gets the finished runs
without their weights, as they are published, and two tables: what each stage took, with tokens a second and the share
of the device's bfloat16 peak, and what each loop solved.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
from tqdm.auto import tqdm

from cycle_utils import study
from cycle_utils.method import runs, stages
from cycle_utils.models.gguf import SMOLLM2
from cycle_utils.models.loading import count_parameters
from cycle_utils.study.editions import TRAINED

CONTENDERS = (*study.CONTENDERS, study.UNMASKED)
SMALL = {"finetune_steps": 1, "steps": 1, "batch_size": 2, "samples": 1, "problems": 4, "max_new_tokens": 8}
Stage = tuple[str, Callable[[], runs.Run]]


def joined(parts: list[Path], folder: Path) -> Path:
    """One GGUF file from its parts, in the order of their names."""
    whole = folder / f"{parts[0].name.split('.')[0]}.gguf"
    with whole.open("wb") as file:
        for part in sorted(parts):
            file.write(part.read_bytes())
    return whole


def stages_of(seed: int, model: str, small: bool) -> Iterator[Stage]:
    """Trainings of one seed, then its loops, each as a name and what builds its run."""
    given = {name: value for edition in TRAINED.values() for name, value in edition.parameters.items()}
    options = {name: value for name, value in given.items() if name in study.recipe.__code__.co_varnames}
    options |= {"model": model, **(SMALL if small else {})}
    if model == "tiny":
        options["style"] = "cycle"
    config = study.recipe(seed=seed, **options)
    bare = replace(config, masking=replace(config.masking, ratio=0.0))
    yield "fine-tuning", lambda: stages.fine_tune(config.distil.fine_tune, whole=True)
    yield "sampling of mistakes", lambda: stages.distil(config.distil)
    yield "refine training", lambda: stages.refine_train(config, whole=True)
    yield "refine training without PGM", lambda: stages.refine_train(bare, whole=True)
    sampling = study.sampling(options["max_new_tokens"], given["generation_batch"], None, "mbpp", given["bf16"])
    for benchmark in ("mbpp", "humaneval"):
        loop = stages.Loop(benchmark=benchmark, limit=2 if small else None, sampling=sampling)
        for name in CONTENDERS:
            yield f"loop on {benchmark}, {name}", lambda n=name, w=loop: stages.loop(study.contender(n, config, w))
        control = replace(loop, rounds=0, samples=5, temperatures=(0.6, 0.6))
        for name in (study.TUNED, study.CYCLE):
            yield f"samples on {benchmark}, {name}", lambda n=name, w=control: stages.loop(study.contender(n, config, w))


def cost(run: runs.Run, parameters: int, peak: float) -> dict[str, Any]:
    """Seconds of a run, its tokens a second and the share of the peak that its arithmetic alone would take."""
    notes, seconds = run.notes, run.record["seconds"]
    trained = "losses" in notes
    tokens = notes["tokens"] if trained else notes.get("prompt_tokens", 0) + notes.get("completion_tokens", 0)
    flops = tokens * parameters * (6 if trained else 2)
    return {"seconds": seconds, "tokens": tokens, "tokens a second": round(tokens / max(seconds, 1e-9)),
            "share of the peak, %": round(100 * flops / max(seconds, 1e-9) / peak, 2)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="gets the tables and the finished runs")
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--parts", type=Path, nargs="+", help="of a GGUF file, instead of --model")
    parser.add_argument("--trainings", type=int, default=5, help="seeds, from 0 on (default: 5)")
    parser.add_argument("--minutes", type=float, default=12, help="after these nothing more is begun (default: 12)")
    parser.add_argument("--peak", type=float, default=989e12, help="the device's dense bf16 FLOP/s (default: an H100)")
    parser.add_argument("--small", action="store_true", help="everything at its smallest, to try the script")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model = str(joined(options.parts, options.out.parent)) if options.parts else options.model
    begin, rows, solved = time.monotonic(), [], []
    wanted = [(seed, *stage) for seed in range(options.trainings) for stage in stages_of(seed, model, options.small)]
    parameters = count_parameters(model)
    for seed, name, make in tqdm(wanted, desc="stages"):
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"the time is up: {len(wanted) - len(rows)} of {len(wanted)} stages are left", flush=True)
            break
        run = make()
        rows.append({"seed": seed, "stage": name, **cost(run, parameters, options.peak)})
        if run.path(runs.ATTEMPTS).is_file() and "on " in name:
            passed = stages.attempts_of(run).query("passed").groupby("round").size().to_dict()
            solved.append({"seed": seed, "stage": name, "problems": run.notes["problems"], "solved by round": passed})
        runs.publish(run.key, options.out / "runs")
        pd.DataFrame(rows).to_csv(options.out / "throughput.csv", index=False)
        pd.DataFrame(solved).to_csv(options.out / "solved.csv", index=False)
    print(pd.DataFrame(rows).to_string(index=False), pd.DataFrame(solved).to_string(index=False), sep="\n\n")


if __name__ == "__main__":
    main()
