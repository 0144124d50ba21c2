"""The method's stages, each a function from a config to a run, and the self-refine loop.

    pretrain -> fine_tune -> distil -> refine_train        (runs: models and data)
                                    `-> self_refine         (attempts: one row per program that was tried)

A config names everything that a run depends on, earlier stages included, so asking for a late stage builds
the missing ones before it. Running a config again returns the finished run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.method import processes
from cycle_utils.method.configs import Distil, FineTune, Loop, Practice, Pretrain, RefineTrain, Turn
from cycle_utils.method.distillation import distilled_examples, hindsight_examples, with_earlier
from cycle_utils.method.judging import judged, mutated_attempts
from cycle_utils.method.loop import self_refine
from cycle_utils.method.masking import PGMCollator
from cycle_utils.method.mixture import encode_example, fitting, mixture, plain_example
from cycle_utils.method.runs import ATTEMPTS, Run, build, is_built
from cycle_utils.method.training import TrainSettings, train, whole_weights
from cycle_utils.models import load_model, load_tokenizer, tiny_lm
from cycle_utils.models.generation import options_of
from cycle_utils.models.sampling import LENGTH, Sampling
from cycle_utils.problems import Problem
from cycle_utils.problems.benchmarks import load_problems, training_options

EXAMPLES = "examples.parquet"


def pretrain(config: Pretrain, progress: bool = True, whole: bool = False) -> Run:
    """Train the tokenizer and the tiny LM; the run's folder is a plain Hugging Face model folder.

    The second phase goes on from the LM of the first, which is a run of its own. ``whole`` as in :func:`fine_tune`.
    """
    before = None
    if config.recurring and (whole or not is_built(config)):
        before = pretrain(replace(config, recurring=None), progress, whole=True)
    phase, settings = ("recurring", config.recurring) if config.recurring else ("code", config.train)

    def make(folder: Path) -> dict[str, Any]:
        if before:
            model, tokenizer, notes = load_model(before.folder), load_tokenizer(before.folder), before.notes
        else:
            model, tokenizer = tiny_lm.new_model(config.shape, config.train.seed), tiny_lm.train_tokenizer()
            notes = {"losses": {}, "tokens": 0}
        blocks = settings.steps * settings.batch_size
        rows = tiny_lm.blocks(tokenizer, blocks, config.block, 1 + settings.seed, config.ambiguity, phase)
        examples = [{"input_ids": ids} for ids in rows["input_ids"]]
        collator = PGMCollator(tokenizer.pad_token_id)
        losses = notes["losses"] | {phase: train(model, examples, collator, settings, folder, progress)}
        _save(model, tokenizer, folder, settings)
        tokens = notes["tokens"] + blocks * config.block
        return {"losses": losses, "parameters": model.num_parameters(), "tokens": tokens}

    title = f"pre-training the {config.shape} LM, {'first' if phase == 'code' else 'second'} phase"
    return build(config, make, title, whole, together=True)


def fine_tune(config: FineTune, progress: bool = True, whole: bool = False) -> Run:
    """Stage 1(a). Description in, canonical solution out, loss on the solution only.

    ``whole`` asks for the weights, where a published run without them would do (see :func:`runs.build`).
    """

    def make(folder: Path) -> dict[str, Any]:
        model, tokenizer = load_model(config.model), load_tokenizer(config.model)
        rng = random.Random(f"fine-tune/{config.seed}")
        problems = training_problems(config)
        chosen = [(problem, rng.choice(problem.canonical_solutions)) for problem in problems]
        examples, notes = fitting((partial(plain_example, tokenizer, *one, config.style) for one in chosen), model)
        settings = replace(config.train, seed=config.seed)
        losses = train(model, examples, PGMCollator(tokenizer.pad_token_id), settings, folder, progress)
        _save(model, tokenizer, folder, settings)
        return {"losses": losses, "examples": len(examples), "tokens": _tokens(examples, settings), **notes}

    return build(config, make, "stage 1a, fine-tuning", whole, together=True)


def distil(config: Distil, progress: bool = True) -> Run:
    """Stage 1(b). Leaves ``attempts.parquet`` (samples with verdicts) and ``examples.parquet``.

    An example is ``{"task_id", "kind": "plain" | "refine", "code", "feedback", "target"}``: a passing sample
    teaches itself, a failing one the canonical solution that answers it.
    """
    tuned = fine_tune(config.fine_tune, progress, whole=not is_built(config))

    def make(folder: Path) -> dict[str, Any]:
        problems, seed, usage = training_problems(config.fine_tune), config.fine_tune.seed, Counter()
        asked: dict[str, Any] = {}
        if config.faults == "mutated":
            attempts = mutated_attempts(problems, config.samples, seed, progress)
        else:
            model = load_model(tuned.folder, config.sampling.bf16)
            asked = _options(model, config.sampling)
            attempts = self_refine(
                model, problems, tokenizer=load_tokenizer(tuned.folder), rounds=0, seed=seed,
                samples=config.samples, temperatures=(config.sampling.temperature,) * 2, sampling=config.sampling,
                style=config.fine_tune.style, strays=config.strays, progress=progress, folder=_checkpoints(folder),
                usage=usage,
            )  # fmt: skip
        attempts.to_parquet(folder / ATTEMPTS)
        examples = distilled_examples(problems, attempts, config.target, seed)
        if not config.keep_passing:
            examples = [e for e in examples if e["kind"] == "refine"]
        pd.DataFrame(examples).to_parquet(folder / EXAMPLES)
        kinds = pd.Series([e["kind"] for e in examples]).value_counts().to_dict()
        notes = {"samples": len(attempts), "passed": int(attempts.passed.sum()), "examples": kinds, **usage}
        return notes | _cut(attempts) | asked

    return build(config, make, f"stage 1b, distilling {config.faults} mistakes")


def refine_train(config: RefineTrain, progress: bool = True, whole: bool = False) -> Run:
    """Stage 2. Trains the fine-tuned LM to refine, with PGM and the mixture; ``whole`` as in :func:`fine_tune`.

    Raises:
        ValueError: refinement data are wanted and the model made no mistakes.
    """
    data = distil(config.distil, progress)
    tuned = fine_tune(config.distil.fine_tune, progress, whole=whole or not is_built(config))

    def make(folder: Path) -> dict[str, Any]:
        return _trained_to_refine(tuned.folder, read_examples(data), config, config.train, folder, progress)

    return build(config, make, "stage 2, refine training", whole, together=True)


def _trained_to_refine(
    start: Path, own: Sequence[dict], how: RefineTrain, train_settings: TrainSettings, folder: Path, progress: bool,
    recalled: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train the LM in ``start`` on its ``own`` examples, mixed, masked and shown as ``how`` says; returns notes."""
    model, tokenizer = load_model(start), load_tokenizer(start)
    tune = how.distil.fine_tune
    problems = {p.task_id: p for p in training_problems(tune)}
    settings = replace(train_settings, seed=tune.seed)
    rows = mixture(own, list(problems.values()), how.refine_share, settings)

    def encoded(row: dict, limit: int) -> dict[str, Any]:
        features = encode_example(tokenizer, problems[row["task_id"]], row, how.fields, tune.style, limit, recalled)
        return {**features, "origin": row["origin"]}

    examples, notes = fitting((partial(encoded, row) for row in rows), model)
    collator = PGMCollator(tokenizer.pad_token_id, how.masking, settings.seed)
    losses = train(model, examples, collator, settings, folder, progress)
    _save(model, tokenizer, folder, settings)
    kinds = pd.Series([r["kind"] for r in rows]).value_counts().to_dict()
    return {"losses": losses, "examples": kinds, "tokens": _tokens(examples, settings), **notes}


def practise(config: Practice, progress: bool = True) -> Run:
    """The loop of a further turn, on training problems. Leaves what :func:`distil` leaves."""
    start = trained(config.after, progress, whole=not is_built(config))

    def make(folder: Path) -> dict[str, Any]:
        how, usage = config.first, Counter()
        tune = how.distil.fine_tune
        problems = practised(training_problems(tune), config.turn, config.problems)
        model = load_model(start.folder, config.sampling.bf16)
        attempts = self_refine(
            model, problems, tokenizer=load_tokenizer(start.folder), rounds=config.rounds, samples=config.samples,
            seed=tune.seed,
            temperatures=config.temperatures, sampling=config.sampling, style=tune.style, fields=how.fields,
            strays=how.distil.strays, redraws=config.redraws, recalled=config.recalled, progress=progress,
            folder=_checkpoints(folder), usage=usage,
        )  # fmt: skip
        attempts.to_parquet(folder / ATTEMPTS)
        examples = with_earlier(distilled_examples(problems, attempts, how.distil.target, tune.seed), attempts)
        if config.hindsight:
            of = {p.task_id: p for p in problems}
            asked = [of[task_id] for task_id in attempts["task_id"]]
            verdicts = [one.verdict for one in judged(asked, list(attempts["completion"]), "all", None, progress)]
            examples += hindsight_examples(problems, attempts, verdicts, config.hindsight, tune.seed)
        pd.DataFrame(examples).to_parquet(folder / EXAMPLES)
        kinds = pd.Series([e["kind"] for e in examples]).value_counts().to_dict()
        notes = {"problems": len(problems), "attempts": len(attempts), "passed": int(attempts.passed.sum())}
        return {**notes, "examples": kinds, **_cut(attempts), **usage, **_options(model, config.sampling)}

    return build(config, make, f"turn {config.turn}, practice on training problems")


def practised(problems: Sequence[Problem], turn: int, count: int) -> list[Problem]:
    """The training problems of a turn: the next ``count`` ones, from the beginning again after the last."""
    begin, count = (turn - 1) * count, min(count, len(problems))
    return [problems[i % len(problems)] for i in range(begin, begin + count)]


def take_turn(config: Turn, progress: bool = True, whole: bool = False) -> Run:
    """A further turn of the cycle: its practice, and training on that; ``whole`` as in :func:`fine_tune`."""
    data = practise(config.practice, progress)
    start = trained(config.practice.after, progress, whole=whole or not is_built(config))

    def make(folder: Path) -> dict[str, Any]:
        own = read_examples(data)
        if config.earlier:
            own = _earlier_examples(config.practice.after, progress) + own
        how = config.practice.first
        return _trained_to_refine(start.folder, own, how, config.train, folder, progress, config.recalled)

    return build(config, make, f"turn {config.practice.turn}, refine training", whole, together=True)


def trained(config: RefineTrain | Turn, progress: bool = True, whole: bool = False) -> Run:
    """Stage 2, or a further turn: whichever the config is of."""
    return (take_turn if isinstance(config, Turn) else refine_train)(config, progress, whole)


def _earlier_examples(config: RefineTrain | Turn, progress: bool) -> list[dict]:
    """What stage 1(b) and the turns up to this training left."""
    if isinstance(config, RefineTrain):
        return read_examples(distil(config.distil, progress))
    return _earlier_examples(config.practice.after, progress) + read_examples(practise(config.practice, progress))


def on_model(place: Callable[[str], Any], stage: Callable[..., Run], config: Any, progress: bool = True) -> Any:
    """``place(folder)`` for the model folder of a training: what a loop, say, of that model is.

    The folder is that of a published run if the run of ``place(folder)`` is published too, so that nothing needs the
    weights; else of one that has them.

    Args:
        stage: :func:`fine_tune` or :func:`refine_train`, and ``config`` what it is given.
    """
    wanted = place(str(stage(config, progress).folder))
    return wanted if is_built(wanted) else place(str(stage(config, progress, whole=True).folder))


def loop(config: Loop, progress: bool = True) -> Run:
    """Stage 3 on a benchmark. Leaves ``attempts.parquet``; read it with :func:`attempts_of`.

    Its notes say what it cost: ``prompt_tokens`` and ``completion_tokens``, as far as they are known.
    """

    def make(folder: Path) -> dict[str, Any]:
        problems, usage = loop_problems(config), Counter()
        model = load_model(config.model, config.sampling.bf16)
        attempts = self_refine(
            model, problems, tokenizer=load_tokenizer(config.model), rounds=config.rounds,
            samples=config.samples, temperatures=config.temperatures, style=config.style, fields=config.fields,
            feedback_tests=config.feedback_tests, sampling=config.sampling, seed=config.seed,
            stop_when_flat=config.stop_when_flat, shuffled=config.shuffled, strays=config.strays, bare=config.bare,
            redraws=config.redraws, recalled=config.recalled, checked=config.checked, progress=progress,
            folder=_checkpoints(folder), usage=usage,
        )  # fmt: skip
        attempts.to_parquet(folder / ATTEMPTS)
        notes = {"problems": len(problems), "attempts": len(attempts), **_cut(attempts), **usage}
        return notes | _options(model, config.sampling)

    what = f"{config.rounds} rounds" if config.rounds else f"{config.samples} independent samples"
    return build(config, make, f"stage 3, {what} of {Path(config.model).name} on {config.benchmark}")


def attempts_of(run: Run) -> pd.DataFrame:
    """The attempts that a distil or loop run left."""
    return pd.read_parquet(run.path(ATTEMPTS))


def read_examples(run: Run) -> list[dict]:
    """The examples that a distil run left."""
    return pd.read_parquet(run.path(EXAMPLES)).to_dict("records")


def training_problems(config: FineTune) -> list[Problem]:
    """The problems that stage 1 learns from."""
    tiny = config.benchmark == "tinyprograms"
    drawn = {"ambiguity": config.ambiguity, "seed": config.seed, "families": config.families}
    options = drawn if tiny else training_options(config.benchmark)
    return load_problems(config.benchmark, data=config.data, split="train", limit=config.problems, **options)


def loop_problems(config: Loop) -> list[Problem]:
    """The problems that a loop tries."""
    tiny = config.benchmark == "tinyprograms"
    drawn = {"ambiguity": config.ambiguity, "seed": config.benchmark_seed, "families": config.families}
    options = drawn if tiny else {}
    return load_problems(config.benchmark, data=config.data, split=config.split, limit=config.limit, **options)


def _checkpoints(folder: Path) -> Path:
    """Where a stage leaves what it would need if it were cut off; gone when the run is finished."""
    place = folder / "checkpoints"
    place.mkdir(exist_ok=True)
    return place


def _options(model, sampling: Sampling) -> dict[str, Any]:
    """A note of what the model folder's generation config asks for beyond the sampling, if it does: done or not."""
    options = options_of(model)
    return {"own_options" if sampling.own_options else "options_not_done": options} if options else {}


def _cut(attempts: pd.DataFrame) -> dict[str, int]:
    """A note of how many programs were cut at the most tokens, if some were."""
    cut = int((attempts["ended"] == LENGTH).sum()) if "ended" in attempts else 0
    return {"cut": cut} if cut else {}


def _tokens(examples: Sequence[dict], settings: TrainSettings) -> int:
    """How many tokens a training looks at, without padding: exact for whole passes over the examples."""
    seen = settings.steps * settings.batch_size * settings.accumulation
    return round(seen * sum(len(e["input_ids"]) for e in examples) / len(examples))


def _save(model, tokenizer, folder: Path, settings: TrainSettings) -> None:
    """A run's model, or its tokenizer beside adapters that it already holds; the main process writes, all call it."""
    weights = whole_weights(model)
    if processes.is_main():
        if settings.merged or not settings.lora:
            model.save_pretrained(folder, state_dict=weights)
        tokenizer.save_pretrained(folder)
