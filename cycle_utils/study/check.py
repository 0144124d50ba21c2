"""Go or no-go before the hours: what a recipe needs, held against this machine in about a minute.

    python -m cycle_utils.study.check ../recipes/X.yaml
    python -m cycle_utils.study.check --model Salesforce/codegen-350M-mono --benchmark humaneval

One line for each check; then a step of each stage at the recipe's batch, whose speeds make the hours of all stages,
beside those of ``recipes/estimate.py``; then ``go``, or ``no-go`` with the reasons and exit status 1. What was measured
is kept under ``runs/``, where ``recipes/estimate.py`` finds it. The model and the first data are fetched if need be.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any

import psutil
import torch
from packaging.requirements import Requirement
from transformers.utils import logging as transformers_logging

from cycle_utils import isolation_report
from cycle_utils.execution.judge import OPTIONS, from_environment
from cycle_utils.method import runs
from cycle_utils.models import load_tokenizer
from cycle_utils.models.gguf import is_gguf
from cycle_utils.models.loading import count_parameters, locate
from cycle_utils.models.servers import split_name
from cycle_utils.problems.benchmarks import load_problems, training_options
from cycle_utils.study import costs, recipes
from cycle_utils.study.stopwatch import Bench, free

HOURS = 72.0  # more than these are no-go unless asked for
CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")  # what a container may take, and has
PROJECT = "cycle-study"


@dataclass(frozen=True)
class Finding:
    """A line of the report: what was looked at, what was seen, and whether the study can be run with it."""

    name: str
    said: str
    good: bool = True

    def __str__(self) -> str:
        return f"{'ok' if self.good else 'NO':<3} {self.name:<16} {self.said}"


@dataclass(frozen=True)
class Measured:
    """What was measured of a recipe on a machine; ``memory`` in bytes, at the most."""

    machine: str
    memory: float
    speeds: costs.Speeds


# --- what is there ---------------------------------------------------------------------------------------


def looked_at(given: Mapping[str, Any]) -> Iterator[Finding]:
    """All that can be seen before a model is loaded."""
    yield Finding("Python", platform.python_version(), sys.version_info >= (3, 11))
    yield packages(given["model"])
    shape = None
    with contextlib.suppress(OSError, ImportError, ValueError):  # the line on the model says why
        shape = costs.shape_of(given["model"])
    if shape:
        yield device(given, shape)
        yield space(costs.disk(given, shape))
    yield model(given["model"])
    yield from data(given)
    yield isolation()


def packages(model: str) -> Finding:
    """Whether what the project depends on is installed, in versions that it takes; for a GGUF file its reader, too."""
    wanted = [Requirement(text) for text in metadata.requires(PROJECT) or []]
    extra = "gguf" if is_gguf(model) else ""
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]
    wrong = [said for one in wanted if (said := _missing(one))]
    return Finding("packages", "; ".join(wrong) or f"all {len(wanted)}, torch {torch.__version__}", not wrong)


def _missing(wanted: Requirement) -> str:
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    return "" if wanted.specifier.contains(version, prereleases=True) else f"{wanted.name} {version} is not {wanted}"


def device(given: Mapping[str, Any], shape: costs.Shape) -> Finding:
    """The GPU, or else the CPU, and whether its memory holds what is estimated; if not, what it would hold."""
    free, need, load = memory_at_hand(), costs.memory(given, shape).most, os.getloadavg()[0]
    said = f"{machine()}: {free / costs.GIB:.1f} GiB of memory at hand, about {need / costs.GIB:.1f} needed"
    if need >= free:
        said += f"; {_smaller(given, shape, free)}"
    if not torch.cuda.is_available() and load > _cores() / 2:
        said += f"; busy with other work (load {load:.1f}), which slows down what is measured"
    return Finding("device", said, need < free)


def _smaller(given: Mapping[str, Any], shape: costs.Shape, free: float) -> str:
    try:
        return f"what fits it: {recipes.as_options(costs.fitted(given, shape, free))}"
    except ValueError as error:
        return str(error)


def machine() -> str:
    """This machine in a few words."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"no GPU, {_cores()} CPU cores"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_at_hand() -> float:
    """Bytes free on the GPU; without one, of the machine's own memory or of what a container may take.

    There, what this process has taken counts as free: the study will have it.
    """
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    free, limit, used = psutil.virtual_memory().available, *map(Path, CGROUP)
    if limit.is_file() and (text := limit.read_text(encoding="utf-8").strip()) != "max":
        free = min(free, int(text) - int(used.read_text(encoding="utf-8")))
    return float(free + psutil.Process().memory_info().rss)


def space(need: float) -> Finding:
    """Room on the disk of the runs. The Hub's cache may lie on another."""
    folder = runs.runs_dir()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    said = f"{free / costs.GIB:.0f} GiB free for runs, about {need / costs.GIB:.0f} needed with all downloads"
    return Finding("disk", said, need < free)


def model(name: str) -> Finding:
    """Whether the model's configuration and tokenizer can be had: here, from the cache or from the Hub."""
    if split_name(name)[0]:
        return Finding("model", f"{name} runs elsewhere and cannot be trained here", False)
    try:
        place = locate(name)
        where = "a folder" if Path(place).is_dir() else "in the cache" if _is_cached(place) else "at the Hub"
        size = count_parameters(name)
        load_tokenizer(name)
    except (OSError, ImportError, ValueError) as error:
        return Finding("model", str(error), False)
    return Finding("model", f"{name}: {where}, {size / 1e6:,.0f} M parameters")


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)


def data(given: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a problem of each benchmark can be read, to learn from and to try."""
    wanted = [("benchmark", "data", None, {})]
    if costs.trains(given):
        wanted.append(("train_benchmark", "train_data", "train", training_options(given["train_benchmark"])))
    for which, place, split, options in wanted:
        name = given[which]
        try:
            load_problems(name, data=given[place], split=split, limit=1, **options)
            yield Finding("data", f"{name}{' to learn from' if split else ''}: at hand")
        except (OSError, ValueError) as error:
            yield Finding("data", str(error), False)


REMEDY = (
    "In a container: a current Docker leaves Landlock and seccomp to programs on Linux 5.13 or later, "
    "`docker run --security-opt seccomp=unconfined` gives user namespaces too. Where nothing is at stake: export "
    f"{OPTIONS}='{{\"allow_unisolated\": true}}'"
)


def isolation() -> Finding:
    """Whether the judge confines programs here, or is told to do without."""
    report = isolation_report()
    if report.missing:
        reasons = ", ".join(f"{name} ({why})" for name, why in report.missing.items())
        told = from_environment().get("allow_unisolated", False)
        return Finding("isolation", f"none of {reasons}. {'Allowed all the same' if told else REMEDY}", told)
    absent = [name for name, why in report.layers.items() if why]
    escaped = [name for name, held in report.contained.items() if not held]
    without = f", without {', '.join(absent)}" if absent else ""
    return Finding("isolation", f"the essentials hold{without}; got through: {', '.join(escaped) or 'nothing'}")


# --- what is measured ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """A stage whose speed is measured by ``run``, in ``unit``; ``key`` is its name in :class:`~.costs.Speeds`."""

    key: str
    name: str
    how: str
    unit: str
    run: Callable[[], float]


def _stages(bench: Bench, given: Mapping[str, Any]) -> Iterator[Stage]:
    """Training is tried with the longest examples on a GPU, as they decide what fits; else with mean ones."""
    if costs.trains(given):
        length, share = costs.LENGTHS[given["train_benchmark"]], given["refine_share"]
        mean = {"tuning": length.plain, "refining": round(share * length.refine + (1 - share) * length.plain)}
        for key, name in (("tuning", "fine-tuning"), ("refining", "refine training")):
            tokens = length.longest if torch.cuda.is_available() else mean[key]
            batch = bench.training_batch(tokens)
            how = f"{batch} x {tokens} tokens a step"
            yield Stage(key, name, how, "tokens", partial(bench.train, key == "refining", tokens, batch))
    generate = cache(bench.generate)  # both may be of one benchmark
    for key, name, which in (("sampling", "sampling", "train_benchmark"), ("evaluating", "generation", "benchmark")):
        if which in given:
            batch = bench.generation_batch(given[which])
            how = f"of full length, {batch} at a time"
            yield Stage(key, name, how, "programs", partial(generate, given[which], batch))
    yield Stage("judging", "judging", "a run each", "programs", bench.judge)


def steps(given: Mapping[str, Any], tell: Callable[[Finding], None]) -> Measured | None:
    """Do a step of each stage and tell how fast it was; what was measured, unless something does not fit."""
    bench, speeds = Bench(given), {"tuning": 1.0, "sampling": 1.0, "refining": 1.0}  # 01 has no such work
    for stage in _stages(bench, given):
        speed = within_memory(stage.run)
        if speed is None:
            tell(Finding(stage.name, f"does not fit ({stage.how}); {_largest(given)}", False))
            return None
        speeds[stage.key] = speed
        tell(Finding(stage.name, f"{speed:,.4g} {stage.unit} a second ({stage.how})"))
    used = _memory_used()
    tell(Finding("memory", f"{used / costs.GIB:.1f} GiB taken at most; {_largest(given)}"))
    return Measured(machine(), used, costs.Speeds(**speeds))


def within_memory(step: Callable[[], float]) -> float | None:
    """What a step gives; nothing if it does not fit a GPU. What it took of it is given back."""
    try:
        return step()
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        free()


def _memory_used() -> float:
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _largest(given: Mapping[str, Any]) -> str:
    """The largest batches that fit, in words: tried on a GPU, else estimated by the memory at hand."""
    said = []
    if costs.trains(given):
        said.append(_largest_training(given))
        if given["gradient_checkpointing"]:
            faster = _largest_training({**given, "gradient_checkpointing": False})
            said[0] += f" (without gradient checkpointing, which is faster: {faster})"
    fits = _fits(given, "generation_batch", lambda batch: Bench(given).generate(given["benchmark"], batch))
    said.append(f"generation_batch {costs.largest(fits, given['generation_batch'], costs.MOST)}")
    return f"the largest that fit: {', '.join(said)}"


def _largest_training(given: Mapping[str, Any]) -> str:
    length, together = costs.LENGTHS[given["train_benchmark"]].longest, given["batch_size"] * given["accumulation"]
    fits = _fits(given, "batch_size", lambda batch: Bench(given).train(True, length, batch))
    batch = costs.largest(fits, given["batch_size"], together)
    return f"batch_size {batch} x accumulation {together // batch}" if batch else "no batch_size"


def _fits(given: Mapping[str, Any], which: str, step: Callable[[int], float]) -> Callable[[int], bool]:
    if torch.cuda.is_available():
        return lambda batch: within_memory(partial(step, batch)) is not None
    shape, at_hand = costs.shape_of(given["model"]), memory_at_hand()
    part = attrgetter("training" if which == "batch_size" else "generation")
    return lambda batch: part(costs.memory({**given, which: batch}, shape)) < at_hand


def hours(given: Mapping[str, Any], speeds: costs.Speeds, most: float) -> Iterator[Finding]:
    """Hours of each stage at the measured speeds, beside the estimate, and whether all are few enough."""
    shape, work = costs.shape_of(given["model"]), costs.work(given)
    meant = costs.machine_of(given, shape)
    found, estimated = costs.hours(work, speeds), costs.hours(work, costs.estimated(given, shape, meant))
    for stage, value in found.items():
        if estimated[stage]:
            yield Finding(
                "hours", f"{stage}: at most {value:.1f} (estimate for one {meant.name}: {estimated[stage]:.1f})"
            )
    total = sum(found.values())
    asked = "" if total <= most else f", more than --hours {most:g}"
    yield Finding("hours", f"all: at most {total:.1f} (estimate: {sum(estimated.values()):.1f}){asked}", total <= most)


# --- what is kept, and the command -----------------------------------------------------------------------


def _place(given: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]
    return runs.runs_dir() / f"speeds-{digest}.json"


def keep(given: Mapping[str, Any], measured: Measured) -> None:
    """Note what was measured of a recipe, for :func:`kept`."""
    runs.write_json(_place(given), asdict(measured))


def kept(given: Mapping[str, Any]) -> Measured | None:
    """What was measured of a recipe last, if it was."""
    if not _place(given).is_file():
        return None
    found = json.loads(_place(given).read_text(encoding="utf-8"))
    return Measured(found["machine"], found["memory"], costs.Speeds(**found["speeds"]))


def check(given: Mapping[str, Any], most: float = HOURS) -> list[Finding]:
    """All checks of a recipe, each printed as it is done; steps are done only if all is there.

    Args:
        given: all parameters of its notebook.
        most: hours that the study may take.
    """
    found: list[Finding] = []

    def tell(finding: Finding) -> None:
        print(finding, flush=True)
        found.append(finding)

    for finding in looked_at(given):
        tell(finding)
    if all(finding.good for finding in found) and (measured := steps(given, tell)):
        keep(given, measured)
        for finding in hours(given, measured.speeds, most):
            tell(finding)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="cycle_utils.study.check", description=__doc__.split("\n")[0])
    recipes.add_arguments(parser)
    parser.add_argument("--hours", type=float, default=HOURS, help=f"that it may take (default: {HOURS:g})")
    options = parser.parse_args(arguments)
    transformers_logging.disable_progress_bar()  # of loading weights, among the lines
    try:
        path, changed = recipes.chosen(options)
        notebook = recipes.notebook_of(path)
        given = recipes.whole({**recipes.read(path), **changed}, notebook)
    except (OSError, ValueError) as error:
        print(f"no-go: {error}")
        return 1
    told = "".join(f", {name} {value}" for name, value in changed.items())
    print(f"{notebook} by {path.name}{told}", flush=True)
    found = check(given, options.hours)
    wrong = [finding for finding in found if not finding.good]
    if wrong:
        print("no-go: " + "; ".join(f"{one.name}: {one.said}" for one in wrong))
    else:
        print(f"go: {found[-1].said}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
