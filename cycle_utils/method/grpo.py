"""Learning from the verdict itself: GRPO, as trl has it, with the judge's verdicts as rewards.

A turn of the cycle shows the LM what would have been right; here it learns only which of its own programs passed. Each
prompt is answered several times, and an answer is made more or less likely by how far its reward lies above or below
the mean of its group [arXiv 2402.03300].
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging

from cycle_utils.execution import Judge, cluster
from cycle_utils.method.configs import Grpo
from cycle_utils.method.judging import judged
from cycle_utils.method.loop import next_prompt
from cycle_utils.method.mixture import mixed
from cycle_utils.method.runs import Run, build, is_built
from cycle_utils.method.stages import distil, read_examples, trained, training_problems
from cycle_utils.method.training import last_checkpoint
from cycle_utils.models import load_model, load_tokenizer
from cycle_utils.models.decoding import BatchDraws, decode
from cycle_utils.models.loading import decode as text_of
from cycle_utils.models.programs import trim
from cycle_utils.models.sampling import END, Sampling
from cycle_utils.problems import Problem

SAVE_EVERY = 4  # batches
AT_ONCE = 32  # programs of which gradients are held in memory at a time
# What is kept of trl's log of each batch: mean reward, share of groups whose rewards are all alike, and so on.
CURVE = {
    "step": "step", "reward": "reward", "frac_reward_zero_std": "level_groups", "entropy": "entropy", "kl": "kl",
    "completions/mean_length": "length",
}  # fmt: skip


def learn_from_verdicts(config: Grpo, progress: bool = True, whole: bool = False) -> Run:
    """GRPO from a trained LM on, on first tries and on refinements of the failures of stage 1(b).

    Its notes say how many programs were ``judged`` and how many ``passed``, what drawing them cost in tokens and, in
    ``curve``, how each batch went. ``whole`` as in :func:`~.stages.fine_tune`.

    Raises:
        ImportError: trl is missing and the run is not there yet.
    """
    start = trained(config.after, progress, whole=whole or not is_built(config))
    failures = [one for one in read_examples(distil(config.first.distil, progress)) if one["kind"] == "refine"]

    def make(folder: Path) -> dict[str, Any]:
        model, tokenizer = load_model(start.folder), load_tokenizer(start.folder)
        problems = {p.task_id: p for p in training_problems(config.first.distil.fine_tune)}
        prompts = asked(config, model, tokenizer, problems, failures)
        with cluster.judge() as judge:
            reward = verdict_reward(tokenizer, problems, config.first.distil.strays, judge)
            log = _optimised(config, model, tokenizer, prompts, reward, folder / "checkpoints", progress)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return _noted(config, log)

    return build(config, make, "learning from verdicts, GRPO", whole)


def asked(
    config: Grpo, model, tokenizer, problems: Mapping[str, Problem], failures: Sequence[dict]
) -> list[dict[str, str]]:
    """A prompt for each group, ``refine_share`` of them of failures, with its problem's ``task_id``.

    A batch has first tries alone or refinements alone, but for one: trl pads all of it to its longest prompt.
    """
    tune = config.first.distil.fine_tune
    groups, rng = config.judged // config.samples, random.Random(f"grpo/{tune.seed}")
    rows = mixed(failures, [{"task_id": task_id} for task_id in problems], groups, config.refine_share, rng)
    how = tune.style, config.first.fields, Sampling(max_new_tokens=config.max_new_tokens)

    def text(row: dict) -> str:
        return next_prompt(model, tokenizer, problems[row["task_id"]], row if "code" in row else None, *how).text

    prompts = [{"prompt": text(row), "task_id": row["task_id"]} for row in rows]
    size = config.batch_size // config.samples
    batches = [prompts[i : i + size] for i in range(0, groups, size)]
    return [one for batch in rng.sample(batches, len(batches)) for one in batch]


def verdict_reward(
    tokenizer, problems: Mapping[str, Problem], strays: bool, judge: Judge
) -> Callable[..., list[float]]:
    """What trl asks for the reward of completions: 1 for a program that passes all tests of its problem, else 0."""

    def verdict(completion_ids: Sequence[Sequence[int]], task_id: Sequence[str], **_: Any) -> list[float]:
        of = [problems[one] for one in task_id]
        texts = [text_of(tokenizer, ids) for ids in completion_ids]
        programs = [trim(text, p.entry_point, p.prompt, strays) for text, p in zip(texts, of)]
        return [float(one.passed) for one in judged(of, programs, "all", judge, False)]

    return verdict


def drawn_by(config: Grpo) -> Callable[..., dict[str, Any]]:
    """How trl draws the completions of a batch: as loops do, which reads each prompt once and waits for none."""

    def draw(prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        model, tokenizer = trainer.model, trainer.processing_class
        ids, end = tokenizer(list(prompts))["input_ids"], tokenizer.eos_token_id
        choose = BatchDraws(config.temperature, 1.0, len(ids))
        completions: list[list[int]] = [[]] * len(ids)
        for made in decode(model, ids, choose, [end], config.max_new_tokens, len(ids)):
            completions[made.number] = made.tokens + ([end] if made.why == END else [])
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}

    return draw


def _optimised(
    config: Grpo, model, tokenizer, prompts: Sequence[dict], reward: Callable, folder: Path, progress: bool
) -> list[dict[str, float]]:
    """Train ``model`` in place, going on from the last checkpoint in ``folder`` if there is one; trl's log."""
    batches, part = config.judged // config.batch_size, config.batch_size // config.updates
    at_once = math.gcd(part, AT_ONCE)
    with _quiet():
        trl = _trl()
        arguments = trl.GRPOConfig(
            output_dir=str(folder),
            max_steps=batches * config.updates,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=part // at_once,
            steps_per_generation=config.batch_size // at_once,
            num_generations=config.samples,
            max_completion_length=config.max_new_tokens,
            shuffle_dataset=False,
            temperature=config.temperature,
            beta=config.beta,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            seed=config.first.distil.fine_tune.seed,
            save_steps=SAVE_EVERY * config.updates,
            save_total_limit=2,  # as in training: the one before stands in for one that was torn
            logging_steps=config.updates,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            gradient_checkpointing=False,
            bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = trl.GRPOTrainer(
            model, reward, arguments, Dataset.from_list(list(prompts)), processing_class=tokenizer,
            rollout_func=drawn_by(config),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        if progress:
            trainer.add_callback(_Told(batches))
        last = last_checkpoint(folder)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    return _rewarded(trainer.state)


def _rewarded(state) -> list[dict[str, float]]:
    """Of trl's log the rows on batches."""
    return [row for row in state.log_history if "reward" in row]


class _Told(TrainerCallback):
    """A progress bar of batches, with the share of programs that passed."""

    def __init__(self, batches: int) -> None:
        self.bar = tqdm(total=batches, desc="verdicts", leave=False)

    def on_log(self, args, state, control, **kwargs) -> None:
        if rows := _rewarded(state):
            self.bar.update(len(rows) - self.bar.n)
            self.bar.set_postfix(passed=f"{rows[-1]['reward']:.0%}")

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.bar.close()


def _trl():
    try:
        import trl
    except ImportError as error:
        raise ImportError('learning from verdicts needs trl: pip install "cycle-study[rl]"') from error
    return trl


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without trl's warnings of what is experimental, and without transformers' bars for each checkpoint."""
    told, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    trls = logging.getLogger("trl")
    level = trls.level
    with warnings.catch_warnings(action="ignore"):
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        trls.setLevel(logging.ERROR)
        try:
            yield
        finally:
            transformers_logging.set_verbosity(told)
            trls.setLevel(level)
            if bars:
                transformers_logging.enable_progress_bar()


def _noted(config: Grpo, log: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    curve = [{ours: row[theirs] for theirs, ours in CURVE.items() if theirs in row} for row in log]
    drawn = round(sum(row["length"] for row in curve) * config.batch_size)
    return {
        "judged": config.judged,
        "passed": round(sum(row["reward"] for row in curve) * config.batch_size),
        "prompt_tokens": round(log[-1]["num_tokens"]) - drawn,
        "completion_tokens": drawn,
        "curve": curve,
    }
