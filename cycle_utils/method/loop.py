"""The self-refine loop: generate, execute, refine, until all tests pass or the rounds are used up.

:func:`refinement` is the loop itself. A :class:`Refiner` does its steps with a model and a judge, and knows what was
done before an interruption; :func:`self_refine` is what users call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_utils.execution import Judge, cluster
from cycle_utils.execution.feedback import BARE
from cycle_utils.method.judging import FEEDBACK_TESTS, attempt_row, judged, passes_shown
from cycle_utils.models.answers import answered, is_answered
from cycle_utils.models.generation import Completion, generate, room
from cycle_utils.models.loading import load_model, load_tokenizer, render_chat
from cycle_utils.models.programs import is_whole, syntax, trim
from cycle_utils.models.prompts import (
    FIELDS,
    NoRoom,
    Prompt,
    one_time_prompt,
    refine_prompt,
    shown_code,
    transcript,
)
from cycle_utils.models.sampling import Sampling
from cycle_utils.problems import Problem

TEMPERATURES = (0.2, 0.6)  # of the first try and of refinement [artifact]
NOTHING = -1  # number of the test that was shown where none was
MOST_REDRAWS = 9  # of a program that was tried before
Attempt = dict[str, Any]  # a row of what :func:`self_refine` returns
Trajectory = tuple[Problem, int, Attempt | None]  # a problem, the number of its sample, its last attempt if any
log = logging.getLogger(__name__)


def refinement(by: Refiner, live: Sequence[Trajectory], rounds: int) -> Iterator[list[Attempt]]:
    """The loop itself. Yields the attempts of each round: of all trajectories first, then of those not done."""
    for round_ in range(rounds + 1):
        live, prompts = by.ask(live, round_)  # for the description; after round 0 with the faulty program and feedback
        if not live:
            return
        programs = by.generate(live, prompts, round_)
        attempts = by.judge(live, prompts, programs, round_)
        yield attempts
        if by.stop_when_flat and round_ > 0 and not any(attempt["passed"] for attempt in attempts):
            return
        live = [(problem, sample, last) for (problem, sample, _), last in zip(live, attempts) if not last["done"]]


def self_refine(
    model, problems: Sequence[Problem], *, tokenizer=None, judge: Judge | None = None, rounds: int = 4,
    samples: int = 1, temperatures: tuple[float, float] = TEMPERATURES, style: str = "cycle",
    fields: Sequence[str] = FIELDS, feedback_tests: str = "all", sampling: Sampling | None = None, seed: int = 0,
    stop_when_flat: bool = False, shuffled: bool = False, strays: bool = False, bare: bool = False, redraws: int = 0,
    recalled: int = 0, checked: bool = False, progress: bool = True,
    on_round: Callable[[list[dict]], None] | None = None, folder: Path | None = None, usage: Counter | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Generate, execute, refine: the paper's loop, every attempt kept.

    Args:
        model: a loaded LM, or a name, folder or ID to load.
        samples: independent trajectories for each problem.
        rounds: refinements at most; 0 for one-time generation only.
        shuffled: show each faulty program with the feedback of another problem's (none, where there is no other).
        strays: judge and show a text without the entry point as it was written; else it counts as an empty program.
        bare: show of each failure only that there is one.
        redraws: how often a program that was tried for the same problem before, by this or another trajectory, is drawn
            again at most (up to :data:`MOST_REDRAWS`): none is judged twice while there are draws left. Programs that
            differ in layout alone are the same.
        recalled: how many earlier attempts a refine prompt shows at most, with their feedback, beside the latest.
        checked: a program is first run on the tests that its trajectory was shown, and drawn again, within the redraws,
            if it fails one of them.
        on_round: is given the attempts of each round when it ends.
        folder: where finished rounds and the generations of the current one are kept while the loop runs: a loop that
            was cut off and is called again with the same arguments goes on from there, and ends as if it had not been.
        usage: is increased by what the loop cost in tokens (greedy decoding answers the same prompt once), see
            :func:`~cycle_utils.models.generation.generate`.

    Returns:
        one row per attempt: ``task_id``, ``sample``, ``round`` (0 is the first try), ``prompt``,
        ``completion``, ``code`` (the program as a refine prompt shows it), ``status``, ``passed``,
        ``done``, ``feedback``, ``behaviour`` (a digest of what every test gave), ``ended`` (why its text ended, see
        :class:`~cycle_utils.models.generation.Completion`) and, with ``redraws``, ``draws``, how often it was drawn,
        and, if ``checked``, ``shown``, the number of the test in its feedback (:data:`NOTHING`: none). A trajectory
        ends when it is ``done``: when no test that may be shown fails, or, unsolved, when its refine prompt does not
        fit the model's context.

    Raises:
        ValueError: an option outside its choices, no problems, a one-time prompt that does not fit, or a model that
            cannot be asked in this style.
        ServerError, ImportError: a model that runs elsewhere and cannot be asked, see
            :mod:`cycle_utils.models.servers`.
    """
    _check_loop(problems, rounds, samples, fields, feedback_tests)
    _check_memory(redraws, recalled, checked, shuffled or bare, temperatures)
    if isinstance(model, str | Path):
        tokenizer = tokenizer or load_tokenizer(model)
        model = load_model(model)
    rows: list[Attempt] = []
    live = [(problem, sample, None) for problem in problems for sample in range(samples)]
    with contextlib.nullcontext(judge) if judge else cluster.judge() as judged_by:
        by = Refiner(
            model, tokenizer, judged_by, temperatures, style, fields, feedback_tests, sampling or Sampling(), seed,
            stop_when_flat, shuffled, strays, bare, redraws, recalled, checked, progress,
            folder, Counter() if usage is None else usage,
        )  # fmt: skip
        for attempts in refinement(by, live, rounds):
            rows += attempts
            if on_round:
                on_round(attempts)
    return pd.DataFrame(rows)


def _check_loop(
    problems: Sequence[Problem], rounds: int, samples: int, fields: Sequence[str], feedback_tests: str
) -> None:
    if not problems:
        raise ValueError("there are no problems to solve: the list is empty")
    if rounds < 0 or samples < 1:
        raise ValueError(f"rounds is {rounds} and samples is {samples}; give rounds of 0 or more, samples of 1 or more")
    if unknown := set(fields) - set(FIELDS):
        raise ValueError(f"unknown refine field {sorted(unknown)[0]!r}; a refine prompt has {', '.join(FIELDS)}")
    if feedback_tests not in FEEDBACK_TESTS:
        raise ValueError(f"unknown feedback_tests {feedback_tests!r}; choose one of {', '.join(FEEDBACK_TESTS)}")


def _check_memory(
    redraws: int, recalled: int, checked: bool, is_control: bool, temperatures: tuple[float, float]
) -> None:
    if not 0 <= redraws <= MOST_REDRAWS:
        raise ValueError(f"redraws is {redraws}; give 0 to {MOST_REDRAWS}")
    if recalled < 0:
        raise ValueError(f"recalled is {recalled}; give 0 (the latest attempt alone) or more")
    if recalled and is_control:
        raise ValueError("earlier attempts are recalled with their own feedback: give recalled or a control, not both")
    if checked and not redraws:
        raise ValueError("a program that fails what was shown is drawn again: give redraws with checked")
    if redraws and 0 in temperatures:
        raise ValueError("greedy decoding draws the same program again; give temperatures above 0 with redraws")


@dataclass
class Refiner:
    """The steps of a loop, with its model, its judge and its options, which are those of :func:`self_refine`."""

    model: Any
    tokenizer: Any
    judged_by: Judge | cluster.ClusterJudge
    temperatures: tuple[float, float]
    style: str
    fields: Sequence[str]
    feedback_tests: str
    sampling: Sampling
    seed: int
    stop_when_flat: bool
    shuffled: bool
    strays: bool
    bare: bool
    redraws: int
    recalled: int
    checked: bool
    progress: bool
    folder: Path | None
    usage: Counter
    spent: Counter = field(default_factory=Counter)  # of it, what the current round cost
    answers: dict[str, Completion] = field(default_factory=dict)  # by prompt: the same greedy answer is not made twice
    tried: set[tuple[str, str]] = field(default_factory=set)  # problems and their programs, if they may be drawn again
    past: dict[tuple[str, int], list[Attempt]] = field(default_factory=dict)  # of each trajectory
    draws: Counter = field(default_factory=Counter)  # in the current round, by place

    def ask(self, live: Sequence[Trajectory], round_: int) -> tuple[list[Trajectory], list[Prompt]]:
        """The trajectories whose next prompt fits the model's context, and these prompts."""
        if self.shuffled and round_ > 0:
            live = feedback_exchanged(live, random.Random(f"shuffled/{self.seed}/{round_ - 1}"))
        if self.bare and round_ > 0:
            live = [(problem, sample, {**last, "feedback": BARE}) for problem, sample, last in live]
        kept, prompts = [], []
        for trajectory in live:
            problem, _, last = trajectory
            earlier = self._past(trajectory)[:-1][-self.recalled :] if self.recalled else []
            try:
                asked = self.model, self.tokenizer, problem, last, self.style, self.fields, self.sampling, earlier
                prompts.append(next_prompt(*asked))
                kept.append(trajectory)
            except NoRoom as error:
                log.warning("%s; it stays unsolved", error)
        return kept, prompts

    def generate(self, live: Sequence[Trajectory], prompts: Sequence[Prompt], round_: int) -> list[Completion]:
        """The program in each answer, as a completion, and why its text ended."""
        if (finished := self._kept(round_)) is not None:
            return [Completion(row.completion, row.ended) for row in finished.itertuples()]
        sampling = replace(self.sampling, temperature=self.temperatures[min(round_, 1)])
        known = self.answers if sampling.temperature == 0 else {}
        programs = [known.get(prompt.text) for prompt in prompts]
        self.spent, self.draws = Counter(), Counter()
        asked = [i for i, program in enumerate(programs) if program is None]
        for draw in range(1 + self.redraws):
            answers = self._answer([live[i] for i in asked], [prompts[i] for i in asked], sampling, round_, draw)
            for i, answer in zip(asked, answers):
                programs[i] = answer
            self.draws.update(asked)
            asked = self._repeated(asked, live, programs)
        return programs

    def _repeated(
        self, asked: Sequence[int], live: Sequence[Trajectory], programs: Sequence[Completion]
    ) -> list[int]:  # fmt: skip
        """Of the programs just drawn, those to be drawn again: all that were tried for their problem before."""
        if not self.redraws:
            return []
        ones = [(live[i][0].task_id, _identity(shown_code(live[i][0], programs[i].text))) for i in asked]
        again = {i for place, i in enumerate(asked) if ones[place] in self.tried or ones[place] in ones[:place]}
        self.tried.update(ones)
        if self.checked:
            fresh = [i for i in asked if i not in again]
            shown = [sorted({a["shown"] for a in self._past(live[i])} - {NOTHING}) for i in fresh]
            texts = [programs[i].text for i in fresh]
            self.spent["checks"] += sum(map(bool, shown))
            kept = passes_shown([live[i][0] for i in fresh], texts, shown, self.feedback_tests, self.judged_by)
            again |= {i for i, passes in zip(fresh, kept) if not passes}
        return sorted(again)

    def _past(self, trajectory: Trajectory) -> list[Attempt]:
        problem, sample, _ = trajectory
        return self.past.get((problem.task_id, sample), [])

    def _answer(
        self, live: Sequence[Trajectory], prompts: Sequence[Prompt], sampling: Sampling, round_: int, draw: int
    ) -> list[Completion]:
        if not live:
            return []
        stream = self._stream(round_, draw) if self.folder else None
        problems = [problem for problem, _, _ in live]
        names = [f"{problem.task_id}/{sample}" for problem, sample, _ in live]
        read, over = (partial(trim, strays=self.strays), is_whole)
        if prompts[0].messages:
            read, over = answered, is_answered
        ended = partial(_is_over, over, problems) if sampling.stop_early else None
        texts = generate(
            self.model, self.tokenizer, prompts, sampling, 1, self.seed * 1000 + draw * 100 + round_, self.progress,
            ended, stream, self.spent, names,
        )  # fmt: skip
        return [replace(text, text=read(text.text, p.entry_point, p.prompt)) for (text,), p in zip(texts, problems)]

    def judge(
        self, live: Sequence[Trajectory], prompts: Sequence[Prompt], programs: Sequence[Completion], round_: int
    ) -> list[Attempt]:
        """The attempts of a round, with their verdicts; they are kept for a loop that is cut off later."""
        self.answers |= {prompt.text: program for prompt, program in zip(prompts, programs)}
        finished = self._kept(round_)
        if finished is not None:
            self.usage.update(finished.attrs.get("usage", {}))
            if self.redraws:
                self.tried |= {(row.task_id, _identity(row.code)) for row in finished.itertuples()}
            return self._noted(finished.to_dict("records"))
        problems = [problem for problem, _, _ in live]
        texts = [program.text for program in programs]
        found = judged(problems, texts, self.feedback_tests, self.judged_by, self.progress)
        attempts = [
            {**attempt_row(problem, sample, round_, prompt.text, program.text, one), "ended": program.ended}
            for (problem, sample, _), prompt, program, one in zip(live, prompts, programs, found)
        ]
        if self.redraws:
            attempts = [{**attempt, "draws": self.draws[i]} for i, attempt in enumerate(attempts)]
        if self.checked:
            told = [NOTHING if one.shown is None else one.shown for one in found]
            attempts = [{**attempt, "shown": number} for attempt, number in zip(attempts, told)]
        self.usage.update(self.spent)
        self._keep(round_, attempts)
        return self._noted(attempts)

    def _noted(self, attempts: list[Attempt]) -> list[Attempt]:
        for attempt in attempts if self.recalled or self.checked else ():
            self.past.setdefault((attempt["task_id"], attempt["sample"]), []).append(attempt)
        return attempts

    def _keep(self, round_: int, attempts: Sequence[Attempt]) -> None:
        if self.folder:
            table = pd.DataFrame(attempts)
            table.attrs["usage"] = self.spent
            table.to_parquet(self.folder / "round.part")
            os.replace(self.folder / "round.part", self.folder / f"round-{round_}.parquet")
            for draw in range(1 + self.redraws):
                self._stream(round_, draw).unlink(missing_ok=True)

    def _stream(self, round_: int, draw: int) -> Path:
        return self.folder / f"round-{round_}{f'-draw-{draw}' if draw else ''}.jsonl"

    def _kept(self, round_: int) -> pd.DataFrame | None:
        """The attempts of a round that an interrupted loop had finished, and in their attributes what they cost."""
        path = self.folder / f"round-{round_}.parquet" if self.folder else None
        return pd.read_parquet(path) if path and path.is_file() else None


def _is_over(over: Callable[..., bool], problems: Sequence[Problem], i: int, text: str) -> bool:
    """Whether more of the i-th text is of no use."""
    return over(text, problems[i].entry_point, problems[i].prompt)


def _identity(code: str) -> str:
    """The same for programs that differ in layout alone."""
    return syntax(code) or code


def next_prompt(
    model, tokenizer, problem: Problem, last: Attempt | None, style: str, fields: Sequence[str], sampling: Sampling,
    earlier: Sequence[Attempt] = (),
) -> Prompt:  # fmt: skip
    """What a model is asked: the description at first, then with its last attempt and what became of that.

    Args:
        earlier: attempts before the last one that are shown, too.
    """
    render = partial(render_chat, tokenizer) if tokenizer else transcript
    if last is None:
        return one_time_prompt(problem, style, render)
    shown = [tuple(one[name] if name in fields else "" for name in FIELDS) for one in [*earlier, last]]
    *tried, (code, feedback) = shown
    limit = None if sampling.truncation == "left" else room(model, sampling)
    chat = style == "chat"
    return refine_prompt(
        problem, code, feedback, style, limit=limit, render=render, earlier=tried,
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
