"""The self-refine loop: generate, execute, refine, until all tests pass or the rounds are used up."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.execution import Judge
from cycle_utils.method.judging import FEEDBACK_TESTS, attempt_row, judged
from cycle_utils.models.answers import answered, is_answered
from cycle_utils.models.generation import Completion, generate, room
from cycle_utils.models.loading import load_model, load_tokenizer, render_chat
from cycle_utils.models.programs import is_whole, trim
from cycle_utils.models.prompts import (
    FIELDS,
    NoRoom,
    Prompt,
    one_time_prompt,
    refine_prompt,
    transcript,
)
from cycle_utils.models.sampling import Sampling
from cycle_utils.problems import Problem

TEMPERATURES = (0.2, 0.6)  # of the first try and of refinement [artifact]
log = logging.getLogger(__name__)


def self_refine(
    model, problems: Sequence[Problem], *, tokenizer=None, judge: Judge | None = None, rounds: int = 4,
    samples: int = 1, temperatures: tuple[float, float] = TEMPERATURES, style: str = "cycle",
    fields: Sequence[str] = FIELDS, feedback_tests: str = "all", sampling: Sampling | None = None, seed: int = 0,
    stop_when_flat: bool = False, shuffled: bool = False, strays: bool = False, progress: bool = True,
    on_round: Callable[[list[dict]], None] | None = None, folder: Path | None = None, usage: Counter | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Generate, execute, refine: the paper's loop, every attempt kept.

    Args:
        model: a loaded LM, or a name, folder or ID to load.
        samples: independent trajectories for each problem.
        rounds: refinements at most; 0 for one-time generation only.
        shuffled: show each faulty program with the feedback of another problem's (none, where there is no other).
        strays: judge and show a text without the entry point as it was written; else it counts as an empty program.
        on_round: is given the attempts of each round when it ends.
        folder: where finished rounds and the generations of the current one are kept while the loop runs: a loop that
            was cut off and is called again with the same arguments goes on from there, and ends as if it had not been.
        usage: is increased by what the loop cost in tokens, see :func:`~cycle_utils.models.generation.generate`.

    Returns:
        one row per attempt: ``task_id``, ``sample``, ``round`` (0 is the first try), ``prompt``,
        ``completion``, ``code`` (the program as a refine prompt shows it), ``status``, ``passed``,
        ``done``, ``feedback``, ``behaviour`` (a digest of what every test gave) and ``ended`` (why its text ended, see
        :class:`~cycle_utils.models.generation.Completion`). A trajectory ends when it
        is ``done``: when no test that may be shown fails, or, unsolved, when its refine prompt does not fit the
        model's context.

    Raises:
        ValueError: an option outside its choices, no problems, a one-time prompt that does not fit, or a model that
            cannot be asked in this style.
        ServerError, ImportError: a model that runs elsewhere and cannot be asked, see
            :mod:`cycle_utils.models.servers`.
    """
    _check_loop(problems, rounds, samples, fields, feedback_tests)
    if isinstance(model, str | Path):
        tokenizer = tokenizer or load_tokenizer(model)
        model = load_model(model)
    sampling = sampling or Sampling()
    live = [(p, s, None) for p in problems for s in range(samples)]
    rows: list[dict[str, Any]] = []
    for round_ in range(rounds + 1):
        live, prompts = _with_room(model, tokenizer, live, style, fields, sampling)
        if not live:
            break
        fresh, spent = _kept(folder, round_)
        if fresh is None:
            now = replace(sampling, temperature=temperatures[min(round_, 1)])
            stream = folder / f"round-{round_}.jsonl" if folder else None
            completions = _complete(
                model, tokenizer, prompts, live, now, seed * 1000 + round_, progress, stream, spent, strays
            )
            texts = [completion.text for completion in completions]
            verdicts = judged([p for p, _, _ in live], texts, feedback_tests, judge, progress)
            fresh = [
                {**attempt_row(p, s, round_, prompt.text, completion.text, *verdict), "ended": completion.ended}
                for (p, s, _), prompt, completion, verdict in zip(live, prompts, completions, verdicts)
            ]
            _keep(folder, round_, fresh, spent)
        rows += fresh
        if usage is not None:
            usage.update(spent)
        if on_round:
            on_round(fresh)
        mended = any(row["passed"] for row in fresh)
        live = [(p, s, row) for (p, s, _), row in zip(live, fresh) if not row["done"]]
        if shuffled:
            live = feedback_exchanged(live, random.Random(f"shuffled/{seed}/{round_}"))
        if not live or (stop_when_flat and round_ > 0 and not mended):
            break
    return pd.DataFrame(rows)


def _check_loop(problems, rounds: int, samples: int, fields: Sequence[str], feedback_tests: str) -> None:
    if not problems:
        raise ValueError("there are no problems to solve: the list is empty")
    if rounds < 0 or samples < 1:
        raise ValueError(f"rounds is {rounds} and samples is {samples}; give rounds of 0 or more, samples of 1 or more")
    if unknown := set(fields) - set(FIELDS):
        raise ValueError(f"unknown refine field {sorted(unknown)[0]!r}; a refine prompt has {', '.join(FIELDS)}")
    if feedback_tests not in FEEDBACK_TESTS:
        raise ValueError(f"unknown feedback_tests {feedback_tests!r}; choose one of {', '.join(FEEDBACK_TESTS)}")


def next_prompt(
    model, tokenizer, problem: Problem, last: dict | None, style: str, fields, sampling: Sampling
) -> Prompt:
    render = partial(render_chat, tokenizer) if tokenizer else transcript
    if last is None:
        return one_time_prompt(problem, style, render)
    code = last["code"] if "code" in fields else ""
    feedback = last["feedback"] if "feedback" in fields else ""
    limit = None if sampling.truncation == "left" else room(model, sampling)
    chat = style == "chat"
    return refine_prompt(
        problem, code, feedback, style, limit=limit, render=render,
        count=lambda text: len(tokenizer(text, add_special_tokens=not chat)["input_ids"]),
    )  # fmt: skip


def feedback_exchanged(live: Sequence[tuple], rng: random.Random) -> list[tuple]:
    """The live trajectories, each with the feedback of another problem's; the attempts themselves stay as they are."""
    given = {p.task_id: row["feedback"] for p, _, row in live}
    exchanged = []
    for problem, sample, row in live:
        others = [task_id for task_id in given if task_id != problem.task_id]
        feedback = given[rng.choice(others)] if others else ""
        exchanged.append((problem, sample, {**row, "feedback": feedback}))
    return exchanged


def _with_room(model, tokenizer, live: Sequence[tuple], style: str, fields, sampling: Sampling) -> tuple[list, list]:
    """The trajectories whose next prompt fits the model's context, and these prompts."""
    kept, prompts = [], []
    for trajectory in live:
        problem, _, last = trajectory
        try:
            prompts.append(next_prompt(model, tokenizer, problem, last, style, fields, sampling))
            kept.append(trajectory)
        except NoRoom as error:
            log.warning("%s; it stays unsolved", error)
    return kept, prompts


def _keep(folder: Path | None, round_: int, rows: Sequence[dict], usage: Counter) -> None:
    if folder:
        table = pd.DataFrame(rows)
        table.attrs["usage"] = usage
        table.to_parquet(folder / "round.part")
        os.replace(folder / "round.part", folder / f"round-{round_}.parquet")
        (folder / f"round-{round_}.jsonl").unlink()


def _kept(folder: Path | None, round_: int) -> tuple[list[dict] | None, Counter]:
    """The attempts of a round that an interrupted loop had finished, and what they cost."""
    path = folder / f"round-{round_}.parquet" if folder else None
    if path is None or not path.is_file():
        return None, Counter()
    table = pd.read_parquet(path)
    return table.to_dict("records"), Counter(table.attrs.get("usage", {}))


def _complete(
    model, tokenizer, prompts: Sequence[Prompt], live, sampling: Sampling, seed: int, progress: bool,
    stream: Path | None, usage: Counter, strays: bool,
) -> list[Completion]:  # fmt: skip
    """The program in each answer, as a completion, and why its text ended."""
    read, over = (answered, is_answered) if prompts[0].messages else (partial(trim, strays=strays), is_whole)

    def finished(i: int, text: str) -> bool:
        return over(text, live[i][0].entry_point, live[i][0].prompt)

    names = [f"{problem.task_id}/{sample}" for problem, sample, _ in live]
    stop = finished if sampling.stop_early else None
    texts = generate(model, tokenizer, prompts, sampling, 1, seed, progress, stop, stream, usage, names)
    return [
        replace(text, text=read(text.text, problem.entry_point, problem.prompt))
        for (text,), (problem, _, _) in zip(texts, live)
    ]
