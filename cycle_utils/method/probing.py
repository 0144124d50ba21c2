"""A probe: does a trained LM know what the feedback tells, even where it does not write it?

A failing program of TinyPrograms with one open slot wrong is asked for its correction by multiple choice: the same
program with each of the slot's values, of which the LM says how probable it is as an answer to its refine prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from cycle_utils.method.configs import Probe
from cycle_utils.method.loop import next_prompt
from cycle_utils.method.masking import IGNORED
from cycle_utils.method.runs import Run, build
from cycle_utils.method.stages import attempts_of, loop, loop_problems
from cycle_utils.method.training import encode
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.prompts import refine_target
from cycle_utils.problems import Problem
from cycle_utils.problems import tinyprograms as tp

CHOICES = "choices.parquet"
COLUMNS = ["task_id", "sample", "round", "slot", "evidence", "value", "right", "shown", "score"]


def probe(config: Probe, progress: bool = True) -> Run:
    """Probe the LM of a loop on the failures of that loop. Leaves its :func:`choices_of`.

    Raises:
        ValueError: the loop is not on TinyPrograms, whose programs alone can be taken apart.
    """
    if config.loop.benchmark != "tinyprograms":
        raise ValueError(f"a probe needs slots, which {config.loop.benchmark} has not: give a loop on tinyprograms")
    tried = loop(config.loop, progress)

    def make(folder: Path) -> dict[str, Any]:
        where, model = config.loop, load_model(config.loop.model).eval()
        tokenizer, attempts = load_tokenizer(where.model), attempts_of(tried)
        last = attempts.groupby(["task_id", "sample"])["round"].transform("max")
        answered = attempts[(attempts["round"] < last) & (attempts["round"] <= config.rounds)]
        problems, rows = {p.task_id: p for p in loop_problems(where)}, []
        for row in tqdm(answered.to_dict("records"), desc="probing", disable=not progress):
            choices = list(_choices(problems[row["task_id"]], row["code"]))
            if not choices:
                continue
            problem = problems[row["task_id"]]
            asked = next_prompt(model, tokenizer, problem, row, where.style, where.fields, where.sampling)
            scores = log_likelihoods(model, tokenizer, asked.text, [target for target, _ in choices])
            known = {name: row[name] for name in ("task_id", "sample", "round")}
            rows += [{**known, **choice, "score": score} for (_, choice), score in zip(choices, scores)]
        pd.DataFrame(rows, columns=COLUMNS).to_parquet(folder / CHOICES)
        return {"probed": len({(r["task_id"], r["sample"], r["round"]) for r in rows}), "choices": len(rows)}

    return build(config, make, f"a probe of {Path(config.loop.model).name}")


def choices_of(run: Run) -> pd.DataFrame:
    """One row for each way to write a choice, with :data:`COLUMNS`.

    ``value`` is its index in the slot, ``shown`` whether the faulty program has it, ``score`` its log-likelihood.
    """
    return pd.read_parquet(run.path(CHOICES))


def _choices(problem: Problem, code: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Answers to the prompt of a faulty program with one open slot wrong, one for each value and way to write it."""
    task = problem.meta["task"]
    slots = tp.recover(task, code)
    wrong = [name for name, value in (slots or {}).items() if value != task.values[name]]
    if len(wrong) != 1 or wrong[0] not in task.open:
        return
    (name,) = wrong
    (slot,) = [one for one in task.family.slots if one.name == name]
    for value in range(len(slot.values)):
        choice = {"slot": name, "evidence": problem.meta["open"][name], "value": value}
        choice |= {"right": value == task.values[name], "shown": value == slots[name]}
        for way in range(len(task.family.bodies)):
            written = tp.body(task, {**task.values, name: value}, way)
            yield refine_target(problem, "\n" + written), choice


def log_likelihoods(model, tokenizer, prompt: str, targets: Sequence[str]) -> list[float]:
    """How probable each target is as the whole answer to a prompt: natural logarithms, its end included."""
    examples = [encode(tokenizer, prompt, target) for target in targets]
    longest = max(len(one["input_ids"]) for one in examples)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = torch.tensor([one["input_ids"] + [pad] * (longest - len(one["input_ids"])) for one in examples])
    labels = torch.tensor([one["labels"] + [IGNORED] * (longest - len(one["labels"])) for one in examples])[:, 1:]
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device)).logits[:, :-1].float().cpu()
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return (-each.sum(1)).tolist()
