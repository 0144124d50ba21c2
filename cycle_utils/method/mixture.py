"""Stage 2's data: refinement examples mixed with plain generation, as the features of a training."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from cycle_utils.method.masking import IGNORED
from cycle_utils.method.training import LONGEST, TrainSettings, encode
from cycle_utils.models.loading import context_length, render_chat
from cycle_utils.models.prompts import FIELDS, NoRoom, one_time_prompt, refine_prompt, refine_target
from cycle_utils.problems import Problem

log = logging.getLogger(__name__)


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
    tokenizer, problem: Problem, example: dict, fields: Sequence[str] = FIELDS, style: str = "cycle",
    limit: int | None = None, recalled: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Features of one example, with the spans of its prompt's fields; see :func:`~.training.encode`.

    Args:
        limit: the most tokens that it may have; as in prompts, the middle of a faulty program is cut until it fits.
        style: ``cycle``, the paper's template, or ``chat``, for an instruction-tuned model: there the past generation
            is the turn in which it gave the faulty program.
        recalled: how many earlier attempts a refine prompt shows at most, of those that the example has.

    Raises:
        NoRoom: it does not fit, however much is cut.
    """
    if example["kind"] == "plain":
        return plain_example(tokenizer, problem, example["target"], style, limit)
    code = example["code"] if "code" in fields else ""
    feedback = example["feedback"] if "feedback" in fields else ""
    earlier = [tuple(one) for one in example.get("earlier", ())[-recalled:]] if recalled else []
    render = partial(render_chat, tokenizer)
    asked = partial(refine_prompt, problem, code, feedback, style, render=render, earlier=earlier)
    target, special, prompt = refine_target(problem, example["target"], style), style != "chat", asked()
    features = encode(tokenizer, prompt.text, target, prompt.spans, special)
    if limit is None or len(features["input_ids"]) <= limit:
        return features
    answer = sum(label != IGNORED for label in features["labels"])
    prompt = asked(
        count=lambda text: len(tokenizer(text, add_special_tokens=special)["input_ids"]), limit=limit - answer
    )
    return {**encode(tokenizer, prompt.text, target, prompt.spans, special), "cut": True}


def plain_example(
    tokenizer, problem: Problem, solution: str, style: str = "cycle", limit: int | None = None
) -> dict[str, Any]:
    """Features of an example of plain generation: description in, solution out.

    Raises:
        NoRoom: it has more tokens than ``limit``.
    """
    prompt = one_time_prompt(problem, style, partial(render_chat, tokenizer))
    chat = style == "chat"
    target = refine_target(problem, solution, style) if chat else solution
    features = encode(tokenizer, prompt.text, target, special=not chat)
    if limit is not None and (size := len(features["input_ids"])) > limit:
        raise NoRoom(f"an example of {problem.task_id} has {size} tokens, more than {limit}")
    return features


def fitting(makers: Iterable[Callable[[int], dict[str, Any]]], model) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The examples that a model's context has room for, and notes on the others, which are logged.

    Args:
        makers: each makes an example of at most so many tokens, or raises :class:`NoRoom`.

    Returns:
        the examples, and how many were ``cut_examples`` and, left out, ``too_long_examples``, if any were.
    """
    limit, examples, left_out = min(context_length(model), LONGEST), [], 0
    for make in makers:
        try:
            examples.append(make(limit))
        except NoRoom:
            left_out += 1
    cut = sum("cut" in one for one in examples)
    if cut or left_out:
        log.warning(
            "%d of %d training examples were longer than %d tokens: in %d the middle of the faulty program was cut, %d "
            "were left out", cut + left_out, len(examples) + left_out, limit, cut, left_out,
        )  # fmt: skip
    return examples, {name: n for name, n in {"cut_examples": cut, "too_long_examples": left_out}.items() if n}
