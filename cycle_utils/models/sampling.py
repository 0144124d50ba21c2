"""How completions are sampled: the settings that every way to generate understands."""

from __future__ import annotations

from dataclasses import dataclass

from cycle_utils.config import later

TRUNCATIONS = ("middle", "left")


@dataclass(frozen=True)
class Sampling:
    """How to sample: the artifact's top-p 0.95, no top-k; temperature 0 is greedy.

    Attributes:
        max_new_tokens: of one completion, in tokens.
        batch_size: sequences at a time.
        truncation: of prompts that do not fit the context. ``middle`` cuts the middle of the faulty program, so that
            description and feedback stay whole; ``left`` cuts whatever stands first [artifact].
        stop_early: end a completion as soon as the text has gone past the program; what is kept is the same, but the
            random numbers drawn for later batches are not. Conversations are not ended: a chat model ends its answer
            itself; nor is what runs elsewhere.
    """

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 112
    batch_size: int = 128
    truncation: str = later("middle")
    stop_early: bool = later(False)

    def __post_init__(self) -> None:
        if self.truncation not in TRUNCATIONS:
            raise ValueError(f"unknown truncation {self.truncation!r}; choose one of {', '.join(TRUNCATIONS)}")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or more")
