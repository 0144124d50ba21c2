"""A few steps of each stage of a recipe, timed with its own model on this machine: what ``study.check`` measures.

No problems but HumanEval's are needed, which the package carries: for a stopwatch, any code will do.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cycle_utils import study
from cycle_utils.execution import cluster
from cycle_utils.method.masking import IGNORED, SPANS, PGMCollator
from cycle_utils.method.training import train
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.generation import generate
from cycle_utils.models.loading import context_length
from cycle_utils.problems.benchmarks import load_problems
from cycle_utils.study import costs, launch

LONG = 20.0  # seconds: a step that is estimated to take longer is not asked for, on a CPU
SLOW = 5.0  # seconds: a step that takes longer is not repeated
REPEATED = 3  # steps otherwise
LOOKED_AT = 8  # tokens whose generation is timed


class _Enough(Exception):
    """The steps that were wanted are done."""


class _Stopwatch(PGMCollator):
    """Notes when each batch is asked for, and ends the training when it has seen a few steps, or a slow one.

    Batches are fetched one ahead: a step lies between two of them, the first behind the second batch.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.times: list[float] = []

    @property
    def steps(self) -> list[float]:
        """Seconds of each step; of the first only if there is no other, as it warms up."""
        steps = [end - begin for begin, end in zip(self.times[1:], self.times[2:])]
        return steps[1:] or steps

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        _wait()
        self.times.append(time.perf_counter())
        if len(self.times) > 2 and (len(self.steps) == REPEATED or self.steps[0] > SLOW):
            raise _Enough
        return super().__call__(features)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Bench:
    """Steps of a recipe's stages with its model.

    Args:
        given: all parameters of the recipe's notebook.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given, self.tokenizer = given, load_tokenizer(given["model"])
        self.problems = load_problems("humaneval")
        code = "\n".join(p.prompt + p.canonical_solutions[0] for p in self.problems)
        self.ids = self.tokenizer(code, add_special_tokens=False)["input_ids"]
        shape, machine = costs.shape_of(given["model"]), costs.GPUS[0] if torch.cuda.is_available() else costs.CPU
        self.token_seconds = 2 * shape.parameters / machine.flops  # forward, as estimated

    def _tokens(self, count: int, start: int = 0) -> list[int]:
        """So many tokens of real code."""
        return [self.ids[(start + i) % len(self.ids)] for i in range(count)]

    def training_batch(self, length: int) -> int:
        """The recipe's batch of examples of so many tokens; on a CPU the part of it whose step is not long."""
        return _shortened(self.given["batch_size"], 3 * length * self.token_seconds)

    def generation_batch(self, benchmark: str) -> int:
        """The same of prompts."""
        return _shortened(self.given["generation_batch"], costs.LENGTHS[benchmark].prompt * self.token_seconds)

    def train(self, refines: bool, length: int, batch: int) -> float:
        """Tokens that an optimiser's step takes in a second, of so many examples of so many tokens.

        Raises:
            torch.cuda.OutOfMemoryError: they do not fit.
        """
        (config,) = launch.configs({**self.given, "seeds": 1, "ladder": []})
        settings = replace(config.train, steps=100, accumulation=1, batch_size=batch)
        watch = _Stopwatch(self.tokenizer.pad_token_id, config.masking if refines else None)
        lm = load_model(self.given["model"])
        ids = self._tokens(min(length, context_length(lm)))
        prompt = len(ids) * 2 // 3
        labels, span = [IGNORED] * prompt + ids[prompt:], (prompt // 2, prompt)
        example = {"input_ids": ids, "labels": labels, "spans": dict.fromkeys(SPANS, span)}
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Enough):
            train(lm, [example] * batch, watch, settings, Path(folder), progress=False)
        return batch * len(ids) * len(watch.steps) / sum(watch.steps)

    def generate(self, benchmark: str, batch: int) -> float:
        """Programs of full length that are written in a second, so many at a time: from their prompts and a few tokens.

        Raises:
            torch.cuda.OutOfMemoryError: they do not fit.
        """
        bf16, longest = self.given.get("bf16", False), costs.longest_program(self.given, benchmark)
        lm = load_model(self.given["model"], bf16)
        length = min(costs.LENGTHS[benchmark].prompt, context_length(lm) - longest)
        prompts = [self.tokenizer.decode(self._tokens(length, 7 * i)) for i in range(batch)]

        def seconds(new: int) -> float:
            sampling = study.sampling(new, batch, None, benchmark, bf16)
            _wait()
            begin = time.perf_counter()
            generate(lm, self.tokenizer, prompts, sampling, progress=False)
            _wait()
            return time.perf_counter() - begin

        seconds(1)  # warms up
        prompted = seconds(1)
        step = max(0.0, seconds(1 + LOOKED_AT) - prompted) / LOOKED_AT
        return batch / (prompted + (longest - 1) * step)

    def judge(self) -> float:
        """Runs of programs that are judged in a second."""
        with cluster.judge() as judge:
            begin = time.perf_counter()
            judge.run(self.problems, [p.canonical_solutions[0] for p in self.problems])
            return len(self.problems) / (time.perf_counter() - begin)


def _shortened(batch: int, seconds_each: float) -> int:
    while batch > 1 and batch * seconds_each > LONG:
        batch //= 2
    return batch


def free() -> None:
    """Give back what a model that is gone took of a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
