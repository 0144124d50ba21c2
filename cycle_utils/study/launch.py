"""The trainings of a study in several processes, on several GPUs or machines.

    cd notebooks
    accelerate launch --num_processes 4 -m cycle_utils.study.launch ../recipes/X.yaml [-p NAME VALUE] [--until STAGE]

The parameters are those of ``07_benchmarks``: the notebook, run with the same ones, finds the finished runs, since a
run's name and its global batches do not depend on the number of processes. Trainings are shared by all processes;
sampling and judging between them are done by the main one while the others wait. Machines must share the folder of
runs. Stop it with Ctrl-C and run it again: each stage goes on from where it was.

    python -m cycle_utils.study.launch ../recipes/X.yaml --fetch

only has the Hub's cache hold the models and data of a recipe, where there is a network, for machines that have none.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cycle_utils import study
from cycle_utils.method import processes, stages
from cycle_utils.method.runs import Run
from cycle_utils.models import loading
from cycle_utils.study import parameters

# Parameters that no training depends on.
EVALUATION = ("benchmark", "data", "limit", "rounds", "feedback_tests", "other_models", "other_style", "unmasked",
              "budget_of", "with_greedy", "redraws")  # fmt: skip
STAGES: dict[str, Callable[[stages.RefineTrain], Run]] = {
    "fine_tune": lambda config: stages.fine_tune(config.distil.fine_tune),
    "distil": lambda config: stages.distil(config.distil),
    "refine_train": stages.refine_train,
}


def configs(given: Mapping[str, Any]) -> list[stages.RefineTrain]:
    """The trainings that ``07_benchmarks`` needs under these parameters: of each LM and seed, the main LM's first.

    Raises:
        ValueError: a parameter that the notebook does not have, or values of another type or out of their range.
    """
    options = {name: value for name, value in given.items() if name not in EVALUATION}
    first, count, ladder = options.pop("seed", 0), options.pop("seeds", 1), options.pop("ladder", [])
    known = inspect.signature(study.recipe).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"unknown parameter {unknown[0]!r}; a training has {', '.join(known)}, seeds and ladder")
    parameters.check(given, {name: one.default for name, one in known.items()})
    models = [options.pop("model", known["model"].default), *ladder]
    return [study.recipe(model=m, seed=s, **options) for m in models for s in range(first, first + count)]


def fetch(wanted: Sequence[stages.RefineTrain], where: stages.Loop) -> None:
    """Have the Hub's cache hold models, training problems and those of the loop ``where``.

    Raises:
        OSError: one of them cannot be had; the message says what to do.
    """
    for model in {config.distil.fine_tune.model for config in wanted}:
        loading.load_tokenizer(model)
        loading.load_model(model)
    stages.training_problems(wanted[0].distil.fine_tune)
    stages.loop_problems(where)


def main(arguments: Sequence[str] | None = None) -> list[Run]:
    """The command; it returns the finished runs, one for each config; none with ``--fetch``.

    Raises:
        ValueError: as :func:`configs`.
        FileNotFoundError: no such recipe.
        OSError: as :func:`fetch`.
    """
    parser = argparse.ArgumentParser(prog="cycle_utils.study.launch", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path, help="a file of papermill parameters for 07_benchmarks")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="given")
    parser.add_argument("--until", choices=STAGES, default="refine_train", help="the last stage to build")
    parser.add_argument("--fetch", action="store_true", help="download models and data, and build nothing")
    options = parser.parse_args(arguments)
    given = yaml.safe_load(options.recipe.read_text(encoding="utf-8")) or {}
    given |= {name: parameters.value_of(text) for name, text in options.given}
    wanted = configs(given)
    if options.fetch:
        fetch(wanted, stages.Loop(**{name: given[name] for name in ("benchmark", "data", "limit") if name in given}))
        return []
    processes.start()
    runs = [STAGES[options.until](config) for config in wanted]
    processes.stop()
    return runs


if __name__ == "__main__":
    main()
