"""The configs of the stages: each names everything that its run depends on, earlier stages included."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Le

from cycle_utils.config import (
    Checked,
    Count,
    Natural,
    NotNegative,
    Number,
    Place,
    Positive,
    Seed,
    Share,
    Texts,
    Two,
    later,
)
from cycle_utils.method.distillation import TARGETS
from cycle_utils.method.loop import MOST_REDRAWS, TEMPERATURES
from cycle_utils.method.masking import Masking
from cycle_utils.method.training import TrainSettings
from cycle_utils.models import tiny_lm
from cycle_utils.models.loading import TINY
from cycle_utils.models.prompts import FIELDS
from cycle_utils.models.sampling import Sampling
from cycle_utils.models.servers import split_name
from cycle_utils.problems.tinyprograms import AMBIGUITY, FamilySet

FAULTS = ("own", "mutated")
TRAINED_STYLES = ("cycle", "chat")
Redraws = Annotated[Natural, Le(MOST_REDRAWS)]


@dataclass(frozen=True)
class Pretrain(Checked):
    """The tiny LM from random weights, in blocks of ``block`` tokens.

    ``train`` is the first phase, ``recurring`` the short second one on files in which code recurs; None: the LM as it
    is before that one.
    """

    shape: str = tiny_lm.SHAPE
    block: Count = 320
    ambiguity: Share = 0.35  # of the descriptions in the text
    train: TrainSettings = TrainSettings(
        steps=4500, batch_size=16, learning_rate=3e-3, save_steps=200, group_by_length=False, compiled=True
    )
    recurring: TrainSettings | None = TrainSettings(
        steps=800, batch_size=16, learning_rate=1e-3, save_steps=200, group_by_length=False, compiled=True
    )


@dataclass(frozen=True)
class FineTune(Checked):
    """Stage 1(a): a pre-trained LM and the canonical solutions of a benchmark's training split.

    ``style`` is how this and all later stages ask the model: by the paper's template, ``cycle``, or by ``chat``, for
    an instruction-tuned one. ``families`` are those of TinyPrograms that this and all later stages train on.
    """

    model: Place = TINY
    benchmark: str = "tinyprograms"
    data: Place | None = None
    problems: Count = 4000
    ambiguity: Share = AMBIGUITY
    seed: Seed = 0
    train: TrainSettings = TrainSettings(steps=350, learning_rate=5e-4)
    style: str = later("cycle")
    families: FamilySet = later("all")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.style not in TRAINED_STYLES:
            raise ValueError(f"unknown style of training {self.style!r}; choose one of {', '.join(TRAINED_STYLES)}")
        if split_name(self.model)[0]:
            raise ValueError(
                f"{self.model} runs elsewhere and cannot be trained here: give a model folder or a Hub ID, or run only "
                "the loop on it"
            )


@dataclass(frozen=True)
class Distil(Checked):
    """Stage 1(b): the fine-tuned LM's own samples on its training problems, executed.

    ``target`` is how a failure finds its right program: the canonical solution nearest by ``bm25``, or one
    at ``random``. Two options are for ablations: ``faults`` may be ``mutated`` canonical solutions instead of the
    LM's ``own`` samples, and ``keep_passing`` says whether samples that passed become examples of plain generation.
    ``strays`` is as in :class:`Loop`, by the benchmark of the training problems.
    """

    fine_tune: FineTune = FineTune()
    samples: Count = 1
    sampling: Sampling = Sampling(temperature=0.8)
    target: str = "bm25"
    faults: str = later("own")
    keep_passing: bool = later(True)
    strays: bool = later(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("target", TARGETS), ("faults", FAULTS)):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")
        if self.fine_tune.benchmark != "tinyprograms":
            object.__setattr__(self, "strays", True)


@dataclass(frozen=True)
class RefineTrain(Checked):
    """Stage 2: from the fine-tuned LM, on own failures (share ``refine_share``) mixed with plain generation.

    ``fields`` are what its refine prompts hold: leave one out for the ablations.
    """

    distil: Distil = Distil()
    masking: Masking = Masking()
    refine_share: Number = 0.5
    fields: Texts = FIELDS
    train: TrainSettings = TrainSettings(steps=360, learning_rate=1e-3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.refine_share <= 1:
            raise ValueError(f"refine_share is {self.refine_share}; it is a share: give a number from 0 to 1")


@dataclass(frozen=True)
class Practice(Checked):
    """The loop of a trained LM on its training problems, for a further turn of the cycle to learn from.

    Stage 1(b) knows the mistakes of first tries alone. The rounds of a loop start from mistakes that refinement made;
    here these become examples too, each with the feedback that it got.

    Attributes:
        after: the training of that LM: stage 2, or an earlier turn.
        problems: training problems practised on; each turn has others, as long as there are enough.
        rounds, samples, temperatures, redraws: of the loop, as in :class:`Loop`.
        hindsight: examples of each problem, at most, in which another program that was tried is taken for the right
            one.
    """

    after: RefineTrain | Turn = RefineTrain()
    problems: Count = 2000
    rounds: Natural = 3
    temperatures: Two = TEMPERATURES
    redraws: Redraws = MOST_REDRAWS
    sampling: Sampling = Sampling()
    samples: Count = later(1)
    hindsight: Natural = later(0)

    @property
    def turn(self) -> int:
        """Number of the turn that it is for."""
        return self.after.practice.turn + 1 if isinstance(self.after, Turn) else 1

    @property
    def first(self) -> RefineTrain:
        """The training that the first turn went on from."""
        return first_training(self.after)

    @property
    def recalled(self) -> int:
        """Earlier attempts that its prompts show: as that LM was trained."""
        return self.after.recalled if isinstance(self.after, Turn) else 0


@dataclass(frozen=True)
class Turn(Checked):
    """A further turn of the cycle: stage 2 again, from the LM that practised, on what it got wrong.

    How faulty programs are masked, mixed and shown is as in the first training. ``earlier`` says whether the mistakes
    of earlier turns and of stage 1(b) are trained on too, and ``recalled`` how many earlier attempts refine prompts
    show at most, beside the latest: in this training and in the practice of the next turn.
    """

    practice: Practice = field(default_factory=Practice)
    earlier: bool = True
    train: TrainSettings = TrainSettings(steps=360, learning_rate=1e-3)
    recalled: Natural = 0


def first_training(after: RefineTrain | Turn) -> RefineTrain:
    """The training before any turn, of one that may be a turn."""
    return after.practice.first if isinstance(after, Turn) else after


@dataclass(frozen=True)
class Grpo(Checked):
    """Learning from verdicts alone, by GRPO, from a trained LM on: see :mod:`~cycle_utils.method.grpo`.

    Attributes:
        after: the training of that LM: stage 2, or a turn.
        judged: programs that are drawn and judged in all; a turn's practice judges about as many.
        samples: of each prompt, a group; rewards count by how far they are from their group's mean.
        refine_share: share of prompts that ask to refine a failure of stage 1(b); the others ask for a first try.
        batch_size: programs drawn at a time, by the same weights.
        updates: optimiser steps on each batch, a part of its programs in each.
        beta: weight of the divergence from the LM at the start.
        temperature: at which programs are drawn, without top-p: so they are what the LM's own probabilities say.
    """

    after: RefineTrain | Turn = field(default_factory=RefineTrain)
    judged: Count = 4096
    samples: Count = 8
    refine_share: Share = 0.5
    batch_size: Count = 128
    updates: Count = 1
    learning_rate: Positive = 3e-4
    beta: NotNegative = 0.0
    temperature: Positive = 1.0
    max_new_tokens: Count = 112

    def __post_init__(self) -> None:
        super().__post_init__()
        for whole, part in (("judged", "batch_size"), ("batch_size", "samples"), ("batch_size", "updates")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{whole} is {getattr(self, whole)}; give a multiple of {part}, {getattr(self, part)}")
        if self.samples < 2:
            raise ValueError("samples is 1; a group has 2 or more: a single reward is its own mean")
        if (style := self.first.distil.fine_tune.style) != "cycle":
            raise ValueError(f"the model was trained in the style {style!r}; verdicts are learnt from in 'cycle' alone")

    @property
    def first(self) -> RefineTrain:
        """The first training, before any turn."""
        return first_training(self.after)


@dataclass(frozen=True)
class Loop(Checked):
    """Stage 3: generate, execute, refine; and independent samples when ``rounds`` is 0.

    Attributes:
        model: a folder, a Hub ID or ``tiny``; ``openai:NAME`` or ``vllm:PLACE``, see :mod:`cycle_utils.models.servers`.
        style: of prompts, ``cycle``, ``plain`` (for models that never saw the template) or ``chat`` (for
            instruction-tuned models, and the only one for ``openai:NAME``).
        temperatures: of the first try and of refinement.
        fields: what refine prompts hold; leave one out to see what it was worth.
        feedback_tests: ``all``, as the paper: feedback comes from the tests that score; ``public``: feedback
            comes from public tests, and the hidden ones score.
        stop_when_flat: stop after a round that mended nothing [paper]; otherwise all rounds are run.
        shuffled: feedback is that of another problem's faulty program: a control.
        bare: feedback says that the program fails, and nothing else: a control.
        redraws: how often a program that was tried before is drawn again, at most, before it is judged again.
        recalled: how many earlier attempts a refine prompt shows at most, with their feedback, beside the latest.
        checked: a program is drawn again, within the redraws, if it fails a test that its trajectory was shown.
        strays: a text without the entry point is judged and shown as it was written, as it always is on other
            benchmarks than TinyPrograms; there it counts as an empty program, as loops were published, unless asked
            for.
        families: of TinyPrograms, which problems are asked.
    """

    model: Place = TINY
    benchmark: str = "tinyprograms"
    data: Place | None = None
    split: str | None = None
    limit: Count | None = 300
    ambiguity: Share = AMBIGUITY
    benchmark_seed: Seed = 0
    rounds: Natural = 4
    samples: Count = 1
    temperatures: Two = TEMPERATURES
    style: str = "cycle"
    fields: Texts = FIELDS
    feedback_tests: str = "all"
    sampling: Sampling = Sampling()
    stop_when_flat: bool = False
    seed: Seed = 0
    shuffled: bool = later(False)
    strays: bool = later(False)
    bare: bool = later(False)
    redraws: Redraws = later(0)
    recalled: Natural = later(0)
    checked: bool = later(False)
    families: FamilySet = later("all")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.benchmark != "tinyprograms":
            object.__setattr__(self, "strays", True)


@dataclass(frozen=True)
class Probe(Checked):
    """A probe of a loop's LM on the failures of that loop up to round ``rounds``, see :mod:`.probing`."""

    loop: Loop = Loop()
    rounds: Natural = 0
