"""How completions are sampled: the settings that every way to generate understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Le

from cycle_utils.config import Checked, Count, Number, Positive, later

# Tokens of the longest program by benchmark, where none are asked for. Of SmolLM2's tokens, the canonical solutions of
# HumanEval take up to 268, and up to 580 with the prompt that a chat model repeats (95 % up to 373); of MBPP up to 279
# and 329; of a sample of APPS up to 818. TinyPrograms' longest take 112 of the tiny LM's own.
LONGEST = {
    "tinyprograms": 112, "humaneval": 512, "humanevalplus": 512, "mbpp": 256, "mbppplus": 256, "apps": 1024,
    "codecontests": 1024,
}  # fmt: skip
# What would shape a completion besides, at the values at which it does nothing: told to whatever has its own defaults.
NEUTRAL = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_k": -1, "min_p": 0.0}
END, LENGTH, PROGRAM = "end", "length", "program"  # why a completion ended, see :class:`~.decoding.Made`
TRUNCATIONS = ("middle", "left")
DRAWS = ("batch", "own")


@dataclass(frozen=True)
class Sampling(Checked):
    """How to sample: the artifact's top-p 0.95, no top-k; temperature 0 is greedy.

    What a model folder's generation config asks for beyond its end tokens (a repetition penalty, say) is reported
    and not followed, unless ``own_options`` ask for it.

    Attributes:
        max_new_tokens: of one completion, in tokens.
        batch_size: sequences at a time.
        truncation: of prompts that do not fit the context. ``middle`` cuts the middle of the faulty program, so that
            description and feedback stay whole; ``left`` cuts whatever stands first [artifact].
        stop_early: end a completion as soon as the text has gone past the program; what is kept is the same, but, with
            draws by ``batch``, the random numbers of later batches are not. What runs elsewhere is not ended.
        draws: random numbers for each ``batch``, in which sequences depend on their neighbours (what was published
            for the tiny LM), or of each sequence's ``own``: then it comes out alike in any company and order, and a
            sequence that ends makes room for the next one at once.
        bf16: weights and activations in bfloat16, logits in float32: faster where the processor has instructions for
            it, with other programs here and there. What runs elsewhere has a precision of its own.
        own_options: do what the model folder's generation config, or the server's, asks for beyond.
    """

    temperature: Number = 0.6
    top_p: Annotated[Positive, Le(1)] = 0.95
    max_new_tokens: Count = 112
    batch_size: Count = 128
    truncation: str = later("middle")
    stop_early: bool = later(False)
    draws: str = later("batch")
    bf16: bool = later(False)
    own_options: bool = later(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("truncation", TRUNCATIONS), ("draws", DRAWS)):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or more")
