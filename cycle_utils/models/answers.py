"""The program in a chat model's answer: prose around one fenced block or more."""

from __future__ import annotations

import re

from cycle_utils.models.programs import trim
from cycle_utils.models.prompts import defines

# A fenced block, or the rest of an answer that was cut off within one.
_BLOCK = re.compile(r"^[ \t]*```[^`\n]*\n(.*?)(^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def answered(answer: str, entry_point: str | None, prompt: str = "") -> str:
    """The program in a chat model's answer, as a completion.

    It is the first fenced block that defines the entry point, else the first block, else the whole answer. What such a
    model thinks aloud, up to ``</think>``, is no part of its answer. Other than in a continued prompt, a block that
    begins at the left margin is kept whole even if it does not define the entry point: it may hold ``class Solution``.
    """
    answer = answer.rsplit("</think>", 1)[-1]
    blocks = [block for block, _ in _BLOCK.findall(answer)]
    if not blocks:
        return trim(answer, entry_point, prompt)
    program = "\n" + next((block for block in blocks if defines(block, entry_point)), blocks[0]).rstrip()
    own = defines(program, entry_point) or program[1:2].isspace()
    return trim(program, entry_point, prompt) if own else program


def is_answered(answer: str, entry_point: str | None, prompt: str = "") -> bool:
    """Whether :func:`answered` gives the same program however the answer goes on: its block is closed."""
    if "<think>" in answer and "</think>" not in answer:
        return False
    blocks = _BLOCK.findall(answer.rsplit("</think>", 1)[-1])
    return any(end and defines(block, entry_point) for block, end in blocks)
