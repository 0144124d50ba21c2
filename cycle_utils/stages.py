"""The method's stages, each a function from a config to a run, and the self-refine loop.

    pretrain -> fine_tune -> distil -> refine_train        (runs: models and data)
                                    `-> self_refine         (attempts: one row per program that was tried)

A config names everything that a run depends on, earlier stages included, so asking for a late stage builds
the missing ones before it. Running a config again returns the finished run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils import datafiles, farm, processes, tinylm
from cycle_utils.answers import answered, is_answered
from cycle_utils.benchmarks import load_problems, training_options
from cycle_utils.execution import Judge, Verdict
from cycle_utils.generation import Completion, Sampling, generate, room
from cycle_utils.models import TINY, load_model, load_tokenizer, render_chat
from cycle_utils.mutation import mutants
from cycle_utils.problems import Problem
from cycle_utils.programs import is_whole, trim
from cycle_utils.prompts import (
    NoRoom,
    Prompt,
    defines,
    one_time_prompt,
    refine_prompt,
    refine_target,
    shown_code,
    transcript,
)
from cycle_utils.runs import ATTEMPTS, Run, build, is_built, later
from cycle_utils.served import split_name
from cycle_utils.tinyprograms import AMBIGUITY
from cycle_utils.training import Masking, PGMCollator, TrainSettings, encode, train, whole_weights

EXAMPLES = "examples.parquet"
TARGETS = ("bm25", "random")
FEEDBACK_TESTS = ("all", "public")
FAULTS = ("own", "mutated")
FIELDS = ("code", "feedback")  # what a refine prompt holds beside the description
TEMPERATURES = (0.2, 0.6)  # of the first try and of refinement [artifact]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrain:
    """The tiny LM from random weights, in blocks of ``block`` tokens.

    ``train`` is the first phase, ``recurring`` the short second one on files in which code recurs.
    """

    shape: str = tinylm.SHAPE
    block: int = 320
    ambiguity: float = 0.35  # of the descriptions in the text
    train: TrainSettings = TrainSettings(
        steps=4500, batch_size=16, learning_rate=3e-3, save_steps=200, group_by_length=False, compiled=True
    )
    recurring: TrainSettings = TrainSettings(
        steps=800, batch_size=16, learning_rate=1e-3, save_steps=200, group_by_length=False, compiled=True
    )


@dataclass(frozen=True)
class FineTune:
    """Stage 1(a): a pre-trained LM and the canonical solutions of a benchmark's training split."""

    model: str = TINY
    benchmark: str = "tinyprograms"
    data: str | None = None
    problems: int = 4000
    ambiguity: float = AMBIGUITY
    seed: int = 0
    train: TrainSettings = TrainSettings(steps=350, learning_rate=5e-4)

    def __post_init__(self) -> None:
        if split_name(self.model)[0]:
            raise ValueError(
                f"{self.model} runs elsewhere and cannot be trained here: give a model folder or a Hub ID, or run only "
                "the loop on it"
            )


@dataclass(frozen=True)
class Distil:
    """Stage 1(b): the fine-tuned LM's own samples on its training problems, executed.

    ``target`` is how a failure finds its right program: the canonical solution nearest by ``bm25``, or one
    at ``random``. Two options are for ablations: ``faults`` may be ``mutated`` canonical solutions instead of the
    LM's ``own`` samples, and ``keep_passing`` says whether samples that passed become examples of plain generation.
    ``strays`` is as in :class:`Loop`.
    """

    fine_tune: FineTune = FineTune()
    samples: int = 1
    sampling: Sampling = Sampling(temperature=0.8)
    target: str = "bm25"
    faults: str = later("own")
    keep_passing: bool = later(True)
    strays: bool = later(False)

    def __post_init__(self) -> None:
        for name, choices in (("target", TARGETS), ("faults", FAULTS)):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class RefineTrain:
    """Stage 2: from the fine-tuned LM, on own failures (share ``refine_share``) mixed with plain generation.

    ``fields`` are what its refine prompts hold: leave one out for the ablations.
    """

    distil: Distil = Distil()
    masking: Masking = Masking()
    refine_share: float = 0.5
    fields: tuple[str, ...] = FIELDS
    train: TrainSettings = TrainSettings(steps=360, learning_rate=1e-3)

    def __post_init__(self) -> None:
        if not 0 <= self.refine_share <= 1:
            raise ValueError(f"refine_share is {self.refine_share}; it is a share: give a number from 0 to 1")


@dataclass(frozen=True)
class Loop:
    """Stage 3: generate, execute, refine; and independent samples when ``rounds`` is 0.

    Attributes:
        model: a folder, a Hub ID or ``tiny``; ``openai:NAME`` or ``vllm:PLACE``, see :mod:`cycle_utils.served`.
        style: of prompts, ``cycle``, ``plain`` (for models that never saw the template) or ``chat`` (for
            instruction-tuned models, and the only one for ``openai:NAME``).
        temperatures: of the first try and of refinement.
        fields: what refine prompts hold; leave one out to see what it was worth.
        feedback_tests: ``all``, as the paper: feedback comes from the tests that score; ``public``: feedback
            comes from public tests, and the hidden ones score.
        stop_when_flat: stop after a round that mended nothing [paper]; otherwise all rounds are run.
        shuffled: feedback is that of another problem's faulty program: a control.
        strays: a text without the entry point is judged and shown as it was written. Loops of the tiny LM were
            published without: there it counts as an empty program.
    """

    model: str = TINY
    benchmark: str = "tinyprograms"
    data: str | None = None
    split: str | None = None
    limit: int | None = 300
    ambiguity: float = AMBIGUITY
    benchmark_seed: int = 0
    rounds: int = 4
    samples: int = 1
    temperatures: tuple[float, float] = TEMPERATURES
    style: str = "cycle"
    fields: tuple[str, ...] = FIELDS
    feedback_tests: str = "all"
    sampling: Sampling = Sampling()
    stop_when_flat: bool = False
    seed: int = 0
    shuffled: bool = later(False)
    strays: bool = later(False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(float(t) for t in self.temperatures))  # 0 and 0.0: one run


# --- stages ----------------------------------------------------------------------------------------------


def pretrain(config: Pretrain, progress: bool = True) -> Run:
    """Train the tokenizer and the tiny LM; the run's folder is a plain Hugging Face model folder."""

    def make(folder: Path) -> dict[str, Any]:
        tokenizer = tinylm.train_tokenizer()
        model = tinylm.new_model(config.shape, config.train.seed)
        losses = {
            phase: _pretrain_phase(model, tokenizer, config, phase, settings, folder / "checkpoints" / phase, progress)
            for phase, settings in (("code", config.train), ("recurring", config.recurring))
        }
        _save(model, tokenizer, folder, config.recurring)
        tokens = sum(s.steps * s.batch_size * config.block for s in (config.train, config.recurring))
        return {"losses": losses, "parameters": model.num_parameters(), "tokens": tokens}

    return build(config, make, f"pre-training the {config.shape} LM", together=True)


def _pretrain_phase(
    model, tokenizer, config: Pretrain, phase: str, settings: TrainSettings, folder: Path, progress: bool
) -> list[dict[str, float]]:
    rows = tinylm.blocks(
        tokenizer, settings.steps * settings.batch_size, config.block, 1 + settings.seed, config.ambiguity, phase
    )
    examples = [{"input_ids": ids} for ids in rows["input_ids"]]
    return train(model, examples, PGMCollator(tokenizer.pad_token_id), settings, folder, progress)


def fine_tune(config: FineTune, progress: bool = True, whole: bool = False) -> Run:
    """Stage 1(a). Description in, canonical solution out, loss on the solution only.

    ``whole`` asks for the weights, where a published run without them would do (see :func:`runs.build`).
    """

    def make(folder: Path) -> dict[str, Any]:
        model, tokenizer = load_model(config.model), load_tokenizer(config.model)
        rng = random.Random(f"fine-tune/{config.seed}")
        problems = training_problems(config)
        examples = [_plain_example(tokenizer, p, rng.choice(p.canonical_solutions)) for p in problems]
        settings = replace(config.train, seed=config.seed)
        losses = train(model, examples, PGMCollator(tokenizer.pad_token_id), settings, folder, progress)
        _save(model, tokenizer, folder, settings)
        return {"losses": losses, "examples": len(examples), "tokens": _tokens(examples, settings)}

    return build(config, make, "stage 1a, fine-tuning", whole, together=True)


def distil(config: Distil, progress: bool = True) -> Run:
    """Stage 1(b). Leaves ``attempts.parquet`` (samples with verdicts) and ``examples.parquet``.

    An example is ``{"task_id", "kind": "plain" | "refine", "code", "feedback", "target"}``: a passing sample
    teaches itself, a failing one the canonical solution that answers it.
    """
    tuned = fine_tune(config.fine_tune, progress, whole=not is_built(config))

    def make(folder: Path) -> dict[str, Any]:
        problems, seed = training_problems(config.fine_tune), config.fine_tune.seed
        if config.faults == "mutated":
            attempts = mutated_attempts(problems, config.samples, seed, progress)
        else:
            attempts = self_refine(
                load_model(tuned.folder), problems, tokenizer=load_tokenizer(tuned.folder), rounds=0, seed=seed,
                samples=config.samples, temperatures=(config.sampling.temperature,) * 2, sampling=config.sampling,
                strays=config.strays, progress=progress, folder=_checkpoints(folder),
            )  # fmt: skip
        attempts.to_parquet(folder / ATTEMPTS)
        examples = distilled_examples(problems, attempts, config.target, seed)
        if not config.keep_passing:
            examples = [e for e in examples if e["kind"] == "refine"]
        pd.DataFrame(examples).to_parquet(folder / EXAMPLES)
        kinds = pd.Series([e["kind"] for e in examples]).value_counts().to_dict()
        return {"samples": len(attempts), "passed": int(attempts.passed.sum()), "examples": kinds}

    return build(config, make, f"stage 1b, distilling {config.faults} mistakes")


def refine_train(config: RefineTrain, progress: bool = True, whole: bool = False) -> Run:
    """Stage 2. Trains the fine-tuned LM to refine, with PGM and the mixture; ``whole`` as in :func:`fine_tune`.

    Raises:
        ValueError: refinement data are wanted and the model made no mistakes.
    """
    data = distil(config.distil, progress)
    tuned = fine_tune(config.distil.fine_tune, progress, whole=whole or not is_built(config))

    def make(folder: Path) -> dict[str, Any]:
        model, tokenizer = load_model(tuned.folder), load_tokenizer(tuned.folder)
        problems = {p.task_id: p for p in training_problems(config.distil.fine_tune)}
        settings = replace(config.train, seed=config.distil.fine_tune.seed)
        rows = mixture(read_examples(data), list(problems.values()), config.refine_share, settings)
        examples = [
            {**encode_example(tokenizer, problems[r["task_id"]], r, config.fields), "origin": r["origin"]} for r in rows
        ]
        collator = PGMCollator(tokenizer.pad_token_id, config.masking, settings.seed)
        losses = train(model, examples, collator, settings, folder, progress)
        _save(model, tokenizer, folder, settings)
        kinds = pd.Series([r["kind"] for r in rows]).value_counts().to_dict()
        return {"losses": losses, "examples": kinds, "tokens": _tokens(examples, settings)}

    return build(config, make, "stage 2, refine training", whole, together=True)


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
        attempts = self_refine(
            load_model(config.model), problems, tokenizer=load_tokenizer(config.model), rounds=config.rounds,
            samples=config.samples, temperatures=config.temperatures, style=config.style, fields=config.fields,
            feedback_tests=config.feedback_tests, sampling=config.sampling, seed=config.seed,
            stop_when_flat=config.stop_when_flat, shuffled=config.shuffled, strays=config.strays, progress=progress,
            folder=_checkpoints(folder), usage=usage,
        )  # fmt: skip
        attempts.to_parquet(folder / ATTEMPTS)
        return {"problems": len(problems), "attempts": len(attempts), **usage}

    what = f"{config.rounds} rounds" if config.rounds else f"{config.samples} independent samples"
    return build(config, make, f"stage 3, {what} of {Path(config.model).name} on {config.benchmark}")


def attempts_of(run: Run) -> pd.DataFrame:
    """The attempts that a distil or loop run left."""
    return pd.read_parquet(run.path(ATTEMPTS))


# --- the loop --------------------------------------------------------------------------------------------


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
        usage: is increased by what the loop cost in tokens, see :func:`~cycle_utils.generation.generate`.

    Returns:
        one row per attempt: ``task_id``, ``sample``, ``round`` (0 is the first try), ``prompt``,
        ``completion``, ``code`` (the program as a refine prompt shows it), ``status``, ``passed``,
        ``done``, ``feedback``, ``behaviour`` (a digest of what every test gave) and ``ended`` (why its text ended, see
        :class:`~cycle_utils.generation.Completion`). A trajectory ends when it
        is ``done``: when no test that may be shown fails, or, unsolved, when its refine prompt does not fit the
        model's context.

    Raises:
        ValueError: an option outside its choices, no problems, a one-time prompt that does not fit, or a model that
            cannot be asked in this style.
        ServerError, ImportError: a model that runs elsewhere and cannot be asked, see :mod:`cycle_utils.served`.
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
            verdicts = _judge([p for p, _, _ in live], texts, feedback_tests, judge, progress)
            fresh = [
                {**_row(p, s, round_, prompt.text, completion.text, *verdict), "ended": completion.ended}
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
            live = _feedback_exchanged(live, random.Random(f"shuffled/{seed}/{round_}"))
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


def _next_prompt(
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


def _feedback_exchanged(live: Sequence[tuple], rng: random.Random) -> list[tuple]:
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
            prompts.append(_next_prompt(model, tokenizer, problem, last, style, fields, sampling))
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


def _judge(problems, completions, feedback_tests: str, judge: Judge | None, progress: bool) -> list[tuple]:
    """``(verdict, passed, done, feedback)`` of each completion under the feedback protocol.

    Under ``public`` a program is done when its public tests pass, which is all that the loop may know; it has
    passed when the hidden ones do too. A problem without public tests is done at once: there is nothing to show.
    One without hidden tests is scored by all that it has.
    """
    if judge is None:
        with farm.judge() as own:
            return _judge(problems, completions, feedback_tests, own, progress)
    if feedback_tests == "all":
        verdicts = judge.run(problems, completions, progress=progress)
        return [(v, v.passed, v.passed, "" if v.passed else v.feedback()) for v in verdicts]
    public = [(i, p.with_tests(p.public_tests)) for i, p in enumerate(problems) if p.public_tests]
    shown = judge.run([p for _, p in public], [completions[i] for i, _ in public], progress=progress)
    failed = {i: verdict.feedback() for (i, _), verdict in zip(public, shown) if not verdict.passed}
    scored = judge.run([p.with_tests(p.hidden_tests or p.tests) for p in problems], completions, progress=progress)
    return [(h, i not in failed and h.passed, i not in failed, failed.get(i, "")) for i, h in enumerate(scored)]


def _row(problem: Problem, sample: int, round_: int, prompt, completion, verdict: Verdict, passed, done, feedback):
    outcomes = json.dumps([(t.status, t.actual, t.exception) for t in verdict.tests], default=str)
    return {
        "task_id": problem.task_id,
        "sample": sample,
        "round": round_,
        "prompt": prompt,
        "completion": completion,
        "code": shown_code(problem, completion),
        "status": verdict.status,
        "passed": passed,
        "done": done,
        "feedback": feedback,
        "behaviour": hashlib.sha256(outcomes.encode()).hexdigest()[:12],
    }


def judged_programs(path: str | Path, problems: Sequence[Problem], progress: bool = True) -> pd.DataFrame:
    """One-time attempts read from a file and judged: what :func:`self_refine` returns for ``rounds=0``.

    Args:
        path: JSON lines (may be gzipped) with ``task_id`` and ``completion``, several a problem, as upstream's
            HumanEval harness takes them.

    Raises:
        ValueError: a broken line, one without these fields, or one of no problem given; the message says which.
        FileNotFoundError: no such file.
    """
    if not Path(path).expanduser().is_file():
        raise FileNotFoundError(f"there is no file of programs {path}; give JSON lines with task_id and completion")
    by_id, seen = {p.task_id: p for p in problems}, Counter()
    tried: list[tuple[Problem, int, str]] = []
    for where, row in datafiles.rows(Path(path).expanduser(), ("task_id", "completion")):
        if row["task_id"] not in by_id:
            raise ValueError(f"{where} answers {row['task_id']}, which is none of the {len(by_id)} problems")
        problem, text = by_id[row["task_id"]], row["completion"]
        # A body continues the prompt, which has lost its last newline here.
        body = problem.entry_point and not defines(text, problem.entry_point) and not text.startswith("\n")
        tried.append((problem, seen[problem.task_id], f"\n{text}" if body else text))
        seen[problem.task_id] += 1
    verdicts = _judge([p for p, _, _ in tried], [text for _, _, text in tried], "all", None, progress)
    return pd.DataFrame(
        [_row(p, n, 0, one_time_prompt(p).text, text, *found) for (p, n, text), found in zip(tried, verdicts)]
    )


def mutated_attempts(problems: Sequence[Problem], samples: int, seed: int, progress: bool = True) -> pd.DataFrame:
    """What :func:`self_refine` returns for one round, of canonical solutions with one expression changed.

    Mutants that pass all tests are left out: they are no mistakes, nor the model's own right programs.
    """
    chosen = []
    for problem in problems:
        rng = random.Random(f"mutated/{seed}/{problem.task_id}")
        for sample in range(samples):
            code = shown_code(problem, rng.choice(list(problem.canonical_solutions)))
            chosen += [(problem, sample, mutant) for mutant in islice(mutants(code, rng), 1)]
    verdicts = _judge([p for p, _, _ in chosen], [code for _, _, code in chosen], "all", None, progress)
    rows = [_row(p, s, 0, one_time_prompt(p).text, code, *found) for (p, s, code), found in zip(chosen, verdicts)]
    return pd.DataFrame([row for row in rows if not row["passed"]])


# --- training data ---------------------------------------------------------------------------------------


def distilled_examples(problems: Sequence[Problem], attempts: pd.DataFrame, target: str, seed: int) -> list[dict]:
    """Training examples from executed samples (see :func:`distil`); repeated samples give one example."""
    by_id, rng = {p.task_id: p for p in problems}, random.Random(f"distil/{seed}")
    examples, seen = [], set()
    for row in attempts.itertuples():
        if (row.task_id, row.code) in seen:
            continue
        seen.add((row.task_id, row.code))
        problem = by_id[row.task_id]
        example = {"task_id": row.task_id, "kind": "plain", "code": "", "feedback": "", "target": row.completion}
        if not row.passed:
            right = canonical_target(problem, row.code, target, rng)
            example |= {"kind": "refine", "code": row.code, "feedback": row.feedback, "target": right}
        examples.append(example)
    return examples


def canonical_target(problem: Problem, code: str, target: str, rng: random.Random) -> str:
    """The canonical solution that a faulty program is taught: nearest by BM25 over its words, or a random one."""
    solutions = list(problem.canonical_solutions)
    if target == "random" or len(solutions) == 1:
        return rng.choice(solutions)
    from rank_bm25 import BM25Plus  # Okapi's idf is 0 for words in half of two documents

    scores = BM25Plus([_words(shown_code(problem, s)) for s in solutions]).get_scores(_words(code))
    return solutions[int(scores.argmax())]


def _words(code: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", code) or [""]


def read_examples(run: Run) -> list[dict]:
    """The examples that a distil run left."""
    return pd.read_parquet(run.path(EXAMPLES)).to_dict("records")


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
    wanted = round(total * share)
    return _cycled(refine, wanted, rng) + _cycled(plain, total - wanted, rng)


def _cycled(rows: Sequence[dict], count: int, rng: random.Random) -> list[dict]:
    """``count`` rows: whole shuffled passes over ``rows``, then a part of one."""
    chosen: list[dict] = []
    while len(chosen) < count:
        chosen += rng.sample(list(rows), min(len(rows), count - len(chosen)))
    return chosen


def encode_example(tokenizer, problem: Problem, example: dict, fields: Sequence[str] = FIELDS) -> dict[str, Any]:
    """Features of one example (see :func:`cycle_utils.training.encode`), with the spans of its prompt's fields."""
    if example["kind"] == "plain":
        return _plain_example(tokenizer, problem, example["target"])
    code = example["code"] if "code" in fields else ""
    feedback = example["feedback"] if "feedback" in fields else ""
    prompt = refine_prompt(problem, code, feedback)
    return encode(tokenizer, prompt.text, refine_target(problem, example["target"]), prompt.spans)


def _plain_example(tokenizer, problem: Problem, solution: str) -> dict[str, Any]:
    return encode(tokenizer, one_time_prompt(problem).text, solution)


def training_problems(config: FineTune) -> list[Problem]:
    """The problems that stage 1 learns from."""
    tiny = config.benchmark == "tinyprograms"
    options = {"ambiguity": config.ambiguity, "seed": config.seed} if tiny else training_options(config.benchmark)
    return load_problems(config.benchmark, data=config.data, split="train", limit=config.problems, **options)


def loop_problems(config: Loop) -> list[Problem]:
    """The problems that a loop tries."""
    tiny = config.benchmark == "tinyprograms"
    options = {"ambiguity": config.ambiguity, "seed": config.benchmark_seed} if tiny else {}
    return load_problems(config.benchmark, data=config.data, split=config.split, limit=config.limit, **options)


def _checkpoints(folder: Path) -> Path:
    """Where a stage leaves what it would need if it were cut off; gone when the run is finished."""
    place = folder / "checkpoints"
    place.mkdir(exist_ok=True)
    return place


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
