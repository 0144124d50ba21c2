"""The study: one recipe for all notebooks, and its three contenders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.method.configs import Distil, FineTune, Loop, RefineTrain
from cycle_utils.method.masking import Masking
from cycle_utils.method.stages import attempts_of, fine_tune, loop, on_model, refine_train
from cycle_utils.models.loading import TINY
from cycle_utils.models.prompts import FIELDS
from cycle_utils.models.sampling import LONGEST, Sampling
from cycle_utils.problems.tinyprograms import AMBIGUITY, FamilySet

TINYPROGRAMS = "tinyprograms"
PRETRAINED, TUNED, CYCLE = CONTENDERS = ("pre-trained", "fine-tuned", "CYCLE")
BUDGET_AT = {TUNED: 0.8, CYCLE: 1.0}  # temperatures of distinct samples, chosen on the validation split
UNMASKED = "CYCLE without PGM"  # a further one, for LMs that have no ablation of their own


def recipe(
    model: str = TINY, train_benchmark: str = "tinyprograms", train_data: str | None = None, seed: int = 0,
    ambiguity: float = AMBIGUITY, problems: int | None = None, finetune_steps: int | None = None,
    samples: int | None = None, target: str = "bm25", steps: int | None = None, mask_ratio: float = 0.05,
    mask_span: str = "past_generation", mask_redraw: str = "every batch", refine_share: float = 0.5,
    batch_size: int | None = None, accumulation: int | None = None, learning_rate: float | None = None,
    lora: bool = False, gradient_checkpointing: bool = False, max_new_tokens: int | None = None,
    generation_batch: int | None = None, faults: str = "own", keep_passing: bool = True,
    fields: tuple[str, ...] = FIELDS, merged: bool = True, style: str = "cycle", bf16: bool = False,
    families: FamilySet = "all",
) -> RefineTrain:  # fmt: skip
    """The whole training as one config; ``None`` keeps a stage's own default.

    Args:
        problems: training problems; finetune_steps, steps: optimiser steps of stages 1(a) and 2.
        samples: programs drawn for each training problem in stage 1(b).
        mask_ratio, mask_span, mask_redraw: Past Generation Masking.
        refine_share: share of refinement data in the mixture.
        batch_size, accumulation, learning_rate, lora, merged, gradient_checkpointing: of both trainings, see
            :class:`~cycle_utils.method.training.TrainSettings`.
        max_new_tokens, generation_batch: of the sampling in stage 1(b), see :func:`sampling`.
        bf16: of both trainings and the sampling.
        faults, keep_passing: what stage 1(b) makes examples of, see :class:`~cycle_utils.method.configs.Distil`.
        fields: what refine prompts hold in training.
        style: how the model is asked, in training and after: by the paper's template, ``cycle``, or by ``chat``.
        families: of TinyPrograms, which of them are trained on.

    Raises:
        ValueError: a value outside its range, or an unknown choice.
    """
    tune = FineTune(
        model=model,
        benchmark=train_benchmark,
        data=train_data,
        ambiguity=ambiguity,
        seed=seed,
        style=style,
        families=families,
        **_given(problems=problems),
    )
    how = _given(batch_size=batch_size, accumulation=accumulation, learning_rate=learning_rate)
    how |= {"lora": lora, "merged": merged, "gradient_checkpointing": gradient_checkpointing, "bf16": bf16}
    how |= {"target_logits": train_benchmark != TINYPROGRAMS}
    tune = replace(tune, train=replace(tune.train, **how, **_given(steps=finetune_steps)))
    drawn = sampling(max_new_tokens, generation_batch, Distil().sampling, train_benchmark, bf16)
    data = Distil(
        fine_tune=tune, target=target, sampling=drawn, faults=faults, keep_passing=keep_passing,
        **_given(samples=samples),
    )  # fmt: skip
    masking = Masking(mask_ratio, mask_span, mask_redraw)
    refine = RefineTrain(distil=data, masking=masking, refine_share=refine_share, fields=fields)
    return replace(refine, train=replace(refine.train, **how, **_given(steps=steps)))


def sampling(
    max_new_tokens: int | None = None, generation_batch: int | None = None, start: Sampling | None = None,
    benchmark: str = TINYPROGRAMS, bf16: bool = False, own_options: bool = False,
) -> Sampling:  # fmt: skip
    """``start`` (the default sampling) with another length of programs, in tokens, batch, in sequences, or precision.

    Programs are as long as ``max_new_tokens`` says, or as the benchmark's may be (:data:`~..models.sampling.LONGEST`).

    On other benchmarks than TinyPrograms each program draws random numbers of its own, and ends as soon as it is whole.
    """
    how: dict[str, Any] = {} if benchmark == TINYPROGRAMS else {"draws": "own", "stop_early": True}
    how |= {"bf16": bf16, "own_options": own_options}
    max_new_tokens = LONGEST.get(benchmark) if max_new_tokens is None else max_new_tokens
    return replace(start or Sampling(), **_given(max_new_tokens=max_new_tokens, batch_size=generation_batch), **how)


def edition(model: str, benchmark: str, *more: str) -> str:
    """What is added to the names of tables and figures that are not the study's own: nothing on TinyPrograms.

    Args:
        more: what else sets this edition apart, such as the style of its prompts.
    """
    if benchmark == TINYPROGRAMS:
        return ""
    names = [benchmark] if model == TINY else [re.sub(r"[^a-z0-9.]+", "-", Path(model).stem.lower()), benchmark, *more]
    return "".join(f"_{name}" for name in names)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def contender(name: str, config: RefineTrain, where: Loop, progress: bool = True) -> Loop:
    """``where`` for one of :data:`CONTENDERS` or :data:`UNMASKED`, its model trained first if needed, or another model.

    The pre-trained LM never saw the template, so it is prompted in the plain style, as in the artifact; one that chats
    is asked by ``chat``, before and after its training. Another model is named as
    :func:`~cycle_utils.models.load_model` knows it, and asked in the style of ``where``.
    """
    tune = config.distil.fine_tune
    if name not in (*CONTENDERS, UNMASKED):
        return replace(where, model=name, seed=tune.seed)
    if name == PRETRAINED:
        asked = "plain" if tune.style == "cycle" else tune.style
        return replace(where, model=tune.model, style=asked, seed=tune.seed)
    if name == UNMASKED:
        config = replace(config, masking=replace(config.masking, ratio=0.0))
    stage, wanted = (fine_tune, tune) if name == TUNED else (refine_train, config)
    return on_model(partial(trained, where, tune), stage, wanted, progress)


def trained(where: Loop, tune: FineTune, folder: str | Path) -> Loop:
    """``where`` for a model that was trained here, from this fine-tuning on."""
    return replace(where, model=str(folder), style=tune.style, seed=tune.seed)


def run_loops(
    config: RefineTrain, where: Loop, names: Sequence[str] = CONTENDERS, progress: bool = True
) -> dict[str, pd.DataFrame]:
    """Attempts of each contender in the loop that ``where`` describes."""
    return {name: attempts_of(loop(contender(name, config, where, progress), progress)) for name in names}


def run_budget(
    config: RefineTrain, where: Loop, names: Sequence[str] = CONTENDERS, temperature: float = 0.6, progress: bool = True
) -> dict[str, pd.DataFrame]:
    """The :func:`control` at equal budget of each contender."""
    return run_loops(config, control(where, temperature), names, progress)


def control(where: Loop, temperature: float = 0.6) -> Loop:
    """``1 + rounds`` independent samples in the place of a loop, no refinement."""
    return replace(where, rounds=0, samples=1 + where.rounds, temperatures=(temperature, temperature))
