"""Prompts: the one-time prompt, and the refine template with the span of each field.

The styles ``cycle`` and ``plain`` are text that a model continues; ``chat`` is a conversation with an
instruction-tuned model, whose answer holds the program in a fenced block.

No prompt ends in white space and every completion begins with its own newline. Byte-level BPE merges a
newline with the indentation after it, so a prompt that ended in a newline would be tokenized differently
alone (in generation) and in front of its completion (in training), and the model would see a token sequence
that it has never met.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from cycle_utils.problems import Problem

STYLES = ("cycle", "plain", "chat")
Message = Mapping[str, str]  # ``role``, which is user or assistant, and ``content``
# The template's headers, as the artifact has them (REFERENCE.md, stage 2).
BAD, FAILURE, GOOD = "### Bad Solution:", "### Execution Failure:", "### Good solution:"
HEADERS = (BAD, FAILURE, GOOD)
FIELDS = ("code", "feedback")  # what a refine prompt holds beside the description
Tried = tuple[str, str]  # a program and its feedback
CUT = "..."  # stands for the middle of a faulty program that does not fit


class NoRoom(ValueError):
    """A prompt that does not fit the model's context, however much of the faulty program is cut."""


@dataclass(frozen=True)
class Prompt:
    """A prompt and the half-open character span of each of its fields.

    ``spans`` of a one-time prompt: ``description``; of a refine prompt also ``template`` (from the template's
    first character to the prompt's end), ``past_generation`` (the faulty code) and ``feedback``. A prompt in the
    style ``chat`` has ``messages`` too, of which ``text`` is the rendering; its ``template`` begins with the turn that
    holds the faulty code.
    """

    text: str
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    messages: Sequence[Message] = ()


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as text for people; a model's own tokenizer renders it otherwise."""
    return "\n\n".join(f"{message['role']}:\n{message['content']}" for message in messages)


Render = Callable[[Sequence[Message]], str]


def one_time_prompt(problem: Problem, style: str = "cycle", render: Render = transcript) -> Prompt:
    """What a model is asked first: the problem's own prompt without white space at its end, or a message with it.

    Args:
        style: one of :data:`STYLES`; ``cycle`` and ``plain`` ask alike.
        render: how a conversation becomes text (``chat`` only).
    """
    if style == "chat":
        return _conversation([_task(problem)], render)
    text = problem.prompt.rstrip()
    return Prompt(text, {"description": (0, len(text))})


def commented(text: str) -> str:
    """Each line after ``# ``; empty lines as ``#``; nothing of nothing, which leaves a field blank."""
    if not text:
        return ""
    return "\n".join(f"# {line}" if line.strip() else "#" for line in text.split("\n"))


def refine_prompt(
    problem: Problem, code: str, feedback: str, style: str = "cycle",
    count: Callable[[str], int] | None = None, limit: int | None = None, render: Render = transcript,
    earlier: Sequence[Tried] = (),
) -> Prompt:  # fmt: skip
    """Description, faulty program and feedback, asking for a better program.

    Args:
        code: the faulty program as :func:`shown_code` gives it; empty to leave the field blank (ablation).
        feedback: of one failing test; empty to leave the field blank (ablation).
        style: ``cycle``, the commented template; ``plain``, the same fields uncommented inside the
            docstring, for models that were never trained on the template [artifact]; ``chat``, a conversation in
            which the model is told that its answer fails.
        count, limit: a token counter and the most tokens the prompt may have. What was tried ``earlier`` is left out,
            the oldest first, and then the middle of the faulty program is cut, until it fits: the description and the
            feedback are needed whole.
        render: how a conversation becomes text (``chat`` only).
        earlier: programs that were tried before this one, each with its feedback, the oldest first.

    Raises:
        ValueError: unknown style.
        NoRoom: a prompt that does not fit even without the faulty program.
    """
    if style not in STYLES:
        raise ValueError(f"unknown prompt style {style!r}; choose one of {', '.join(STYLES)}")
    assemble = {"cycle": template, "plain": _plain, "chat": partial(_chat, render=render)}[style]
    prompt = assemble(problem, code, feedback, earlier)
    if count is None or limit is None:
        return prompt
    while earlier and count(prompt.text) > limit:
        earlier = earlier[1:]
        prompt = assemble(problem, code, feedback, earlier)
    lines = code.split("\n")
    while (size := count(prompt.text)) > limit:
        if len(lines) <= 1:
            raise NoRoom(
                f"the refine prompt of {problem.task_id} has {size} tokens, more than the {limit} that leave room for "
                "an answer; use a model with a longer context or fewer new tokens"
            )
        half = (len(lines) - 1) // 2
        lines = lines[:half] + lines[half + 1 :]
        prompt = assemble(problem, "\n".join([*lines[:half], CUT, *lines[half:]]), feedback, ())
    return prompt


def template(problem: Problem, code: str, feedback: str, earlier: Sequence[Tried] = ()) -> Prompt:
    """The refine template [artifact]: the faulty program and its feedback as comments, then the model's turn."""
    return _laid_out(
        problem.prompt.rstrip(),
        *(f"\n\n{BAD}\n\n{commented(bad)}\n\n{FAILURE}\n{commented(failure)}" for bad, failure in earlier),
        f"\n\n{BAD}\n\n",
        ("past_generation", commented(code)),
        f"\n\n{FAILURE}\n",
        ("feedback", commented(feedback)),
        f"\n\n{GOOD}",
    )


def _laid_out(description: str, *pieces: str | tuple[str, str], end: str = "") -> Prompt:
    """Description, pieces and end in a row; a piece with a name is a field, whose span is noted.

    The span ``template`` holds the pieces and the end, without the empty line before them.
    """
    text = description
    spans = {"description": (0, len(text)), "template": (len(text) + 2, 0)}
    for piece in pieces:
        name, piece = ("", piece) if isinstance(piece, str) else piece
        if name:
            spans[name] = (len(text), len(text) + len(piece))
        text += piece
    text += end
    return Prompt(text, {**spans, "template": (spans["template"][0], len(text))})


def _plain(problem: Problem, code: str, feedback: str, earlier: Sequence[Tried] = ()) -> Prompt:
    """The fields as prose before the docstring's closing quotes, or after a prompt that has no docstring."""
    head = problem.prompt.rstrip()
    quotes = next((q for q in ('"""', "'''") if head.endswith(q)), "")
    indent = re.match(r"\s*", head.rsplit("\n", 1)[-1])[0]  # that of a docstring within a function, or none
    return _laid_out(
        head[: len(head) - len(quotes)].rstrip(),
        *(f"\n\nBad Solution:\n{bad}\n\nExecution Failure:\n{failure}" for bad, failure in earlier),
        "\n\nBad Solution:\n",
        ("past_generation", code),
        "\n\nExecution Failure:\n",
        ("feedback", feedback),
        "\n\nGood solution:",
        end=f"\n{indent}{quotes}" if quotes else "",
    )


def _chat(problem: Problem, code: str, feedback: str, earlier: Sequence[Tried] = (), *, render: Render) -> Prompt:
    tried = [*earlier, (code, feedback)]
    turns = [turn for bad, failure in tried for turn in (_fenced(bad), _told(failure))]
    prompt = _conversation([_task(problem), *turns], render)
    first = turn = _after(prompt.text, _task(problem), 0)
    for bad, _ in tried:
        turn = _after(prompt.text, _fenced(bad), turn[1])
    spans = {
        "description": first,
        "template": (turn[0], len(prompt.text)),
        "past_generation": (turn[0] + len(_FENCE), turn[0] + len(_FENCE) + len(code)),
        "feedback": _after(prompt.text, feedback, turn[1]),
    }
    return Prompt(prompt.text, spans, prompt.messages)


def _told(feedback: str) -> str:
    """What the user says of a program that fails."""
    reason = f":\n\n{feedback}" if feedback else "."
    return f"This program fails a test{reason}\n\nCorrect the program. {_ANSWER}"


_ANSWER = "Answer with the whole program in one fenced ```python block."
_FENCE = "```python\n"


def _after(text: str, part: str, begin: int) -> tuple[int, int]:
    """Where a part of a conversation stands in its rendering, from ``begin`` on."""
    found = text.find(part, begin)
    if found < 0:
        raise ValueError(
            "the chat template does not write messages as they are, so the faulty program cannot be found in the "
            "prompt: use a template that keeps their text, or the style 'cycle'"
        )
    return found, found + len(part)


def _task(problem: Problem) -> str:
    """What the user asks first."""
    text = problem.prompt.strip()
    if signature(problem):
        return f"Complete this Python function. {_ANSWER}\n\n{_fenced(text)}"
    what = f"function named {problem.entry_point}" if problem.entry_point else "program that reads standard input"
    quotes = text[:3] if text[:3] in ('"""', "'''") and text.endswith(text[:3]) else ""
    told = text[len(quotes) : len(text) - len(quotes)].strip()  # a docstring alone is prose here
    return f"Solve this problem by a Python {what}. {_ANSWER}\n\n{told}"


def _fenced(code: str) -> str:
    return f"{_FENCE}{code}\n```"


def _conversation(turns: Sequence[str], render: Render) -> Prompt:
    """A prompt of turns, the user's first and then the assistant's and the user's in turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return Prompt(render(messages), messages=messages)


def signature(problem: Problem) -> str:
    """The lines from the entry point's ``def`` to its colon, as the prompt has them; empty if it has none."""
    try:
        tree = ast.parse(problem.prompt.rstrip() + "\n    pass")
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == problem.entry_point:
            lines = problem.prompt.split("\n")[node.lineno - 1 : node.body[0].lineno - 1]
            return "\n".join(lines)
    return ""


def defines(completion: str, entry_point: str | None) -> bool:
    """Whether a completion is a whole definition of the entry point rather than a body."""
    if not entry_point:
        return False
    return re.search(rf"^(async\s+)?def\s+{re.escape(entry_point)}\b", completion, re.MULTILINE) is not None


def shown_code(problem: Problem, completion: str) -> str:
    """The program as a refine prompt shows it: a whole definition, without the description.

    A body gets the signature that the prompt has; what is neither body nor definition is shown as it was written.
    """
    body, begun = completion.lstrip("\n").rstrip(), signature(problem)
    if problem.entry_point is None or defines(completion, problem.entry_point):
        return completion.strip("\n")
    return f"{begun}\n{body}" if begun and not body[:1].strip() else body


def refine_target(problem: Problem, solution: str, style: str = "cycle") -> str:
    """What a refine example teaches: the whole program, after the newline that a prompt leaves to it.

    In the style ``chat`` it is an answer: the program in a fenced block.
    """
    program = shown_code(problem, solution)
    return _fenced(program) if style == "chat" else "\n" + program
