"""Stage 2's data: refinement examples mixed with plain generation, as the features of a training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from cycle_utils.method.training import TrainSettings, encode
from cycle_utils.models.loading import render_chat
from cycle_utils.models.prompts import FIELDS, one_time_prompt, refine_prompt, refine_target
from cycle_utils.problems import Problem


def mixed(refine: Sequence[dict], plain: Sequence[dict], total: int, share: float, rng: random.Random) -> list[dict]:
    """The mixture itself: ``total`` examples, ``share`` of them refinement, each kind in whole shuffled passes."""
    wanted = round(total * share)
    return _cycled(refine, wanted, rng) + _cycled(plain, total - wanted, rng)


def mixture(own: Sequence[dict], problems: Sequence[Problem], share: float, settings: TrainSettings) -> list[dict]:
    """As many examples as the training will look at, ``share`` of them refinement data.

    The rest is plain generation data: canonical solutions and the model's own passing programs. Examples come
    several times where there are fewer; ``origin`` says which rows are one and the same.

    Raises:
        ValueError: refinement data are wanted and there are none.
    """
    rng = random.Random(f"mixture/{settings.seed}")
    refine = [e for e in own if e["kind"] == "refine"]
    plain = [e for e in own if e["kind"] == "plain"] + [
        {"task_id": p.task_id, "kind": "plain", "code": "", "feedback": "", "target": s}
        for p in problems
        for s in p.canonical_solutions
    ]
    if share > 0 and not refine:
        raise ValueError(
            "the model made no mistakes on its training problems, so there is nothing to refine: "
            "sample more, at a higher temperature, or on harder problems (ambiguity)"
        )
    refine, plain = ([{**e, "origin": f"{e['kind']}/{i}"} for i, e in enumerate(rows)] for rows in (refine, plain))
    total = settings.steps * settings.batch_size * settings.accumulation
    return mixed(refine, plain, total, share, rng)


def _cycled(rows: Sequence[dict], count: int, rng: random.Random) -> list[dict]:
    """``count`` rows: whole shuffled passes over ``rows``, then a part of one."""
    chosen: list[dict] = []
    while len(chosen) < count:
        chosen += rng.sample(list(rows), min(len(rows), count - len(chosen)))
    return chosen


def encode_example(
    tokenizer, problem: Problem, example: dict, fields: Sequence[str] = FIELDS, style: str = "cycle"
) -> dict[str, Any]:
    """Features of one example, with the spans of its prompt's fields; see :func:`~.training.encode`.

    Args:
        style: ``cycle``, the paper's template, or ``chat``, for an instruction-tuned model: there the past generation
            is the turn in which it gave the faulty program.
    """
    if example["kind"] == "plain":
        return plain_example(tokenizer, problem, example["target"], style)
    code = example["code"] if "code" in fields else ""
    feedback = example["feedback"] if "feedback" in fields else ""
    prompt = refine_prompt(problem, code, feedback, style, render=partial(render_chat, tokenizer))
    target = refine_target(problem, example["target"], style)
    return encode(tokenizer, prompt.text, target, prompt.spans, special=style != "chat")


def plain_example(tokenizer, problem: Problem, solution: str, style: str = "cycle") -> dict[str, Any]:
    """Features of an example of plain generation: description in, solution out."""
    prompt = one_time_prompt(problem, style, partial(render_chat, tokenizer))
    chat = style == "chat"
    target = refine_target(problem, solution, style) if chat else solution
    return encode(tokenizer, prompt.text, target, special=not chat)
